"""The invariants: silent on a sound queue, and each breach is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from cqueue.core import invariants
from cqueue.core.jobs import Change, Job, Unique
from cqueue.core.keys import Added, Remembered
from cqueue.core.machine import StateMachine
from cqueue.core.queues import Queue
from cqueue.core.uniqueness import Taken
from tests.core.driver import LEASE_MS, START_MS, Driver

HELD_UNTIL_MS = START_MS + 10 + LEASE_MS
DELAYED_UNTIL_MS = START_MS + 500_000
EXPIRES_MS = START_MS + 900_000
WINDOW_ENDS_MS = START_MS + 800_000


def given_a_sound_queue() -> StateMachine:
    """Jobs in every status.

    1 is concluded, 2 dead, 3 and 4 in progress (4 was asked to stop), 5 and 6 queued, 7 scheduled, 8 cancelled.
    5 has a tag, expires and has the key k, 6 the window l. One session has settled what it did, and two
    keys are remembered.
    """
    queue = Driver()
    queue.enqueue(*["mail"] * 4)
    queue.enqueue("mail", tags={"to": "ann"}, expires_in_ms=900_000, unique=Unique("k"))
    queue.enqueue("mail", unique=Unique("l", "window", 800_000))
    queue.enqueue("mail", delay_ms=500_000)
    queue.enqueue("mail", queue="a", payload=b"")
    queue.now_ms += 10
    queue.dequeue(4)
    queue.conclude(1)
    queue.now_ms += 10
    queue.fail(2, retryable=False)
    queue.cancel(4)
    queue.cancel(8)
    queue.machine.keys.remember(Remembered("first", b"", 1, 2, Added(1, 1)))
    queue.machine.keys.remember(Remembered("early", b"", 2, 2, Added(1, 1)))
    assert queue.statuses(*range(1, 9)) == [
        "CONCLUDED",
        "DEAD",
        *["IN_PROGRESS"] * 2,
        *["QUEUED"] * 2,
        "SCHEDULED",
        "CANCELLED",
    ]
    return queue.machine


def job(machine: StateMachine, job_id: int) -> Job:
    """One of them."""
    return machine.state.jobs[job_id]


def default(machine: StateMachine) -> Queue:
    """The queue of most of them."""
    return machine.state.queues["default"]


def spoil(job_id: int, **fields: Any) -> Callable[[StateMachine], None]:
    """Make a job say something else of itself."""

    def breach(machine: StateMachine) -> None:
        for name, value in fields.items():
            setattr(job(machine, job_id), name, value)

    return breach


def swap_finished(machine: StateMachine) -> None:
    """The later one first."""
    default(machine).finished.move_to_end(1)


def lose_a_job(machine: StateMachine) -> None:
    """As if it had never been there."""
    machine.state.jobs.take([3])


def mix_up_the_order(machine: StateMachine) -> None:
    """Job 5 stands behind job 6."""
    run = default(machine).ready.types["mail"]._by_priority[500]._fresh
    run.ids[run.head :] = [6, 5]


def take_the_best(machine: StateMachine) -> None:
    """Job 5, and it is not handed out."""
    default(machine).ready.take(1, None)


def misfile(machine: StateMachine) -> None:
    """Job 3 where a copy of it stands."""
    machine.state.jobs._blocks[0] = dict(machine.state.jobs._blocks[0])
    machine.state.jobs._blocks[0][3] = replace(job(machine, 3), id=33)


def take_key(key: str, job_id: int, queue: str = "default") -> Callable[[StateMachine], None]:
    """For a job that does not know."""
    return lambda machine: machine.state.uniques.take(queue, key, job_id, 0)


def add_a_line_of_none(machine: StateMachine) -> None:
    """A type without jobs has no line."""
    default(machine).ready._lines("scan")


def keep_a_queue_for_nothing(machine: StateMachine) -> None:
    """It has neither jobs nor settings."""
    machine.state.queues["b"] = Queue("b")


def add_changes(*changes: Change) -> Callable[[StateMachine], None]:
    """Of job 4."""

    def add(machine: StateMachine) -> None:
        job(machine, 4).with_extras().changes += changes

    return add


def let_a_window_go(machine: StateMachine) -> None:
    """It is taken, and nobody will let go of it."""
    machine.state.uniques.windows.take_due(WINDOW_ENDS_MS, 1)


def add_a_window(machine: StateMachine) -> None:
    """That nobody has."""
    machine.state.uniques.windows.add(WINDOW_ENDS_MS, ["x"])


def loosen_a_unique_key(machine: StateMachine) -> None:
    """Its job says that it has another."""
    extras = job(machine, 5).with_extras()
    extras.unique = Unique("other")


LINE = "ready in default at 500 in the line of"

BREACHES: list[tuple[Callable[[StateMachine], object], list[str]]] = [
    (lambda m: setattr(m.state, "next_id", 8), ["id 8 stands before id 8"]),
    (
        misfile,
        [
            "id 33 stands before id 4",
            "job 33 is not found under its id",
            f"job 3 is due at {HELD_UNTIL_MS}, but it is IN_PROGRESS",
            f"job 33 should be due at {HELD_UNTIL_MS}, but it is not there",
        ],
    ),
    (
        lose_a_job,
        [
            "queue default has 1 jobs IN_PROGRESS, its count says 2",
            "there are 4 jobs that are not finished, their number says 5",
            "there are ",
            f"job 3 is due at {HELD_UNTIL_MS}, but it is unknown",
        ],
    ),
    (lambda m: default(m).counts.update({"QUEUED": 3}), ["queue default has 2 jobs QUEUED, its count says 3"]),
    (
        lambda m: m.state.queues["a"].counts.pop("QUEUED"),
        ["queue a counts SCHEDULED, IN_PROGRESS, CONCLUDED, DEAD, CANCELLED, EXPIRED instead of every status once"],
    ),
    (lambda m: setattr(m.state, "live", 6), ["there are 5 jobs that are not finished, their number says 6"]),
    (lambda m: setattr(m.state, "bytes", 1), ["there are 4129 bytes, their number says 1"]),
    (lambda m: setattr(m.state.jobs, "_size", 9), ["there are 8 jobs, their number says 9"]),
    (take_the_best, [f"job 5 should be {LINE} mail, but it is not there"]),
    (
        lambda m: default(m).ready.discard_tags(job(m, 5)),
        [f"job 5 should be {LINE} to=ann, but it is not there"],
    ),
    (
        lambda m: default(m).ready.append("mail", 500, [9]),
        [f"job 9 is {LINE} mail, but it is unknown"],
    ),
    (
        lambda m: default(m).ready.put_back(job(m, 3)),
        [f"job 3 is {LINE} mail, but it is IN_PROGRESS"],
    ),
    (
        lambda m: default(m).ready.append("scan", 500, [6]),
        [f"job 6 is {LINE} scan, but it is QUEUED"],
    ),
    (
        lambda m: default(m).ready.put_back(job(m, 6)),
        [f"job 6 is {LINE} mail, but it is QUEUED", "(priority, id) (500, 6) is to be handed out before (500, 6)"],
    ),
    (
        lambda m: m.state.due.discard(HELD_UNTIL_MS, 3),
        [f"job 3 should be due at {HELD_UNTIL_MS}, but it is not there"],
    ),
    (lambda m: m.state.due.add(HELD_UNTIL_MS, [5]), [f"job 5 is due at {HELD_UNTIL_MS}, but it is QUEUED"]),
    (
        lambda m: m.state.due.discard(DELAYED_UNTIL_MS, 7),
        [f"job 7 should be due at {DELAYED_UNTIL_MS}, but it is not there"],
    ),
    (
        lambda m: m.state.expiries.discard(EXPIRES_MS, 5),
        [f"job 5 should be to expire at {EXPIRES_MS}, but it is not there"],
    ),
    (lambda m: m.state.expiries.add(EXPIRES_MS, [3]), [f"job 3 is to expire at {EXPIRES_MS}, but it is IN_PROGRESS"]),
    (lambda m: default(m).finished.pop(1), ["job 1 should be finished in default, but it is not there"]),
    (lambda m: default(m).finished.update({8: None}), ["job 8 is finished in default, but it is CANCELLED"]),
    (lambda m: default(m).finished.update({9: None}), ["job 9 is finished in default, but it is unknown"]),
    (swap_finished, ["job 2 stands before job 1, but finished later"]),
    (mix_up_the_order, ["(priority, id) (500, 6) is to be handed out before (500, 5)"]),
    (lambda m: setattr(default(m).ready, "_size", 3), ["2 jobs of queue default are ready, their number says 3"]),
    (
        lambda m: setattr(default(m).ready.tags["to", "ann"], "_size", 3),
        ["a line of queue default has 1 jobs, its number says 3"],
    ),
    (add_a_line_of_none, ["a line of queue default has 0 jobs, its number says 0"]),
    (spoil(3, lease_token=4), ["2 jobs have the lease token 4"]),
    (lambda m: setattr(m.state, "next_token", 4), ["lease token 4 was never given, the next one is 4"]),
    (spoil(5, lease_token=-1), ["lease token -1 was never given"]),
    (spoil(3, lease_token=0), ["job 3 is IN_PROGRESS without a lease token"]),
    (spoil(3, attempt=6), ["job 3 is IN_PROGRESS on attempt 6 of 5"]),
    (spoil(5, attempt=5), ["job 5 is QUEUED on attempt 5 of 5"]),
    (spoil(7, attempt=5), ["job 7 is SCHEDULED on attempt 5 of 5"]),
    (spoil(5, attempt=-1), ["job 5 is QUEUED on attempt -1 of 5"]),
    (spoil(5, created_ms=START_MS + 21), ["job 5 is of 1000021, 0 and 0, later than 1000020"]),
    (spoil(3, started_ms=START_MS + 21), ["job 3 is of 1000000, 1000021 and 0, later than 1000020"]),
    (spoil(5, created_index=99), ["job 5 was changed by an entry above 10"]),
    (spoil(3, finished_index=9), ["job 3 is IN_PROGRESS, but it has an end"]),
    (spoil(8, finished_index=0), ["job 8 is CANCELLED, but it is without end"]),
    (spoil(5, result=b""), ["job 5 is QUEUED, but it has a result"]),
    (spoil(5, due_ms=5), ["job 5 is QUEUED, but it is due at 5"]),
    (
        lambda m: setattr(job(m, 5).with_extras(), "cancel_requested_ms", 5),
        ["job 5 was asked to stop, but it is QUEUED"],
    ),
    (
        add_changes(Change("release", "QUEUED", START_MS, 99)),
        ["job 4 has request_cancel of 9 before release of 99"],
    ),
    (
        add_changes(Change("release", "QUEUED", START_MS + 20, 1)),
        ["job 4 has request_cancel of 9 before release of 1"],
    ),
    (
        lambda m: m.state.queues.update(b=m.state.queues.pop("a")),
        ["queue a is kept under the name b", "queue a has jobs, but it is not kept"],
    ),
    (keep_a_queue_for_nothing, ["queue b is kept for nothing"]),
    (
        lambda m: setattr(default(m), "retention_due_ms", 0),
        ["queue default has finished jobs, but nobody", "queue default is"],
    ),
    (
        lambda m: m.state.retention.discard(default(m).retention_due_ms, "default"),
        ["queue default is not looked at at 605800010, against its plan"],
    ),
    (lambda m: m.state.retention.add(9_000_000, ["x"]), ["queue x is looked at at 9000000, against its plan"]),
    (take_key("x", 99), ["unique key x is taken by job 99, which knows nothing of it"]),
    (take_key("x", 3), ["unique key x is taken by job 3, which knows nothing of it"]),
    (take_key("k", 5, "a"), ["unique key k is taken by job 5, which knows nothing of it"]),
    (loosen_a_unique_key, ["unique key k is taken by job 5, which knows nothing of it"]),
    (take_key("l", 6, "default"), ["unique key l (window) is taken by job 6, which is QUEUED"]),
    (let_a_window_go, ["1 unique keys until 1800000 would never be let go"]),
    (add_a_window, ["1 unique keys until 1800000 belong to nobody"]),
    (
        lambda m: m.state.due._sorted.clear() or m.state.due._order.clear(),
        [f"the next change is due at {WINDOW_ENDS_MS}, the earliest at {HELD_UNTIL_MS}"],
    ),
    (lambda m: m.sessions.dump()[0].applied.extend([50, 50]), ["session 7 has applied batch 50 twice"]),
    (
        lambda m: m.sessions.dump()[0].applied.append(1),
        ["session 7 lists batch 1, all below 10 are settled"],
    ),
    (
        lambda m: m.keys.remember(Remembered("late", b"", 1, 1, Added(1, 1))),
        ["key early stands before the older key late"],
    ),
    (lambda m: setattr(m.keys, "_weight", 5), ["keys weigh 4, and are taken to weigh more"]),
]


def test_a_sound_queue_breaks_none() -> None:
    """Nor does an empty one."""
    assert invariants.check(given_a_sound_queue()) == []
    assert invariants.check(StateMachine()) == []


@pytest.mark.parametrize(("breach", "expected"), BREACHES, ids=[expected[0] for _, expected in BREACHES])
def test_each_breach_is_named(breach: Callable[[StateMachine], object], expected: list[str]) -> None:
    """One thing is spoilt; what breaks by it is said, and nothing else."""
    machine = given_a_sound_queue()
    breach(machine)
    broken = invariants.check(machine)
    assert len(broken) == len(expected), broken
    for sentence, beginning in zip(broken, expected, strict=True):
        assert sentence.startswith(beginning)


def test_a_key_that_outlived_its_scope_is_named() -> None:
    """Its job does not wait any more."""
    queue = Driver()
    queue.enqueue("mail", unique=Unique("k", "queued"))
    queue.dequeue()
    queue.machine.state.uniques.take("default", "k", 1, 0)
    assert queue.machine.state.uniques.dump() == [Taken("default", "k", 1, 0)]
    assert invariants.check(queue.machine) == ["unique key k (queued) is taken by job 1, which is IN_PROGRESS"]


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"QUEUES_MAX": 1}, "2 queues are kept, the limit is 1"),
        ({"CHANGES_KEPT_MAX": 1}, "job 2 has 2 changes, the limit is 1"),
        ({"KEYS_WEIGHT_MAX": 1}, "keys weigh 4, more than 1"),
        ({"SESSIONS_MAX": 0}, "1 sessions are remembered, the limit is 0"),
    ],
)
def test_a_limit_that_does_not_hold_is_named(limit: Callable[..., None], bounds: dict[str, int], expected: str) -> None:
    """Each of them at one more than it allows."""
    machine = given_a_sound_queue()
    limit(**bounds)
    assert invariants.check(machine)[0] == expected


def test_every_invariant_is_told_in_prose() -> None:
    """What is checked can be read beside it."""
    assert all(invariant.__doc__ for invariant in invariants.INVARIANTS)
