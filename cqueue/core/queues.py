"""One queue: its settings, its ready jobs, its finished jobs, and what it counts."""

from __future__ import annotations

from collections import OrderedDict
from typing import get_args

from msgspec import Struct
from msgspec.structs import replace

from cqueue.core import limits
from cqueue.core.jobs import STATUSES, Event, Status
from cqueue.core.operations import QueueSettings, SetQueue
from cqueue.core.pace import Pace
from cqueue.core.ready import ReadyJobs

DEFAULTS = QueueSettings(
    paused=False,
    require_lease_token=False,
    lease_ms=limits.LEASE_MS_DEFAULT,
    max_attempts=limits.ATTEMPTS_MAX_DEFAULT,
    backoff=limits.BACKOFF_DEFAULT,
    priorities=limits.PRIORITY_BY_TYPE,
    max_depth=0,
    retention_jobs=limits.RETENTION_JOBS_DEFAULT,
    retention_ms=limits.RETENTION_MS_DEFAULT,
    max_in_progress=0,
    rate_milli=0,
    rate_burst=0,
)

MINUTE_MS = 60_000
ROOM_MAX = 1 << 60
"""More than any queue has."""
COUNTED = ("enqueue", *get_args(Event))
"""What `totals` counts: the events of `cqueue.core.jobs`, and enqueue."""


class QueueRecord(Struct, array_like=True, frozen=True):
    """A queue in a snapshot; what its jobs tell is not in it.

    finished: ids, in the order they finished. pace: parts and at_ms of its `Pace`, if it has one.
    """

    name: str
    settings: QueueSettings
    totals: dict[str, int]
    totals_before: dict[str, int]
    totals_before_that: dict[str, int]
    retention_due_ms: int
    finished: list[int]
    pace: tuple[int, int] | None


class Queue:
    """counts: {status: jobs}. depth: jobs that wait. kept: jobs in all. totals: {event: jobs}.

    finished: ids, the first to finish first. retention_due_ms: when its oldest finished job is
    looked at again; 0: nothing is planned. pace: how fast it may hand out; None: as fast as it can.
    refill_due_ms: when it may hand out again as far as its pace goes; 0: it may, or has none. minute: the
    last in which something was counted, since the Unix epoch; totals_before, totals_before_that: `totals`
    before that minute, and before the one before it.
    """

    __slots__ = (
        "_totals_before",
        "_totals_before_that",
        "counts",
        "finished",
        "name",
        "pace",
        "ready",
        "refill_due_ms",
        "retention_due_ms",
        "settings",
        "totals",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.settings = DEFAULTS
        self.counts: dict[Status, int] = dict.fromkeys(STATUSES, 0)
        self.totals: dict[str, int] = dict.fromkeys(COUNTED, 0)
        self.ready = ReadyJobs()
        self.finished: OrderedDict[int, None] = OrderedDict()
        self.retention_due_ms = 0
        self.pace: Pace | None = None
        self.refill_due_ms = 0
        self._totals_before = self._totals_before_that = dict(self.totals)

    @property
    def depth(self) -> int:
        """Jobs that wait to be handed out, now or later."""
        return self.counts["QUEUED"] + self.counts["SCHEDULED"]

    @property
    def first_finished(self) -> int:
        """The job that finished first of those that are kept; there must be one."""
        return next(iter(self.finished))

    @property
    def is_idle(self) -> bool:
        """Whether it has nothing that waits and nothing that runs."""
        return not self.depth and not self.counts["IN_PROGRESS"]

    @property
    def is_forgettable(self) -> bool:
        """Whether nobody would miss it: it has no jobs, and nothing was set."""
        return not any(self.counts.values()) and self.settings == DEFAULTS

    @property
    def is_limited(self) -> bool:
        """Whether there may be ready jobs that it does not hand out at the moment."""
        return self.pace is not None or self.settings.max_in_progress > 0

    def room(self, now_ms: int) -> int:
        """How many jobs a queue that is limited may hand out at the moment."""
        held_max = self.settings.max_in_progress
        room = max(held_max - self.counts["IN_PROGRESS"], 0) if held_max else ROOM_MAX
        return room if self.pace is None else min(room, self.pace.room(now_ms))

    def turn_minutes(self, minutes: int) -> None:
        """So many minutes of log time are over."""
        totals = dict(self.totals)
        self._totals_before_that = self._totals_before if minutes == 1 else totals
        self._totals_before = totals

    def recent(self) -> dict[str, int]:
        """What happened in this minute of log time and the one before, by event."""
        before = self._totals_before_that
        return {event: jobs - before[event] for event, jobs in self.totals.items()}

    def change(self, operation: SetQueue, now_ms: int) -> None:
        """Take over the settings that `operation` names."""
        changed = {
            name: value for name in QueueSettings.__struct_fields__ if (value := getattr(operation, name)) is not None
        }
        self.settings = settings = replace(self.settings, **changed)
        if not settings.rate_milli:
            self.pace = None
        elif self.pace is None:
            self.pace = Pace.full(settings.rate_milli, settings.rate_burst, now_ms)
        else:
            self.pace = self.pace.changed(settings.rate_milli, settings.rate_burst, now_ms)

    def dump(self) -> QueueRecord:
        """The queue for a snapshot."""
        return QueueRecord(
            self.name,
            self.settings,
            self.totals,
            self._totals_before,
            self._totals_before_that,
            self.retention_due_ms,
            list(self.finished),
            None if self.pace is None else (self.pace.parts, self.pace.at_ms),
        )

    @classmethod
    def load(cls, record: QueueRecord) -> Queue:
        """The queue out of a snapshot, without its jobs."""
        queue = cls(record.name)
        queue.settings = record.settings
        queue.totals = record.totals
        queue.finished = OrderedDict.fromkeys(record.finished)
        queue.retention_due_ms = record.retention_due_ms
        queue._totals_before = record.totals_before
        queue._totals_before_that = record.totals_before_that
        if record.pace is not None:
            queue.pace = Pace(record.settings.rate_milli, record.settings.rate_burst, *record.pace)
        return queue
