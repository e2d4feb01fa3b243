"""Deadlines against a plain list."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cqueue.core import deadlines as module
from cqueue.core.deadlines import Deadlines


class DeadlinesAgainstAList(RuleBasedStateMachine):
    """`due` is the model. Few times and few ids, so that they meet often."""

    def __init__(self) -> None:
        super().__init__()
        self.deadlines = Deadlines()
        self.due: list[tuple[int, int]] = []

    @rule(due_ms=st.integers(0, 6), job_id=st.integers(1, 30))
    def add(self, due_ms: int, job_id: int) -> None:
        """A job has one deadline at a time."""
        if job_id not in [known for _, known in self.due]:
            self.deadlines.add(due_ms, [job_id])
            self.due.append((due_ms, job_id))

    @precondition(lambda self: self.due)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        """Most deadlines are met."""
        deadline = data.draw(st.sampled_from(self.due))
        self.due.remove(deadline)
        self.deadlines.discard(*deadline)

    @rule(now_ms=st.integers(0, 7), count_max=st.integers(0, 4))
    def take_due(self, now_ms: int, count_max: int) -> None:
        """The earliest first, then by id, a slice at a time."""
        due = sorted(deadline for deadline in self.due if deadline[0] <= now_ms)[:count_max]
        assert self.deadlines.take_due(now_ms, count_max) == [job_id for _, job_id in due]
        self.due = [deadline for deadline in self.due if deadline not in due]

    @invariant()
    def they_agree(self) -> None:
        """On what is due and on what is due first, and looking takes nothing out."""
        assert sorted(self.deadlines) == sorted(self.deadlines) == sorted(self.due)
        assert self.deadlines.next_ms() == min((due_ms for due_ms, _ in self.due), default=None)


TestDeadlinesAgainstAList = DeadlinesAgainstAList.TestCase
TestDeadlinesAgainstAList.settings = settings(max_examples=50, stateful_step_count=60)


def test_times_of_met_deadlines_do_not_pile_up() -> None:
    """A million jobs concluded before their leases end leave next to nothing behind."""
    deadlines = Deadlines()
    deadlines.add(9_000_000, [2])
    deadlines.add(1, [1])
    for n in range(20 * module._STALE_TIMES_MAX):
        deadlines.add(1_000 + n, [3])
        deadlines.discard(1_000 + n, 3)
        assert len(deadlines._times) <= module._STALE_TIMES_MAX + 5
        assert deadlines.next_ms() == 1
    assert sorted(deadlines) == [(1, 1), (9_000_000, 2)]
    assert deadlines.take_due(9_000_000, 5) == [1, 2]
    assert deadlines.next_ms() is None


def test_a_slice_leaves_the_rest_of_its_millisecond_in_order() -> None:
    """Also when another job comes to the same millisecond between two slices."""
    deadlines = Deadlines()
    for job_id in (5, 3, 9, 1):
        deadlines.add(100, [job_id])
    assert deadlines.take_due(99, 2) == []
    assert deadlines.take_due(100, 2) == [1, 3]
    deadlines.add(100, [2])
    assert deadlines.take_due(100, 2) == [2, 5]
    assert deadlines.take_due(100, 2) == [9]
    assert deadlines.take_due(100, 2) == []
