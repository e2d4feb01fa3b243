"""The search that needs no log: what it accepts, what it refuses, and when it gives up."""

from __future__ import annotations

from typing import Any

import pytest

from cqueue import protocol
from cqueue.core.jobs import IN_PROGRESS, Job
from cqueue.core.operations import Dequeue, Enqueue, NewJob, Operation
from cqueue.core.results import Dequeued, Enqueued, Result
from cqueue.simulation import checkers, linearizability
from cqueue.simulation.linearizability import Call, Undecided, is_linearizable
from cqueue.simulation.run import run
from cqueue.simulation.workload import Asked, encode


def register(value: int, what: Any) -> tuple[int, Any]:
    """The sequential object of the textbooks: ("write", n) or "read"."""
    return (value, value) if what == "read" else (what[1], None)


def explains(*calls: Call) -> bool:
    """Whether a register that holds 0 at first can have answered so."""
    return is_linearizable(calls, 0, register)


def write(value: int, began: float, ended: float | None) -> Call:
    """A write; without an end it was never answered."""
    return Call(("write", value), began) if ended is None else Call(("write", value), began, ended)


def read(value: int, began: float, ended: float) -> Call:
    """A read and what it was told."""
    return Call("read", began, ended, value)


def test_what_happened_one_after_the_other_has_one_order() -> None:
    """The one it happened in."""
    assert explains(write(1, 0, 1), read(1, 2, 3), write(2, 4, 5), read(2, 6, 7))
    assert not explains(write(1, 0, 1), read(0, 2, 3))
    assert not explains(write(1, 0, 1), write(2, 2, 3), read(1, 4, 5))


def test_what_overlaps_may_have_happened_in_either_order() -> None:
    """But for all who look it is the same one."""
    assert explains(write(1, 0, 10), read(0, 1, 2), read(1, 3, 4))
    assert not explains(write(1, 0, 10), read(1, 1, 2), read(0, 3, 4))
    assert explains(write(1, 0, 10), write(2, 0, 10), read(2, 11, 12))
    assert not explains(write(1, 0, 10), write(2, 0, 10), read(2, 11, 12), read(1, 13, 14))


def test_what_was_never_answered_may_have_happened_late_or_never() -> None:
    """Once it was seen it stays."""
    assert explains(write(1, 0, None), read(0, 1, 2), read(1, 30, 31))
    assert explains(write(1, 0, None), read(0, 1, 2), read(0, 30, 31))
    assert not explains(write(1, 5, None), read(1, 1, 2))
    assert not explains(write(1, 0, None), read(1, 1, 2), read(0, 3, 4))


def test_nothing_is_explained_by_nothing() -> None:
    """No calls, or none that was answered."""
    assert explains()
    assert explains(write(1, 0, None))


def test_a_search_that_takes_too_long_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not say that all is well."""
    monkeypatch.setattr(linearizability, "STATES_MAX", 100)
    with pytest.raises(Undecided):
        explains(*(write(value, 0, 100) for value in range(1, 20)), read(99, 101, 102))


def given_history(*told: tuple[Operation, float, float, Result]) -> list[Asked]:
    """What clients asked and were told: (what, asked at, answered at, result)."""
    return [
        Asked(number, "n1", what, asked_s, answered_s, protocol.RESULT, 1, encode(result))
        for number, (what, asked_s, answered_s, result) in enumerate(told)
    ]


def handed_out(job_id: int, token: int) -> Dequeued:
    """A dequeue's answer with one job, as it is right after its first hand-out."""
    job = Job(job_id, "A", IN_PROGRESS, "default", 500, b"1", 7, 1, 5, 300_000, 9, 1, token, None, 8, 2)
    return Dequeued([job])


ADD, TAKE = Enqueue([NewJob("A", b"1")]), Dequeue(1, 300_000)


def test_a_queue_may_have_answered_so() -> None:
    """Two jobs, handed out by overlapping calls, in whatever order those were sent."""
    history = given_history(
        (ADD, 0, 1, Enqueued([1])),
        (ADD, 0, 1, Enqueued([2])),
        (TAKE, 2, 5, handed_out(2, 2)),
        (TAKE, 2, 5, handed_out(1, 1)),
        (TAKE, 6, 7, Dequeued([])),
    )
    assert checkers.search(history) == []


@pytest.mark.parametrize(
    "last",
    [
        (TAKE, 4, 5, handed_out(1, 2)),
        (TAKE, 4, 5, handed_out(2, 1)),
        (TAKE, 4, 5, Dequeued([])),
        (ADD, 4, 5, Enqueued([2])),
        (ADD, 4, 5, Enqueued([4])),
    ],
    ids=["the same job", "the same token", "no job", "the same id", "an id left out"],
)
def test_no_queue_answers_so(last: tuple[Operation, float, float, Result]) -> None:
    """Two jobs were added, and one was handed out, before it began."""
    history = given_history(
        (ADD, 0, 1, Enqueued([1])), (ADD, 1.5, 2, Enqueued([2])), (TAKE, 3, 3.5, handed_out(1, 1)), last
    )
    assert checkers.search(history) == ["no order of the 4 calls explains what was answered"]


def test_short_runs_are_explained_without_the_log() -> None:
    """Under every fault, and nearly all of them within the search's patience."""
    verdicts = [run(seed, seconds=3.0) for seed in range(12)]
    assert [verdict.broken for verdict in verdicts] == [[]] * 12
    assert sum(verdict.searched for verdict in verdicts) >= 10
