"""Who waits for what, and who shall try again, against the real state machine."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cqueue.core import entry
from cqueue.core.machine import StateMachine
from cqueue.core.operations import (
    Conclude,
    Conclusion,
    Dequeue,
    Enqueue,
    Fail,
    FailedAttempt,
    Held,
    Keyed,
    NewJob,
    Operation,
    Options,
    Redrive,
    Release,
    SetQueue,
)
from cqueue.protocol import OPERATE, QUERY
from cqueue.replication.requests import Request
from cqueue.replication.waiting import Waiting

_encode = msgspec.msgpack.Encoder().encode


LEASE_MS = 60_000


class Machine(StateMachine):
    """A state machine that counts how often it is asked what there is for a dequeue."""

    times_asked = 0

    def available(self, operation: Dequeue, count_max: int) -> int:
        """See `StateMachine`."""
        self.times_asked += 1
        return super().available(operation, count_max)


class Desk:
    """A state machine, and requests that wait for it. Each request is known by its number."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.waiting = Waiting(1_000)
        self.requests: list[Request] = []

    def apply(self, *operations: Operation, after_ms: int = 0) -> None:
        """One entry."""
        data = entry.encode(0, 0, 0, [_encode(operation) for operation in operations])
        self.machine.apply(self.machine.applied_index + 1, entry.stamp(data, self.machine.now_ms + after_ms))
        self.waiting.notice(self.machine.ready_now)

    def given_jobs(self, count: int = 1, queue: str = "default", kind: str = "A", **options: Any) -> None:
        """Jobs that are all alike."""
        self.apply(Enqueue([NewJob(kind, b"null", queue, Options(**options))] * count))

    def parked(self, **wish: Any) -> Request:
        """A dequeue that found nothing."""
        request = self._request(OPERATE, Dequeue(1, **wish))
        self.waiting.park(request)
        return request

    def woken_at_a_cost(self) -> tuple[list[int], int]:
        """Who shall try again, and how often the machine was asked to find that out."""
        before = self.machine.times_asked
        return self.woken(), self.machine.times_asked - before

    def watching(self, job_id: int) -> Request:
        """A look that waits for the end of a job."""
        request = self._request(QUERY, None)
        self.waiting.watch(request, job_id)
        return request

    def woken(self) -> list[int]:
        """The numbers of those who shall try again now."""
        was_stirred = self.waiting.is_stirred
        woken = [request.number for request in self.waiting.wake(self.machine)]
        assert was_stirred or not woken
        assert not self.waiting.is_stirred
        return woken

    def _request(self, kind: int, asked: Any) -> Request:
        request = Request(kind, _encode(asked), lambda *_: None, len(self.requests), 0.0)
        self.requests.append(request)
        return request


@pytest.fixture
def desk() -> Desk:
    """An empty queue."""
    return Desk()


def test_as_many_are_woken_as_there_are_jobs_the_oldest_first(desk: Desk) -> None:
    """And nobody more until there are more jobs."""
    for _ in range(4):
        desk.parked()
    assert desk.woken() == []
    desk.given_jobs(2)
    assert desk.woken() == [0, 1]
    assert desk.woken() == []
    desk.given_jobs(2)
    assert desk.woken() == [2, 3]


def test_only_those_are_woken_whom_a_job_fits(desk: Desk) -> None:
    """By queue, type and tags; over all of them the oldest comes first."""
    desk.parked(queues=("a",))
    desk.parked()
    desk.parked(queues=("b", "a"), types=("A",))
    desk.parked(types=("B",))
    desk.parked(queues=("a",), tags={"to": "ada"})
    desk.given_jobs(1, "a")
    assert desk.woken() == [0, 2]
    desk.given_jobs(1, kind="B")
    assert desk.woken() == [1, 3]
    desk.given_jobs(1, "a", tags={"to": "ada"})
    assert desk.woken() == [4]


def test_a_dequeue_under_a_key_waits_like_any_other(desk: Desk) -> None:
    """What decides is the operation behind the key."""
    request = desk._request(OPERATE, Keyed("k", b"", Dequeue(1, queues=("a",))))
    desk.waiting.park(request)
    desk.given_jobs()
    assert desk.woken() == []
    desk.given_jobs(1, "a")
    assert desk.woken() == [0]


def test_one_who_leaves_what_it_was_woken_for_makes_room_for_the_next(desk: Desk) -> None:
    """No job lies there while somebody waits for it, though nothing new has arrived."""
    first, _ = desk.parked(), desk.parked()
    desk.given_jobs()
    assert desk.woken() == [0]
    assert desk.woken() == []
    desk.waiting.settle(first)
    assert desk.woken() == [1]


def test_one_that_found_nothing_again_keeps_its_place(desk: Desk) -> None:
    """It goes before those who came later."""
    first, _ = desk.parked(), desk.parked()
    desk.given_jobs()
    assert desk.woken() == [0]
    desk.apply(Dequeue(1))
    desk.waiting.settle(first)
    desk.waiting.park(first)
    assert desk.woken() == []
    desk.given_jobs()
    assert desk.woken() == [0]


def test_whoever_left_is_not_woken(desk: Desk) -> None:
    """Its group may be gone with it; to leave twice is fine."""
    first, second, third = desk.parked(), desk.parked(), desk.parked(queues=("a",))
    for request in (first, third, third):
        desk.waiting.leave(request)
    desk.given_jobs(9)
    assert desk.woken() == [1]
    desk.waiting.settle(second)
    assert list(desk.waiting) == []


