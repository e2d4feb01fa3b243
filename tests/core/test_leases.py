"""Leases: what ends them, what happens then, and what a consumer that lost one is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cqueue.core import entry, limits
from cqueue.core.jobs import Job
from tests.core.driver import LEASE_MS, START_MS, Driver


def given_a_job_in_progress(queue: Driver) -> Job:
    """The only job there is."""
    queue.enqueue("mail")
    [job] = queue.dequeue(consumer="ann")
    return job


def test_an_expired_lease_returns_the_job_to_the_queue(queue: Driver) -> None:
    """Not a millisecond before its time, and at its time."""
    given_a_job_in_progress(queue)
    queue.pass_time(LEASE_MS - 1)
    assert queue.status(1) == "IN_PROGRESS"
    assert queue.dequeue() == []
    queue.pass_time(1)
    assert queue.status(1) == "QUEUED"
    [job] = queue.dequeue()
    assert (job.id, job.attempt) == (1, 2)


def test_the_entry_that_ends_a_lease_can_hand_the_job_out_again(queue: Driver) -> None:
    """Time comes first in an entry, then what it asks for."""
    given_a_job_in_progress(queue)
    queue.now_ms += LEASE_MS
    assert queue.dequeue_ids() == [1]


def test_a_job_is_dead_when_its_fifth_lease_expires(queue: Driver) -> None:
    """Four times it comes back; then it stays readable, and nobody gets it."""
    queue.enqueue("mail")
    for attempt in range(1, 6):
        [job] = queue.dequeue()
        assert (job.attempt, job.max_attempts) == (attempt, 5)
        queue.pass_time(LEASE_MS)
        assert queue.status(1) == ("DEAD" if attempt == 5 else "QUEUED")
    assert queue.dequeue() == []
    assert queue.stats() == {"DEAD": 1}
    assert queue.job(1).finished_ms == queue.now_ms


def test_a_fifth_lease_is_as_good_as_the_first(queue: Driver) -> None:
    """Only its end without a conclude kills the job."""
    queue.enqueue("mail")
    for _ in range(4):
        queue.dequeue()
        queue.pass_time(LEASE_MS)
    queue.dequeue()
    assert queue.conclude(1) == "CONCLUDED"
    queue.pass_time(LEASE_MS)
    assert queue.status(1) == "CONCLUDED"


def test_leases_of_different_length_end_each_at_its_own_time(queue: Driver) -> None:
    """The next due time is always the earliest of them, and none when nobody holds a job."""
    queue.enqueue("mail", "mail", "mail")
    assert queue.machine.next_due_ms() is None
    for lease_ms in (3_000, 1_000, 2_000):
        queue.dequeue(lease_ms=lease_ms)
    seen = []
    for _ in range(3):
        due_ms = queue.machine.next_due_ms()
        assert due_ms is not None
        queue.pass_time(due_ms - queue.now_ms)
        seen.append((due_ms - START_MS, [queue.status(job_id) for job_id in (1, 2, 3)]))
    assert seen == [
        (1_000, ["IN_PROGRESS", "QUEUED", "IN_PROGRESS"]),
        (2_000, ["IN_PROGRESS", "QUEUED", "QUEUED"]),
        (3_000, ["QUEUED", "QUEUED", "QUEUED"]),
    ]
    assert queue.machine.next_due_ms() is None


def test_a_concluded_job_is_due_no_more(queue: Driver) -> None:
    """So that the log of an idle cluster does not grow."""
    given_a_job_in_progress(queue)
    assert queue.machine.next_due_ms() == START_MS + LEASE_MS
    queue.conclude(1)
    queue.purge(1)
    assert queue.machine.next_due_ms() is None


def test_one_entry_ends_no_more_leases_than_a_slice(queue: Driver, limit: Callable[..., None]) -> None:
    """A hundred thousand at once must stall nobody: the rest is still due, and ends with the next entries."""
    limit(SWEEP_JOBS_MAX=2)
    queue.enqueue(*["mail"] * 5)
    queue.dequeue(5)
    queue.pass_time(LEASE_MS)
    assert queue.stats().get("QUEUED") == 2
    assert [queue.status(job_id) for job_id in (1, 2, 3)] == ["QUEUED", "QUEUED", "IN_PROGRESS"]
    assert queue.machine.next_due_ms() == queue.now_ms
    queue.pass_time(0)
    assert queue.stats().get("QUEUED") == 4
    queue.pass_time(0)
    assert queue.stats().get("QUEUED") == 5
    assert queue.machine.next_due_ms() is None


@pytest.mark.parametrize(("with_token", "code"), [(True, "lease_lost"), (False, "not_in_progress")])
def test_an_expired_lease_does_not_hold_while_it_waits_for_the_sweep(
    queue: Driver, limit: Callable[..., None], *, with_token: bool, code: str
) -> None:
    """Whether a lease holds is a matter of time, not of when its turn comes."""
    limit(SWEEP_JOBS_MAX=0)
    job = given_a_job_in_progress(queue)
    queue.pass_time(LEASE_MS)
    assert queue.status(1) == "IN_PROGRESS"
    assert queue.conclude(1, job.lease_token if with_token else None) == code
    assert queue.status(1) == "QUEUED"
    assert queue.machine.next_due_ms() is None
    assert queue.dequeue_ids() == [1]


def test_an_expired_fifth_lease_is_the_end_even_before_the_sweep(queue: Driver, limit: Callable[..., None]) -> None:
    """The consumer that comes too late finds its job dead."""
    queue.enqueue("mail")
    for _ in range(4):
        queue.dequeue()
        queue.pass_time(LEASE_MS)
    [job] = queue.dequeue()
    limit(SWEEP_JOBS_MAX=0)
    queue.pass_time(LEASE_MS)
    assert queue.conclude(1, job.lease_token) == "lease_lost"
    assert queue.status(1) == "DEAD"
    assert queue.conclude(1) == "not_in_progress"


def test_very_many_leases_that_end_at_once_end_in_slices(queue: Driver) -> None:
    """A hundred thousand of them: each entry takes its slice, and they go in order of their ids."""
    for _ in range(100):
        queue.enqueue(*["mail"] * 1_000)
    for _ in range(100):
        queue.dequeue(1_000)
    queue.now_ms += LEASE_MS
    entries = 0
    while queue.machine.next_due_ms() is not None:
        queue.apply(entry.TICK)
        entries += 1
        assert queue.stats().get("QUEUED") == entries * limits.SWEEP_JOBS_MAX
        assert queue.status(entries * limits.SWEEP_JOBS_MAX) == "QUEUED"
    assert entries == 100_000 // limits.SWEEP_JOBS_MAX


@pytest.mark.parametrize("lease_ms", [0, 2_000])
def test_a_lease_is_as_long_as_the_dequeue_says_or_else_the_job(queue: Driver, lease_ms: int) -> None:
    """Each job of one answer for itself."""
    queue.enqueue("mail", lease_ms=7_000)
    queue.enqueue("mail")
    due_ms = [job.due_ms - START_MS for job in queue.dequeue(2, lease_ms=lease_ms)]
    assert due_ms == ([2_000, 2_000] if lease_ms else [7_000, 300_000])


def test_a_late_consumer_cannot_conclude_what_another_holds(queue: Driver) -> None:
    """Fencing: its token is no longer the job's, and the other goes on undisturbed."""
    late = given_a_job_in_progress(queue).lease_token
    queue.pass_time(LEASE_MS)
    [again] = queue.dequeue(consumer="bob")
    assert again.lease_token > late
    assert queue.conclude(1, late) == "lease_lost"
    assert queue.status(1) == "IN_PROGRESS"
    assert queue.conclude(1, again.lease_token) == "CONCLUDED"
    assert queue.job(1).consumer == "bob"


