"""What those who wait look at: jobs that became ready, jobs that finished, and how many there are for whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cqueue.core.operations import Dequeue, Purge
from tests.core.driver import LEASE_MS, Driver, given_a_job

READY = {("default", "mail"), ("default", ("to", "ann"))}
"""What a job of these tests makes ready."""


def given_tagged(queue: Driver, **options: Any) -> int:
    """A job of the type mail with the tag to=ann."""
    [job_id] = queue.enqueue("mail", tags={"to": "ann"}, **options)
    return job_id


@pytest.mark.parametrize("what", ["enqueue", "lease over", "due", "release", "retry at once", "redrive", "retry due"])
def test_whatever_makes_a_job_ready_is_told(queue: Driver, what: str) -> None:
    """By its queue and its type, and by its queue and each of its tags: a consumer that waits for it is to be woken."""
    job_id = given_tagged(queue, delay_ms=LEASE_MS if what == "due" else 0)
    if what != "due":
        queue.dequeue(lease_ms=LEASE_MS)
    if what == "redrive":
        queue.fail(job_id, retryable=False)
    if what == "retry due":
        queue.fail(job_id, retry_in_ms=LEASE_MS)
    queue.pass_time(1)
    assert queue.machine.ready_now == set()
    match what:
        case "enqueue":
            given_tagged(queue)
        case "lease over" | "due" | "retry due":
            queue.pass_time(LEASE_MS)
        case "release":
            queue.release(job_id)
        case "retry at once":
            queue.fail(job_id, retry_in_ms=0)
        case _:
            queue.redrive(job_id)
    assert queue.machine.ready_now == READY


def test_a_queue_that_may_have_been_resumed_tells_all_that_is_ready_in_it(queue: Driver) -> None:
    """One that is paused tells nothing."""
    given_tagged(queue)
    queue.enqueue("scan")
    queue.enqueue("mail", queue="other")
    queue.set_queue(paused=True)
    assert queue.machine.ready_now == set()
    queue.set_queue(paused=False)
    assert queue.machine.ready_now == READY | {("default", "scan")}


def test_what_makes_no_job_ready_wakes_nobody(queue: Driver) -> None:
    """Jobs for later, hand-outs and ends."""
    queue.enqueue("mail", "mail")
    for happens in (
        lambda: queue.enqueue("mail", delay_ms=1_000_000),
        lambda: queue.dequeue(2),
        lambda: queue.conclude(1),
        lambda: queue.fail(2, retry_in_ms=1_000_000),
        lambda: queue.pass_time(1),
    ):
        happens()
        assert queue.machine.ready_now == set()


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
