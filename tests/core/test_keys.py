"""Idempotency-Keys: one request is done once, whatever is sent how often to whom."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from cqueue.core import limits
from cqueue.core.jobs import Unique
from cqueue.core.machine import StateMachine
from cqueue.core.operations import (
    Cancel,
    Conclude,
    Conclusion,
    Dequeue,
    DropQueue,
    Enqueue,
    Held,
    Keyed,
    NewJob,
    Options,
    Purge,
    Redrive,
    Release,
    SetBounds,
    SetQueue,
)
from cqueue.core.results import Accepted, Dequeued, Done, Enqueued, QueueState, Refusal, Settled
from tests.core.driver import LEASE_MS, Driver, encode, given_a_dead_job, word

ONE_JOB = Enqueue([NewJob("mail", b"1")])
TAKE_ONE = Dequeue(1, LEASE_MS, "ann")


def under(key: str, operation: Any) -> Keyed:
    """The operation as door 1 wraps it."""
    return Keyed(key, hashlib.sha256(encode(operation)).digest(), operation)


def test_an_enqueue_sent_again_adds_nothing_and_answers_the_same_ids(queue: Driver) -> None:
    """The point of it."""
    assert queue.perform(under("k", ONE_JOB), under("k", ONE_JOB)) == [Enqueued([1]), Enqueued([1])]
    assert queue.stats() == {"QUEUED": 1}


def test_a_dequeue_sent_again_answers_the_same_job_with_the_same_token(queue: Driver) -> None:
    """Even when the job has moved on: it is the first request's answer, not a new look."""
    queue.enqueue("mail", "mail")
    first = encode(queue.perform(under("k", TAKE_ONE)))
    queue.conclude(1)
    assert encode(queue.perform(under("k", TAKE_ONE))) == first
    assert queue.status(2) == "QUEUED"


@pytest.mark.parametrize("has_a_past", [True, False])
def test_a_job_is_told_again_as_it_was_handed_out(queue: Driver, *, has_a_past: bool) -> None:
    """Whatever was said of it, and whoever had it, before and since; byte for byte."""
    if has_a_past:
        queue.enqueue("mail", tags={"to": "ann"})
        queue.dequeue()
        queue.fail(1, error="before", retry_in_ms=0)
    else:
        queue.enqueue("mail")
    first = encode(queue.perform(under("k", TAKE_ONE)))
    queue.progress(1, percent=3, note="x")
    queue.extend(1, lease_ms=1_000)
    queue.fail(1, error="since", retry_in_ms=0)
    queue.dequeue(consumer="bob")
    queue.cancel(1)
    assert encode(queue.perform(under("k", TAKE_ONE))) == first
    queue.conclude(1)
    assert encode(queue.perform(under("k", TAKE_ONE))) == first


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
    assert [word(outcome) for outcome in again.outcomes] == ["CONCLUDED", "not_in_progress"]
    assert again == first
    assert queue.status(2) == "IN_PROGRESS"


@pytest.mark.parametrize("verb", [Cancel, Redrive, Purge])
def test_every_verb_is_done_once(queue: Driver, verb: Any) -> None:
    """Sent again it tells what it did, and does nothing to what the job has become."""
    dead = given_a_dead_job(queue)
    if verb is Cancel:
        queue.redrive(dead)
    [first] = queue.perform(under("k", verb([dead])))
    queue.dequeue()
    before = queue.status(dead)
    [again] = queue.perform(under("k", verb([dead])))
    assert again.outcomes == first.outcomes
    assert queue.status(dead) == before


def test_what_was_said_of_one_job_is_told_again_with_the_job_as_it_is_now(queue: Driver) -> None:
    """The outcome is that of then; a job that is forgotten since is left out."""
    queue.enqueue("mail")
    queue.dequeue()
    release = under("k", Release([Held(1)]))
    queue.perform(release)
    queue.dequeue(consumer="bob")
    [again] = queue.perform(release)
    assert (again.outcomes, again.job.status, again.job.consumer) == ([Done("QUEUED")], "IN_PROGRESS", "bob")
    queue.conclude(1)
    queue.purge(1)
    [again] = queue.perform(release)
    assert (again.outcomes, again.job) == ([Done("QUEUED")], None)


