"""What those who wait look at: jobs that became ready, jobs that finished, and how many there are for whom."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cqueue.core.operations import Dequeue, Purge, SetQueue
from tests.core.driver import LEASE_MS, Driver, given_a_dead_job, given_a_job


@pytest.mark.parametrize(
    "what",
    ["enqueue", "lease over", "due", "release", "retry at once", "redrive", "resume"],
)
def test_whatever_makes_a_job_ready_is_noticed(queue: Driver, what: str) -> None:
    """A consumer that waits is to be woken by it."""
    queue.enqueue("mail")
    dead = given_a_dead_job(queue)
    if what == "resume":
        queue.set_queue(paused=True)
    else:
        queue.dequeue()
    if what == "due":
        queue.enqueue("mail", delay_ms=LEASE_MS // 2)
    before = queue.machine.arrivals
    match what:
        case "enqueue":
            queue.enqueue("mail")
        case "lease over":
            queue.pass_time(LEASE_MS)
        case "due":
            queue.pass_time(LEASE_MS // 2)
        case "release":
            queue.release(1)
        case "retry at once":
            queue.fail(1, retry_in_ms=0)
        case "redrive":
            queue.redrive(dead)
        case _:
            queue.perform(SetQueue("default", paused=False))
    assert queue.machine.arrivals > before


def test_what_makes_no_job_ready_wakes_nobody(queue: Driver) -> None:
    """Jobs for later, hand-outs and ends."""
    queue.enqueue("mail", "mail")
    before = queue.machine.arrivals
    queue.enqueue("mail", delay_ms=1_000_000)
    queue.dequeue(2)
    queue.conclude(1)
    queue.fail(2, retry_in_ms=1_000_000)
    queue.pass_time(1)
    assert queue.machine.arrivals == before


def test_the_jobs_an_entry_finished_are_told(queue: Driver) -> None:
    """By whom or what they may have been; the next entry tells of its own."""
    queue.enqueue(*["mail"] * 3, expires_in_ms=LEASE_MS)
    queue.dequeue(2)
    queue.conclude(1)
    assert queue.machine.finished_now == [1]
    queue.fail(2, retryable=False)
    assert queue.machine.finished_now == [2]
    queue.pass_time(1)
    assert queue.machine.finished_now == []
    queue.pass_time(LEASE_MS)
    assert queue.machine.finished_now == [3]
    cancelled = given_a_job(queue, "CANCELLED")
    assert queue.machine.finished_now == [cancelled]


def test_a_waiting_job_that_is_purged_is_told_like_one_that_finished(queue: Driver) -> None:
    """Whoever waits for its end is to know; of one that had its end already nobody needs to."""
    waiting, finished = given_a_job(queue, "SCHEDULED"), given_a_job(queue, "CANCELLED")
    queue.perform(Purge([waiting, finished]))
    assert queue.machine.finished_now == [waiting]


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        ({}, 4),
        ({"queues": ("a",)}, 2),
        ({"queues": ("a", "default", "a")}, 6),
        ({"queues": ("none",)}, 0),
        ({"types": ("mail",)}, 3),
        ({"types": ("mail", "scan"), "queues": ("default", "a")}, 6),
        ({"tags": {"to": "ann"}}, 2),
        ({"tags": {"to": "ann"}, "types": ("scan",)}, 0),
        ({"tags": {"to": "ann"}, "queues": ("default", "a")}, 2),
        ({"tags": {"to": "eve"}}, 0),
    ],
)
def test_a_dequeue_can_be_told_how_much_there_is_for_it(queue: Driver, of: dict[str, object], expected: int) -> None:
    """Whatever its count, up to a maximum; nothing is handed out by it."""
    queue.enqueue("mail", "mail", tags={"to": "ann"})
    queue.enqueue("mail", "scan")
    queue.enqueue("scan", "scan", queue="a")
    queue.enqueue("mail", delay_ms=1_000)
    for count_max in (0, 1, 2, 9):
        assert queue.machine.available(Dequeue(1, **of), count_max) == min(expected, count_max)  # type: ignore[arg-type]
    queue.set_queue(paused=True)
    queue.set_queue("a", paused=True)
    assert queue.machine.available(Dequeue(1, **of), 9) == 0  # type: ignore[arg-type]


def test_how_much_there_is_counts_no_more_than_a_dequeue_would_find(queue: Driver, limit: Callable[..., None]) -> None:
    """One that would pass over too many others finds nothing."""
    limit(TAGGED_JOBS_SKIPPED_MAX=1)
    queue.enqueue("mail", "scan", tags={"to": "ann"})
    choosy = Dequeue(1, tags={"to": "ann"}, types=("scan",))
    assert queue.machine.available(choosy, 9) == 0
    queue.cancel(1)
    assert queue.machine.available(choosy, 9) == 1
