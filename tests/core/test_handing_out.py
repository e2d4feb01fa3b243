"""Enqueue and dequeue: which ids jobs get, and which job is handed out next."""

from __future__ import annotations

from collections.abc import Callable

from cqueue.core.operations import Conclude, Conclusion, Dequeue, Enqueue, Enqueued, NewJob, Refusal, Settled
from cqueue.simulation.model import show
from tests.core.driver import LEASE_MS, START_MS, Driver


def test_ids_are_1_2_3_in_the_order_of_the_log(queue: Driver) -> None:
    """Over requests of one and of many alike."""
    assert queue.enqueue("mail") == [1]
    assert queue.enqueue("mail", "scan", "mail") == [2, 3, 4]
    assert queue.enqueue("mail") == [5]


def test_a_fresh_job_shows_what_was_asked_and_when(queue: Driver) -> None:
    """Nobody has had it yet; the payload is the JSON text that came."""
    queue.enqueue("mail", payload=b'{"to": "ann", "n": 123456789012345678901234567890}')
    job = queue.get(1)
    assert not isinstance(job, Refusal)
    assert show(job) == {
        "id": 1,
        "type": "mail",
        "status": "QUEUED",
        "queue": "default",
        "priority": 500,
        "payload": b'{"to": "ann", "n": 123456789012345678901234567890}',
        "created_ms": START_MS,
        "attempt": 0,
        "max_attempts": 5,
    }


def test_jobs_of_one_priority_are_handed_out_first_in_first_out(queue: Driver) -> None:
    """The type's name alone makes no difference."""
    queue.enqueue("NOT_TIME_CRITICAL", "mail")
    queue.enqueue("scan")
    assert [queue.dequeue_ids() for _ in range(4)] == [[1], [2], [3], []]


def test_time_critical_jobs_are_handed_out_first(queue: Driver) -> None:
    """However many others came before; among themselves they too go first in, first out."""
    queue.enqueue("mail", "mail", "TIME_CRITICAL", "NOT_TIME_CRITICAL", "TIME_CRITICAL")
    assert queue.dequeue_ids(2) == [3, 5]
    queue.enqueue("TIME_CRITICAL")
    assert queue.dequeue_ids(9) == [6, 1, 2, 4]


def test_a_job_is_handed_out_to_one_consumer_only(queue: Driver) -> None:
    """The second consumer finds nothing."""
    queue.enqueue("mail")
    [job] = queue.dequeue(consumer="ann")
    assert (job.id, job.status, job.consumer, job.attempt) == (1, "IN_PROGRESS", "ann", 1)
    assert job.lease_expires_ms == START_MS + LEASE_MS
    assert queue.dequeue(consumer="bob") == []


def test_dequeue_hands_out_as_many_as_there_are_and_no_more_than_asked(queue: Driver) -> None:
    """Too few is no error."""
    queue.enqueue(*["mail"] * 5)
    assert queue.dequeue_ids(3) == [1, 2, 3]
    assert queue.dequeue_ids(3) == [4, 5]
    assert queue.dequeue_ids(3) == []


def test_each_hand_out_has_a_token_of_its_own_and_tokens_only_grow(queue: Driver) -> None:
    """Over jobs and over attempts of one job, without gaps."""
    queue.enqueue("mail", "mail")
    tokens = [job.lease_token for job in queue.dequeue(2)]
    queue.pass_time(LEASE_MS)
    tokens += [job.lease_token for job in queue.dequeue(2)]
    assert tokens == [1, 2, 3, 4]


def test_a_returned_job_goes_to_the_place_of_its_id(queue: Driver) -> None:
    """Before younger jobs of its priority, behind jobs of a better one."""
    queue.enqueue("mail", "mail", "mail", "TIME_CRITICAL")
    queue.conclude(queue.dequeue()[0].id)
    queue.dequeue(2)
    queue.enqueue("mail", "TIME_CRITICAL")
    queue.pass_time(LEASE_MS)
    assert queue.dequeue_ids(9) == [6, 1, 2, 3, 5]


