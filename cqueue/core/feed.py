"""What changed lately: every change of every job, in the order of the log, as far back as the window goes.

It is not part of the replicated state. Each node has its own, from the first entry on that it applied
itself: what was changed by entries before a snapshot, nobody can tell from the snapshot. Within the
window the places of changes, (log index, position in the entry), are the same on all nodes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from cqueue.core import limits
from cqueue.core.jobs import Event, Job, Status
from cqueue.core.reach import Reach, reaches

Place = tuple[int, int]
"""(log index, position in the entry from 1 on). An entry's changes come after (index, 0)."""

Told = Event | Literal["enqueue", "request_cancel", "extend", "progress", "purge"]
_Row = tuple[int, str, str, Status, int, int, str | None]
"""(id, queue, type, status, attempt, lease token, consumer) of a job."""
_Run = tuple[int, int, Told, int, str | None, list[_Row]]
"""(index, position of the first, event, at_ms, error, jobs)."""


class Changed(Struct, array_like=True, frozen=True, gc=False):
    """One change: what happened to which job, and what the job was right after it."""

    index: int
    position: int
    event: Told
    id: int
    queue: str
    type: str
    status: Status
    at_ms: int
    attempt: int
    lease_token: int
    consumer: str | None
    error: str | None


class Wanted(Struct, array_like=True, frozen=True):
    """Which changes someone follows; None or empty: any. after: None: those from now on.

    reach: the queues that are theirs; None: all.
    """

    after: Place | None = None
    count: Annotated[int, Meta(ge=1, le=limits.FEED_CHANGES_MAX)] = limits.FEED_CHANGES_MAX
    queue: str | None = None
    types: tuple[str, ...] = ()
    statuses: tuple[Status, ...] = ()
    id: int | None = None
    reach: Reach | None = None

    def has(self, changed: Changed) -> bool:
        """Whether this is one of them."""
        return (
            (self.queue is None or changed.queue == self.queue)
            and (not self.types or changed.type in self.types)
            and (not self.statuses or changed.status in self.statuses)
            and (self.id is None or changed.id == self.id)
            and (self.reach is None or reaches(self.reach, changed.queue))
        )


class Followed(Struct, array_like=True, frozen=True):
    """Wanted changes, in order, and up to where they were looked for."""

    changes: list[Changed]
    after: Place


decode_wanted = msgspec.msgpack.Decoder(Wanted).decode
decode_followed = msgspec.msgpack.Decoder(Followed).decode


class Feed:
    """The newest changes. since: the place after which none is missing.

    runs: changes of one kind in a row, not made into `Changed` before somebody looks: most are never
    looked at. size: changes in all of them. No job is held here: what is forgotten is gone.

    Args:
        changes_max: how many are kept, at least.
        index: of the last entry that was applied without it.
    """

    __slots__ = ("_changes_max", "_index", "_position", "_runs", "_size", "since")

    def __init__(self, changes_max: int, index: int) -> None:
        self._runs: deque[_Run] = deque()
        self._size = 0
        self._changes_max = changes_max
        self._index = index
        self._position = 0
        self.since: Place = (index, 0)

    @property
    def last(self) -> Place:
        """The place of the last change, or where it begins."""
        return self._index, self._position

    def tell(self, index: int, at_ms: int, event: Told, jobs: list[Job], error: str | None = None) -> None:
        """The same change of several jobs, in this order, by the entry at `index`."""
        first = self._position + 1 if index == self._index else 1
        self._index, self._position = index, first + len(jobs) - 1
        rows = [(job.id, job.queue, job.type, job.status, job.attempt, job.lease_token, job.consumer) for job in jobs]
        runs = self._runs
        runs.append((index, first, event, at_ms, error, rows))
        self._size += len(rows)
        while self._size - len(runs[0][-1]) >= self._changes_max:
            index, first, *_, rows = runs.popleft()
            self._size -= len(rows)
            self.since = index, first + len(rows) - 1

    def look(self, wanted: Wanted, after: Place) -> tuple[list[Changed], Place]:
        """Wanted changes after a place that is not before `since`, and how far it has looked for them.

        It looks at `limits.LOOK_JOBS_MAX` changes at most.
        """
        found: list[Changed] = []
        for changed in islice(self._after(after), limits.LOOK_JOBS_MAX):
            after = changed.index, changed.position
            if wanted.has(changed):
                found.append(changed)
                if len(found) == wanted.count:
                    break
        return found, after

    def _after(self, place: Place) -> Iterator[Changed]:
        """All changes after a place."""
        later: list[_Run] = []
        # From the newest back, since that is where nearly everybody looks.
        for run in reversed(self._runs):
            if (run[0], run[1] + len(run[-1]) - 1) <= place:
                break
            later.append(run)
        for index, first, event, at_ms, error, rows in reversed(later):
            skipped = max(place[1] - first + 1, 0) if index == place[0] else 0
            for position, row in enumerate(rows[skipped:], first + skipped):
                job_id, queue, kind, status, attempt, token, consumer = row
                yield Changed(
                    index, position, event, job_id, queue, kind, status, at_ms, attempt, token, consumer, error
                )
