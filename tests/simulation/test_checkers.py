"""The checkers, on logs and histories in which one thing is wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from cqueue import protocol
from cqueue.core import entry
from cqueue.core.machine import StateMachine
from cqueue.core.operations import Dequeue, Enqueue, NewJob, Operation
from cqueue.core.queries import GetStats, Query
from cqueue.core.results import Dequeued
from cqueue.simulation.checkers import check
from cqueue.simulation.workload import Asked, encode

SESSION: Final = 5


class Told:
    """A log, and what clients were told of it when nothing went wrong. history: by operation number from 1."""

    def __init__(self) -> None:
        self.log: dict[int, bytes] = {}
        self.history: list[Asked] = []
        self._machine = StateMachine()

    def ask(self, what: Operation | Query) -> Asked:
        """The next operation in an entry of its own, or a look at the state; asked and answered at once."""
        number = len(self.history) + 1
        if isinstance(what, GetStats):
            result = self._machine.query(what)
        else:
            self.enter(what)
            [result] = self._machine.apply(len(self.log), self.log[len(self.log)]).results or []
        asked = Asked(number, "n1", what, number, number + 0.5, protocol.RESULT, len(self.log), encode(result))
        self.history.append(asked)
        return asked

    def enter(self, what: Operation) -> None:
        """Put one more entry into the log."""
        number = len(self.log) + 1
        self.log[number] = entry.stamp(entry.encode(SESSION, number, number, [encode(what)]), 1_000 * number)


@pytest.fixture
def told() -> Told:
    """Two jobs were added, one was handed out, and somebody looked."""
    told = Told()
    told.ask(Enqueue([NewJob("A", b"1")]))
    told.ask(Enqueue([NewJob("A", b"2")]))
    told.ask(Dequeue(1, 300_000, "3"))
    told.ask(GetStats())  # type: ignore[arg-type]
    return told


def test_nothing_is_wrong_where_nothing_went_wrong(told: Told) -> None:
    """The history that the others spoil."""
    assert check(told.log, told.history) == []


def test_an_acknowledged_operation_that_the_log_lacks_is_lost(told: Told) -> None:
    """However the log goes on."""
    del told.log[2]
    assert "operation 2 at None, which is nowhere, was acknowledged: lost" in check(told.log, told.history)


def test_an_answer_is_what_the_log_says(told: Told) -> None:
    """Another job's id is none."""
    told.history[0] = replace(told.history[0], body=told.history[1].body)
    assert check(told.log, told.history) == ["operation 1 at (1, 0) was answered with something else than it did"]


def test_an_answer_is_as_of_its_place_in_the_log(told: Told) -> None:
    """Not as of a later one."""
    told.history[0] = replace(told.history[0], index=2)
    assert check(told.log, told.history) == [
        "operation 1 at (1, 0) was answered as of index 2",
    ]


def test_what_is_said_not_to_be_done_is_not_done(told: Told) -> None:
    """A client does it again at its ease."""
    told.history[1] = replace(told.history[1], outcome=protocol.UNAVAILABLE)
    assert check(told.log, told.history) == ["operation 2 at (2, 0) was answered that nothing was done"]


def test_what_is_said_to_be_unknown_may_be_either(told: Told) -> None:
    """That is what it says."""
    told.history[1] = replace(told.history[1], outcome=protocol.UNKNOWN)
    told.history.append(Asked(9, "n1", Enqueue([NewJob("A", b"9")]), 9, 9.5, protocol.UNKNOWN, 3))
    assert check(told.log, told.history) == []


def test_an_operation_takes_effect_once(told: Told) -> None:
    """Two entries with it are one too many."""
    told.enter(Enqueue([NewJob("A", b"2")]))
    assert "operation 2 took effect twice: (2, 0) and (4, 0)" in check(told.log, told.history)


def test_a_dequeue_that_found_nothing_may_be_tried_again() -> None:
    """That is how a waiting one goes about it."""
    told = Told()
    told.enter(Dequeue(1, 300_000, "1"))
    told.enter(Enqueue([NewJob("A", b"9")]))
    machine = StateMachine()
    for index, data in told.log.items():
        machine.apply(index, data)
    told.enter(Dequeue(1, 300_000, "1"))
    [result] = machine.apply(3, told.log[3]).results or []
    assert isinstance(result, Dequeued)
    told.history = [Asked(1, "n1", Dequeue(1, 300_000, "1"), 1, 2, protocol.RESULT, 3, encode(result))]
    assert check(told.log, told.history) == []


def test_nobody_sees_less_than_was_answered_before(told: Told) -> None:
    """A look that began after an answer shows what that answer stands for."""
    stale = told.history[3]
    told.ask(Enqueue([NewJob("A", b"5")]))
    told.history.append(replace(stale, number=6, asked_s=7, answered_s=8))
    assert check(told.log, told.history) == [
        "operation 6 saw index 3, older than 4, answered before it began",
    ]


def test_a_query_shows_the_state_it_names(told: Told) -> None:
    """An answer as of index 3 is not the one as of index 2."""
    told.history[3] = replace(told.history[3], index=2)
    broken = check(told.log, told.history)
    assert "query 4 was not answered with the state at index 2" in broken
