"""Enqueue and dequeue: which ids jobs get, and which job is handed out next."""

from __future__ import annotations

from collections.abc import Callable

from cqueue.core.jobs import STATUSES, Extras, Job
from cqueue.core.operations import (
    Cancel,
    Conclude,
    Conclusion,
    Dequeue,
    Enqueue,
    Extend,
    Extension,
    Fail,
    FailedAttempt,
    Held,
    NewJob,
    Progress,
    Release,
    Report,
)
from cqueue.core.queries import GetStats
from cqueue.core.queues import COUNTED
from cqueue.core.results import Dequeued, Enqueued, Stats
from tests.core.driver import LEASE_MS, START_MS, Driver


def test_ids_are_1_2_3_in_the_order_of_the_log(queue: Driver) -> None:
    """Over requests of one and of many alike."""
    assert queue.enqueue("mail") == [1]
    assert queue.enqueue("mail", "scan", "mail") == [2, 3, 4]
    assert queue.enqueue("mail") == [5]


def test_a_fresh_job_shows_what_was_asked_and_when(queue: Driver) -> None:
    """Nobody has had it yet; the payload is the JSON text that came."""
    queue.enqueue("mail", payload=b'{"to": "ann", "n": 123456789012345678901234567890}')
    assert queue.job(1) == Job(
        id=1,
        type="mail",
        status="QUEUED",
        queue="default",
        priority=500,
        payload=b'{"to": "ann", "n": 123456789012345678901234567890}',
        created_ms=START_MS,
        created_index=1,
        max_attempts=5,
        lease_ms=300_000,
    )


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
    assert job.due_ms == START_MS + LEASE_MS
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
    job = queue.job(3)
    assert (job.status, job.attempt, job.lease_token) == ("QUEUED", 0, 0)
    [third, fourth] = queue.dequeue(5)
    assert [third.id, third.lease_token, fourth.id, fourth.lease_token] == [3, 3, 4, 4]


def test_the_errors_of_a_job_count_for_the_bound(queue: Driver, limit: Callable[..., None]) -> None:
    """They are in the answer too, and so are tags and notes."""
    limit(DEQUEUE_PAYLOAD_BYTES_MAX=10)
    queue.enqueue("mail", "mail", "mail", payload=b"123")
    queue.dequeue()
    queue.fail(1, error="12345", retry_in_ms=0)
    assert [queue.dequeue_ids(5) for _ in range(2)] == [[1], [2, 3]]


def test_a_job_larger_than_the_bound_is_handed_out_alone(queue: Driver, limit: Callable[..., None]) -> None:
    """Otherwise nobody would ever get it, nor any job behind it."""
    limit(DEQUEUE_PAYLOAD_BYTES_MAX=10)
    queue.enqueue("mail", payload=b"123")
    queue.enqueue("mail", payload=b"12345678901")
    queue.enqueue("mail", payload=b"123")
    assert [queue.dequeue_ids(3) for _ in range(4)] == [[1], [2], [3], []]


def test_a_payload_that_fits_no_more_ends_the_answer_over_all_queues(queue: Driver, limit: Callable[..., None]) -> None:
    """What stands behind it is not taken in its place."""
    limit(DEQUEUE_PAYLOAD_BYTES_MAX=20)
    for name, payload in (("a", b"12345"), ("a", b"123456"), ("b", b"1")):
        queue.enqueue("mail", queue=name, payload=payload, tags={"to": "ann"})
    assert queue.dequeue_ids(5, queues=("a", "b")) == [1]
    assert queue.dequeue_ids(5, queues=("a", "b"), tags={"to": "ann"}) == [2, 3]


