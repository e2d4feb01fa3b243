"""The jobs that can be handed out, best first: by priority (lower first), then by id (older first).

Fresh ids only grow, so each priority keeps them in a deque; the few that come back (a lease ran
out) wait in a small heap beside it. Taking the better of the two fronts costs the same at a
million jobs as at ten.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush, merge


class _Rank:
    """The ready ids of one priority. fresh: ascending ids; returned: heap of ids."""

    __slots__ = ("fresh", "returned")

    def __init__(self) -> None:
        self.fresh: deque[int] = deque()
        self.returned: list[int] = []


class ReadyJobs:
    """A priority queue of job ids.

    ranks: {priority: _Rank}; order: the priorities that hold at least one id, ascending.
    """

    __slots__ = ("_order", "_ranks", "_size")

    def __init__(self) -> None:
        self._ranks: dict[int, _Rank] = {}
        self._order: list[int] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Every `(priority, job_id)`, best first; takes nothing out."""
        for priority in self._order:
            rank = self._ranks[priority]
            for job_id in merge(rank.fresh, sorted(rank.returned)):
                yield priority, job_id

    def add(self, priority: int, job_ids: list[int]) -> None:
        """Add new jobs, at least one; ids ascend, and are above every id added before at this priority."""
        self._rank(priority).fresh.extend(job_ids)
        self._size += len(job_ids)

    def put_back(self, priority: int, job_id: int) -> None:
        """Add a job that was handed out before; it goes where its id belongs, not to the end."""
        heappush(self._rank(priority).returned, job_id)
        self._size += 1

    def pop(self) -> tuple[int, int]:
        """Take out the best `(priority, job_id)`.

        Raises:
            IndexError: there is none.
        """
        priority = self._order[0]
        rank = self._ranks[priority]
        fresh, returned = rank.fresh, rank.returned
        job_id = heappop(returned) if returned and (not fresh or returned[0] < fresh[0]) else fresh.popleft()
        if not fresh and not returned:
            del self._order[0]
        self._size -= 1
        return priority, job_id

    def _rank(self, priority: int) -> _Rank:
        rank = self._ranks.get(priority)
        if rank is None:
            rank = self._ranks[priority] = _Rank()
        if not rank.fresh and not rank.returned:
            insort(self._order, priority)
        return rank
