"""Jobs for later, and jobs that are of no use too late."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.core.driver import LEASE_MS, START_MS, Driver

WEEK_MS = 7 * 86_400_000


def test_a_delayed_job_is_handed_out_when_it_is_due(queue: Driver) -> None:
    """Not a millisecond before; until then it is scheduled."""
    queue.enqueue("mail", delay_ms=5_000)
    assert (queue.status(1), queue.job(1).due_ms) == ("SCHEDULED", START_MS + 5_000)
    assert queue.machine.next_due_ms() == START_MS + 5_000
    queue.pass_time(4_999)
    assert queue.dequeue_ids() == []
    queue.now_ms += 1
    assert queue.dequeue_ids() == [1]
    assert queue.events(1) == ["enqueue", "become_due", "hand_out"]


def test_a_job_may_name_its_time(queue: Driver) -> None:
    """The later of that and a delay counts."""
    queue.enqueue("mail", run_at_ms=START_MS + 3_000)
    queue.enqueue("mail", run_at_ms=START_MS + 3_000, delay_ms=5_000)
    queue.enqueue("mail", run_at_ms=START_MS + 3_000, delay_ms=1_000)
    assert [queue.job(n).due_ms - START_MS for n in (1, 2, 3)] == [3_000, 5_000, 3_000]
    assert [queue.extras(n).run_at_ms - START_MS for n in (1, 2, 3)] == [3_000, 5_000, 3_000]


def test_a_time_that_is_over_means_at_once(queue: Driver) -> None:
    """This very moment too."""
    queue.enqueue("mail", run_at_ms=START_MS)
    queue.enqueue("mail", run_at_ms=START_MS - 1_000)
    assert queue.statuses(1, 2) == ["QUEUED", "QUEUED"]
    assert queue.job(1).extras is None


def test_a_job_that_becomes_due_goes_to_the_place_of_its_id(queue: Driver) -> None:
    """Before those that came while it waited."""
    queue.enqueue("mail", delay_ms=1_000)
    queue.enqueue("mail")
    queue.pass_time(1_000)
    assert queue.dequeue_ids(2) == [1, 2]


def test_what_is_due_goes_in_slices(queue: Driver, limit: Callable[..., None]) -> None:
    """The earliest first, then by id."""
    limit(SWEEP_JOBS_MAX=2)
    for delay_ms in (3_000, 1_000, 2_000, 1_000):
        queue.enqueue("mail", delay_ms=delay_ms)
    queue.pass_time(3_000)
    assert queue.statuses(1, 2, 3, 4) == ["SCHEDULED", "QUEUED", "SCHEDULED", "QUEUED"]
    assert queue.machine.next_due_ms() == START_MS + 2_000
    queue.pass_time(0)
    assert queue.stats() == {"QUEUED": 4}


def test_a_waiting_job_expires_when_its_time_is_over(queue: Driver) -> None:
    """At that millisecond, queued or scheduled."""
    queue.enqueue("mail", expires_in_ms=2_000)
    queue.enqueue("mail", expires_in_ms=2_000, delay_ms=60_000)
    queue.pass_time(1_999)
    assert queue.statuses(1, 2) == ["QUEUED", "SCHEDULED"]
    queue.now_ms += 1
    assert queue.dequeue_ids() == []
    assert queue.statuses(1, 2) == ["EXPIRED", "EXPIRED"]
    assert queue.job(1).finished_ms == START_MS + 2_000
    assert queue.machine.next_due_ms() == START_MS + 2_000 + WEEK_MS


def test_a_held_job_does_not_expire(queue: Driver) -> None:
    """Whoever works on it may finish; if it comes back too late, it expires then."""
    queue.enqueue("mail", "mail", expires_in_ms=2_000)
    queue.dequeue(2)
    queue.pass_time(3_000)
    assert queue.conclude(1) == "CONCLUDED"
    assert queue.release(2) == "QUEUED"
    assert queue.dequeue_ids() == []
    assert queue.events(2) == ["enqueue", "hand_out", "release", "expire"]


def test_a_job_that_loses_its_lease_after_its_time_expires(queue: Driver) -> None:
    """In the same entry."""
    queue.enqueue("mail", expires_in_ms=2_000)
    queue.dequeue()
    queue.pass_time(LEASE_MS)
    assert queue.events(1) == ["enqueue", "hand_out", "lose_lease", "expire"]


@pytest.mark.parametrize("of", [{}, {"tags": {"to": "ann"}}])
def test_an_expired_job_is_not_handed_out_while_it_waits_for_the_sweep(
    queue: Driver, limit: Callable[..., None], of: dict[str, Any]
) -> None:
    """Whether it has expired is a matter of time, not of its turn; those behind it are handed out."""
    limit(SWEEP_JOBS_MAX=0)
    queue.enqueue("mail", "mail", expires_in_ms=1_000, tags={"to": "ann"})
    queue.enqueue("mail", "mail", tags={"to": "ann"})
    queue.pass_time(1_000)
    assert queue.statuses(1, 2) == ["QUEUED", "QUEUED"]
    assert queue.dequeue_ids(1, **of) == [3]
    assert queue.statuses(1, 2) == ["EXPIRED", "EXPIRED"]


def test_a_retry_that_would_come_too_late_expires_in_time(queue: Driver) -> None:
    """It does not wait for its backoff first."""
    queue.enqueue("mail", expires_in_ms=5_000)
    queue.dequeue()
    queue.fail(1, retry_in_ms=60_000)
    queue.pass_time(5_000)
    assert queue.events(1)[-2:] == ["retry", "expire"]
