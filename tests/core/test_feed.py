"""The feed: what is told of changes, in order, and for how long."""

from __future__ import annotations

from cqueue.core.feed import Changed, Feed, Wanted
from cqueue.core.machine import StateMachine
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
    Options,
    Progress,
    Purge,
    Redrive,
    Release,
    Report,
    SetQueue,
)
from tests.core.driver import Driver, batch

EVERYTHING = (0, 0)


def feed_of(queue: Driver) -> Feed:
    """The feed of a queue that keeps one."""
    feed = queue.machine.feed
    assert feed is not None
    return feed


def given_feed(changes_max: int = 100) -> Driver:
    """An empty queue that keeps a feed."""
    queue = Driver()
    queue.machine.keep_feed(changes_max)
    return queue


def told(queue: Driver, wanted: Wanted | None = None) -> list[Changed]:
    """All that is kept."""
    return feed_of(queue).look(wanted or Wanted(), feed_of(queue).since)[0]


def test_every_kind_of_change_is_told(queue: Driver) -> None:
    """With what the job was right after it."""
    queue.machine.keep_feed(100)
    queue.apply(batch(1, Enqueue([NewJob("a", b"1"), NewJob("b", b"2", "q", Options(delay_ms=10))])))
    queue.apply(batch(2, Dequeue(1, 1_000, "ada"), Extend([Extension(1)]), Progress([Report(1, percent=5)])))
    queue.apply(batch(3, Release([Held(1)]), Dequeue(1), Fail([FailedAttempt(1, error="no", retryable=False)])))
    queue.apply(batch(4, Redrive([1]), Dequeue(1), Cancel([1]), Conclude([Conclusion(1)]), Purge([1, 2])))
    assert [(one.index, one.position, one.event, one.id, one.status) for one in told(queue)] == [
        (1, 1, "enqueue", 1, "QUEUED"),
        (1, 2, "enqueue", 2, "SCHEDULED"),
        (2, 1, "hand_out", 1, "IN_PROGRESS"),
        (2, 2, "extend", 1, "IN_PROGRESS"),
        (2, 3, "progress", 1, "IN_PROGRESS"),
        (3, 1, "release", 1, "QUEUED"),
        (3, 2, "hand_out", 1, "IN_PROGRESS"),
        (3, 3, "give_up", 1, "DEAD"),
        (4, 1, "redrive", 1, "QUEUED"),
        (4, 2, "hand_out", 1, "IN_PROGRESS"),
        (4, 3, "request_cancel", 1, "IN_PROGRESS"),
        (4, 4, "cancel", 1, "CANCELLED"),
        (4, 5, "purge", 1, "CANCELLED"),
        (4, 6, "purge", 2, "SCHEDULED"),
    ]
    assert (told(queue)[2].consumer, told(queue)[7].error) == ("ada", "no")


def test_what_time_does_is_told_too(queue: Driver) -> None:
    """At the beginning of the entry that brought the time."""
    queue.machine.keep_feed(100)
    queue.apply(batch(1, Enqueue([NewJob("a", b"1", "q", Options(delay_ms=10))]), Enqueue([NewJob("a", b"1")])))
    queue.apply(batch(2, Dequeue(1, 1_000)))
    queue.now_ms += 2_000
    queue.apply(batch(3, Enqueue([NewJob("a", b"1")])))
    assert [(one.position, one.event) for one in told(queue) if one.index == 3] == [
        (1, "become_due"),
        (2, "lose_lease"),
        (3, "enqueue"),
    ]


def test_a_replica_that_starts_from_a_snapshot_tells_the_same_from_there_on() -> None:
    """Places are places in the log; what was before the snapshot it cannot tell."""
    queue = given_feed()
    queue.apply(batch(1, Enqueue([NewJob("a", b"1")] * 3)))
    other = StateMachine.restore(queue.machine.snapshot())
    other.keep_feed(100)
    queue.apply(batch(2, Dequeue(2)))
    other.apply(2, queue.log[-1])
    assert other.feed is not None
    assert other.feed.since == (1, 0)
    assert other.feed.look(Wanted(), (1, 0))[0] == [one for one in told(queue) if one.index == 2]


