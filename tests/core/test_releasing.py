"""Release: the job goes back untouched."""

from __future__ import annotations

from tests.core.driver import Driver, given_a_job


def test_a_released_job_is_queued_at_once_and_costs_no_attempt(queue: Driver) -> None:
    """It goes to the place of its id."""
    queue.enqueue("mail", "mail")
    [job] = queue.dequeue()
    assert queue.release(1, job.lease_token) == "QUEUED"
    assert queue.job(1).attempt == 0
    [again] = queue.dequeue()
    assert (again.id, again.attempt) == (1, 1)


def test_a_released_job_never_dies_of_it(queue: Driver) -> None:
    """However often it is given back."""
    queue.enqueue("mail", max_attempts=1)
    for _ in range(5):
        queue.dequeue()
        assert queue.release(1) == "QUEUED"


def test_the_token_of_a_released_job_is_worth_nothing(queue: Driver) -> None:
    """Whoever gave it back does not hold it."""
    queue.enqueue("mail")
    [job] = queue.dequeue()
    queue.release(1, job.lease_token)
    assert queue.conclude(1, job.lease_token) == "lease_lost"
    assert queue.release(1, job.lease_token) == "lease_lost"
    assert queue.machine.next_due_ms() is None


def test_only_a_held_job_is_released(queue: Driver) -> None:
    """Others stay where they are."""
    assert queue.release(given_a_job(queue, "QUEUED")) == "not_in_progress"
    assert queue.release(given_a_job(queue, "CONCLUDED")) == "not_in_progress"
    assert queue.release(9) == "not_found"
