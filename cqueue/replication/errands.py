"""What is asked of a replica besides operations and queries, and takes a while.

An errand has its own desk: it keeps its requests and their time limits itself, and answers each of
them once. The replica passes requests on and tells when its state has moved and when a round begins.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from typing import Final, Protocol

from cqueue import protocol
from cqueue.core.machine import Applied
from cqueue.protocol import Failure
from cqueue.replication.requests import Request


class Errand(Protocol):
    """One kind of errand."""

    def take(self, request: Request, index: int, wait_ms: int) -> None:
        """Take a request, at the log index `index`; it may take the time a request may, and `wait_ms`."""
        ...

    def moved(self, index: int, applied: Applied) -> None:
        """An entry was applied: the state is now as of `index`."""
        ...

    def advance(self, index: int, now_s: float) -> None:
        """A round begins: go on, and end what ran out of time."""
        ...

    def stop(self, request: Request, index: int) -> None:
        """Whoever waits for it is about to stop: answer now."""
        ...


_NOT_REACHED: Final = protocol.encode(
    Failure("index_not_reached", "this node has not applied the log up to that index yet", 1)
)


class Arrivals:
    """Requests that wait until this replica has applied an index.

    waiting: (index, request), lowest first. by_arrival: the same requests, first come first; those answered stay
    there until their time is over.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, Request]] = []
        self._by_arrival: deque[tuple[int, Request]] = deque()

    def take(self, request: Request, index: int, wait_ms: int) -> None:  # noqa: ARG002 - the interface's
        """See `Errand`."""
        wanted = protocol.decode_index(request.body)
        if wanted <= index:
            request.answer(protocol.RESULT, index, b"")
        else:
            insort(self._waiting, (wanted, request))
            self._by_arrival.append((wanted, request))

    def moved(self, index: int, applied: Applied) -> None:  # noqa: ARG002 - the interface's
        """See `Errand`."""
        self._let_go(index)

    def _let_go(self, index: int) -> None:
        waiting = self._waiting
        if waiting and waiting[0][0] <= index:
            count = bisect_left(waiting, index + 1, key=lambda pair: pair[0])
            for _, request in waiting[:count]:
                request.answer(protocol.RESULT, index, b"")
            del waiting[:count]

    def advance(self, index: int, now_s: float) -> None:
        """See `Errand`. The index also moves by Raft's own entries, and by snapshots."""
        self._let_go(index)
        by_arrival = self._by_arrival
        while by_arrival and (by_arrival[0][1].done or by_arrival[0][1].deadline_s <= now_s):
            wanted, request = by_arrival.popleft()
            self._drop(wanted, request, index)

    def stop(self, request: Request, index: int) -> None:
        """See `Errand`."""
        self._drop(protocol.decode_index(request.body), request, index)

    def _drop(self, wanted: int, request: Request, index: int) -> None:
        position = bisect_left(self._waiting, (wanted, request))
        if position < len(self._waiting) and self._waiting[position][1] is request:
            del self._waiting[position]
            request.answer(protocol.UNAVAILABLE, index, _NOT_REACHED)
