"""The table of transitions, tried in full: every status with every event, on the real machine."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest

from cqueue.core import jobs
from cqueue.core.jobs import DEAD, FINISHED, STATUSES, TRANSITIONS, WAITING, Event, Status
from tests.core.driver import LEASE_MS, Driver, given_a_job

EVENTS: tuple[Event, ...] = get_args(Event)
PAIRS = list(product(STATUSES, EVENTS))
REFUSED = [pair for pair in PAIRS if pair not in TRANSITIONS]


def given_a_job_that_may_meet(queue: Driver, status: Status, event: Event) -> int:
    """A job in `status`, made so that `event` comes next if it may come at all."""
    options = {"max_attempts": 1} if event == "lose_last_lease" else {}
    if event == "expire":
        options["expires_in_ms"] = LEASE_MS
    if status in WAITING:
        waits = {"delay_ms": LEASE_MS} if status == "SCHEDULED" else {}
        [job_id] = queue.enqueue("mail", **waits, **options)
        return job_id
    if status == "IN_PROGRESS":
        [job_id] = queue.enqueue("mail", **options)
        queue.dequeue()
        return job_id
    return given_a_job(queue, status)


def let_happen(queue: Driver, event: Event, job_id: int) -> None:
    """What a client or time does to bring the event about, whatever the job's status."""
    match event:
        case "hand_out":
            queue.dequeue()
        case "conclude":
            queue.conclude(job_id)
        case "retry":
            queue.fail(job_id, retry_in_ms=1)
        case "retry_now":
            queue.fail(job_id, retry_in_ms=0)
        case "give_up":
            queue.fail(job_id, retryable=False)
        case "release":
            queue.release(job_id)
        case "cancel":
            queue.cancel(job_id)
            queue.conclude(job_id)
        case "redrive":
            queue.redrive(job_id)
        case "become_due" | "lose_lease" | "lose_last_lease" | "expire":
            queue.pass_time(LEASE_MS)


def is_meant(status: Status, event: Event) -> bool:
    """Time and `cancel` bring about whatever is next for the job; is it what the pair is about?"""
    by_time = {
        "SCHEDULED": {"become_due", "expire"},
        "QUEUED": {"expire"},
        "IN_PROGRESS": {"lose_lease", "lose_last_lease"},
    }
    return event not in {"become_due", "lose_lease", "lose_last_lease", "expire"} or event in by_time.get(status, ())


@pytest.mark.parametrize(("status", "event"), TRANSITIONS)
def test_an_event_moves_a_job_where_the_table_says(queue: Driver, status: Status, event: Event) -> None:
    """And the job's history says that it did."""
    job_id = given_a_job_that_may_meet(queue, status, event)
    assert queue.status(job_id) == status
    let_happen(queue, event, job_id)
    assert queue.status(job_id) == TRANSITIONS[status, event]
    assert queue.changes(job_id)[-1].event == event
    assert queue.changes(job_id)[-1].status == TRANSITIONS[status, event]


@pytest.mark.parametrize(("status", "event"), [pair for pair in REFUSED if is_meant(*pair)])
def test_an_event_that_is_not_in_the_table_leaves_a_job_as_it_was(queue: Driver, status: Status, event: Event) -> None:
    """Every field of it."""
    job_id = given_a_job_that_may_meet(queue, status, event)
    before = repr(queue.get(job_id))
    let_happen(queue, event, job_id)
    assert repr(queue.get(job_id)) == before


@pytest.mark.parametrize("status", sorted(FINISHED))
def test_time_does_nothing_to_a_finished_job(queue: Driver, status: Status) -> None:
    """As long as it is kept."""
    job_id = given_a_job(queue, status)
    before = repr(queue.get(job_id))
    queue.pass_time(10 * LEASE_MS)
    assert repr(queue.get(job_id)) == before


@pytest.mark.parametrize(("status", "event"), REFUSED)
def test_a_pair_outside_the_table_is_refused_before_anything_changes(
    queue: Driver, status: Status, event: Event
) -> None:
    """Were core itself to try it, the missing key would stop it with nothing half done."""
    job_id = given_a_job(queue, status)
    before = queue.machine.snapshot()
    with pytest.raises(KeyError):
        queue.machine.state._move(queue.job(job_id), event)
    assert queue.machine.snapshot() == before


def test_the_table_knows_every_status_and_every_event() -> None:
    """Nothing is declared that cannot happen, and nothing happens that is not declared."""
    assert get_args(Status) == STATUSES
    assert {event for _, event in TRANSITIONS} == set(EVENTS)
    assert {status for status, _ in TRANSITIONS} | set(TRANSITIONS.values()) == set(STATUSES)


def test_only_the_dead_come_back() -> None:
    """No event leads out of another finished status, and each of those that are not finished has a way out."""
    without_exit = {status for status in STATUSES if not any(from_ == status for from_, _ in TRANSITIONS)}
    assert without_exit == FINISHED - {DEAD}


def test_every_status_is_waiting_held_or_finished() -> None:
    """One of the three."""
    assert set(STATUSES) == WAITING | {"IN_PROGRESS"} | FINISHED
    assert not WAITING & FINISHED


def test_a_constant_is_named_as_it_is_spelt() -> None:
    """So that code, table and wire use one word."""
    assert all(getattr(jobs, status) == status for status in STATUSES)
