"""Unique keys: one live job per key and queue, for as long as the key's scope says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cqueue.core.jobs import Unique
from cqueue.core.operations import Enqueue, NewJob, Options
from cqueue.core.results import Enqueued
from tests.core.driver import LEASE_MS, START_MS, Driver

QUEUED = Unique("k", "queued")
UNFINISHED = Unique("k")
WINDOW = Unique("k", "window", 10_000)


def is_taken(queue: Driver, unique: Unique) -> int | None:
    """The job that has taken the key, if one has. A job that is added to find out is purged at once."""
    [result] = queue.perform(Enqueue([NewJob("probe", b"null", options=Options(unique=unique))]))
    assert isinstance(result, Enqueued)
    if result.duplicates:
        return result.ids[0]
    queue.purge(result.ids[0])
    return None


def test_a_second_job_with_a_key_is_the_first_one(queue: Driver) -> None:
    """Its id is answered, and nothing is added."""
    assert queue.perform(Enqueue([NewJob("mail", b"1", options=Options(unique=UNFINISHED))])) == [Enqueued([1])]
    assert queue.perform(Enqueue([NewJob("mail", b"2", options=Options(unique=UNFINISHED))])) == [Enqueued([1], [0])]
    assert queue.stats() == {"QUEUED": 1}
    assert queue.enqueue("mail") == [2]


def test_a_key_is_taken_within_one_request_too(queue: Driver) -> None:
    """By the first job that has it; the others are positions in the answer."""
    jobs = [
        NewJob("mail", b"null", options=Options(unique=Unique(key)) if key else None)
        for key in ("k", "", "l", "k", "l")
    ]
    assert queue.perform(Enqueue(jobs)) == [Enqueued([1, 2, 3, 1, 3], [3, 4])]


def test_a_request_of_nothing_but_duplicates_adds_nothing(queue: Driver) -> None:
    """Not even a queue."""
    queue.enqueue("mail", queue="a", unique=WINDOW)
    queue.purge(1)
    assert not queue.has_queue("a")
    assert queue.enqueue("mail", queue="a", unique=WINDOW) == [1]
    assert not queue.has_queue("a")


def test_keys_of_different_queues_are_different(queue: Driver) -> None:
    """One live job per key and queue."""
    assert queue.enqueue("mail", queue="a", unique=UNFINISHED) == [1]
    assert queue.enqueue("mail", queue="b", unique=UNFINISHED) == [2]


def test_a_key_is_taken_until_its_job_is_finished(queue: Driver) -> None:
    """Held, failed and waiting again it is still taken."""
    queue.enqueue("mail", unique=UNFINISHED, delay_ms=1_000)
    assert is_taken(queue, UNFINISHED) == 1
    queue.pass_time(1_000)
    queue.dequeue()
    assert is_taken(queue, UNFINISHED) == 1
    queue.fail(1, retry_in_ms=1_000)
    assert is_taken(queue, UNFINISHED) == 1
    queue.pass_time(1_000)
    queue.dequeue()
    queue.conclude(1)
    assert is_taken(queue, UNFINISHED) is None


@pytest.mark.parametrize("end", ["cancel", "expire", "die", "purge"])
def test_every_end_frees_the_key(queue: Driver, end: str) -> None:
    """Not only a conclude."""
    queue.enqueue("mail", unique=UNFINISHED, expires_in_ms=1_000)
    match end:
        case "cancel":
            queue.cancel(1)
        case "purge":
            queue.purge(1)
        case "expire":
            queue.pass_time(1_000)
        case _:
            queue.dequeue()
            queue.fail(1, retryable=False)
    assert is_taken(queue, UNFINISHED) is None


def test_a_key_of_the_queued_is_free_while_its_job_is_held(queue: Driver) -> None:
    """So that what changed meanwhile is done once more; back in the queue, the job has its key again."""
    queue.enqueue("mail", unique=QUEUED)
    assert is_taken(queue, QUEUED) == 1
    queue.dequeue()
    assert is_taken(queue, QUEUED) is None
    queue.pass_time(LEASE_MS)
    assert (queue.status(1), is_taken(queue, QUEUED)) == ("QUEUED", 1)


def test_a_job_that_comes_back_does_not_take_its_key_from_another(queue: Driver) -> None:
    """It waits beside the other, without it; both are done."""
    queue.enqueue("mail", unique=QUEUED)
    queue.dequeue()
    assert queue.enqueue("mail", unique=QUEUED) == [2]
    queue.release(1)
    assert is_taken(queue, QUEUED) == 2
    assert queue.dequeue_ids(2) == [1, 2]
    assert is_taken(queue, QUEUED) is None


def test_a_redriven_job_takes_its_key_if_it_is_free(queue: Driver) -> None:
    """Else it runs without."""
    for _ in range(2):
        queue.enqueue("mail", unique=UNFINISHED)
        queue.dequeue()
        queue.fail(queue.machine.state.next_id - 1, retryable=False)
    queue.redrive(2)
    assert is_taken(queue, UNFINISHED) == 2
    queue.redrive(1)
    assert is_taken(queue, UNFINISHED) == 2
    queue.cancel(2)
    assert is_taken(queue, UNFINISHED) is None


def test_a_window_is_over_when_its_time_is_and_not_before(queue: Driver, limit: Callable[..., None]) -> None:
    """Whatever becomes of the job: done, or purged. The sweep makes no difference."""
    queue.enqueue("mail", unique=WINDOW)
    queue.dequeue()
    queue.conclude(1)
    queue.purge(1)
    limit(SWEEP_JOBS_MAX=0)
    queue.pass_time(9_999)
    assert is_taken(queue, WINDOW) == 1
    queue.pass_time(1)
    assert queue.machine.next_due_ms() == START_MS + 10_000
    assert queue.enqueue("mail", unique=WINDOW) == [2]
    assert is_taken(queue, WINDOW) == 2
    queue.pass_time(9_999)
    assert is_taken(queue, WINDOW) == 2


def test_windows_that_are_over_are_forgotten(queue: Driver) -> None:
    """A slice at a time, like all that time does."""
    queue.enqueue("mail", unique=WINDOW)
    queue.purge(1)
    queue.pass_time(10_000)
    assert queue.machine.next_due_ms() is None
    assert len(queue.machine.state.uniques) == 0


def test_the_scope_is_that_of_the_job_that_has_the_key(queue: Driver) -> None:
    """Not of the one that asks."""
    queue.enqueue("mail", unique=UNFINISHED)
    queue.dequeue()
    assert is_taken(queue, QUEUED) == 1
    assert is_taken(queue, WINDOW) == 1


def test_unique_keys_survive_a_snapshot(queue: Driver) -> None:
    """With what is left of their windows."""
    queue.enqueue("mail", unique=WINDOW)
    queue.enqueue("mail", unique=Unique("l"))
    queue.pass_time(5_000)
    queue.restart()
    assert (is_taken(queue, WINDOW), is_taken(queue, Unique("l"))) == (1, 2)
    queue.pass_time(5_000)
    assert (is_taken(queue, WINDOW), is_taken(queue, Unique("l"))) == (None, 2)
