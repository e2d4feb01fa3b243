"""Deadlines against a plain list."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cqueue.core.deadlines import Deadlines

TIMES_MS = st.integers(0, 6) | st.sampled_from([63, 64, 65, 65_535, 65_536, 200_000, 9_000_000])


class DeadlinesAgainstAList(RuleBasedStateMachine):
    """`due` is the model. Few times and few ids, so that they meet often; near each other, and hours apart."""

    def __init__(self) -> None:
        super().__init__()
        self.deadlines: Deadlines[int] = Deadlines()
        self.due: list[tuple[int, int]] = []

    @rule(due_ms=TIMES_MS, job_id=st.integers(1, 30))
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

    @rule(now_ms=TIMES_MS, count_max=st.integers(0, 4))
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


def test_deadlines_that_were_met_leave_nothing_behind() -> None:
    """A million jobs concluded before their leases end, while another waits all the time."""
    deadlines: Deadlines[int] = Deadlines()
    deadlines.add(1, [1])
    for n in range(10_000):
        deadlines.add(86_400_000 + n, [2])
        deadlines.discard(86_400_000 + n, 2)
        assert deadlines.next_ms() == 1
    assert list(deadlines) == [(1, 1)]
    assert len(deadlines._order) == len(deadlines._spans) == 2
    deadlines.discard(1, 1)
    assert deadlines.next_ms() is None
    assert len(deadlines._order) == len(deadlines._spans) == 0


def test_what_is_not_there_can_be_discarded() -> None:
    """It was taken already, or it is there at another time."""
    deadlines: Deadlines[int] = Deadlines()
    deadlines.discard(5, 1)
    deadlines.add(5, [1])
    for due_ms, key in ((6, 1), (5, 2), (70_000, 1)):
        deadlines.discard(due_ms, key)
    assert list(deadlines) == [(5, 1)]


def test_a_slice_leaves_the_rest_of_its_millisecond_in_order() -> None:
    """Also when another job comes to the same millisecond between two slices."""
    deadlines: Deadlines[int] = Deadlines()
    for job_id in (5, 3, 9, 1):
        deadlines.add(100, [job_id])
    assert deadlines.take_due(99, 2) == []
    assert deadlines.take_due(100, 2) == [1, 3]
    deadlines.add(100, [2])
    assert deadlines.take_due(100, 2) == [2, 5]
    assert deadlines.take_due(100, 2) == [9]
    assert deadlines.take_due(100, 2) == []
