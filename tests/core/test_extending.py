"""Extend and progress: what a consumer says while it works."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cqueue.core.operations import Extend, Extension, Progress, Report
from cqueue.core.results import Done
from tests.core.driver import LEASE_MS, START_MS, Driver, given_a_job


def test_an_extended_lease_ends_so_long_from_now(queue: Driver) -> None:
    """Not so long after its old end: a slow consumer banks no time."""
    queue.enqueue("mail")
    [job] = queue.dequeue(lease_ms=10_000)
    queue.now_ms += 9_000
    assert queue.extend(1, job.lease_token, 10_000) == "IN_PROGRESS"
    assert queue.job(1).due_ms == START_MS + 19_000
    queue.pass_time(9_999)
    assert queue.status(1) == "IN_PROGRESS"
    queue.pass_time(1)
    assert queue.status(1) == "QUEUED"


def test_a_lease_can_be_made_shorter(queue: Driver) -> None:
    """By an extend that ends before it."""
    queue.enqueue("mail")
    queue.dequeue(lease_ms=10_000)
    queue.extend(1, lease_ms=1_000)
    queue.pass_time(1_000)
    assert queue.status(1) == "QUEUED"


def test_an_extend_that_names_no_time_is_as_long_as_the_job_says(queue: Driver) -> None:
    """Not as the dequeue said."""
    queue.enqueue("mail", lease_ms=7_000)
    queue.dequeue(lease_ms=1_000)
    queue.extend(1, lease_ms=0)
    assert queue.machine.next_due_ms() == START_MS + 7_000


@pytest.mark.parametrize("slice_jobs", [0, 1_000])
def test_a_lease_that_ends_at_this_very_moment_cannot_be_extended(
    queue: Driver, limit: Callable[..., None], slice_jobs: int
) -> None:
    """Whether the sweep has got to it or not."""
    queue.enqueue("mail")
    [job] = queue.dequeue()
    limit(SWEEP_JOBS_MAX=slice_jobs)
    queue.now_ms += LEASE_MS
    assert queue.extend(1, job.lease_token) == "lease_lost"
    assert queue.status(1) == "QUEUED"


def test_only_the_holder_extends(queue: Driver) -> None:
    """And only what is held."""
    queue.enqueue("mail")
    [job] = queue.dequeue()
    assert queue.extend(1, job.lease_token + 1) == "lease_lost"
    assert queue.extend(given_a_job(queue, "CONCLUDED")) == "not_in_progress"
    assert queue.job(1).due_ms == START_MS + LEASE_MS


def test_progress_is_shown_and_leaves_the_lease_as_it_is(queue: Driver) -> None:
    """What is not said again stays."""
    queue.enqueue("mail")
    [job] = queue.dequeue()
    queue.now_ms += 10
    assert queue.progress(1, job.lease_token, 30, "fetched") == "IN_PROGRESS"
    queue.now_ms += 10
    queue.progress(1, percent=60)
    said = queue.extras(1)
    assert (said.percent, said.note, said.progress_ms) == (60, "fetched", START_MS + 20)
    queue.progress(1, note="")
    assert (queue.extras(1).percent, queue.extras(1).note) == (60, "")
    assert queue.job(1).due_ms == START_MS + LEASE_MS
    assert queue.events(1) == ["enqueue", "hand_out"]


def test_the_next_attempt_begins_without_progress(queue: Driver) -> None:
    """What the last one said is shown until then, and longer on a job that ended."""
    queue.enqueue("mail", "mail")
    queue.dequeue(2)
    queue.progress(1, percent=30, note="fetched")
    queue.progress(2, percent=90)
    queue.fail(1, retry_in_ms=0)
    queue.conclude(2)
    assert (queue.extras(1).percent, queue.extras(2).percent) == (30, 90)
    queue.dequeue()
    assert (queue.extras(1).percent, queue.extras(1).note, queue.extras(1).progress_ms) == (None, None, 0)


def test_a_job_nobody_holds_makes_no_progress(queue: Driver) -> None:
    """Nor does somebody else's."""
    queue.enqueue("mail")
    assert queue.progress(1, percent=1) == "not_in_progress"
    [job] = queue.dequeue()
    assert queue.progress(1, job.lease_token + 1, 1) == "lease_lost"
    assert queue.job(1).extras is None


def test_a_consumer_that_asks_learns_that_its_job_was_cancelled(queue: Driver) -> None:
    """From extend and from progress, one or many; both are done all the same."""
    queue.enqueue("mail", "mail")
    queue.dequeue(2)
    queue.cancel(2)
    extended, told = queue.perform(
        Extend([Extension(1), Extension(2)]), Progress([Report(1, None, 5), Report(2, None, 5)])
    )
    for settled in (extended, told):
        assert settled.outcomes == [Done("IN_PROGRESS"), Done("IN_PROGRESS", cancel_requested=True)]
    assert queue.extras(2).percent == 5