def test_stats_count_jobs_by_status(queue: Driver) -> None:
    """By queue; an empty cluster is an empty default queue."""
    zeros = dict.fromkeys(STATUSES, 0)
    assert queue.machine.query(GetStats()) == Stats(zeros, {"default": zeros}, dict.fromkeys(COUNTED, 0), 0)
    queue.enqueue(*["mail"] * 6)
    queue.enqueue("mail", queue="a", delay_ms=1_000)
    queue.dequeue(3)
    queue.conclude(2)
    assert queue.stats() == {"QUEUED": 3, "IN_PROGRESS": 2, "CONCLUDED": 1}
    assert queue.stats("a") == {"SCHEDULED": 1}


def test_stats_count_all_queues_together(queue: Driver) -> None:
    """What waits, what happened, and the oldest job that could be handed out; by queue only if asked for."""
    queue.enqueue("mail", queue="a", delay_ms=1_000)
    queue.now_ms += 500
    queue.enqueue("mail", queue="b")
    queue.now_ms += 100
    queue.enqueue("mail")
    stats = queue.machine.query(GetStats(by_queue=False))
    assert isinstance(stats, Stats)
    assert (stats.counts["SCHEDULED"], stats.counts["QUEUED"], stats.totals["enqueue"]) == (1, 2, 3)
    assert stats.oldest_ms == START_MS + 500
    assert stats.queues == {}


# -- which queues, types and tags ------------------------------------------------------------------


def test_priorities_are_served_lowest_first(queue: Driver) -> None:
    """Whatever the type: one that the job says counts more than its type's."""
    queue.enqueue("mail", priority=1_000)
    queue.enqueue("TIME_CRITICAL", priority=600)
    queue.enqueue("mail", "TIME_CRITICAL")
    queue.enqueue("mail", priority=0)
    assert queue.dequeue_ids(9) == [4, 5, 3, 2, 1]


def test_queues_are_served_in_the_order_given(queue: Driver) -> None:
    """The next one only when the one before has nothing, whatever the priorities; others not at all."""
    for name in ("a", "b", "default", "b", "a"):
        queue.enqueue("mail", queue=name, priority=0 if name == "a" else 5)
    assert queue.dequeue_ids(3, queues=("b", "a")) == [2, 4, 1]
    assert queue.dequeue_ids(9, queues=("b", "b", "x", "a")) == [5]
    assert queue.dequeue_ids(9) == [3]


def test_only_jobs_of_the_types_asked_for_are_handed_out(queue: Driver) -> None:
    """In the order they would be handed out anyway."""
    queue.enqueue("mail", "scan", "TIME_CRITICAL", "mail", "scan", "fax")
    assert queue.dequeue_ids(9, types=("scan", "TIME_CRITICAL", "scan")) == [3, 2, 5]
    assert queue.dequeue_ids(9, types=("none",)) == []
    assert queue.dequeue_ids(9) == [1, 4, 6]


def test_a_job_without_any_of_the_types_asked_for_is_never_handed_out(queue: Driver) -> None:
    """An empty list of types is not the same as none given."""
    queue.enqueue("mail")
    assert queue.dequeue_ids(types=()) == []


def test_only_jobs_with_all_the_tags_asked_for_are_handed_out(queue: Driver) -> None:
    """They may have others besides."""
    queue.enqueue("mail", tags={"to": "ann", "tier": "1"})
    queue.enqueue("mail", tags={"to": "ann", "tier": "2"})
    queue.enqueue("scan", tags={"to": "ann", "tier": "1", "from": "bob"})
    queue.enqueue("mail")
    assert queue.dequeue_ids(9, tags={"to": "eve"}) == []
    assert queue.dequeue_ids(9, tags={"to": "ann", "tier": "1"}, types=("scan",)) == [3]
    assert queue.dequeue_ids(9, tags={"to": "ann", "tier": "1"}) == [1]
    assert queue.dequeue_ids(9, tags={"to": "ann"}) == [2]
    assert queue.dequeue_ids(9) == [4]


