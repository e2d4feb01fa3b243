"""Idempotency-Keys: one request is done once, whatever is sent how often to whom."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from cqueue.core import limits
from cqueue.core.machine import StateMachine
from cqueue.core.operations import (
    Conclude,
    Conclusion,
    Dequeue,
    Dequeued,
    Enqueue,
    Enqueued,
    Keyed,
    NewJob,
    Refusal,
    Settled,
)
from cqueue.simulation.model import show
from tests.core.driver import LEASE_MS, Driver, encode

ONE_JOB = Enqueue([NewJob("mail", b"1")])
TAKE_ONE = Dequeue(1, LEASE_MS, "ann")


def under(key: str, operation: Enqueue | Dequeue | Conclude) -> Keyed:
    """The operation as door 1 wraps it."""
    return Keyed(key, hashlib.sha256(encode(operation)).digest(), operation)


def test_an_enqueue_sent_again_adds_nothing_and_answers_the_same_ids(queue: Driver) -> None:
    """The point of it."""
    assert queue.perform(under("k", ONE_JOB), under("k", ONE_JOB)) == [Enqueued([1]), Enqueued([1])]
    assert queue.stats()["QUEUED"] == 1


def test_a_dequeue_sent_again_answers_the_same_job_with_the_same_token(queue: Driver) -> None:
    """Even when the job has moved on: it is the first request's answer, not a new look."""
    queue.enqueue("mail", "mail")
    [first] = queue.perform(under("k", TAKE_ONE))
    shown = [show(job) for job in first.jobs]
    queue.conclude(1)
    [again] = queue.perform(under("k", TAKE_ONE))
    assert isinstance(again, Dequeued)
    assert [show(job) for job in again.jobs] == shown
    assert queue.status(2) == "QUEUED"


def test_an_empty_dequeue_is_not_remembered(queue: Driver) -> None:
    """A consumer that asks again wants a job, not the news that there was none."""
    assert queue.perform(under("k", TAKE_ONE)) == [Dequeued([])]
    queue.enqueue("mail")
    [again] = queue.perform(under("k", TAKE_ONE))
    assert [job.id for job in again.jobs] == [1]


def test_a_conclude_sent_again_answers_each_job_as_before(queue: Driver) -> None:
    """Refusals too: the second job, in progress by now, is not concluded by a repeat."""
    queue.enqueue("mail", "mail")
    queue.dequeue()
    conclude = under("k", Conclude([Conclusion(1), Conclusion(2)]))
    [first] = queue.perform(conclude)
    queue.dequeue()
    [again] = queue.perform(conclude)
    assert isinstance(first, Settled)
    assert [show(outcome) for outcome in again.outcomes] == [show(outcome) for outcome in first.outcomes]
    assert queue.status(2) == "IN_PROGRESS"


def test_another_request_under_a_used_key_is_refused(queue: Driver) -> None:
    """A key is for one request."""
    queue.perform(under("k", ONE_JOB))
    [refusal] = queue.perform(under("k", Enqueue([NewJob("mail", b"2")])))
    assert isinstance(refusal, Refusal)
    assert refusal.code == "key_reused"
    assert queue.stats()["QUEUED"] == 1


def test_a_refused_request_may_be_sent_again_under_its_key(queue: Driver, limit: Callable[..., None]) -> None:
    """A full queue did nothing, so there is nothing to remember."""
    limit(LIVE_JOBS_MAX=0)
    [refusal] = queue.perform(under("k", ONE_JOB))
    assert refusal.code == "queue_full"
    limit(LIVE_JOBS_MAX=1)
    assert queue.perform(under("k", ONE_JOB)) == [Enqueued([1])]


def test_a_key_is_remembered_for_its_age_and_then_forgotten(queue: Driver) -> None:
    """To the millisecond, in log time."""
    queue.perform(under("k", ONE_JOB))
    queue.pass_time(limits.KEY_MS - 1)
    assert queue.perform(under("k", ONE_JOB)) == [Enqueued([1])]
    queue.pass_time(1)
    assert queue.perform(under("k", ONE_JOB)) == [Enqueued([2])]


def test_no_key_is_forgotten_early_and_new_ones_are_refused_instead(queue: Driver, limit: Callable[..., None]) -> None:
    """Each key weighs one, and one more for every job."""
    limit(KEYS_WEIGHT_MAX=5)
    queue.perform(under("a", ONE_JOB), under("b", ONE_JOB))
    [refusal] = queue.perform(under("c", ONE_JOB))
    assert refusal.code == "keys_full"
    assert queue.perform(under("a", ONE_JOB)) == [Enqueued([1])]
    queue.pass_time(limits.KEY_MS)
    assert queue.perform(under("c", ONE_JOB)) == [Enqueued([3])]


def test_a_key_that_outlived_the_sweep_is_replaced(queue: Driver, limit: Callable[..., None]) -> None:
    """Old keys go a few at a time; one that is still there after its age counts as forgotten."""
    limit(KEYS_FORGOTTEN_MAX=0, KEYS_WEIGHT_MAX=4)
    queue.perform(under("k", ONE_JOB))
    queue.pass_time(limits.KEY_MS)
    assert queue.perform(under("k", ONE_JOB)) == [Enqueued([2])]
    assert len(queue.machine.keys) == 1


@pytest.mark.parametrize("kind", ["dequeue", "conclude"])
def test_jobs_that_are_no_longer_kept_are_not_made_up(queue: Driver, limit: Callable[..., None], kind: str) -> None:
    """Of a dequeue they are left out, of a conclude they are gone."""
    limit(FINISHED_JOBS_MAX=1)
    queue.enqueue("mail", "mail")
    if kind == "dequeue":
        keyed = under("k", Dequeue(2, LEASE_MS))
        queue.perform(keyed)
    else:
        queue.dequeue(2)
        keyed = under("k", Conclude([Conclusion(1)]))
        queue.perform(keyed)
    queue.perform(Conclude([Conclusion(1), Conclusion(2)]))
    [again] = queue.perform(keyed)
    shown = [job.id for job in again.jobs] if kind == "dequeue" else [outcome.code for outcome in again.outcomes]
    assert shown == ([2] if kind == "dequeue" else ["gone"])


def test_keys_survive_a_snapshot(queue: Driver) -> None:
    """A node that was filled by another answers repeats too."""
    queue.perform(under("k", ONE_JOB))
    queue.machine = StateMachine.restore(queue.machine.snapshot())
    assert queue.perform(under("k", ONE_JOB)) == [Enqueued([1])]
