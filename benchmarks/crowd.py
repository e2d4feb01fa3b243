"""Many consumers in one process: a connection each, one epoll loop, and the time each job took to reach one.

A consumer asks for a job, concludes what it gets and asks again: at once, where the node lets it wait,
or once a second, where it polls. Jobs carry their number as payload. A job's time runs from when its
enqueue was sent until a consumer has read it, both on this process's clock, so that the time it takes
to get through here is part of it.
"""

from __future__ import annotations

import resource
import select
import time
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Final, Self

import msgspec
from msgspec import Struct

from benchmarks.load import Address, Connection, WrongAnswer, body_of, expect, rendered, whole_bytes
from benchmarks.workload import conclude_request

ANSWER_S_MAX: Final = 30.0
_RECEIVED_BYTES: Final = 64 * 1024
_OPEN_FILES_BESIDES: Final = 100


class _Job(Struct):
    id: int
    lease_token: int
    payload: int


_decode_job = msgspec.json.Decoder(_Job).decode


class Crowd:
    """Consumers, and one producer.

    due: heap of (when, descriptor): who asks next, of those who poll. delivered_s: {number of a job: when it was
    read}. begun: {descriptor: what has come of an answer}. concluding: who says that a job is done.

    Args:
        address: the node's.
        count: how many.
        ask: the body of a consumer's request for a job, by its number.
        every_s: poll as often as that; None: ask again at once.
    """

    def __init__(self, address: Address, count: int, ask: Callable[[int], bytes], every_s: float | None = None) -> None:
        allow_open_files(count + _OPEN_FILES_BESIDES)
        self._address = address
        self._every_s = every_s
        self._producer: Connection | None = None
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._asks: dict[int, bytes] = {}
        self._due: list[tuple[float, int]] = []
        self._begun: dict[int, bytes] = {}
        self._concluding: set[int] = set()
        self._enqueued = 0
        self.delivered_s: dict[int, float] = {}
        self.asked = 0
        for number in range(count):
            descriptor = self._connect()
            self._asks[descriptor] = rendered("POST", "/jobs/dequeue", ask(number))
            if every_s is None:
                self._ask(descriptor)
            else:
                heappush(self._due, (time.perf_counter() + every_s * number / count, descriptor))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections.values():
            connection.socket.close()
        self._epoll.close()

    def run(self, seconds: float) -> None:
        """Let them wait, or poll, for so long."""
        until_s = time.perf_counter() + seconds
        while (now_s := time.perf_counter()) < until_s:
            self._turn(until_s - now_s)

    def deliver(self, jobs: list[bytes]) -> list[float]:
        """Enqueue jobs in one request, and wait until each has been delivered and concluded; the seconds each took.

        Args:
            jobs: as JSON, with `%d` where the payload belongs.
        """
        first, self._enqueued = self._enqueued, self._enqueued + len(jobs)
        body = b",".join(job % number for number, job in enumerate(jobs, first))
        request = rendered("PUT", "/jobs/enqueue", body if len(jobs) == 1 else b"[" + body + b"]")
        if self._producer is None:
            self._producer = self._connections[self._connect()]
        sent_s = time.perf_counter()
        self._producer.socket.sendall(request)
        while len(self.delivered_s) < self._enqueued or self._concluding:
            self._turn(ANSWER_S_MAX)
            if time.perf_counter() > sent_s + ANSWER_S_MAX:
                raise WrongAnswer(f"{self._enqueued - len(self.delivered_s)} jobs were not delivered")
        return [self.delivered_s[number] - sent_s for number in range(first, self._enqueued)]

    def _connect(self) -> int:
        connection = Connection(self._address)
        connection.socket.setblocking(False)
        descriptor = connection.socket.fileno()
        self._connections[descriptor] = connection
        self._epoll.register(descriptor, select.EPOLLIN)
        return descriptor

    def _ask(self, descriptor: int) -> None:
        self.asked += 1
        self._connections[descriptor].socket.sendall(self._asks[descriptor])

    def _turn(self, seconds: float) -> None:
        """Wait for answers, and do what they, and the time, call for."""
        if self._due:
            seconds = min(seconds, self._due[0][0] - time.perf_counter())
        for descriptor, _ in self._epoll.poll(max(0.0, seconds)):
            self._hear(descriptor)
        now_s = time.perf_counter()
        while self._due and self._due[0][0] <= now_s:
            due_s, descriptor = heappop(self._due)
            self._ask(descriptor)
            heappush(self._due, (due_s + (self._every_s or 0.0), descriptor))

    def _hear(self, descriptor: int) -> None:
        connection = self._connections[descriptor]
        received = connection.socket.recv(_RECEIVED_BYTES)
        if not received:
            self._lose(descriptor)
            return
        answer = self._begun.pop(descriptor, b"") + received
        needed = whole_bytes(answer)
        if needed is None or len(answer) < needed:
            self._begun[descriptor] = answer
        elif connection is self._producer:
            expect(answer, b"201")
        elif descriptor in self._concluding:
            expect(answer, b"200")
            self._concluding.discard(descriptor)
            self._ask_again(descriptor)
        elif answer[9:12] == b"204":
            self._ask_again(descriptor)
        else:
            expect(answer, b"200")
            job = _decode_job(body_of(answer))
            self.delivered_s[job.payload] = time.perf_counter()
            self._concluding.add(descriptor)
            connection.socket.sendall(conclude_request((job.id, job.lease_token)))

    def _lose(self, descriptor: int) -> None:
        if self._connections[descriptor] is not self._producer:
            raise WrongAnswer("the node closed a consumer's connection")
        # It had nothing to say for longer than the node keeps a connection open.
        self._producer = None
        self._epoll.unregister(descriptor)
        self._connections.pop(descriptor).socket.close()

    def _ask_again(self, descriptor: int) -> None:
        if self._every_s is None:
            self._ask(descriptor)


def allow_open_files(count: int) -> None:
    """Raise this process's limit of open files.

    Raises:
        OSError: the hard limit is below that.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise OSError(f"{count} open files are needed, the hard limit is {hard}: see `ulimit -Hn`")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
