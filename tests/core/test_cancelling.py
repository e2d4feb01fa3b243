"""Cancel: at once while a job waits, and by its holder's leave while it is held."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cqueue.core.jobs import Status
from cqueue.core.operations import Cancel
from cqueue.core.results import Done
from tests.core.driver import LEASE_MS, START_MS, Driver, given_a_job


@pytest.mark.parametrize("status", ["SCHEDULED", "QUEUED"])
def test_a_waiting_job_is_cancelled_at_once(queue: Driver, status: Status) -> None:
    """Nobody is handed it any more."""
    job_id = given_a_job(queue, status)
    assert queue.cancel(job_id) == "CANCELLED"
    queue.pass_time(LEASE_MS)
    assert queue.dequeue_ids() == []
    assert queue.job(job_id).finished_ms == START_MS
    assert queue.stats() == {"CANCELLED": 1}


def test_to_cancel_twice_is_harmless(queue: Driver) -> None:
    """Of a job that is cancelled, and of one that was asked to stop: the first time counts."""
    first, second = given_a_job(queue, "CANCELLED"), given_a_job(queue, "IN_PROGRESS")
    queue.cancel(second)
    queue.now_ms += 5
    [settled] = queue.perform(Cancel([first, second]))
    assert settled.outcomes == [Done("CANCELLED"), Done("IN_PROGRESS", cancel_requested=True)]
    assert queue.extras(second).cancel_requested_ms == START_MS
    assert queue.events(second) == ["enqueue", "hand_out", "request_cancel"]


@pytest.mark.parametrize("status", ["CONCLUDED", "DEAD", "EXPIRED"])
def test_a_job_that_ended_otherwise_is_not_cancelled(queue: Driver, status: Status) -> None:
    """What is done is done."""
    job_id = given_a_job(queue, status)
    assert queue.cancel(job_id) == "already_finished"
    assert queue.status(job_id) == status


def test_the_holder_of_a_cancelled_job_keeps_it_until_it_lets_go(queue: Driver) -> None:
    """It is asked to stop, and its lease holds."""
    queue.enqueue("mail")
    queue.dequeue()
    assert queue.cancel(1) == "IN_PROGRESS"
    assert queue.dequeue_ids() == []
    assert queue.extend(1) == "IN_PROGRESS"


@pytest.mark.parametrize("way", ["conclude", "fail", "fail for good", "release", "lease runs out"])
def test_whatever_ends_the_lease_of_a_cancelled_job_cancels_it(queue: Driver, way: str) -> None:
    """It is neither tried again nor dead nor concluded."""
    queue.enqueue("mail")
    queue.dequeue(consumer="ann")
    queue.cancel(1)
    match way:
        case "conclude":
            assert queue.conclude(1, result=b"7") == "CANCELLED"
            assert queue.job(1).result == b"7"
        case "fail":
            assert queue.fail(1, error="told to") == "CANCELLED"
            assert queue.changes(1)[-1].error == "told to"
        case "fail for good":
            assert queue.fail(1, retryable=False) == "CANCELLED"
        case "release":
            assert queue.release(1) == "CANCELLED"
        case _:
            queue.pass_time(LEASE_MS)
    assert queue.status(1) == "CANCELLED"
    assert queue.events(1) == ["enqueue", "hand_out", "request_cancel", "cancel"]
    assert queue.changes(1)[-1].consumer == "ann"
    assert queue.conclude(1) == "not_in_progress"


def test_a_lease_that_ran_out_unnoticed_is_over_before_the_cancel(queue: Driver, limit: Callable[..., None]) -> None:
    """The job is queued by then, so it is cancelled at once."""
    queue.enqueue("mail")
    queue.dequeue()
    limit(SWEEP_JOBS_MAX=0)
    queue.pass_time(LEASE_MS)
    assert queue.cancel(1) == "CANCELLED"
    assert queue.events(1) == ["enqueue", "hand_out", "lose_lease", "cancel"]


def test_what_is_cancelled_is_not_expired(queue: Driver) -> None:
    """It is over once, and time has nothing to do with it any more."""
    queue.enqueue("mail", expires_in_ms=1_000, delay_ms=500)
    queue.cancel(1)
    assert queue.machine.next_due_ms() == START_MS + 7 * 86_400_000
    queue.pass_time(1_000)
    assert queue.status(1) == "CANCELLED"
