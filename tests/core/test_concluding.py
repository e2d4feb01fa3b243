"""Conclude: who may, what it answers, and what stays of a finished job."""

from __future__ import annotations

import pytest

from cqueue.core import invariants
from cqueue.core.feed import Wanted
from cqueue.core.jobs import Job
from cqueue.core.operations import Conclude, Conclusion
from cqueue.core.results import Done
from tests.core.driver import LEASE_MS, START_MS, Driver, word


def test_the_holder_concludes_with_its_token(queue: Driver) -> None:
    """The answer has the finished job, result and all."""
    queue.enqueue("mail")
    [job] = queue.dequeue(consumer="ann")
    queue.now_ms += 5
    [settled] = queue.perform(Conclude([Conclusion(1, job.lease_token, b'{"sent": true}')]))
    assert settled.outcomes == [Done("CONCLUDED")]
    assert settled.job == Job(
        id=1,
        type="mail",
        status="CONCLUDED",
        queue="default",
        priority=500,
        payload=b"null",
        created_ms=START_MS,
        created_index=1,
        max_attempts=5,
        lease_ms=300_000,
        attempt=1,
        lease_token=1,
        consumer="ann",
        started_ms=START_MS,
        started_index=2,
        finished_ms=START_MS + 5,
        finished_index=3,
        result=b'{"sent": true}',
    )


def test_anyone_may_conclude_without_a_token_while_somebody_holds_the_job(queue: Driver) -> None:
    """As in the original API, which has no tokens."""
    queue.enqueue("mail")
    queue.dequeue()
    queue.conclude(1)
    assert queue.status(1) == "CONCLUDED"


@pytest.mark.parametrize("with_token", [True, False])
def test_to_conclude_twice_is_harmless(queue: Driver, *, with_token: bool) -> None:
    """The second answer is the first one: neither the time nor the result changes."""
    queue.enqueue("mail")
    [job] = queue.dequeue()
    token = job.lease_token if with_token else None
    assert queue.conclude(1, token, b"1") == "CONCLUDED"
    before = repr(queue.job(1))
    queue.now_ms += 1_000
    assert queue.conclude(1, token, b"2") == "CONCLUDED"
    assert repr(queue.job(1)) == before
    assert queue.stats() == {"CONCLUDED": 1}


def test_a_job_nobody_holds_is_not_in_progress(queue: Driver) -> None:
    """It stays in the queue, as it was."""
    queue.enqueue("mail")
    assert queue.conclude(1) == "not_in_progress"
    assert queue.dequeue_ids() == [1]


@pytest.mark.parametrize("token", [0, 2, 99])
def test_a_wrong_token_is_a_lost_lease(queue: Driver, token: int) -> None:
    """Whether it was never given, or was the token of another job; the holder is not disturbed."""
    queue.enqueue("mail", "mail")
    queue.dequeue(2)
    assert queue.conclude(1, token) == "lease_lost"
    assert queue.status(1) == "IN_PROGRESS"


@pytest.mark.parametrize("token", [0, 1])
def test_a_token_for_a_job_that_was_never_handed_out_is_a_lost_lease(queue: Driver, token: int) -> None:
    """Nought too, though that is how core notes that there was no token yet."""
    queue.enqueue("mail")
    assert queue.conclude(1, token) == "lease_lost"
    assert queue.status(1) == "QUEUED"


@pytest.mark.parametrize("job_id", [-1, 0, 2, 2**63])
def test_an_id_that_was_never_given_is_not_found(queue: Driver, job_id: int) -> None:
    """To read it and to conclude it alike."""
    queue.enqueue("mail")
    assert queue.status(job_id) == "not_found"
    assert queue.conclude(job_id) == "not_found"


def test_many_are_concluded_each_on_its_own(queue: Driver) -> None:
    """A refusal of one keeps none of the others from being done; outcomes come in the order asked."""
    queue.enqueue(*["mail"] * 4)
    jobs = queue.dequeue(3)
    [settled] = queue.perform(
        Conclude(
            [
                Conclusion(3, jobs[2].lease_token),
                Conclusion(9),
                Conclusion(2, jobs[0].lease_token),
                Conclusion(4),
                Conclusion(1),
                Conclusion(1),
            ]
        )
    )
    assert [word(outcome) for outcome in settled.outcomes] == [
        "CONCLUDED",
        "not_found",
        "lease_lost",
        "not_in_progress",
        "CONCLUDED",
        "CONCLUDED",
    ]
    assert settled.job is None
    assert queue.stats() == {"QUEUED": 1, "IN_PROGRESS": 1, "CONCLUDED": 2}


def test_many_conclusions_come_to_the_same_as_one_after_the_other() -> None:
    """Jobs of two queues, leases of two lengths, one job twice, a late one, a cancelled one, and few that are kept."""
    together, apart = Driver(), Driver()
    for queue in (together, apart):
        queue.machine.keep_feed(100)
        queue.set_queue("a", retention_jobs=2)
        queue.enqueue(*"xxxx", queue="a")
        queue.enqueue(*"xxx", queue="b")
        queue.dequeue(2, queues=("a",))
        queue.dequeue(5, queues=("a", "b"), lease_ms=2 * LEASE_MS)
        queue.dequeue(5, queues=("a", "b"), lease_ms=2 * LEASE_MS)
        queue.cancel(6)
    said = [
        Conclusion(job_id, token, result)
        for job_id, token, result in (
            (3, 3, None), (5, 5, b"5"), (1, 1, b"1"), (3, 3, b"again"), (2, 9, None),
            (6, 6, b"6"), (4, 4, None), (2, 2, b"2"), (3, 3, None), (7, 7, None),
        )
    ]  # fmt: skip
    [settled] = together.perform(Conclude(said))
    outcomes = [apart.perform(Conclude([each]))[0].outcomes[0] for each in said]
    assert [word(outcome) for outcome in settled.outcomes] == [word(outcome) for outcome in outcomes]
    assert [word(outcome) for outcome in outcomes].count("gone") == 1
    for queue in (together, apart):
        assert not invariants.check(queue.machine)
    assert together.stats("a") == apart.stats("a")
    assert together.stats("b") == apart.stats("b")
    assert [job.id for job in together.machine.state.jobs] == [job.id for job in apart.machine.state.jobs]
    assert told_of(together) == told_of(apart)


def told_of(queue: Driver) -> list[tuple[str, int]]:
    """What the feed says: events and ids, in order."""
    feed = queue.machine.feed
    assert feed is not None
    return [(one.event, one.id) for one in feed.look(Wanted(), feed.since)[0]]
