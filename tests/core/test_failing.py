"""Fail: another attempt after the backoff, or none."""

from __future__ import annotations

import pytest

from cqueue.core.jobs import Backoff, Status
from cqueue.core.operations import Fail, FailedAttempt
from cqueue.core.results import Done, Refusal
from tests.core.driver import START_MS, Driver, given_a_job

FIXED = Backoff("fixed", 5_000, 5_000)


def test_a_failed_attempt_is_tried_again_after_the_backoff(queue: Driver) -> None:
    """Not a millisecond before."""
    queue.enqueue("mail", backoff=FIXED)
    [job] = queue.dequeue()
    assert queue.fail(1, job.lease_token, "no such host") == "SCHEDULED"
    assert queue.job(1).due_ms == START_MS + 5_000
    queue.pass_time(4_999)
    assert queue.dequeue_ids() == []
    queue.pass_time(1)
    [again] = queue.dequeue()
    assert (again.id, again.attempt) == (1, 2)


def test_a_job_without_a_backoff_waits_as_its_queue_says(queue: Driver) -> None:
    """As the queue says at that moment, not when the job was added."""
    queue.enqueue("mail")
    queue.dequeue()
    queue.set_queue(backoff=FIXED)
    queue.fail(1)
    assert queue.job(1).due_ms == START_MS + 5_000


def test_the_wait_grows_with_the_attempt(queue: Driver) -> None:
    """A release between costs none."""
    queue.enqueue("mail", backoff=Backoff("exponential", 1_000, 60_000), max_attempts=9)
    waits_ms = []
    for _ in range(4):
        queue.dequeue()
        queue.release(1)
        queue.dequeue()
        queue.fail(1)
        waits_ms.append(queue.job(1).due_ms - queue.now_ms)
        queue.pass_time(waits_ms[-1])
    assert waits_ms == [1_000, 2_000, 4_000, 8_000]


def test_the_consumer_may_say_when_to_try_again(queue: Driver) -> None:
    """Instead of the backoff."""
    queue.enqueue("mail", backoff=FIXED)
    queue.dequeue()
    assert queue.fail(1, retry_in_ms=250) == "SCHEDULED"
    queue.pass_time(250)
    assert queue.dequeue_ids() == [1]


@pytest.mark.parametrize("how", [{"retry_in_ms": 0}, {}])
def test_without_a_wait_the_job_is_queued_at_once(queue: Driver, how: dict[str, int]) -> None:
    """Whether the consumer says so or the backoff is nought."""
    queue.enqueue("mail", backoff=Backoff("linear", 0, 0))
    queue.dequeue()
    assert queue.fail(1, **how) == "QUEUED"
    assert queue.dequeue_ids() == [1]


def test_the_last_failed_attempt_is_the_end(queue: Driver) -> None:
    """Even if the consumer names a time for another."""
    queue.enqueue("mail", max_attempts=2)
    for outcome in ("QUEUED", "DEAD"):
        queue.dequeue()
        assert queue.fail(1, retry_in_ms=0) == outcome
    assert queue.job(1).finished_ms == queue.now_ms
    assert queue.stats() == {"DEAD": 1}


def test_a_failure_that_is_not_retryable_is_the_end_at_once(queue: Driver) -> None:
    """However many attempts were left."""
    queue.enqueue("mail")
    queue.dequeue()
    assert queue.fail(1, error="no such user", retryable=False) == "DEAD"


def test_the_errors_of_all_attempts_are_kept(queue: Driver) -> None:
    """Each with its attempt, its consumer and its time."""
    queue.enqueue("mail", max_attempts=2)
    for consumer, error in (("ann", "timed out"), ("bob", None)):
        queue.dequeue(consumer=consumer)
        queue.now_ms += 10
        queue.fail(1, error=error, retry_in_ms=0)
    failures = [change for change in queue.changes(1) if change.event in {"retry_now", "give_up"}]
    assert [(change.attempt, change.consumer, change.error, change.at_ms - START_MS) for change in failures] == [
        (1, "ann", "timed out", 10),
        (2, "bob", None, 20),
    ]


def test_only_the_holder_fails_a_job(queue: Driver) -> None:
    """Another's token is of no use, and nothing changes by it."""
    queue.enqueue("mail")
    late = queue.dequeue(lease_ms=1_000)[0].lease_token
    queue.pass_time(1_000)
    queue.dequeue()
    assert queue.fail(1, late) == "lease_lost"
    assert queue.status(1) == "IN_PROGRESS"


@pytest.mark.parametrize("status", ["SCHEDULED", "QUEUED", "CONCLUDED", "DEAD", "CANCELLED", "EXPIRED"])
def test_a_job_nobody_holds_cannot_fail(queue: Driver, status: Status) -> None:
    """With a token it is a lost lease, without one it is not in progress."""
    job_id = given_a_job(queue, status)
    token = queue.job(job_id).lease_token
    assert queue.fail(job_id, token) == "lease_lost"
    assert queue.fail(job_id) == "not_in_progress"
    assert queue.status(job_id) == status


def test_many_fail_each_on_its_own(queue: Driver) -> None:
    """In the order asked; one named twice has already failed the second time."""
    queue.enqueue("mail", "mail", "mail")
    queue.dequeue(2)
    [settled] = queue.perform(
        Fail(
            [
                FailedAttempt(2, None, "a", retryable=False),
                FailedAttempt(3),
                FailedAttempt(1, None, "b", retry_in_ms=0),
                FailedAttempt(1),
                FailedAttempt(4),
            ]
        )
    )
    assert [each.code if isinstance(each, Refusal) else each for each in settled.outcomes] == [
        Done("DEAD"),
        "not_in_progress",
        Done("QUEUED"),
        "not_in_progress",
        "not_found",
    ]
    assert settled.job is None