def test_a_resumed_queue_wakes_those_who_wait_at_it(desk: Desk) -> None:
    """Its jobs were there before."""
    desk.apply(SetQueue("default", paused=True))
    desk.parked()
    desk.given_jobs()
    assert desk.woken() == []
    desk.apply(SetQueue("default", paused=False))
    assert desk.woken() == [0]


@pytest.mark.parametrize("what", ["due", "lease over", "release", "retry at once", "retry due", "redrive"])
def test_whatever_makes_a_job_ready_wakes_those_who_wait_for_it(desk: Desk, what: str) -> None:
    """Not only what is enqueued; and whoever waits for something else is not even looked at."""
    desk.given_jobs(delay_ms=LEASE_MS if what == "due" else 0)
    if what != "due":
        desk.apply(Dequeue(1, LEASE_MS))
    if what == "redrive":
        desk.apply(Fail([FailedAttempt(1, retryable=False)]))
    if what == "retry due":
        desk.apply(Fail([FailedAttempt(1, retry_in_ms=LEASE_MS)]))
    waits = desk.parked()
    desk.parked(queues=("other",))
    assert desk.woken() == []
    match what:
        case "due" | "lease over" | "retry due":
            desk.apply(after_ms=LEASE_MS)
        case "release":
            desk.apply(Release([Held(1)]))
        case "retry at once":
            desk.apply(Fail([FailedAttempt(1, retry_in_ms=0)]))
        case _:
            desk.apply(Redrive([1]))
    assert desk.woken_at_a_cost() == ([waits.number], 1)


NEIGHBOURS = {
    "another queue": lambda number: {"queues": (f"queue{number}",)},
    "another type": lambda number: {"types": (f"type{number}", f"more{number}")},
    "another tag": lambda number: {"tags": {"to": f"consumer{number}"}},
    "another tag and type": lambda number: {"types": ("A", "B"), "tags": {"to": f"consumer{number}"}},
    "many other queues": lambda number: {"queues": tuple(f"queue{number}.{more}" for more in range(64)), "types": AB},
}
AB = ("A", "B")


@pytest.mark.parametrize("wishes", NEIGHBOURS)
def test_a_round_costs_what_has_arrived_and_not_who_waits(desk: Desk, wishes: str) -> None:
    """A thousand who wait for something else are not looked at, whatever happens, nor when one of them leaves."""
    others = [desk.parked(**NEIGHBOURS[wishes](number)) for number in range(1_000)]
    mine = [desk.parked(types=AB) for _ in range(3)]
    assert desk.woken() == []

    desk.given_jobs(1, tags={"to": "ada"})
    assert desk.woken_at_a_cost() == ([mine[0].number], 1)
    desk.apply(Dequeue(1))
    desk.waiting.settle(mine[0])
    desk.waiting.leave(others[0])
    assert desk.woken_at_a_cost() == ([], 1)
    assert desk.woken_at_a_cost() == ([], 0)
    desk.given_jobs(2, kind="B")
    assert desk.woken_at_a_cost() == ([request.number for request in mine[1:]], 1)


def test_the_oldest_comes_first_over_all_that_has_arrived(desk: Desk) -> None:
    """In one round, whatever each of them waits for."""
    wishes: list[dict[str, Any]] = [
        {"queues": ("b",)},
        {"tags": {"to": "ada"}},
        {"queues": ("c", "a")},
        {"types": ("X",)},
        {"queues": ("b",)},
    ]
    for wish in wishes:
        desk.parked(**wish)
    desk.given_jobs(1, "a")
    desk.given_jobs(1, kind="X")
    desk.given_jobs(2, "b")
    desk.given_jobs(1, tags={"to": "ada"})
    assert desk.woken() == [0, 1, 2, 3, 4]


def test_one_that_wants_very_much_is_found_by_its_queues(desk: Desk) -> None:
    """So many queues times so many types are not written down for each who waits."""
    names = tuple(f"name{number}" for number in range(64))
    desk.parked(queues=names, types=names)
    assert desk.woken() == []
    desk.given_jobs(1, names[3])
    assert desk.woken_at_a_cost() == ([], 1)
    desk.given_jobs(1, names[3], names[5])
    assert desk.woken() == [0]


def test_nothing_is_kept_of_those_who_left(desk: Desk) -> None:
    """However many there were, and whatever they waited for."""
    before = vars(Desk().waiting)
    requests = [desk.parked(**wish(number)) for number, wish in enumerate(NEIGHBOURS.values())]
    desk.given_jobs(1, "queue0")
    assert desk.woken() == [0]
    desk.waiting.settle(requests[0])
    for request in requests[1:]:
        desk.waiting.leave(request)
    assert vars(desk.waiting) == before


def test_looks_are_let_go_when_their_job_is_finished(desk: Desk) -> None:
    """All of that job, and no others."""
    desk.given_jobs(2)
    for job_id in (1, 2, 1):
        desk.watching(job_id)
    desk.apply(Dequeue(2))
    assert desk.waiting.take_finished(desk.machine.finished_now) == []
    desk.apply(Conclude([Conclusion(1)]))
    released = desk.waiting.take_finished(desk.machine.finished_now)
    assert [request.number for request in released] == [0, 2]
    assert [request.parked for request in desk.requests] == [False, True, False]
    desk.waiting.leave(desk.requests[1])
    assert list(desk.waiting) == []


def test_another_state_lets_all_look_again(desk: Desk) -> None:
    """After a snapshot nothing is known of what happened in between."""
    desk.given_jobs()
    desk.woken()
    watching, parked = desk.watching(1), desk.parked()
    assert set(desk.waiting) == {watching, parked}
    assert desk.waiting.take_all_looks() == [watching]
    assert desk.woken() == [parked.number]
