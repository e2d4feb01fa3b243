"""A load generator that costs little, because it shares the machine with what it measures.

Closed loop: each client sends its next request when the answer to the last one is in; keep-alive,
no pipelining. Requests are rendered beforehand and of an answer only the status and the length are
read, unless a script needs more. One process with one epoll loop serves many clients; on machines
with eight cores and more there are several such processes. It knows HTTP, not cqueue.
"""

from __future__ import annotations

import gc
import os
import re
import select
import socket
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import msgspec
from msgspec import Struct

from cqueue.processes import fork

Address = tuple[str, int]

Kept = tuple[int, int]
"""A job that a script passes on: (id, lease token)."""

Script = Generator[bytes, bytes, tuple[int, list[Kept]]]
"""One client's behaviour: yields requests, is sent whole answers (head and body), and returns how
many jobs it did and which it passes on. It ends at the first good moment after `Share.over`."""

ANSWER_S_MAX: Final = 30.0
_RECEIVED_BYTES: Final = 256 * 1024
_CORES_PER_PROCESS: Final = 4
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_WARM_UP: Final = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


class WrongAnswer(Exception):
    """A server answered what it should not have; a figure made from it would mean nothing."""


class Result(Struct):
    """What one slice of load found.

    jobs: done. rate_per_s: the sum of every client's own rate, each over its own time.
    elapsed_s: from the first request to the last answer. latencies_s: by client, in order. kept:
    what the scripts passed on. cpu_s: the generator's own.
    """

    jobs: int
    rate_per_s: float
    elapsed_s: float
    latencies_s: list[list[float]]
    kept: list[Kept]
    cpu_s: float


@dataclass(slots=True)
class Share:
    """One process's part of a slice: it is the `number`-th of `processes`, with so many clients.

    over: the slice's time is up; the loop sets it, the scripts look at it.
    """

    number: int
    processes: int
    clients: int
    over: bool = False


Scripts = Callable[[Share], list[Script]]
"""Makes the scripts of a share's clients; what it renders takes no time of the slice."""


def rendered(method: str, path: str, body: bytes = b"", token: str = "") -> bytes:
    """A request as it goes over the wire; with `token`, as its caller shows it."""
    content = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else "Content-Length: 0\r\n"
    shown = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{shown}{content}\r\n".encode() + body


def body_of(answer: bytes) -> bytes:
    """The body of a whole answer."""
    return answer.partition(b"\r\n\r\n")[2]


def expect(answer: bytes, status: bytes) -> None:
    """Hold an answer to a status.

    Raises:
        WrongAnswer: it has another; the sentence shows the answer's beginning.
    """
    if answer[9:12] != status:
        raise WrongAnswer(f"expected status {status.decode()}, got {answer[:1000].decode(errors='replace')!r}")


def whole_bytes(received: bytes) -> int | None:
    """How long the answer is that begins `received`; None while its head is not complete.

    Raises:
        WrongAnswer: its head does not say.
    """
    head = received.find(b"\r\n\r\n")
    if head < 0:
        return None
    found = _CONTENT_LENGTH.search(received, 0, head + 2)
    if found:
        return head + 4 + int(found[1])
    if received[9:12] == b"204":
        return head + 4
    raise WrongAnswer(f"an answer without a length: {received[:head].decode(errors='replace')!r}")


class Connection:
    """One keep-alive connection, for one request after the other."""

    def __init__(self, address: Address) -> None:
        self.socket = socket.create_connection(address, timeout=ANSWER_S_MAX)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def exchange(self, request: bytes) -> bytes:
        """Send a request and wait for its whole answer.

        Raises:
            OSError: the connection broke, or `ANSWER_S_MAX` passed.
            WrongAnswer: it ended too early.
        """
        self.socket.sendall(request)
        received = bytearray()
        needed = None
        while needed is None or len(received) < needed:
            data = self.socket.recv(_RECEIVED_BYTES)
            if not data:
                raise WrongAnswer("the server closed the connection")
            received += data
            if needed is None:
                needed = whole_bytes(bytes(received))
        return bytes(received)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()


class _Client:
    """One client in the loop. received: the answer so far; unsent: what the socket did not take yet."""

    def __init__(self, connection: socket.socket, script: Script) -> None:
        self.socket = connection
        self.script = script
        self.received: list[bytes] = []
        self.received_bytes = 0
        self.whole_bytes: int | None = None
        self.unsent = memoryview(b"")
        self.latencies_s: list[float] = []
        self.sent_s = 0.0
        self.done_s = 0.0
        self.jobs = 0
        self.kept: list[Kept] = []

    def receive(self) -> bytes | None:
        """Read; the whole answer once it is there."""
        data = self.socket.recv(_RECEIVED_BYTES)
        if not data:
            raise WrongAnswer("the server closed the connection")
        self.received.append(data)
        self.received_bytes += len(data)
        if self.whole_bytes is None:
            self.received = [b"".join(self.received)]
            self.whole_bytes = whole_bytes(self.received[0])
        if self.whole_bytes is None or self.received_bytes < self.whole_bytes:
            return None
        if self.received_bytes > self.whole_bytes:
            raise WrongAnswer("the server sent more than one answer")
        answer = b"".join(self.received)
        self.received, self.received_bytes, self.whole_bytes = [], 0, None
        return answer


