"""Requests that wait for something to happen: dequeues for a job, looks at a job for its end.

It knows who waits for what, and picks who shall try again. It knows no time and no log: when a wait
is over is the replica's to say, and a dequeue that tries again does so as an operation like any other.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator

import msgspec

from cqueue.core.machine import StateMachine
from cqueue.core.operations import Dequeue, Keyed, Operation
from cqueue.replication.requests import Request

Wish = tuple[tuple[str, ...], tuple[str, ...] | None, tuple[tuple[str, str], ...]]
"""(queues, types, tags) of a dequeue: what decides which jobs it can get."""

_decode_operation = msgspec.msgpack.Decoder(Operation).decode


class _Group:
    """Dequeues with the same wish. parked: those that wait, oldest first; woken: how many try again just now."""

    __slots__ = ("operation", "parked", "wish", "woken")

    def __init__(self, wish: Wish, operation: Dequeue) -> None:
        self.wish = wish
        self.operation = operation
        self.parked: list[Request] = []
        self.woken = 0


class Waiting:
    """groups: {wish: group}, none of nobody. group_of: the group of each dequeue that is parked or woken.

    watched: {job id: looks that wait for its end}; job_of: the other way round. looked_at: the
    machine's `arrivals` when groups were last looked at; None: something else has changed since.
    """

    def __init__(self) -> None:
        self._groups: dict[Wish, _Group] = {}
        self._group_of: dict[Request, _Group] = {}
        self._watched: dict[int, dict[Request, None]] = {}
        self._job_of: dict[Request, int] = {}
        self._looked_at: int | None = None

    def __iter__(self) -> Iterator[Request]:
        """Everybody who waits; those who try again just now are not among them."""
        for group in self._groups.values():
            yield from group.parked
        yield from self._job_of

    # -- dequeues ------------------------------------------------------------------------------

    def park(self, request: Request) -> None:
        """A dequeue found nothing: it waits until there may be something."""
        operation = _decode_operation(request.body)
        if isinstance(operation, Keyed):
            operation = operation.operation
        if not isinstance(operation, Dequeue):
            raise TypeError(operation)
        wish = (operation.queues, operation.types, tuple(sorted((operation.tags or {}).items())))
        group = self._groups.get(wish)
        if group is None:
            group = self._groups[wish] = _Group(wish, operation)
        request.parked = True
        insort(group.parked, request)
        self._group_of[request] = group

    def wake(self, machine: StateMachine) -> list[Request]:
        """Those who shall try again, oldest first: of each group as many as there are jobs for it."""
        if self._looked_at == machine.arrivals or not self._group_of:
            return []
        self._looked_at = machine.arrivals
        woken: list[Request] = []
        for group in self._groups.values():
            if group.parked:
                count = machine.available(group.operation, group.woken + len(group.parked)) - group.woken
                chosen = group.parked[: max(count, 0)]
                del group.parked[: len(chosen)]
                group.woken += len(chosen)
                woken += chosen
        for request in woken:
            request.parked, request.woken = False, True
        return sorted(woken)

    def settle(self, request: Request) -> None:
        """A woken dequeue has tried, or will not."""
        if request.woken:
            request.woken = False
            group = self._group_of.pop(request)
            group.woken -= 1
            self._drop_if_empty(group)
            # It may have left what it was woken for to another.
            self._looked_at = None

    # -- looks at a job ------------------------------------------------------------------------

    def watch(self, request: Request, job_id: int) -> None:
        """A look waits until the job is finished."""
        request.parked = True
        self._watched.setdefault(job_id, {})[request] = None
        self._job_of[request] = job_id

    def take_finished(self, job_ids: Iterable[int]) -> list[Request]:
        """Looks that waited for the end of these jobs; they wait no longer."""
        watched = self._watched
        released = [request for job_id in job_ids for request in watched.get(job_id, ())] if watched else []
        for request in released:
            self.leave(request)
        return released

    def take_all_looks(self) -> list[Request]:
        """All looks; and all dequeues shall be thought of again: the state is another one."""
        self._looked_at = None
        return self.take_finished(list(self._watched))

    # -- both ----------------------------------------------------------------------------------

    def leave(self, request: Request) -> None:
        """Whoever is parked waits no longer."""
        if not request.parked:
            return
        request.parked = False
        job_id = self._job_of.pop(request, None)
        if job_id is not None:
            del self._watched[job_id][request]
            if not self._watched[job_id]:
                del self._watched[job_id]
        else:
            group = self._group_of.pop(request)
            del group.parked[bisect_left(group.parked, request)]
            self._drop_if_empty(group)

    def _drop_if_empty(self, group: _Group) -> None:
        if not group.parked and not group.woken:
            del self._groups[group.wish]
