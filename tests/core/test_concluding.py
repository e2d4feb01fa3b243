"""Conclude: who may, what it answers, and what stays of a finished job."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cqueue.core.jobs import Job
from cqueue.core.operations import Conclude, Conclusion
from cqueue.simulation.model import show
from tests.core.driver import LEASE_MS, START_MS, Driver


def test_the_holder_concludes_with_its_token(queue: Driver) -> None:
    """The answer is the finished job, result and all."""
    queue.enqueue("mail")
    [job] = queue.dequeue(consumer="ann")
    queue.now_ms += 5
    outcome = queue.conclude(1, job.lease_token, b'{"sent": true}')
    assert show(outcome) == {
        "id": 1,
        "type": "mail",
        "status": "CONCLUDED",
        "queue": "default",
        "priority": 500,
        "payload": b"null",
        "created_ms": START_MS,
        "attempt": 1,
        "max_attempts": 5,
        "finished_ms": START_MS + 5,
        "result": b'{"sent": true}',
    }


def test_anyone_may_conclude_without_a_token_while_somebody_holds_the_job(queue: Driver) -> None:
    """As in the original API, which has no tokens."""
    queue.enqueue("mail")
    queue.dequeue()
    queue.conclude(1)
    assert queue.status(1) == "CONCLUDED"


@pytest.mark.parametrize("with_token", [True, False])
def test_to_conclude_twice_is_harmless(queue: Driver, *, with_token: bool) -> None:
    """The second answer is the first one: neither the time nor the result changes."""
    queue.enqueue("mail")
    [job] = queue.dequeue()
    token = job.lease_token if with_token else None
    first = show(queue.conclude(1, token, b"1"))
    queue.now_ms += 1_000
    assert show(queue.conclude(1, token, b"2")) == first
    assert queue.stats() == {"QUEUED": 0, "IN_PROGRESS": 0, "CONCLUDED": 1, "DEAD": 0}


def test_a_job_nobody_holds_is_not_in_progress(queue: Driver) -> None:
    """It stays in the queue, as it was."""
    queue.enqueue("mail")
    assert queue.refusal(1) == "not_in_progress"
    assert queue.dequeue_ids() == [1]


@pytest.mark.parametrize("token", [0, 2, 99])
def test_a_wrong_token_is_a_lost_lease(queue: Driver, token: int) -> None:
    """Whether it was never given, or was the token of another job; the holder is not disturbed."""
    queue.enqueue("mail", "mail")
    queue.dequeue(2)
    assert queue.refusal(1, token) == "lease_lost"
    assert queue.status(1) == "IN_PROGRESS"


@pytest.mark.parametrize("token", [0, 1])
def test_a_token_for_a_job_that_was_never_handed_out_is_a_lost_lease(queue: Driver, token: int) -> None:
    """Nought too, though that is how core notes that there was no token yet."""
    queue.enqueue("mail")
    assert queue.refusal(1, token) == "lease_lost"
    assert queue.status(1) == "QUEUED"


@pytest.mark.parametrize("job_id", [-1, 0, 2, 2**63])
def test_an_id_that_was_never_given_is_not_found(queue: Driver, job_id: int) -> None:
    """To read it and to conclude it alike."""
    queue.enqueue("mail")
    assert queue.status(job_id) == "not_found"
    assert queue.refusal(job_id) == "not_found"


def test_many_are_concluded_each_on_its_own(queue: Driver) -> None:
    """A refusal of one keeps none of the others from being done; outcomes come in the order asked."""
    queue.enqueue(*["mail"] * 4)
    jobs = queue.dequeue(3)
    [settled] = queue.perform(
        Conclude(
            [
                Conclusion(3, jobs[2].lease_token),
                Conclusion(9),
                Conclusion(2, jobs[0].lease_token),
                Conclusion(4),
                Conclusion(1),
                Conclusion(1),
            ]
        )
    )
    shown = [show(outcome) for outcome in settled.outcomes]
    assert [one.get("code", one.get("status")) for one in shown] == [
        "CONCLUDED",
        "not_found",
        "lease_lost",
        "not_in_progress",
        "CONCLUDED",
        "CONCLUDED",
    ]
    assert queue.stats() == {"QUEUED": 1, "IN_PROGRESS": 1, "CONCLUDED": 2, "DEAD": 0}


def test_only_the_newest_finished_jobs_are_kept(queue: Driver, limit: Callable[..., None]) -> None:
    """By the order in which they finished, dead ones too; the others are gone, not unknown."""
    limit(FINISHED_JOBS_MAX=2)
    limit(ATTEMPTS_MAX_DEFAULT=1)
    queue.enqueue(*["mail"] * 4)
    queue.dequeue(4)
    queue.conclude(3)
    queue.conclude(1)
    assert queue.status(3) == "CONCLUDED"
    queue.conclude(2)
    assert [queue.status(job_id) for job_id in (1, 2, 3, 4, 5)] == [
        "CONCLUDED",
        "CONCLUDED",
        "gone",
        "IN_PROGRESS",
        "not_found",
    ]
    assert queue.refusal(3) == "gone"
    queue.pass_time(LEASE_MS)
    assert [queue.status(job_id) for job_id in (1, 2, 4)] == ["gone", "CONCLUDED", "DEAD"]
    assert queue.stats() == {"QUEUED": 0, "IN_PROGRESS": 0, "CONCLUDED": 1, "DEAD": 1}


def test_a_forgotten_job_gives_its_id_to_nobody(queue: Driver, limit: Callable[..., None]) -> None:
    """Ids are never used twice."""
    limit(FINISHED_JOBS_MAX=1)
    for expected in (1, 2, 3):
        assert queue.enqueue("mail") == [expected]
        assert isinstance(queue.conclude(queue.dequeue()[0].id), Job)
    assert [queue.status(job_id) for job_id in (1, 2, 3)] == ["gone", "gone", "CONCLUDED"]
