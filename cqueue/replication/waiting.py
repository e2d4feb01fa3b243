"""Requests that wait for something to happen: dequeues for a job, looks at a job for its end.

It knows who waits for what, and picks who shall try again. It knows no time and no log: when a wait
is over is the replica's to say, and a dequeue that tries again does so as an operation like any other.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from itertools import product
from typing import Final

import msgspec

from cqueue import protocol
from cqueue.core.machine import StateMachine
from cqueue.core.operations import Dequeue, Keyed, Operation
from cqueue.core.places import Ready
from cqueue.protocol import Failure
from cqueue.replication.requests import Request

Wish = tuple[tuple[str, ...], tuple[str, ...] | None, tuple[tuple[str, str], ...]]
"""(queues, types, tags) of a dequeue: what decides which jobs it can get."""

Place = tuple[str, str | tuple[str, str] | None]
"""Where a group is found: by what must become ready to be for it, or (queue, None): by anything there."""

_PLACES_MAX: Final = 64
"""Places of one group; one that names more queues and types than that is found by its queues alone."""

_TOO_MANY: Final = protocol.encode(Failure("too_many_waiting", "as many wait on this node as may: --waiting-max", 5))
_decode_operation = msgspec.msgpack.Decoder(Operation).decode


class _Group:
    """Dequeues with the same wish. parked: those that wait, oldest first; woken: how many try again just now."""

    __slots__ = ("operation", "parked", "places", "wish", "woken")

    def __init__(self, wish: Wish, operation: Dequeue) -> None:
        self.wish = wish
        self.places = _places(wish)
        self.operation = operation
        self.parked: list[Request] = []
        self.woken = 0


def _places(wish: Wish) -> list[Place]:
    queues, types, tags = wish
    names = dict.fromkeys(queues)
    if tags:
        # What is for it has all of its tags: to hear of one is enough.
        return [(queue, tags[0]) for queue in names]
    if types and len(names) * len(types) <= _PLACES_MAX:
        return list(product(names, types))
    return [(queue, None) for queue in names]


class Waiting:
    """groups: {wish: group}, none of nobody. group_of: the group of each dequeue that is parked or woken.

    found_by: {place: its groups}. to_look_at: groups in which somebody may find something by now. In each
    other one there is a job for nobody but those who are woken; it need not be looked at, so that a round
    costs what has happened, not who waits.
    watched: {job id: looks that wait for its end}; job_of: the other way round.

    Args:
        limit: how many may wait, for a job or for the end of one.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._groups: dict[Wish, _Group] = {}
        self._group_of: dict[Request, _Group] = {}
        self._found_by: dict[Place, dict[_Group, None]] = {}
        self._to_look_at: dict[_Group, None] = {}
        self._watched: dict[int, dict[Request, None]] = {}
        self._job_of: dict[Request, int] = {}

    def __iter__(self) -> Iterator[Request]:
        """Everybody who waits; those who try again just now are not among them."""
        for group in self._groups.values():
            yield from group.parked
        yield from self._job_of

    @property
    def consumers(self) -> int:
        """How many dequeues wait for a job, those that try again just now included."""
        return len(self._group_of)

    def admits(self, request: Request, index: int) -> bool:
        """Whether one more may wait; else that is its answer."""
        if len(self._group_of) + len(self._job_of) < self._limit:
            return True
        request.answer(protocol.UNAVAILABLE, index, _TOO_MANY)
        return False

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
            for place in group.places:
                self._found_by.setdefault(place, {})[group] = None
        request.parked = True
        insort(group.parked, request)
        self._group_of[request] = group

    @property
    def is_stirred(self) -> bool:
        """Whether somebody may find something by now, so that `wake` has something to do."""
        return any(group.parked for group in self._to_look_at)

    def notice(self, ready: set[Ready]) -> None:
        """An entry made this ready; who was parked by it counts too."""
        if found_by := self._found_by:
            for queue, what in ready:
                self._to_look_at.update(found_by.get((queue, what), {}))
                self._to_look_at.update(found_by.get((queue, None), {}))

    def wake(self, machine: StateMachine) -> list[Request]:
        """Those who shall try again, oldest first: of each group as many as there are jobs for it."""
        if not self._to_look_at:
            return []
        groups, self._to_look_at = self._to_look_at, {}
        woken: list[Request] = []
        for group in groups:
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
            # It may have left what it was woken for to another of them; whoever else it may be for was woken too.
            self._to_look_at[group] = None
            self._drop_if_empty(group)

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
        self._to_look_at = dict.fromkeys(self._groups.values())
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
            self._to_look_at.pop(group, None)
            for place in group.places:
                del self._found_by[place][group]
                if not self._found_by[place]:
                    del self._found_by[place]