def test_only_the_newest_are_kept() -> None:
    """At least as many as one asked for, and not many more: what changed together goes together. It says since when."""
    queue = given_feed(20)
    for number in range(1, 11):
        queue.apply(batch(number, Enqueue([NewJob("a", b"1")] * 9)))
        queue.apply(batch(100 + number, Dequeue(1)))
    queue.apply(batch(200, Cancel([50, 51, 52, 53, 54])))
    kept = told(queue)
    assert 20 <= len(kept) < 20 + 9
    assert feed_of(queue).last == (21, 5)
    before = feed_of(queue).since
    assert (kept[0].index, kept[0].position) in {(before[0], before[1] + 1), (before[0] + 1, 1)}


def test_one_answer_tells_so_many_and_looks_at_so_many(queue: Driver, limit: object) -> None:
    """And says how far that is."""
    assert callable(limit)
    queue.machine.keep_feed(100)
    queue.apply(batch(1, Enqueue([NewJob(kind, b"1") for kind in "aabbab"])))
    feed = feed_of(queue)
    assert [one.id for one in feed.look(Wanted(count=2), EVERYTHING)[0]] == [1, 2]
    assert feed.look(Wanted(count=2), EVERYTHING)[1] == (1, 2)
    limit(LOOK_JOBS_MAX=3)
    found, after = feed.look(Wanted(types=("b",)), EVERYTHING)
    assert ([one.id for one in found], after) == ([3], (1, 3))
    assert feed.look(Wanted(types=("b",)), (1, 6)) == ([], (1, 6))


def test_one_can_want_some_only() -> None:
    """By queue, type, status and job, all of which must fit."""
    queue = given_feed()
    queue.apply(batch(1, Enqueue([NewJob("a", b"1"), NewJob("b", b"1", "q"), NewJob("a", b"1", "q")])))
    queue.apply(batch(2, Dequeue(1)))
    for wanted, expected in (
        (Wanted(queue="q"), [(1, 2), (1, 3)]),
        (Wanted(types=("a",)), [(1, 1), (1, 3), (2, 1)]),
        (Wanted(statuses=("IN_PROGRESS",)), [(2, 1)]),
        (Wanted(id=1), [(1, 1), (2, 1)]),
        (Wanted(reach=("q*",)), [(1, 2), (1, 3)]),
        (Wanted(reach=()), []),
        (Wanted(queue="q", types=("a",), id=2), []),
    ):
        assert [(one.index, one.position) for one in told(queue, wanted)] == expected


def test_nothing_is_told_where_nobody_asked_for_it(queue: Driver) -> None:
    """A state machine keeps none by itself."""
    queue.apply(batch(1, Enqueue([NewJob("a", b"1")])))
    assert queue.machine.feed is None


def test_nothing_is_told_twice_wherever_one_goes_on(queue: Driver) -> None:
    """From each place there is, also from one within what changed together, the rest is what came after it."""
    queue.machine.keep_feed(100)
    queue.apply(batch(1, Enqueue([NewJob("a", b"1")] * 3), Dequeue(2)))
    queue.apply(batch(2, SetQueue("default")))
    queue.apply(batch(3, Conclude([Conclusion(1), Conclusion(2)])))
    feed, everything = feed_of(queue), told(queue)
    places = [(one.index, one.position) for one in everything]
    assert len(places) == 7
    for position, place in enumerate(places):
        assert feed.look(Wanted(), place)[0] == everything[position + 1 :]
    assert feed.look(Wanted(), (2, 0))[0] == everything[5:]
    assert feed.look(Wanted(), (3, 0)) == (everything[5:], (3, 2))
    assert feed.look(Wanted(), (4, 0)) == ([], (4, 0))