def test_jobs_with_tags_come_back_to_where_they_were(queue: Driver) -> None:
    """By their tags too: released, due, or back from the dead."""
    queue.enqueue("mail", "mail", tags={"to": "ann"})
    queue.enqueue("mail", tags={"to": "ann"}, delay_ms=1_000)
    queue.dequeue(2, tags={"to": "ann"})
    queue.fail(1, retryable=False)
    queue.redrive(1)
    queue.release(2)
    queue.pass_time(1_000)
    assert queue.dequeue_ids(9, tags={"to": "ann"}) == [1, 2, 3]


def test_a_choosy_dequeue_passes_over_only_so_many_jobs(queue: Driver, limit: Callable[..., None]) -> None:
    """Of those that have the rarest of its tags; then it takes what it has."""
    limit(TAGGED_JOBS_SKIPPED_MAX=2)
    queue.enqueue(*["mail"] * 3, tags={"to": "ann"})
    queue.enqueue("scan", tags={"to": "ann"})
    assert queue.dequeue_ids(9, tags={"to": "ann"}, types=("scan",)) == []
    queue.dequeue(2)
    assert queue.dequeue_ids(9, tags={"to": "ann"}, types=("scan",)) == [4]


def test_a_hundred_types_share_one_queue_in_order(queue: Driver) -> None:
    """Though each type stands in a line of its own."""
    queue.enqueue(*(f"type {n * 37 % 100}" for n in range(300)))
    assert queue.dequeue_ids(300) == list(range(1, 301))


# -- operations of one entry -----------------------------------------------------------------------


def test_an_answer_shows_its_job_as_it_was_when_it_was_handed_out(queue: Driver) -> None:
    """Even if somebody else concludes it blindly in the same entry: the consumer needs its token."""
    queue.enqueue("mail")
    handed_out, settled = queue.perform(Dequeue(1, LEASE_MS, "ann"), Conclude([Conclusion(1, None, b"7")]))
    [job] = handed_out.jobs
    assert (job.status, job.lease_token, job.result) == ("IN_PROGRESS", 1, None)
    assert (settled.job.status, settled.job.result) == ("CONCLUDED", b"7")
    assert queue.status(1) == "CONCLUDED"


def test_each_answer_of_an_entry_shows_its_job_as_of_then(queue: Driver) -> None:
    """However often the job goes round in one entry."""
    queue.enqueue("mail")
    results = queue.perform(
        Dequeue(1, LEASE_MS, "ann"),
        Progress([Report(1, 1, 50, "half")]),
        Release([Held(1, 1)]),
        Dequeue(1, LEASE_MS, "bob"),
        Extend([Extension(1, 2, 5_000)]),
        Cancel([1]),
        Fail([FailedAttempt(1, 2, "no")]),
    )
    jobs = [result.jobs[0] if isinstance(result, Dequeued) else result.job for result in results]
    assert [(job.status, job.attempt, job.lease_token, job.consumer) for job in jobs] == [
        ("IN_PROGRESS", 1, 1, "ann"),
        ("IN_PROGRESS", 1, 1, "ann"),
        ("QUEUED", 0, 1, "ann"),
        ("IN_PROGRESS", 1, 2, "bob"),
        ("IN_PROGRESS", 1, 2, "bob"),
        ("IN_PROGRESS", 1, 2, "bob"),
        ("CANCELLED", 1, 2, "bob"),
    ]
    assert [job.due_ms - START_MS if job.due_ms else 0 for job in jobs] == [60_000, 60_000, 0, 60_000, 5_000, 5_000, 0]
    assert [(job.extras or Extras()).percent for job in jobs] == [None, 50, 50, None, None, None, None]
    assert [job.cancel_requested for job in jobs] == [False] * 5 + [True] * 2


def test_a_job_that_was_shown_expires_in_another_place(queue: Driver) -> None:
    """The answer before still shows it queued."""
    queue.enqueue("mail", expires_in_ms=1_000)
    queue.dequeue()
    queue.now_ms += 2_000
    released, dequeued = queue.perform(Release([Held(1)]), Dequeue(1, LEASE_MS))
    assert (released.job.status, dequeued.jobs) == ("QUEUED", [])
    assert queue.status(1) == "EXPIRED"


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
