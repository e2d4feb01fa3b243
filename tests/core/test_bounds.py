"""How much the cluster takes in: at the bound enqueue is refused, and everything else goes on."""

from __future__ import annotations

from collections.abc import Callable

from cqueue.core import invariants, limits
from cqueue.core.jobs import Unique
from cqueue.core.operations import Enqueue, NewJob, Options, SetBounds
from cqueue.core.results import Accepted, Refusal
from tests.core.driver import LEASE_MS, Driver, given_a_dead_job

JOB = NewJob("mail", b"null")


def refusal(queue: Driver, *jobs: NewJob) -> str:
    """The code with which these are refused together."""
    before = queue.stats(), queue.machine.state.next_id
    [result] = queue.perform(Enqueue(list(jobs)))
    assert isinstance(result, Refusal)
    assert (queue.stats(), queue.machine.state.next_id) == before
    return result.code


def set_bounds(queue: Driver, jobs: int = limits.JOBS_MAX_DEFAULT, bytes_: int = limits.BYTES_MAX_DEFAULT) -> None:
    """As the leader does."""
    assert queue.perform(SetBounds(jobs, bytes_)) == [Accepted()]
    assert queue.machine.bounds == (jobs, bytes_)


def test_a_full_cluster_refuses_all_of_a_request_and_uses_up_no_ids(queue: Driver) -> None:
    """All or none: a part that would fit is not taken either. Held and scheduled jobs count, finished ones do not."""
    set_bounds(queue, jobs=4)
    queue.enqueue("mail", "mail")
    queue.enqueue("mail", delay_ms=1_000)
    queue.dequeue()
    assert refusal(queue, JOB, JOB) == "queue_full"
    assert queue.enqueue("mail") == [4]
    assert refusal(queue, JOB) == "queue_full"
    queue.conclude(1)
    assert queue.enqueue("mail") == [5]


def test_everything_else_goes_on_at_the_bound(queue: Driver) -> None:
    """Jobs are handed out, fail, come back from the dead, and are concluded with a result."""
    queue.enqueue("mail", "mail")
    dead = given_a_dead_job(queue)
    set_bounds(queue, jobs=1, bytes_=1)
    assert queue.redrive(dead) == "QUEUED"
    queue.dequeue(3)
    assert queue.fail(1, error="x" * 100, retry_in_ms=0) == "QUEUED"
    assert queue.conclude(2, result=b'"' + b"x" * 1_000 + b'"') == "CONCLUDED"
    assert queue.release(dead) == "QUEUED"
    assert refusal(queue, JOB) == "queue_full"


def test_a_duplicate_needs_no_room(queue: Driver) -> None:
    """Nothing is added for it."""
    unique = NewJob("mail", b"null", options=Options(unique=Unique("k")))
    queue.perform(Enqueue([unique]))
    set_bounds(queue, jobs=1, bytes_=1)
    [result] = queue.perform(Enqueue([unique, unique]))
    assert (result.ids, result.duplicates) == ([1, 1], [0, 1])


def test_a_queue_may_have_a_depth_of_its_own(queue: Driver) -> None:
    """What waits counts, now or later; what is held or done does not. Other queues have room."""
    queue.set_queue(max_depth=2)
    queue.enqueue("mail")
    queue.enqueue("mail", delay_ms=1_000)
    assert refusal(queue, JOB) == "queue_full"
    assert refusal(queue, NewJob("mail", b"null", "a"), JOB) == "queue_full"
    assert queue.enqueue("mail", queue="a") == [3]
    queue.dequeue()
    assert queue.enqueue("mail") == [4]
    queue.set_queue(max_depth=0)
    assert queue.enqueue("mail", "mail") == [5, 6]


def test_a_job_that_comes_back_is_taken_whatever_the_depth(queue: Driver) -> None:
    """It was accepted once."""
    queue.set_queue(max_depth=1)
    queue.enqueue("mail")
    queue.dequeue()
    queue.enqueue("mail")
    queue.pass_time(LEASE_MS)
    assert queue.stats() == {"QUEUED": 2}


