"""The lines of the ready against a sorted list."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cqueue.core import ready as module
from cqueue.core.jobs import Extras, Job
from cqueue.core.ready import Line, ReadyJobs

KINDS = st.sampled_from(["mail", "scan", "fax"])
PRIORITIES = st.sampled_from([0, 500, 1_000])
SOME_TAGS = st.sampled_from([{"to": "ann"}, {"to": "bob"}, {"to": "ann", "tier": "1"}, {"tier": "1"}, {"tier": "2"}])
TAGS = st.just({}) | SOME_TAGS
ASKED = st.none() | st.lists(KINDS | st.just("unknown"), max_size=3).map(tuple)


def job_of(job_id: int, kind: str, priority: int, tags: dict[str, str]) -> Job:
    """A job that is ready."""
    extras = Extras(tags) if tags else None
    return Job(job_id, kind, "QUEUED", "default", priority, b"", 1, 1, 5, 1_000, extras=extras)


def best_first(jobs: list[Job]) -> list[Job]:
    """In the order they are handed out."""
    return sorted(jobs, key=lambda job: (job.priority, job.id))


class ReadyAgainstASortedList(RuleBasedStateMachine):
    """`waiting` is the model; `out` are jobs that left and may come back."""

    def __init__(self) -> None:
        super().__init__()
        self.ready = ReadyJobs()
        self.waiting: list[Job] = []
        self.out: list[Job] = []
        self.next_id = 1

    @initialize(waste_max=st.sampled_from([0, 2, 1_024]))
    def tidy_up_early(self, waste_max: int) -> None:
        """What is left over is cleared after few, or after many."""
        self.kept = module._WASTE_MAX
        module._WASTE_MAX = waste_max

    def teardown(self) -> None:
        """As it was."""
        module._WASTE_MAX = self.kept

    @rule(kind=KINDS, priority=PRIORITIES, tags=TAGS, count=st.integers(1, 6))
    def append(self, kind: str, priority: int, tags: dict[str, str], count: int) -> None:
        """New jobs."""
        jobs = [job_of(self.next_id + n, kind, priority, tags) for n in range(count)]
        self.next_id += count
        self.ready.append(kind, priority, [job.id for job in jobs])
        for job in jobs:
            self.ready.append_tags(job)
        self.waiting += jobs

    @precondition(lambda self: self.out)
    @rule(which=st.integers(0, 30))
    def put_back(self, which: int) -> None:
        """A job comes back."""
        job = self.out.pop(which % len(self.out))
        self.ready.put_back(job)
        self.waiting.append(job)

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 30))
    def discard(self, which: int) -> None:
        """A job leaves, wherever it stands."""
        job = self.waiting.pop(which % len(self.waiting))
        self.ready.discard(job)
        self.out.append(job)

    @rule(count=st.integers(1, 7), kinds=ASKED)
    def take(self, count: int, kinds: tuple[str, ...] | None) -> None:
        """The best are handed out, of some types or of all."""
        fitting = [job for job in self.waiting if kinds is None or job.type in kinds]
        best = best_first(fitting)[:count]
        assert self.ready.count(kinds) == len(fitting)
        assert self.ready.take(count, kinds) == [job.id for job in best]
        for job in best:
            self.ready.discard_tags(job)
            self.waiting.remove(job)
            self.out.append(job)

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 30))
    def ask_how_many_are_ahead(self, which: int) -> None:
        """Of one that waits."""
        job = self.waiting[which % len(self.waiting)]
        assert self.ready.ahead_of(job) == best_first(self.waiting).index(job)

    @rule(tags=SOME_TAGS)
    def look_for_tags(self, tags: dict[str, str]) -> None:
        """All that have them all are found, best first; of others, only some that have one."""
        found = list(self.ready.with_tags(tags))
        assert found == list(self.ready.with_tags(tags))
        meant = [job.id for job in best_first(self.waiting) if tags.items() <= job.tags.items()]
        by_id = {job.id: job for job in self.waiting}
        assert [job_id for job_id in found if tags.items() <= by_id[job_id].tags.items()] == meant

    @invariant()
    def they_agree(self) -> None:
        """On how many there are and in which order, and looking takes nothing out."""
        assert len(self.ready) == len(self.waiting)
        assert self.ready.oldest() == min((job.id for job in self.waiting), default=None)
        for kind, lines in self.ready.types.items():
            order = [(job.priority, job.id) for job in best_first(self.waiting) if job.type == kind]
            assert list(lines) == list(lines) == order
            assert lines.first() == order[0]
            assert len(lines) == len(order)
        for tag, lines in self.ready.tags.items():
            order = [(job.priority, job.id) for job in best_first(self.waiting) if tag in job.tags.items()]
            assert list(lines) == order


TestReadyAgainstASortedList = ReadyAgainstASortedList.TestCase
TestReadyAgainstASortedList.settings = settings(max_examples=50, stateful_step_count=60)


def test_ids_that_left_from_the_middle_do_not_pile_up() -> None:
    """Most of a long line is cancelled, and it is as short as what is left."""
    line = Line()
    line.append(list(range(100_000)))
    for job_id in range(100_000):
        if job_id % 100:
            line.discard(job_id)
    assert len(line) == 1_000
    assert len(line._gone) <= module._WASTE_MAX + len(line)
    assert len(line._fresh) <= 2 * (module._WASTE_MAX + len(line))
    assert list(line) == list(range(0, 100_000, 100))


def test_what_was_taken_from_the_front_is_cut_off() -> None:
    """A queue that always has a job in it does not grow for ever."""
    line = Line()
    for job_id in range(100_000):
        line.append([job_id])
        if job_id:
            assert line.take(1, None) == [job_id - 1]
    assert len(line._fresh.ids) <= 2 * module._WASTE_MAX + 2


@pytest.mark.parametrize("below", [None, 7])
def test_a_line_gives_no_more_than_it_has(below: int | None) -> None:
    """Also when some of it is gone and some came back."""
    line = Line()
    line.append([1, 2, 3, 4])
    line.discard(2)
    assert line.take(1, below) == [1]
    line.put_back(1)
    assert line.take(9, below) == [1, 3, 4]
    assert len(line) == 0