def test_an_enqueue_that_found_duplicates_tells_of_them_again(queue: Driver) -> None:
    """Even if it would add them all now."""
    job = NewJob("mail", b"1", options=Options(unique=Unique("k")))
    request = under("k", Enqueue([ONE_JOB.jobs[0], job, job]))
    assert queue.perform(request) == [Enqueued([1, 2, 2], [2])]
    queue.purge(2)
    assert queue.perform(request) == [Enqueued([1, 2, 2], [2])]


def test_settings_are_set_once(queue: Driver) -> None:
    """Sent again, the request changes nothing; it tells what is set now."""
    pause = under("k", SetQueue("a", paused=True))
    queue.perform(pause)
    queue.set_queue("a", paused=False, max_attempts=2)
    [again] = queue.perform(pause)
    assert isinstance(again, QueueState)
    assert (again.settings.paused, again.settings.max_attempts) == (False, 2)


def test_a_queue_that_was_forgotten_is_told_as_it_would_be(queue: Driver) -> None:
    """Nothing is set for it, and nothing is in it."""
    resume = under("k", SetQueue("a", paused=False))
    [first] = queue.perform(resume)
    assert not queue.has_queue("a")
    assert queue.perform(resume) == [first]


def test_a_queue_is_dropped_once(queue: Driver) -> None:
    """Sent again, the request leaves alone what has come in its place."""
    queue.set_queue("a", paused=True)
    drop = under("k", DropQueue("a"))
    assert queue.perform(drop) == [Accepted()]
    queue.set_queue("a", paused=True)
    assert queue.perform(drop) == [Accepted()]
    assert queue.has_queue("a")


@pytest.mark.parametrize(
    ("operation", "weight"),
    [
        (ONE_JOB, 2),
        (Dequeue(7), 8),
        (Cancel([1, 2, 3]), 4),
        (Conclude([Conclusion(1)]), 2),
        (SetQueue("a"), 1),
        (DropQueue("a"), 1),
    ],
)
def test_a_key_weighs_one_and_one_more_for_every_job(operation: Any, weight: int) -> None:
    """That its operation names or may be handed."""
    assert under("k", operation).weight == weight


def test_another_request_under_a_used_key_is_refused(queue: Driver) -> None:
    """A key is for one request."""
    queue.perform(under("k", ONE_JOB))
    [refusal] = queue.perform(under("k", Enqueue([NewJob("mail", b"2")])))
    assert isinstance(refusal, Refusal)
    assert refusal.code == "key_reused"
    assert queue.stats() == {"QUEUED": 1}


def test_a_refused_request_may_be_sent_again_under_its_key(queue: Driver) -> None:
    """A full queue did nothing, so there is nothing to remember."""
    queue.perform(SetBounds(0, 1_000_000))
    [refusal] = queue.perform(under("k", ONE_JOB))
    assert refusal.code == "queue_full"
    queue.perform(SetBounds(1, 1_000_000))
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
    limit(KEYS_FORGOTTEN_MAX=64)
    assert queue.perform(under("k", ONE_JOB)) == [Enqueued([2])]
    assert len(queue.machine.keys) == 1


def test_jobs_that_are_no_longer_kept_are_not_made_up(queue: Driver) -> None:
    """They are left out when a dequeue is told again."""
    queue.enqueue("mail", "mail")
    take_two = under("k", Dequeue(2, LEASE_MS))
    queue.perform(take_two)
    queue.conclude(1)
    queue.purge(1)
    [again] = queue.perform(take_two)
    assert [job.id for job in again.jobs] == [2]


def test_keys_survive_a_snapshot(queue: Driver) -> None:
    """A node that was filled by another answers repeats too."""
    queue.perform(under("k", ONE_JOB))
    queue.machine = StateMachine.restore(queue.machine.snapshot())
    assert queue.perform(under("k", ONE_JOB)) == [Enqueued([1])]
