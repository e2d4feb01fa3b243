"""Dead jobs come back by a redrive; any job that nobody holds is forgotten by a purge."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cqueue.core.jobs import Status
from cqueue.core.operations import Purge, Redrive
from tests.core.driver import LEASE_MS, Driver, given_a_dead_job, given_a_job, word


def test_a_redriven_job_has_all_its_attempts_before_it(queue: Driver) -> None:
    """It is queued at once, at the place of its id, and has no end any more."""
    dead = given_a_dead_job(queue, max_attempts=2)
    queue.enqueue("mail")
    assert queue.redrive(dead) == "QUEUED"
    job = queue.job(dead)
    assert (job.attempt, job.finished_ms, job.finished_index) == (0, 0, 0)
    for attempt in (1, 2):
        [job] = queue.dequeue()
        assert (job.id, job.attempt) == (dead, attempt)
        queue.pass_time(LEASE_MS)
    assert queue.status(dead) == "DEAD"


def test_a_redriven_job_keeps_its_past(queue: Driver) -> None:
    """What went wrong is still told, and tokens go on growing."""
    dead = given_a_dead_job(queue)
    queue.redrive(dead)
    [job] = queue.dequeue()
    assert job.lease_token == 2
    assert queue.events(dead) == ["enqueue", "hand_out", "give_up", "redrive", "hand_out"]
    assert [change.error for change in queue.changes(dead)][2] == "broken"


@pytest.mark.parametrize("status", ["SCHEDULED", "QUEUED", "IN_PROGRESS", "CONCLUDED", "CANCELLED", "EXPIRED"])
def test_only_the_dead_are_redriven(queue: Driver, status: Status) -> None:
    """Others stay as they are."""
    job_id = given_a_job(queue, status)
    assert queue.redrive(job_id) == "not_dead"
    assert queue.status(job_id) == status


def test_a_job_whose_last_lease_ran_out_unnoticed_can_be_redriven(queue: Driver, limit: Callable[..., None]) -> None:
    """It is dead, whether the sweep knows or not."""
    queue.enqueue("mail", max_attempts=1)
    queue.dequeue()
    limit(SWEEP_JOBS_MAX=0)
    queue.pass_time(LEASE_MS)
    assert queue.redrive(1) == "QUEUED"
    assert queue.events(1) == ["enqueue", "hand_out", "lose_last_lease", "redrive"]


@pytest.mark.parametrize("status", ["SCHEDULED", "QUEUED", "CONCLUDED", "DEAD", "CANCELLED", "EXPIRED"])
def test_a_purged_job_is_gone(queue: Driver, status: Status) -> None:
    """The answer says what it was; its id is known to have existed, and nothing else is left."""
    job_id = given_a_job(queue, status)
    [settled] = queue.perform(Purge([job_id]))
    assert [word(outcome) for outcome in settled.outcomes] == [status]
    assert settled.job is None
    assert queue.status(job_id) == "gone"
    assert queue.purge(job_id) == "gone"
    assert queue.stats() == {}
    queue.pass_time(8 * 86_400_000)
    assert queue.machine.next_due_ms() is None
    assert queue.dequeue_ids() == []


def test_a_held_job_is_not_purged(queue: Driver) -> None:
    """Cancel it first."""
    job_id = given_a_job(queue, "IN_PROGRESS")
    assert queue.purge(job_id) == "in_progress"
    assert queue.status(job_id) == "IN_PROGRESS"


def test_a_job_that_was_never_there_is_neither_redriven_nor_purged(queue: Driver) -> None:
    """Not found, like everywhere."""
    assert (queue.redrive(1), queue.purge(1), queue.cancel(1)) == ("not_found", "not_found", "not_found")


def test_many_are_redriven_and_purged_each_on_its_own(queue: Driver) -> None:
    """In the order asked; one named twice is not there any more the second time."""
    dead, held, ended = given_a_dead_job(queue), given_a_job(queue, "IN_PROGRESS"), given_a_job(queue, "CONCLUDED")
    redriven, purged = queue.perform(Redrive([ended, dead, held, dead]), Purge([held, dead, ended, ended]))
    assert list(map(word, redriven.outcomes)) == ["not_dead", "QUEUED", "not_dead", "not_dead"]
    assert list(map(word, purged.outcomes)) == ["in_progress", "QUEUED", "CONCLUDED", "gone"]


def test_jobs_leave_from_the_middle_of_very_many(queue: Driver) -> None:
    """Most of a long line is purged and cancelled, and what is left is handed out in order."""
    for _ in range(3):
        queue.enqueue(*["mail"] * 1_000)
    queue.perform(Purge([n for n in range(1, 3_001) if n % 10]))
    for job_id in (10, 1_500, 3_000):
        queue.cancel(job_id)
    queue.enqueue("mail")
    assert queue.dequeue_ids(1_000) == [n for n in range(10, 3_001, 10) if n not in {10, 1_500, 3_000}] + [3_001]
