"""The table of transitions, tried in full: every status with every event, on the real machine."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest

from cqueue.core import jobs, limits
from cqueue.core.jobs import (
    CONCLUDED,
    DEAD,
    FINISHED,
    IN_PROGRESS,
    QUEUED,
    STATUSES,
    TRANSITIONS,
    Event,
    Status,
)
from tests.core.driver import LEASE_MS, Driver

EVENTS: tuple[Event, ...] = get_args(Event)
PAIRS = list(product(STATUSES, EVENTS))
REFUSED = [pair for pair in PAIRS if pair not in TRANSITIONS]


def given_a_job(queue: Driver, status: Status, attempts: int) -> int:
    """A job that got to `status` by the ways the queue has; its last lease was its `attempts`th, if it had any."""
    [job_id] = queue.enqueue("mail")
    if status == DEAD:
        attempts = limits.ATTEMPTS_MAX_DEFAULT
    for _ in range(attempts - 1):
        queue.dequeue()
        queue.pass_time(LEASE_MS)
    if status != QUEUED:
        queue.dequeue()
    if status == CONCLUDED:
        queue.conclude(job_id)
    if status == DEAD:
        queue.pass_time(LEASE_MS)
    assert queue.status(job_id) == status
    return job_id


def let_happen(queue: Driver, event: Event, job_id: int) -> None:
    """What a consumer or time does to bring the event about, whatever the job's status."""
    match event:
        case "hand_out":
            queue.dequeue()
        case "conclude":
            queue.conclude(job_id)
        case "expire" | "expire_last":
            queue.pass_time(LEASE_MS)


@pytest.mark.parametrize(("status", "event"), PAIRS)
def test_an_event_moves_a_job_where_the_table_says_and_nowhere_else(
    queue: Driver, status: Status, event: Event
) -> None:
    """A pair that is not in the table leaves the job as it was, every field of it."""
    attempts = limits.ATTEMPTS_MAX_DEFAULT if event == "expire_last" else 1
    job_id = given_a_job(queue, status, attempts)
    before = queue.machine.snapshot()
    seen_before = repr(queue.get(job_id))
    let_happen(queue, event, job_id)
    assert queue.status(job_id) == TRANSITIONS.get((status, event), status)
    if (status, event) in REFUSED:
        assert repr(queue.get(job_id)) == seen_before
    else:
        assert queue.machine.snapshot() != before


@pytest.mark.parametrize(("status", "event"), REFUSED)
def test_a_pair_outside_the_table_is_refused_before_anything_changes(
    queue: Driver, status: Status, event: Event
) -> None:
    """Were core itself to try it, the missing key would stop it with nothing half done."""
    job_id = given_a_job(queue, status, 1)
    before = queue.machine.snapshot()
    counts = queue.stats()
    with pytest.raises(KeyError):
        queue.machine._move(queue.machine.jobs[job_id], event)
    assert queue.machine.snapshot() == before
    assert queue.stats() == counts


def test_the_table_knows_every_status_and_every_event() -> None:
    """Nothing is declared that cannot happen, and nothing happens that is not declared."""
    assert get_args(Status) == STATUSES
    assert {event for _, event in TRANSITIONS} == set(EVENTS)
    assert {status for status, _ in TRANSITIONS} | set(TRANSITIONS.values()) == set(STATUSES)


def test_a_finished_job_stays_as_it_is() -> None:
    """No event leads out of a finished status, and each of the others has a way out."""
    assert {status for status in STATUSES if not any(from_ == status for from_, _ in TRANSITIONS)} == FINISHED


def test_a_constant_is_named_as_it_is_spelt() -> None:
    """So that code, table and wire use one word."""
    assert [getattr(jobs, status) for status in STATUSES] == [QUEUED, IN_PROGRESS, CONCLUDED, DEAD]
    assert all(getattr(jobs, status) == status for status in STATUSES)
