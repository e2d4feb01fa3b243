"""History and explain: what happened to a job, and why it is not running."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cqueue.core.jobs import Change, Status
from cqueue.core.queries import Explain, GetHistory
from cqueue.core.results import History, Refusal
from tests.core.driver import LEASE_MS, START_MS, Driver, given_a_job


def test_a_plain_life_is_told_in_three_changes(queue: Driver) -> None:
    """Each with its time, its place in the log and whose it was."""
    queue.enqueue("mail")
    queue.now_ms += 10
    queue.dequeue(consumer="ann")
    queue.now_ms += 10
    queue.conclude(1)
    assert queue.changes(1) == [
        Change("enqueue", "QUEUED", START_MS, 1),
        Change("hand_out", "IN_PROGRESS", START_MS + 10, 2, 1, 1, "ann"),
        Change("conclude", "CONCLUDED", START_MS + 20, 3, 1, 1, "ann"),
    ]


def test_a_life_with_everything_is_told_in_order(queue: Driver) -> None:
    """Nothing twice, nothing left out."""
    queue.enqueue("mail", delay_ms=1_000, max_attempts=3)
    queue.pass_time(1_000)
    queue.dequeue(consumer="ann")
    queue.release(1)
    queue.dequeue(consumer="ann")
    queue.pass_time(LEASE_MS)
    queue.dequeue(consumer="bob")
    queue.fail(1, error="no", retry_in_ms=1_000)
    queue.pass_time(1_000)
    queue.dequeue(consumer="bob")
    queue.extend(1)
    queue.progress(1, percent=3)
    queue.fail(1, error="never")
    queue.redrive(1)
    queue.dequeue(consumer="cid")
    queue.cancel(1)
    queue.cancel(1)
    queue.conclude(1)
    told = [
        (change.event, change.status, change.lease_token, change.consumer, change.error) for change in queue.changes(1)
    ]
    assert told == [
        ("enqueue", "SCHEDULED", 0, None, None),
        ("become_due", "QUEUED", 0, None, None),
        ("hand_out", "IN_PROGRESS", 1, "ann", None),
        ("release", "QUEUED", 1, "ann", None),
        ("hand_out", "IN_PROGRESS", 2, "ann", None),
        ("lose_lease", "QUEUED", 2, "ann", None),
        ("hand_out", "IN_PROGRESS", 3, "bob", None),
        ("retry", "SCHEDULED", 3, "bob", "no"),
        ("become_due", "QUEUED", 3, "bob", None),
        ("hand_out", "IN_PROGRESS", 4, "bob", None),
        ("give_up", "DEAD", 4, "bob", "never"),
        ("redrive", "QUEUED", 4, "bob", None),
        ("hand_out", "IN_PROGRESS", 5, "cid", None),
        ("request_cancel", "IN_PROGRESS", 5, "cid", None),
        ("cancel", "CANCELLED", 5, "cid", None),
    ]


def test_only_the_newest_changes_are_remembered(queue: Driver, limit: Callable[..., None]) -> None:
    """The enqueue and what the job does now are told all the same, and how much is not."""
    limit(CHANGES_KEPT_MAX=3)
    queue.enqueue("mail")
    for _ in range(3):
        queue.dequeue()
        queue.release(1)
    queue.dequeue()
    history = queue.machine.query(GetHistory(1))
    assert isinstance(history, History)
    assert history.forgotten == 3
    assert [(change.event, change.lease_token) for change in history.changes] == [
        ("enqueue", 0),
        ("release", 2),
        ("hand_out", 3),
        ("release", 3),
        ("hand_out", 4),
    ]


def test_a_history_survives_a_snapshot(queue: Driver) -> None:
    """As it was."""
    queue.enqueue("mail")
    queue.dequeue()
    queue.fail(1, error="no", retry_in_ms=0)
    before = queue.changes(1)
    queue.restart()
    assert queue.changes(1) == before


@pytest.mark.parametrize(
    ("status", "reasons", "until_ms"),
    [
        ("SCHEDULED", ["delayed"], START_MS + 1_000),
        ("QUEUED", ["next"], 0),
        ("IN_PROGRESS", ["held"], START_MS + LEASE_MS),
        ("CONCLUDED", ["finished"], 0),
        ("DEAD", ["finished"], 0),
        ("CANCELLED", ["finished"], 0),
        ("EXPIRED", ["finished"], 0),
    ],
)
def test_a_job_says_why_it_is_not_running(queue: Driver, status: Status, reasons: list[str], until_ms: int) -> None:
    """And until when, if time alone changes it."""
    told = queue.explain(given_a_job(queue, status))
    assert (told.status, told.reasons, told.until_ms, told.ahead) == (status, reasons, until_ms, 0)


def test_a_failed_job_says_that_it_backs_off(queue: Driver) -> None:
    """That is not the same as a delay."""
    queue.enqueue("mail", delay_ms=500)
    queue.pass_time(500)
    queue.dequeue()
    queue.fail(1, retry_in_ms=1_000)
    assert (queue.explain(1).reasons, queue.explain(1).until_ms) == (["backing_off"], START_MS + 1_500)


def test_a_queued_job_says_how_many_are_ahead_of_it(queue: Driver) -> None:
    """Of its queue, by priority and id; those that left are none."""
    queue.enqueue(*["mail"] * 3, "TIME_CRITICAL")
    queue.enqueue("mail", queue="a")
    queue.enqueue("scan", priority=400)
    queue.enqueue("mail", priority=600)
    assert [queue.explain(job_id).ahead for job_id in (1, 2, 3, 4, 5, 6, 7)] == [2, 3, 4, 0, 0, 1, 5]
    assert [queue.explain(job_id).reasons for job_id in (3, 4, 5)] == [["behind"], ["next"], ["next"]]
    queue.cancel(2)
    queue.dequeue()
    assert [queue.explain(job_id).ahead for job_id in (1, 3, 7)] == [1, 2, 3]
    queue.release(4)
    assert queue.explain(3).ahead == 3


def test_a_job_of_a_paused_queue_says_so(queue: Driver) -> None:
    """As long as it waits; to one that is held it makes no difference."""
    queue.enqueue("mail", "mail")
    queue.enqueue("mail", delay_ms=1_000)
    queue.dequeue()
    queue.set_queue(paused=True)
    assert [queue.explain(job_id).reasons for job_id in (1, 2, 3)] == [
        ["held"],
        ["next", "queue_paused"],
        ["delayed", "queue_paused"],
    ]


def test_a_held_job_says_that_it_was_asked_to_stop(queue: Driver) -> None:
    """Until it does."""
    queue.cancel(given_a_job(queue, "IN_PROGRESS"))
    assert queue.explain(1).reasons == ["held", "cancel_requested"]


def test_a_job_that_is_not_there_has_no_history_and_no_reasons(queue: Driver) -> None:
    """Gone or never there."""
    queue.purge(given_a_job(queue, "QUEUED"))
    for query, code in (
        (GetHistory(1), "gone"),
        (Explain(1), "gone"),
        (GetHistory(2), "not_found"),
        (Explain(2), "not_found"),
    ):
        answer = queue.machine.query(query)
        assert isinstance(answer, Refusal)
        assert answer.code == code
