"""Finished jobs: how long they stay readable, and how many of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cqueue.core import limits
from tests.core.driver import LEASE_MS, START_MS, Driver, given_a_dead_job, given_a_job


def test_only_the_newest_finished_jobs_are_kept(queue: Driver) -> None:
    """By the order in which they finished, however they did; the others are gone, not unknown."""
    queue.set_queue(retention_jobs=2)
    queue.enqueue(*["mail"] * 4, max_attempts=1)
    queue.dequeue(4)
    queue.conclude(3)
    queue.conclude(1)
    assert queue.status(3) == "CONCLUDED"
    queue.conclude(2)
    assert queue.statuses(1, 2, 3, 4, 5) == ["CONCLUDED", "CONCLUDED", "gone", "IN_PROGRESS", "not_found"]
    assert queue.conclude(3) == "gone"
    queue.pass_time(LEASE_MS)
    assert queue.statuses(1, 2, 4) == ["gone", "CONCLUDED", "DEAD"]


def test_each_queue_keeps_its_own(queue: Driver) -> None:
    """What finishes elsewhere makes no difference."""
    queue.set_queue("a", retention_jobs=1)
    for name in ("a", "b", "a", "b"):
        queue.cancel(queue.enqueue("mail", queue=name)[0])
    assert queue.statuses(1, 2, 3, 4) == ["gone", "CANCELLED", "CANCELLED", "CANCELLED"]


def test_a_finished_job_is_kept_for_its_time_and_not_longer(queue: Driver) -> None:
    """To the millisecond."""
    queue.set_queue(retention_ms=10_000)
    queue.cancel(queue.enqueue("mail")[0])
    queue.pass_time(4_000)
    queue.cancel(queue.enqueue("mail")[0])
    assert queue.machine.next_due_ms() == START_MS + 10_000
    queue.pass_time(5_999)
    assert queue.statuses(1, 2) == ["CANCELLED", "CANCELLED"]
    queue.pass_time(1)
    assert queue.statuses(1, 2) == ["gone", "CANCELLED"]
    assert queue.machine.next_due_ms() == START_MS + 14_000
    queue.pass_time(4_000)
    assert queue.statuses(1, 2) == ["gone", "gone"]
    assert queue.machine.next_due_ms() is None


@pytest.mark.parametrize("restarts", [True, False])
def test_a_shorter_retention_counts_for_what_is_there_too(
    queue: Driver, limit: Callable[..., None], *, restarts: bool
) -> None:
    """A slice at a time, with the next entries."""
    limit(SWEEP_JOBS_MAX=2)
    for _ in range(6):
        given_a_job(queue, "CANCELLED")
    queue.set_queue(retention_jobs=1)
    for kept in (4, 2, 1):
        assert queue.machine.next_due_ms() == START_MS
        if restarts:
            queue.restart()
        queue.pass_time(0)
        assert queue.stats() == {"CANCELLED": kept}
    assert queue.status(6) == "CANCELLED"


def test_one_entry_looks_at_one_queue(queue: Driver) -> None:
    """The one that is due first; the others with the next entries."""
    for name in ("b", "a"):
        queue.set_queue(name, retention_ms=1_000)
        queue.cancel(queue.enqueue("mail", queue=name)[0])
    queue.pass_time(1_000)
    assert queue.statuses(1, 2) == ["CANCELLED", "gone"]
    queue.pass_time(0)
    assert queue.statuses(1, 2) == ["gone", "gone"]


@pytest.mark.parametrize("leaves_by", ["purge", "redrive"])
def test_a_finished_job_that_left_before_its_time_is_not_looked_for(queue: Driver, leaves_by: str) -> None:
    """The plan stays, and is carried out on what is there by then."""
    queue.set_queue(retention_ms=1_000)
    first = given_a_dead_job(queue)
    queue.now_ms += 400
    second = given_a_job(queue, "CANCELLED") if leaves_by == "purge" else 0
    getattr(queue, leaves_by)(first)
    queue.pass_time(600)
    if second:
        assert queue.status(second) == "CANCELLED"
        assert queue.machine.next_due_ms() == START_MS + 1_400
    else:
        assert queue.machine.next_due_ms() is None


def test_a_dead_job_that_is_redriven_is_not_forgotten(queue: Driver) -> None:
    """It is not finished any more; when it finishes again, its time begins anew."""
    queue.set_queue(retention_ms=10_000)
    dead = given_a_dead_job(queue)
    queue.pass_time(9_000)
    queue.redrive(dead)
    queue.pass_time(9_000)
    assert queue.status(dead) == "QUEUED"
    queue.cancel(dead)
    queue.pass_time(9_000)
    assert queue.status(dead) == "CANCELLED"


def test_a_restored_queue_forgets_jobs_in_the_order_they_finished(queue: Driver) -> None:
    """Not in the order of their ids."""
    queue.set_queue(retention_jobs=2)
    queue.enqueue("mail", "mail", "mail")
    queue.cancel(2)
    queue.cancel(1)
    queue.restart()
    queue.cancel(3)
    assert queue.statuses(1, 2, 3) == ["CANCELLED", "gone", "CANCELLED"]


def test_a_forgotten_job_gives_its_id_to_nobody(queue: Driver) -> None:
    """Ids are never used twice."""
    queue.set_queue(retention_jobs=1)
    for expected in (1, 2, 3):
        assert queue.enqueue("mail") == [expected]
        assert queue.conclude(queue.dequeue()[0].id) == "CONCLUDED"
    assert queue.statuses(1, 2, 3) == ["gone", "gone", "CONCLUDED"]


def test_a_queue_is_forgotten_with_the_last_of_its_jobs(queue: Driver) -> None:
    """If nothing is set for it: nobody would miss it."""
    queue.cancel(queue.enqueue("mail", queue="a")[0])
    queue.pass_time(limits.RETENTION_MS_DEFAULT)
    assert not queue.has_queue("a")
    assert queue.machine.next_due_ms() is None
