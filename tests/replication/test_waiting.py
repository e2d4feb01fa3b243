"""Who waits for what, and who shall try again, against the real state machine."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cqueue.core import entry
from cqueue.core.machine import StateMachine
from cqueue.core.operations import Conclude, Conclusion, Dequeue, Enqueue, Keyed, NewJob, Operation, Options, SetQueue
from cqueue.protocol import OPERATE, QUERY
from cqueue.replication.requests import Request
from cqueue.replication.waiting import Waiting

_encode = msgspec.msgpack.Encoder().encode


class Desk:
    """A state machine, and requests that wait for it. Each request is known by its number."""

    def __init__(self) -> None:
        self.machine = StateMachine()
        self.waiting = Waiting()
        self.requests: list[Request] = []

    def apply(self, *operations: Operation) -> None:
        """One entry."""
        index = self.machine.applied_index + 1
        self.machine.apply(index, entry.encode(0, 0, 0, [_encode(operation) for operation in operations]))

    def given_jobs(self, count: int = 1, queue: str = "default", kind: str = "A", **options: Any) -> None:
        """Jobs that are all alike."""
        self.apply(Enqueue([NewJob(kind, b"null", queue, Options(**options))] * count))

    def parked(self, **wish: Any) -> Request:
        """A dequeue that found nothing."""
        request = self._request(OPERATE, Dequeue(1, **wish))
        self.waiting.park(request)
        return request

    def watching(self, job_id: int) -> Request:
        """A look that waits for the end of a job."""
        request = self._request(QUERY, None)
        self.waiting.watch(request, job_id)
        return request

    def woken(self) -> list[int]:
        """The numbers of those who shall try again now."""
        return [request.number for request in self.waiting.wake(self.machine)]

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
