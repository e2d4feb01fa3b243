"""Requests at a fixed rate, whatever becomes of them: an open loop, in one process of its own.

A request is due at its time and leaves at once, on a connection that is free; where none is, it is given up.
An answer that comes later than `PATIENCE_S` is worth nothing: its client has gone. Nobody heeds `Retry-After`,
and whoever was refused asks again as soon as anybody else: it is about clients that are not polite.
"""

from __future__ import annotations

import gc
import os
import select
import socket
import time
from collections import Counter, deque
from contextlib import suppress
from typing import Final

import msgspec
from msgspec import Struct

from benchmarks.crowd import allow_open_files
from benchmarks.load import Address, Connection, WrongAnswer, whole_bytes
from cqueue.processes import fork

PATIENCE_S: Final = 1.0
_BURST: Final = 64
"""Requests sent before answers are looked at again."""
_RECEIVED_BYTES: Final = 64 * 1024
_OPEN_FILES_BESIDES: Final = 100


class Wind(Struct, frozen=True):
    """How hard it blows. connections: to the addresses in turn."""

    addresses: list[Address]
    connections: int
    rate_per_s: float
    seconds: float
    request: bytes


class Told(Struct):
    """What came of it, until the time was up.

    good: answered 2xx in time. late: the same, too late. unsent: given up. lost: the connection was closed
    instead. refused: {status and code: how many}. latencies_s: of the good ones.
    """

    good: int = 0
    late: int = 0
    unsent: int = 0
    lost: int = 0
    refused: dict[str, int] = {}
    latencies_s: list[float] = []


class Storm:
    """A storm in a process of its own, which begins when this is made."""

    def __init__(self, wind: Wind) -> None:
        self._socket, other = socket.socketpair()
        with other:
            self._pid = fork(lambda: _be(other, wind))

    def is_over(self) -> bool:
        """Whether `told` has something to tell."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def told(self) -> Told:
        """What came of it; waits for its end.

        Raises:
            WrongAnswer: it could not be measured.
        """
        with self._socket, self._socket.makefile("rb") as said:
            data = said.read()
        os.waitpid(self._pid, 0)
        if data[:1] != b"r":
            raise WrongAnswer(data[1:].decode(errors="replace") or "the storm ended early")
        return msgspec.msgpack.decode(data[1:], type=Told)


def _be(other: socket.socket, wind: Wind) -> int:
    gc.disable()
    try:
        allow_open_files(wind.connections + _OPEN_FILES_BESIDES)
        told = _Loop(wind).run()
    except (OSError, WrongAnswer) as error:
        other.sendall(b"e" + repr(error).encode())
        return 1
    other.sendall(b"r" + msgspec.msgpack.encode(told))
    return 0


class _Loop:
    """idle: descriptors that are free, oldest first. sent_s: when a request left on each of the others.

    begun: parts of answers.
    """

    def __init__(self, wind: Wind) -> None:
        self._wind = wind
        self._epoll = select.epoll()
        self._connections: dict[int, tuple[socket.socket, Address]] = {}
        self._idle: deque[int] = deque()
        self._sent_s: dict[int, float] = {}
        self._begun: dict[int, bytes] = {}
        self._told = Told()
        self._refused: Counter[str] = Counter()
        for number in range(wind.connections):
            self._connect(wind.addresses[number % len(wind.addresses)])

    def run(self) -> Told:
        wind = self._wind
        count = int(wind.rate_per_s * wind.seconds)
        number = 0
        begin_s = now_s = time.perf_counter()
        while now_s < begin_s + wind.seconds:
            due = min(count, int((now_s - begin_s) * wind.rate_per_s))
            for _ in range(min(due - number, len(self._idle), _BURST)):
                self._send(now_s)
                number += 1
            if not self._idle:
                self._told.unsent += due - number
                number = due
            next_s = begin_s + (number + 1) / wind.rate_per_s
            for descriptor, _ in self._epoll.poll(0.0 if number < due else max(0.0, next_s - now_s)):
                self._hear(descriptor)
            now_s = time.perf_counter()
        self._told.refused = dict(self._refused)
        return self._told

    def _connect(self, address: Address) -> None:
        connection = Connection(address).socket
        connection.setblocking(False)
        descriptor = connection.fileno()
        self._connections[descriptor] = connection, address
        self._epoll.register(descriptor, select.EPOLLIN)
        self._idle.append(descriptor)

    def _send(self, now_s: float) -> None:
        descriptor = self._idle.popleft()
        self._sent_s[descriptor] = now_s
        with suppress(OSError):  # it is closed, which the next read will tell
            self._connections[descriptor][0].send(self._wind.request)

    def _hear(self, descriptor: int) -> None:
        received = b""
        with suppress(OSError):
            received = self._connections[descriptor][0].recv(_RECEIVED_BYTES)
        if not received:
            self._lose(descriptor)
            return
        answer = self._begun.pop(descriptor, b"") + received
        needed = whole_bytes(answer)
        if needed is None or len(answer) < needed:
            self._begun[descriptor] = answer
            return
        self._idle.append(descriptor)
        self._judge(answer, time.perf_counter() - self._sent_s.pop(descriptor))

    def _judge(self, answer: bytes, latency_s: float) -> None:
        if answer[9:10] != b"2":
            _, _, rest = answer.partition(b'"code":"')
            code, _, _ = rest.partition(b'"')
            self._refused[f"{answer[9:12].decode()} {code.decode()}"] += 1
        elif latency_s > PATIENCE_S:
            self._told.late += 1
        else:
            self._told.good += 1
            self._told.latencies_s.append(latency_s)

    def _lose(self, descriptor: int) -> None:
        connection, address = self._connections.pop(descriptor)
        self._epoll.unregister(descriptor)
        connection.close()
        self._begun.pop(descriptor, None)
        if self._sent_s.pop(descriptor, None) is None:
            self._idle.remove(descriptor)
        else:
            self._told.lost += 1
        self._connect(address)
