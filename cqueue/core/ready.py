"""The jobs of one queue that can be handed out, best first: by priority (lower first), then by id.

Every answer here is in that order, whatever was put in when. Taking costs the same at a million
jobs as at ten, and so does taking by type: each type has lines of its own, and the fronts of the
lines stand in a heap. Jobs with tags stand a second time in a line for each of their tags.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from heapq import heappop, heappush, heapreplace, merge
from itertools import islice

from cqueue.core.jobs import Job

Rank = tuple[int, int]
"""(priority, id): what jobs are ordered by."""
Tag = tuple[str, str]

_WASTE_MAX = 1_024
"""Places of ids that are gone a line may hold, beyond as many as it has ids that are not."""


class _Run:
    """Ids, ascending, read from `head` on: what was taken from the front is cut off now and then."""

    __slots__ = ("head", "ids")

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.head = 0

    def __len__(self) -> int:
        return len(self.ids) - self.head

    def __iter__(self) -> Iterator[int]:
        return islice(self.ids, self.head, None)

    def move_head(self, head: int) -> None:
        self.head = head
        if head > _WASTE_MAX and head * 2 > len(self.ids):
            del self.ids[:head]
            self.head = 0

    def below(self, job_id: int) -> int:
        return bisect_left(self.ids, job_id, self.head) - self.head

    def without(self, gone: set[int]) -> None:
        self.ids = [job_id for job_id in self if job_id not in gone]
        self.head = 0


class Line:
    """Ids, ascending, of one priority.

    fresh: ids that came in order. returned: those that came back later, few or many.
    gone: ids that left from the middle; their places stay for a while.
    """

    __slots__ = ("_fresh", "_gone", "_returned")

    def __init__(self) -> None:
        self._fresh = _Run()
        self._returned = _Run()
        self._gone: set[int] = set()

    def __len__(self) -> int:
        return len(self._fresh) + len(self._returned) - len(self._gone)

    def __iter__(self) -> Iterator[int]:
        """Every id, ascending; takes nothing out."""
        return (job_id for job_id in merge(self._fresh, self._returned) if job_id not in self._gone)

    def append(self, job_ids: list[int]) -> None:
        """Add ids that ascend, and are above every id added before."""
        self._fresh.ids += job_ids

    def put_back(self, job_id: int) -> None:
        """Add an id that may belong anywhere."""
        if job_id in self._gone:
            self._gone.discard(job_id)
        else:
            insort(self._returned.ids, job_id, self._returned.head)

    def discard(self, job_id: int) -> None:
        """Take out an id that is here, wherever it stands."""
        gone = self._gone
        gone.add(job_id)
        if len(gone) > len(self) + _WASTE_MAX:
            self._fresh.without(gone)
            self._returned.without(gone)
            gone.clear()

    def first(self) -> int:
        """The least id; there must be one."""
        run = self._first_run()
        return run.ids[run.head]

    def take(self, count: int, below: int | None) -> list[int]:
        """Take out the least id, and up to `count` in all of those that are less than `below`."""
        fresh = self._fresh
        if not self._returned and not self._gone:
            start = fresh.head
            end = min(start + count, len(fresh.ids))
            if below is not None:
                end = max(start + 1, bisect_left(fresh.ids, below, start, end))
            taken = fresh.ids[start:end]
            fresh.move_head(end)
            return taken
        taken = []
        while len(taken) < count and len(self):
            run = self._first_run()
            job_id = run.ids[run.head]
            if taken and below is not None and job_id >= below:
                break
            run.move_head(run.head + 1)
            taken.append(job_id)
        return taken

    def ahead_of(self, job_id: int) -> int:
        """How many ids are less than `job_id`."""
        before = self._fresh.below(job_id) + self._returned.below(job_id)
        return before - sum(gone < job_id for gone in self._gone)

    def _first_run(self) -> _Run:
        """The run whose front is the least id; drops what is gone on the way."""
        fresh, returned, gone = self._fresh, self._returned, self._gone
        while True:
            run = fresh
            if returned and not (fresh and fresh.ids[fresh.head] < returned.ids[returned.head]):
                run = returned
            job_id = run.ids[run.head]
            if job_id not in gone:
                return run
            gone.discard(job_id)
            run.move_head(run.head + 1)


class Lines:
    """A line for each priority. order: the priorities that have one, ascending; none is empty."""

    __slots__ = ("_by_priority", "_order", "_size")

    def __init__(self) -> None:
        self._by_priority: dict[int, Line] = {}
        self._order: list[int] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Rank]:
        """Every `(priority, id)`, best first; takes nothing out."""
        for priority in self._order:
            for job_id in self._by_priority[priority]:
                yield priority, job_id

    def append(self, priority: int, job_ids: list[int]) -> None:
        """Add new jobs: ids that ascend, and are above every id added before at this priority."""
        self._line(priority).append(job_ids)
        self._size += len(job_ids)

    def put_back(self, priority: int, job_id: int) -> None:
        """Add a job whose id may belong anywhere."""
        self._line(priority).put_back(job_id)
        self._size += 1

    def discard(self, priority: int, job_id: int) -> None:
        """Take out a job that is here."""
        self._by_priority[priority].discard(job_id)
        self._size -= 1
        self._drop_if_empty(priority)

    def first(self) -> Rank:
        """The best `(priority, id)`; there must be one."""
        priority = self._order[0]
        return priority, self._by_priority[priority].first()

    def take(self, count: int, below: Rank | None) -> list[int]:
        """Take out the best job, and up to `count` in all of those at its priority and better than `below`."""
        priority = self._order[0]
        line = self._by_priority[priority]
        taken = line.take(count, below[1] if below is not None and below[0] == priority else None)
        self._size -= len(taken)
        self._drop_if_empty(priority)
        return taken

    def ahead_of(self, rank: Rank) -> int:
        """How many jobs are better than `rank`."""
        priority, job_id = rank
        better = sum(len(self._by_priority[other]) for other in self._order if other < priority)
        line = self._by_priority.get(priority)
        return better if line is None else better + line.ahead_of(job_id)

    def oldest(self) -> int:
        """The least id of all priorities; there must be one."""
        return min(line.first() for line in self._by_priority.values())

    def _line(self, priority: int) -> Line:
        line = self._by_priority.get(priority)
        if line is None:
            line = self._by_priority[priority] = Line()
            insort(self._order, priority)
        return line

    def _drop_if_empty(self, priority: int) -> None:
        if not len(self._by_priority[priority]):
            del self._by_priority[priority]
            del self._order[bisect_left(self._order, priority)]


class ReadyJobs:
    """The jobs of one queue that can be handed out.

    types: {type: Lines}, none empty. tags: {(name, value): Lines}, none empty.
    heads: heap of (priority, id, type). listed: {type: the rank it stands in `heads` with}. A type
    stands there with its front or with one that was better, and is put right when it comes up;
    what `listed` does not say of a type is left over, and is dropped then.
    """

    __slots__ = ("_heads", "_listed", "_size", "tags", "types")

    def __init__(self) -> None:
        self.types: dict[str, Lines] = {}
        self.tags: dict[Tag, Lines] = {}
        self._heads: list[tuple[int, int, str]] = []
        self._listed: dict[str, Rank] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def append(self, kind: str, priority: int, job_ids: list[int]) -> None:
        """Add new jobs of the type `kind`, at least one; ids ascend, above every id added before."""
        self._lines(kind).append(priority, job_ids)
        self._size += len(job_ids)
        self._list(kind, (priority, job_ids[0]))

    def put_back(self, job: Job) -> None:
        """Add a job that was handed out, or waited, before; it goes where its id belongs."""
        self._lines(job.type).put_back(job.priority, job.id)
        self._size += 1
        self._list(job.type, (job.priority, job.id))
        for tag in job.tags.items():
            self._tag_lines(tag).put_back(job.priority, job.id)

    def discard(self, job: Job) -> None:
        """Take out a job that is here."""
        self.types[job.type].discard(job.priority, job.id)
        self._size -= 1
        self._drop_if_empty(job.type)
        self.discard_tags(job)

    def append_tags(self, job: Job) -> None:
        """Add a new job to the lines of its tags."""
        for tag in job.tags.items():
            self._tag_lines(tag).append(job.priority, [job.id])

    def discard_tags(self, job: Job) -> None:
        """Take a job out of the lines of its tags."""
        for tag in job.tags.items():
            lines = self.tags[tag]
            lines.discard(job.priority, job.id)
            if not len(lines):
                del self.tags[tag]

    def take(self, count: int, types: tuple[str, ...] | None) -> list[int]:
        """Take up to `count` jobs out of the lines of their types, best first; those of their tags are the caller's."""
        taken: list[int] = []
        while len(taken) < count:
            kind, below = self._best() if types is None else self._best_of(types)
            if kind is None:
                break
            part = self.types[kind].take(count - len(taken), below)
            self._size -= len(part)
            self._drop_if_empty(kind)
            taken += part
        return taken

    def count(self, types: tuple[str, ...] | None) -> int:
        """How many jobs of these types there are."""
        if types is None:
            return self._size
        return sum(len(self.types[kind]) for kind in set(types) if kind in self.types)

    def with_tags(self, tags: dict[str, str]) -> Iterator[int]:
        """Jobs that have the rarest of `tags`, at least one, best first; takes nothing out."""
        lines = [self.tags.get(tag) for tag in tags.items()]
        rarest = None if None in lines else min((each for each in lines if each is not None), key=len)
        return iter(()) if rarest is None else (job_id for _, job_id in rarest)

    def ahead_of(self, job: Job) -> int:
        """How many jobs are handed out before `job`."""
        return sum(lines.ahead_of((job.priority, job.id)) for lines in self.types.values())

    def oldest(self) -> int | None:
        """The least id there is, or None."""
        return min((lines.oldest() for lines in self.types.values()), default=None)

    def _best(self) -> tuple[str | None, Rank | None]:
        """The type whose front is best, and what bounds those of its jobs that come before all others."""
        heads, listed = self._heads, self._listed
        while heads:
            priority, job_id, kind = heads[0]
            rank = listed.get(kind)
            if rank != (priority, job_id):
                heappop(heads)
                continue
            front = self.types[kind].first()
            if front == rank:
                return kind, min((each[:2] for each in heads[1:3]), default=None)
            listed[kind] = front
            heapreplace(heads, (*front, kind))
        return None, None

    def _best_of(self, types: tuple[str, ...]) -> tuple[str | None, Rank | None]:
        fronts = sorted((self.types[kind].first(), kind) for kind in set(types) if kind in self.types)
        if not fronts:
            return None, None
        return fronts[0][1], fronts[1][0] if len(fronts) > 1 else None

    def _lines(self, kind: str) -> Lines:
        lines = self.types.get(kind)
        if lines is None:
            lines = self.types[kind] = Lines()
        return lines

    def _tag_lines(self, tag: Tag) -> Lines:
        lines = self.tags.get(tag)
        if lines is None:
            lines = self.tags[tag] = Lines()
        return lines

    def _list(self, kind: str, rank: Rank) -> None:
        listed = self._listed.get(kind)
        if listed is None or rank < listed:
            self._listed[kind] = rank
            heappush(self._heads, (*rank, kind))

    def _drop_if_empty(self, kind: str) -> None:
        if not len(self.types[kind]):
            del self.types[kind]
            del self._listed[kind]