def test_payloads_take_up_room(queue: Driver) -> None:
    """And each job a little of its own."""
    set_bounds(queue, bytes_=2 * limits.JOB_BYTES + 100)
    assert refusal(queue, NewJob("mail", b"1" * 101), JOB) == "queue_full"
    assert queue.enqueue("mail", payload=b"1" * 60) == [1]
    assert refusal(queue, NewJob("mail", b"1" * 41)) == "queue_full"
    assert queue.enqueue("mail", payload=b"1" * 40) == [2]


def test_everything_that_is_kept_takes_up_room_until_it_is_forgotten(queue: Driver) -> None:
    """Results, errors, notes and tags too."""
    queue.enqueue("mail", "mail", tags={"to": "ann"}, payload=b"12345")
    assert queue.machine.state.bytes == 2 * (limits.JOB_BYTES + 5 + 5)
    queue.dequeue(2)
    queue.conclude(1, result=b"1234567")
    queue.fail(2, error="no such user")
    queue.purge(1)
    assert queue.machine.state.bytes == limits.JOB_BYTES + 10 + len("no such user")
    queue.purge(2)
    assert queue.machine.state.bytes == 0


def test_the_room_of_progress_is_given_back(queue: Driver) -> None:
    """By the next note, and by the next attempt."""
    queue.enqueue("mail")
    queue.dequeue()
    for note in ("fetched", "sent"):
        queue.progress(1, note=note)
        assert queue.machine.state.bytes == limits.JOB_BYTES + 4 + len(note)
    queue.release(1)
    queue.dequeue()
    assert queue.machine.state.bytes == limits.JOB_BYTES + 4
    assert invariants.check(queue.machine) == []


def test_finished_jobs_make_room(queue: Driver) -> None:
    """First where most of them are kept, there the one that finished first; no more than needed."""
    for name in ("a", "b", "b", "a", "b"):
        queue.cancel(queue.enqueue("mail", queue=name, payload=b"")[0])
    set_bounds(queue, bytes_=5 * limits.JOB_BYTES)
    assert queue.enqueue("mail", payload=b"") == [6]
    assert queue.statuses(1, 2, 3, 4, 5) == ["CANCELLED", "gone", "CANCELLED", "CANCELLED", "CANCELLED"]


def test_only_so_many_jobs_make_room_at_once(queue: Driver, limit: Callable[..., None]) -> None:
    """So that one request stalls nobody: it is refused, and the next one finds room."""
    limit(ROOM_JOBS_MAX=2, SWEEP_JOBS_MAX=1)
    for _ in range(5):
        queue.cancel(queue.enqueue("mail", payload=b"")[0])
    set_bounds(queue, bytes_=5 * limits.JOB_BYTES)
    large = NewJob("mail", b"1" * 3 * limits.JOB_BYTES)
    [first, second] = queue.perform(Enqueue([large]), Enqueue([large]))
    assert isinstance(first, Refusal)
    assert first.code == "queue_full"
    assert second.ids == [6]
    assert queue.statuses(1, 2, 3, 4, 5) == ["gone", "gone", "gone", "gone", "CANCELLED"]


def test_a_cluster_without_any_queue_can_be_full(queue: Driver) -> None:
    """There is nothing to forget."""
    set_bounds(queue, bytes_=1)
    assert refusal(queue, JOB) == "queue_full"


def test_there_are_only_so_many_unique_keys(queue: Driver, limit: Callable[..., None]) -> None:
    """Windows outlive their jobs: they must not pile up either."""
    limit(UNIQUE_KEYS_MAX=1)
    queue.enqueue("mail", unique=Unique("k", "window", 1_000))
    queue.purge(1)
    assert refusal(queue, NewJob("mail", b"1", options=Options(unique=Unique("l")))) == "queue_full"
    assert queue.enqueue("mail") == [2]
    queue.pass_time(1_000)
    assert queue.enqueue("mail", unique=Unique("l")) == [3]


def test_bounds_survive_a_snapshot(queue: Driver) -> None:
    """They are in the log, so that all replicas agree."""
    set_bounds(queue, jobs=1)
    queue.enqueue("mail")
    queue.restart()
    assert queue.machine.bounds == (1, limits.BYTES_MAX_DEFAULT)
    assert refusal(queue, JOB) == "queue_full"