class _Loop:
    """Lets every client's script run to its end."""

    def __init__(self, clients: list[_Client], share: Share) -> None:
        self._by_descriptor = {client.socket.fileno(): client for client in clients}
        self._share = share
        self._epoll = select.epoll()
        self._running = 0

    def run(self, begin_s: float, seconds: float) -> None:
        with self._epoll:
            for descriptor, client in self._by_descriptor.items():
                client.done_s = begin_s
                self._epoll.register(descriptor, select.EPOLLIN)
                self._running += 1
                self._go_on(client, None)
            while self._running:
                events = self._epoll.poll(ANSWER_S_MAX)
                if not events:
                    raise WrongAnswer(f"no answer within {ANSWER_S_MAX:.0f} s")
                for descriptor, event in events:
                    self._on_event(self._by_descriptor[descriptor], event)
                if time.perf_counter() >= begin_s + seconds:
                    self._share.over = True

    def _on_event(self, client: _Client, event: int) -> None:
        if event & select.EPOLLOUT:
            client.unsent = client.unsent[client.socket.send(client.unsent) :]
            if not client.unsent:
                self._epoll.modify(client.socket, select.EPOLLIN)
        if event != select.EPOLLOUT:
            answer = client.receive()
            if answer is not None:
                client.done_s = time.perf_counter()
                client.latencies_s.append(client.done_s - client.sent_s)
                self._go_on(client, answer)

    def _go_on(self, client: _Client, answer: bytes | None) -> None:
        """Hand the script its answer, None to begin with, and send its next request."""
        try:
            request = next(client.script) if answer is None else client.script.send(answer)
        except StopIteration as end:
            client.jobs, client.kept = end.value
            self._running -= 1
            return
        client.sent_s = time.perf_counter()
        sent = client.socket.send(request)
        if sent < len(request):
            client.unsent = memoryview(request)[sent:]
            self._epoll.modify(client.socket, select.EPOLLIN | select.EPOLLOUT)


def process_count(clients: int) -> int:
    """How many processes the generator uses for that many clients."""
    return max(1, min(clients, (os.cpu_count() or 1) // _CORES_PER_PROCESS))


def run(
    addresses: list[Address], clients: int, seconds: float, scripts: Scripts, at_go: Callable[[], None] = lambda: None
) -> Result:
    """Run one slice of load, in processes of its own.

    Args:
        addresses: client i connects to the i-th of them, and so on in turn.
        clients: how many.
        seconds: how long; then every script comes to its end.
        scripts: called in each process before the slice begins.
        at_go: called here when everybody is connected and nobody has begun.

    Raises:
        WrongAnswer: a script got an answer it cannot have wanted, or none.
    """
    processes = process_count(clients)
    runs = []
    for number in range(processes):
        own = [addresses[i % len(addresses)] for i in range(number, clients, processes)]
        runs.append(_Process(own, Share(number, processes, len(own)), seconds, scripts))
    for each in runs:
        each.wait_until_connected()
    at_go()
    for each in runs:
        each.go()
    return _sum([each.result() for each in runs])


def _sum(results: list[Result]) -> Result:
    return Result(
        sum(result.jobs for result in results),
        sum(result.rate_per_s for result in results),
        max(result.elapsed_s for result in results),
        [latencies_s for result in results for latencies_s in result.latencies_s],
        [item for result in results for item in result.kept],
        sum(result.cpu_s for result in results),
    )


class _Process:
    """One process of the generator, seen from the benchmark; its words come through a socket pair."""

    def __init__(self, addresses: list[Address], share: Share, seconds: float, scripts: Scripts) -> None:
        self._socket, other = socket.socketpair()
        with other:
            self._pid = fork(lambda: _be(other, addresses, share, seconds, scripts))

    def wait_until_connected(self) -> None:
        if self._socket.recv(1) != b"c":
            self.result()

    def go(self) -> None:
        self._socket.send(b"g")

    def result(self) -> Result:
        with self._socket, self._socket.makefile("rb") as said:
            data = said.read()
        os.waitpid(self._pid, 0)
        if data[:1] != b"r":
            raise WrongAnswer(data[1:].decode(errors="replace") or "the load generator ended early")
        return msgspec.msgpack.decode(data[1:], type=Result)


def _be(other: socket.socket, addresses: list[Address], share: Share, seconds: float, scripts: Scripts) -> int:
    gc.disable()
    try:
        connections = [Connection(address) for address in addresses]
        for connection in connections:
            # The first request pays for accepting the connection; whatever the answer is, it is no error.
            connection.exchange(_WARM_UP)
            connection.socket.setblocking(False)
        clients = [
            _Client(connection.socket, script) for connection, script in zip(connections, scripts(share), strict=True)
        ]
        other.send(b"c")
        other.recv(1)
        cpu_s, begin_s = time.process_time(), time.perf_counter()
        _Loop(clients, share).run(begin_s, seconds)
        result = Result(
            sum(client.jobs for client in clients),
            sum(client.jobs / max(client.done_s - begin_s, 1e-9) for client in clients),
            max(client.done_s for client in clients) - begin_s,
            [client.latencies_s for client in clients],
            [item for client in clients for item in client.kept],
            time.process_time() - cpu_s,
        )
    except (OSError, WrongAnswer) as error:
        other.sendall(b"e" + str(error).encode())
        return 1
    other.sendall(b"r" + msgspec.msgpack.encode(result))
    return 0