def test_a_late_consumer_learns_that_another_concluded(queue: Driver) -> None:
    """It must not take the other's work for its own."""
    late = given_a_job_in_progress(queue).lease_token
    queue.pass_time(LEASE_MS)
    [again] = queue.dequeue()
    queue.conclude(1, again.lease_token, b'"of bob"')
    assert queue.conclude(1, late) == "lease_lost"
    assert queue.job(1).result == b'"of bob"'


def test_time_in_the_log_never_runs_backwards(queue: Driver) -> None:
    """A new leader whose clock is behind shortens no lease and ends none again; jobs are not created in the past."""
    given_a_job_in_progress(queue)
    queue.apply(entry.TICK, stamp_ms=START_MS - 1_000_000)
    assert queue.machine.now_ms == START_MS
    queue.now_ms = START_MS - 500
    queue.enqueue("mail")
    [job] = queue.dequeue()
    assert (job.created_ms, job.due_ms) == (START_MS, START_MS + LEASE_MS)


def test_an_entry_without_a_stamp_leaves_time_as_it_is(queue: Driver) -> None:
    """Nought is no time."""
    given_a_job_in_progress(queue)
    queue.apply(entry.TICK, stamp_ms=0)
    assert queue.machine.now_ms == START_MS
    assert queue.status(1) == "IN_PROGRESS"
