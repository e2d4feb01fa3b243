"""ReadyJobs against a sorted list."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cqueue.core.ready import ReadyJobs


class ReadyAgainstASortedList(RuleBasedStateMachine):
    """`waiting` is the model; `out` are jobs that were handed out and may come back."""

    def __init__(self) -> None:
        super().__init__()
        self.ready = ReadyJobs()
        self.waiting: list[tuple[int, int]] = []
        self.out: list[tuple[int, int]] = []
        self.next_id = 1

    @rule(priority=st.sampled_from([0, 500, 1_000]), count=st.integers(1, 4))
    def add(self, priority: int, count: int) -> None:
        """New jobs."""
        for _ in range(count):
            self.ready.add(priority, [self.next_id])
            self.waiting.append((priority, self.next_id))
            self.next_id += 1

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def put_back(self, data: st.DataObject) -> None:
        """A job comes back."""
        job = data.draw(st.sampled_from(self.out))
        self.out.remove(job)
        self.ready.put_back(*job)
        self.waiting.append(job)

    @precondition(lambda self: self.waiting)
    @rule(count=st.integers(1, 4))
    def pop(self, count: int) -> None:
        """The best are handed out."""
        for _ in range(min(count, len(self.waiting))):
            best = min(self.waiting)
            assert self.ready.pop() == best
            self.waiting.remove(best)
            self.out.append(best)

    @precondition(lambda self: not self.waiting)
    @rule()
    def pop_nothing(self) -> None:
        """There is no best of none."""
        with pytest.raises(IndexError):
            self.ready.pop()

    @invariant()
    def they_agree(self) -> None:
        """On how many there are and in which order, and looking takes nothing out."""
        assert len(self.ready) == len(self.waiting)
        assert list(self.ready) == list(self.ready) == sorted(self.waiting)


TestReadyAgainstASortedList = ReadyAgainstASortedList.TestCase
TestReadyAgainstASortedList.settings = settings(max_examples=50)
