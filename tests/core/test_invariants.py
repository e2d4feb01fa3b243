"""The invariants: silent on a sound queue, and each breach is named."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cqueue.core import invariants
from cqueue.core.keys import Added, Remembered
from cqueue.core.machine import StateMachine
from tests.core.driver import LEASE_MS, START_MS, Driver


def given_a_sound_queue() -> StateMachine:
    """Jobs in every status: 1 is dead, 2 concluded, 3 and 4 in progress, 5 and 6 queued.

    One session has settled what it did, and one key is remembered.
    """
    queue = Driver()
    queue.enqueue(*["mail"] * 6)
    for _ in range(5):
        queue.dequeue()
        queue.pass_time(LEASE_MS)
    queue.dequeue(3)
    queue.conclude(2)
    queue.machine.keys.remember(Remembered("early", b"", 2, 2, Added(1, 1)))
    assert [queue.status(n) for n in range(1, 7)] == ["DEAD", "CONCLUDED", *["IN_PROGRESS"] * 2, *["QUEUED"] * 2]
    return queue.machine


END_MS = START_MS + 6 * LEASE_MS


def swap_finished(machine: StateMachine) -> None:
    """The later one first."""
    machine.jobs[1].finished_ms = machine.now_ms - 1
    machine.finished.reverse()


def lose_a_job(machine: StateMachine) -> None:
    """As if it had never been there."""
    machine.ready.pop()
    del machine.jobs[5]
    machine.counts["default"]["QUEUED"] -= 1


def mix_up_the_order(machine: StateMachine) -> None:
    """Job 5 stands behind job 6."""
    machine.ready.pop()
    machine.ready.add(500, [5])


def refile(machine: StateMachine) -> None:
    """Job 6 under another number."""
    machine.jobs[7] = machine.jobs.pop(6)
    machine.next_id = 8


BREACHES: list[tuple[Callable[[StateMachine], object], list[str]]] = [
    (refile, ["job 6 is kept under the id 7", "1 ids below 8 have no job, though no job needed to be forgotten yet"]),
    (lambda m: setattr(m, "next_id", 6), ["id 6 stands before id 6"]),
    (lambda m: m.jobs.update({2: m.jobs.pop(2)}), ["id 6 stands before id 2"]),
    (lose_a_job, ["1 ids below 7 have no job, though no job needed to be forgotten yet"]),
    (
        lambda m: m.counts["default"].update({"QUEUED": 3}),
        ["queue default has 2 jobs QUEUED, its count says 3"],
    ),
    (
        lambda m: m.counts.pop("default"),
        [
            "queue default has 1 jobs CONCLUDED, its count says 0",
            "queue default has 1 jobs DEAD, its count says 0",
            "queue default has 2 jobs IN_PROGRESS, its count says 0",
            "queue default has 2 jobs QUEUED, its count says 0",
        ],
    ),
    (
        lambda m: m.counts.update(other={"QUEUED": 0}),
        ["queue other counts QUEUED instead of every status once"],
    ),
    (lambda m: m.ready.pop(), ["job 5 belongs in ready at priority 500, but it is not there"]),
    (lambda m: m.ready.add(500, [9]), ["job 9 is in ready at priority 500, but it is unknown"]),
    (
        lambda m: m.ready.add(0, [6]),
        ["job 6 is in ready at priority 0, but it is QUEUED"],
    ),
    (
        lambda m: m.ready.put_back(500, 3),
        ["job 3 is in ready at priority 500, but it is IN_PROGRESS"],
    ),
    (
        lambda m: m.ready.put_back(500, 5),
        ["job 5 is in ready at priority 500, but it is QUEUED", "(priority, id) (500, 5) is to be handed out before"],
    ),
    (
        lambda m: m.leases.discard(END_MS, 3),
        [f"job 3 belongs in leases until {END_MS}, but it is not there"],
    ),
    (
        lambda m: m.leases.add(END_MS, [5]),
        [f"job 5 is in leases until {END_MS}, but it is QUEUED"],
    ),
    (
        lambda m: m.leases.add(END_MS, [2]),
        [f"job 2 is in leases until {END_MS}, but it is CONCLUDED"],
    ),
    (
        lambda m: m.finished.popleft(),
        ["job 1 belongs in finished, but it is not there"],
    ),
    (
        lambda m: m.finished.append(2),
        ["job 2 is in finished, but it is CONCLUDED", "job 2 is finished twice"],
    ),
    (lambda m: m.finished.append(9), ["job 9 is in finished, but it is unknown"]),
    (swap_finished, ["job 2 stands before job 1, but finished later"]),
    (mix_up_the_order, ["(priority, id) (500, 6) is to be handed out before (500, 5)"]),
    (lambda m: setattr(m.ready, "_size", 3), ["2 jobs are ready, their number says 3"]),
    (
        lambda m: m.leases._times.clear(),
        [f"the next change is due at None, the earliest lease ends at {END_MS}"],
    ),
    (lambda m: setattr(m.jobs[3], "lease_token", m.jobs[4].lease_token), ["2 jobs have the lease token 8"]),
    (lambda m: setattr(m, "next_token", 8), ["lease token 8 was never given, the next one is 8"]),
    (lambda m: setattr(m.jobs[5], "lease_token", -1), ["lease token -1 was never given"]),
    (lambda m: setattr(m.jobs[3], "lease_token", 0), ["job 3 is IN_PROGRESS without a lease token"]),
    (lambda m: setattr(m.jobs[3], "attempt", 6), ["job 3 is IN_PROGRESS on attempt 6 of 5"]),
    (lambda m: setattr(m.jobs[5], "attempt", 5), ["job 5 is QUEUED on attempt 5 of 5"]),
    (lambda m: setattr(m.jobs[5], "attempt", -1), ["job 5 is QUEUED on attempt -1 of 5"]),
    (lambda m: setattr(m.jobs[5], "created_ms", m.now_ms + 1), ["job 5 is of "]),
    (lambda m: setattr(m.jobs[2], "finished_ms", m.now_ms + 1), ["job 2 is of "]),
    (lambda m: setattr(m.jobs[3], "finished_ms", m.now_ms), ["job 3 is IN_PROGRESS, but it has an end or a result"]),
    (lambda m: setattr(m.jobs[5], "result", b"1"), ["job 5 is QUEUED, but it has an end or a result"]),
    (
        lambda m: m.sessions.dump()[0].applied.extend([50, 50]),
        ["session 7 has applied batch 50 twice"],
    ),
    (
        lambda m: m.sessions.dump()[0].applied.append(1),
        ["session 7 lists batch 1, all below 8 are settled"],
    ),
    (
        lambda m: m.keys.remember(Remembered("late", b"", 1, 1, Added(1, 1))),
        ["key early stands before the older key late"],
    ),
    (lambda m: setattr(m.keys, "_weight", 3), ["keys weigh 2, and are taken to weigh more"]),
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


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"LIVE_JOBS_MAX": 3}, "4 jobs are not finished, the limit is 3"),
        ({"FINISHED_JOBS_MAX": 1}, "2 finished jobs are kept, the limit is 1"),
        ({"KEYS_WEIGHT_MAX": 1}, "keys weigh 2, more than 1"),
        ({"SESSIONS_MAX": 0}, "1 sessions are remembered, the limit is 0"),
    ],
)
def test_a_limit_that_does_not_hold_is_named(limit: Callable[..., None], bounds: dict[str, int], expected: str) -> None:
    """Each of them at one more than it allows."""
    machine = given_a_sound_queue()
    limit(**bounds)
    assert invariants.check(machine) == [expected]


def test_every_invariant_is_told_in_prose() -> None:
    """What is checked can be read beside it."""
    assert all(invariant.__doc__ for invariant in invariants.INVARIANTS)