def test_jobs_that_return_out_of_order_are_handed_out_in_order(queue: Driver) -> None:
    """The lease that ended first is not what counts."""
    queue.enqueue("mail", "mail", "mail")
    for lease_ms in (3_000, 1_000, 2_000):
        queue.dequeue(lease_ms=lease_ms)
    for _ in range(3):
        queue.pass_time(1_000)
    assert queue.dequeue_ids(3) == [1, 2, 3]


def test_one_answer_carries_no_more_payload_than_its_bound(queue: Driver, limit: Callable[..., None]) -> None:
    """The job that would not fit stays first in line and costs neither a token nor an attempt."""
    limit(DEQUEUE_PAYLOAD_BYTES_MAX=10)
    queue.enqueue(*["mail"] * 5, payload=b"12345")
    assert queue.dequeue_ids(5) == [1, 2]
    job = queue.get(3)
    assert not isinstance(job, Refusal)
    assert (job.status, job.attempt, job.lease_token) == ("QUEUED", 0, 0)
    [third, fourth] = queue.dequeue(5)
    assert [third.id, third.lease_token, fourth.id, fourth.lease_token] == [3, 3, 4, 4]


def test_a_job_larger_than_the_bound_is_handed_out_alone(queue: Driver, limit: Callable[..., None]) -> None:
    """Otherwise nobody would ever get it, nor any job behind it."""
    limit(DEQUEUE_PAYLOAD_BYTES_MAX=10)
    queue.enqueue("mail", payload=b"123")
    queue.enqueue("mail", payload=b"12345678901")
    queue.enqueue("mail", payload=b"123")
    assert [queue.dequeue_ids(3) for _ in range(4)] == [[1], [2], [3], []]


def test_a_full_queue_refuses_all_of_a_request_and_uses_up_no_ids(queue: Driver, limit: Callable[..., None]) -> None:
    """All or none: a part that would fit is not taken either. Jobs in progress count, finished ones do not."""
    limit(LIVE_JOBS_MAX=3)
    queue.enqueue("mail", "mail")
    queue.dequeue()
    before = queue.stats()
    [refusal] = queue.perform(Enqueue([NewJob("mail", b"null"), NewJob("mail", b"null")]))
    assert isinstance(refusal, Refusal)
    assert refusal == Refusal("queue_full", "the queue holds its maximum of 3 jobs")
    assert queue.stats() == before
    assert queue.enqueue("mail") == [3]
    queue.conclude(1)
    assert queue.enqueue("mail") == [4]


def test_stats_count_jobs_by_status(queue: Driver) -> None:
    """An empty queue is a queue with noughts."""
    assert queue.stats() == {"QUEUED": 0, "IN_PROGRESS": 0, "CONCLUDED": 0, "DEAD": 0}
    queue.enqueue(*["mail"] * 6)
    queue.dequeue(3)
    queue.conclude(2)
    assert queue.stats() == {"QUEUED": 3, "IN_PROGRESS": 2, "CONCLUDED": 1, "DEAD": 0}


def test_an_answer_shows_its_job_as_it_was_when_it_was_handed_out(queue: Driver) -> None:
    """Even if somebody else concludes it blindly in the same entry: the consumer needs its token."""
    queue.enqueue("mail")
    handed_out, settled = queue.perform(Dequeue(1, LEASE_MS, "ann"), Conclude([Conclusion(1, None, b"7")]))
    [job] = handed_out.jobs
    assert (job.status, job.lease_token, job.result) == ("IN_PROGRESS", 1, None)
    assert isinstance(settled, Settled)
    [outcome] = settled.outcomes
    assert not isinstance(outcome, Refusal)
    assert (outcome.status, outcome.result) == ("CONCLUDED", b"7")
    assert queue.status(1) == "CONCLUDED"


def test_operations_of_one_entry_see_what_those_before_them_did(queue: Driver) -> None:
    """In the order of the entry."""
    enqueued, dequeued, nothing, more = queue.perform(
        Enqueue([NewJob("mail", b"null")]),
        Dequeue(5, LEASE_MS),
        Dequeue(5, LEASE_MS),
        Enqueue([NewJob("mail", b"null")]),
    )
    assert enqueued == Enqueued([1])
    assert [job.id for job in dequeued.jobs] == [1]
    assert nothing.jobs == []
    assert more == Enqueued([2])
