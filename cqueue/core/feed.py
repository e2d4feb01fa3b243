"""What changed lately: every change of every job, in the order of the log, as far back as the window goes.

It is not part of the replicated state. Each node has its own, from the first entry on that it applied
itself: what was changed by entries before a snapshot, nobody can tell from the snapshot. Within the
window the places of changes, (log index, position in the entry), are the same on all nodes.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Literal

import msgspec
from msgspec import Struct

from cqueue.core import limits
from cqueue.core.jobs import Event, Job, Status

Place = tuple[int, int]
"""(log index, position in the entry from 1 on). An entry's changes come after (index, 0)."""

Told = Event | Literal["enqueue", "request_cancel", "extend", "progress", "purge"]
_Change = tuple[int, int, Told, Job, Status, int, int, int, str | None, str | None]


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
    """Which changes someone follows; None or empty: any. after: None: those from now on."""

    after: Place | None = None
    count: int = limits.FEED_CHANGES_MAX
    queue: str | None = None
    types: tuple[str, ...] = ()
    statuses: tuple[Status, ...] = ()
    id: int | None = None

    def has(self, changed: Changed) -> bool:
        """Whether this is one of them."""
        return (
            (self.queue is None or changed.queue == self.queue)
            and (not self.types or changed.type in self.types)
            and (not self.statuses or changed.status in self.statuses)
            and (self.id is None or changed.id == self.id)
        )


class Followed(Struct, array_like=True, frozen=True):
    """Wanted changes, in order, and up to where they were looked for."""

    changes: list[Changed]
    after: Place


decode_wanted = msgspec.msgpack.Decoder(Wanted).decode
decode_followed = msgspec.msgpack.Decoder(Followed).decode


class Feed:
    """The newest changes. since: the place after which none is missing.

    changes: (index, position, event, job, status, at_ms, attempt, token, consumer, error) each, not
    made into a `Changed` before somebody looks: most are never looked at.

    Args:
        changes_max: how many are kept, at least.
        index: of the last entry that was applied without it.
    """

    __slots__ = ("_changes", "_changes_max", "_cut_at", "_index", "_position", "since")

    def __init__(self, changes_max: int, index: int) -> None:
        self._changes: list[_Change] = []
        self._changes_max = changes_max
        self._cut_at = changes_max + changes_max // 10
        self._index = index
        self._position = 0
        self.since: Place = (index, 0)

    @property
    def last(self) -> Place:
        """The place of the last change, or where it begins."""
        return self._index, self._position

    def tell(self, index: int, at_ms: int, event: Told, job: Job, error: str | None = None) -> None:
        """One more change, by the entry at `index`."""
        position = self._position = self._position + 1 if index == self._index else 1
        self._index = index
        self._changes.append(
            (index, position, event, job, job.status, at_ms, job.attempt, job.lease_token, job.consumer, error)
        )
        if len(self._changes) > self._cut_at:
            self._cut()

    def tell_all(self, index: int, at_ms: int, event: Told, jobs: list[Job]) -> None:
        """The same of several jobs, in this order."""
        first = self._position + 1 if index == self._index else 1
        self._index, self._position = index, first + len(jobs) - 1
        self._changes += [
            (index, position, event, job, job.status, at_ms, job.attempt, job.lease_token, job.consumer, None)
            for position, job in enumerate(jobs, first)
        ]
        if len(self._changes) > self._cut_at:
            self._cut()

    def _cut(self) -> None:
        over = len(self._changes) - self._changes_max
        self.since = self._changes[over - 1][:2]
        del self._changes[:over]

    def look(self, wanted: Wanted, after: Place) -> tuple[list[Changed], Place]:
        """Wanted changes after a place that is not before `since`, and how far it has looked for them.

        It looks at `limits.LOOK_JOBS_MAX` changes at most.
        """
        start = bisect_right(self._changes, after, key=_place)
        found: list[Changed] = []
        for change in self._changes[start : start + limits.LOOK_JOBS_MAX]:
            index, position, event, job, status, at_ms, attempt, token, consumer, error = change
            after = index, position
            changed = Changed(
                index, position, event, job.id, job.queue, job.type, status, at_ms, attempt, token, consumer, error
            )
            if wanted.has(changed):
                found.append(changed)
                if len(found) == wanted.count:
                    break
        return found, after


def _place(change: _Change) -> Place:
    return change[:2]
