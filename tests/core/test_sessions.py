"""Sessions: a batch is applied once, however often it arrives, and never after it was forgotten."""

from __future__ import annotations

from collections.abc import Callable

from cqueue.core.machine import StateMachine
from cqueue.core.operations import Enqueue, NewJob
from cqueue.core.sessions import Sessions
from tests.core.driver import Driver, batch

ONE_JOB = Enqueue([NewJob("mail", b"null")])


def arrive(queue: Driver, number: int, *, session: int = 1, done_below: int = 0) -> bool:
    """Whether the batch, which adds one job, was applied."""
    return queue.apply(batch(number, ONE_JOB, session=session, done_below=done_below)).results is not None


def test_a_batch_that_arrives_twice_is_applied_once(queue: Driver) -> None:
    """The second time changes nothing, and says whose batch it was."""
    assert arrive(queue, 1)
    again = queue.apply(batch(1, ONE_JOB, session=1))
    assert (again.session, again.number, again.results) == (1, 1, None)
    assert queue.stats() == {"QUEUED": 1}


def test_a_repeated_batch_still_moves_the_time(queue: Driver) -> None:
    """Its stamp is the leader's word all the same."""
    arrive(queue, 1)
    queue.now_ms += 5
    arrive(queue, 1)
    assert queue.machine.now_ms == queue.now_ms


def test_batches_may_arrive_in_any_order_within_the_window(queue: Driver) -> None:
    """Several are on their way at once; each is applied once."""
    assert [arrive(queue, number) for number in (1, 4, 2, 3, 4, 2, 1)] == [True, True, True, True, False, False, False]
    assert queue.stats() == {"QUEUED": 4}


def test_a_batch_below_the_settled_mark_is_refused(queue: Driver) -> None:
    """Whether it was applied before or not: its session has given it up."""
    assert arrive(queue, 1)
    assert arrive(queue, 5, done_below=4)
    assert not arrive(queue, 3)
    assert arrive(queue, 4)


def test_the_settled_mark_never_goes_back(queue: Driver) -> None:
    """A batch that was sent earlier carries an older mark."""
    arrive(queue, 1)
    arrive(queue, 9, done_below=9)
    arrive(queue, 10, done_below=2)
    assert not arrive(queue, 3)


def test_a_batch_may_be_settled_by_its_own_mark(queue: Driver) -> None:
    """It is applied once all the same."""
    assert arrive(queue, 1, done_below=2)
    assert not arrive(queue, 1)
    assert arrive(queue, 2)


def test_what_is_settled_is_not_listed_any_more(queue: Driver) -> None:
    """The window stays small however long a session lives."""
    for number in range(1, 101):
        arrive(queue, number, done_below=max(1, number - 2))
    [session] = queue.machine.sessions.dump()
    assert (session.done_below, session.applied) == (98, [98, 99, 100])


def test_a_session_begins_with_its_first_batch(queue: Driver) -> None:
    """Any other could be the repeat of one from a session that was forgotten."""
    assert not arrive(queue, 2)
    assert not arrive(queue, 0)
    assert 1 not in queue.machine.sessions
    assert arrive(queue, 1)
    assert 1 in queue.machine.sessions
    assert arrive(queue, 2)
    assert not arrive(queue, 0)


def test_sessions_do_not_share_numbers(queue: Driver) -> None:
    """Each incarnation of a replica counts from 1."""
    assert arrive(queue, 1, session=1)
    assert arrive(queue, 1, session=2)
    assert not arrive(queue, 1, session=2)


def test_an_entry_of_no_session_is_always_applied(queue: Driver) -> None:
    """Nought is no session: nobody waits for it, and nobody repeats it."""
    assert arrive(queue, 0, session=0)
    assert arrive(queue, 0, session=0)
    assert queue.machine.sessions.dump() == []


def test_the_session_that_was_silent_longest_is_forgotten(queue: Driver, limit: Callable[..., None]) -> None:
    """Its batches are refused from then on: they may have been applied, and there is no way to tell."""
    limit(SESSIONS_MAX=2)
    arrive(queue, 1, session=1)
    arrive(queue, 1, session=2)
    arrive(queue, 2, session=1)
    arrive(queue, 1, session=3)
    assert [session.id for session in queue.machine.sessions.dump()] == [1, 3]
    assert not arrive(queue, 2, session=2)
    assert arrive(queue, 3, session=1)


def test_a_refused_batch_keeps_no_session_alive(queue: Driver, limit: Callable[..., None]) -> None:
    """Only what it still does counts, not what it repeats."""
    limit(SESSIONS_MAX=2)
    arrive(queue, 1, session=1)
    arrive(queue, 1, session=2)
    arrive(queue, 1, session=1)
    arrive(queue, 1, session=3)
    assert 1 not in queue.machine.sessions


def test_a_replica_can_tell_what_of_its_own_was_applied() -> None:
    """Also what its own mark has settled; of a session nobody knows, nothing."""
    sessions = Sessions()
    for number, done_below in ((1, 1), (2, 2), (4, 2)):
        assert sessions.accept(8, number, done_below)
    assert [sessions.was_applied(8, number) for number in (1, 2, 3, 4, 5)] == [True, True, False, True, False]
    assert not sessions.was_applied(9, 1)


def test_a_restored_machine_refuses_what_was_applied_before(queue: Driver) -> None:
    """The window travels in the snapshot."""
    arrive(queue, 1)
    arrive(queue, 3)
    queue.machine = StateMachine.restore(queue.machine.snapshot())
    assert [arrive(queue, number) for number in (1, 2, 3, 4)] == [False, True, False, True]
