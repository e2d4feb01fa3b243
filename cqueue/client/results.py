"""What a client is given: jobs, queues and the rest, as docs/protocol.md shows them, in Python's types.

Times are aware datetimes in UTC, payloads and results are Python values, and what does not apply to
a job is None or empty. A field that this version does not know is passed over: a newer node may say more.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal

from msgspec import Struct

Status = Literal["SCHEDULED", "QUEUED", "IN_PROGRESS", "CONCLUDED", "DEAD", "CANCELLED", "EXPIRED"]

FINISHED: Final[frozenset[str]] = frozenset(("CONCLUDED", "DEAD", "CANCELLED", "EXPIRED"))
"""What a job leaves no more, a redrive aside."""


class Progress(Struct, frozen=True):
    """How far the consumer said it is."""

    at: datetime
    percent: int | None = None
    note: str | None = None


class FailedAttempt(Struct, frozen=True):
    """How one attempt ended without success. error: what was said of it."""

    attempt: int
    event: str
    at: datetime
    error: str | None = None
    consumer: str | None = None


class Job(Struct, frozen=True):
    """A job as it was when the node answered."""

    id: int
    type: str
    status: Status
    queue: str
    priority: int
    payload: Any
    created_at: datetime
    attempt: int
    max_attempts: int
    lease_token: int | None = None
    lease_expires_at: datetime | None = None
    consumer: str | None = None
    finished_at: datetime | None = None
    result: Any = None
    run_at: datetime | None = None
    expires_at: datetime | None = None
    cancel_requested: bool = False
    unique_key: str | None = None
    tags: dict[str, str] = {}
    progress: Progress | None = None
    errors: tuple[FailedAttempt, ...] = ()

    @property
    def is_finished(self) -> bool:
        """Whether nothing happens to it any more by itself."""
        return self.status in FINISHED


class Enqueued(Struct, frozen=True):
    """A job that was added; duplicate: it was there before, under the same unique key."""

    id: int
    duplicate: bool = False


class Outcome(Struct, frozen=True):
    """What became of one job of many: `status` where the verb was done, else `code` says why not."""

    id: int
    status: Status | None = None
    code: str | None = None
    cancel_requested: bool = False


class Swept(Struct, frozen=True):
    """How many jobs a filter matched, all of which the verb was done to. done: there are no more."""

    matched: int
    done: bool


class Page(Struct, frozen=True):
    """Some jobs, by when they came. next: the cursor of those that follow; None: there are no more."""

    jobs: tuple[Job, ...]
    next: str | None


class Change(Struct, frozen=True):
    """One change of a job. index: the log entry that did it."""

    event: str
    status: Status
    at: datetime
    index: int
    attempt: int = 0
    lease_token: int = 0
    consumer: str | None = None
    error: str | None = None


class History(Struct, frozen=True):
    """What happened to a job, oldest first. forgotten: how many older changes are not kept."""

    id: int
    changes: tuple[Change, ...]
    forgotten: int = 0


class Explanation(Struct, frozen=True):
    """Why a job is not running. until: when that passes by itself; ahead: how many are handed out before it."""

    id: int
    status: Status
    reasons: tuple[str, ...]
    until: datetime | None = None
    ahead: int = 0


class Stats(Struct, frozen=True):
    """Jobs by status, in all queues and by queue. totals: what happened to the jobs of the queues there are."""

    jobs: dict[Status, int]
    total: int
    queues: dict[str, dict[Status, int]]
    totals: dict[str, int] = {}
    oldest_created_at: datetime | None = None


class Backoff(Struct, frozen=True):
    """How long a job waits after a failed attempt."""

    kind: Literal["fixed", "linear", "exponential"]
    seconds: float
    cap_seconds: float
    jitter: int


class QueueSettings(Struct, frozen=True):
    """What a queue decides for its jobs."""

    require_lease_token: bool
    lease_seconds: float
    max_attempts: int
    backoff: Backoff
    priorities: dict[str, int]
    max_depth: int
    retention_jobs: int
    retention_seconds: float
    max_in_progress: int
    rate_per_second: float
    rate_burst: int


class Queue(Struct, frozen=True):
    """A queue. depth: jobs that wait. totals: since it is there; rates: the same a second, lately."""

    name: str
    paused: bool
    settings: QueueSettings
    jobs: dict[Status, int]
    depth: int
    totals: dict[str, int]
    rates: dict[str, float]
    oldest_created_at: datetime | None = None
    oldest_age_seconds: float | None = None


class QueuePage(Struct, frozen=True):
    """Some queues by name. next: the cursor of those that follow; None: there are no more."""

    queues: tuple[Queue, ...]
    next: str | None


class Member(Struct, frozen=True):
    """A node as another one sees it."""

    id: str
    state: Literal["self", "connected", "disconnected"]


class ClusterChange(Struct, frozen=True):
    """A change of the cluster that its leader is about."""

    verb: str
    node: str | None
    phase: str


class Cluster(Struct, frozen=True):
    """The cluster as the node that answered sees it."""

    node: str
    role: Literal["leader", "follower", "candidate"]
    leader: str | None
    term: int
    commit_index: int
    applied_index: int
    members: tuple[Member, ...]
    mode: str
    level: int = 1
    level_max: int = 1
    change: ClusterChange | None = None
    consumers_waiting: int = 0


class Members(Struct, frozen=True):
    """Who the cluster is after a change of it."""

    members: tuple[str, ...]
    leader: str | None


class MemberDigest(Struct, frozen=True):
    """One member's part in a comparison. digest: 64 hexadecimal digits, or empty."""

    id: str
    state: str
    digest: str


class Verdict(Struct, frozen=True):
    """Whether all members hold the same state at `index`."""

    index: int
    result: Literal["equal", "differ", "incomplete"]
    members: tuple[MemberDigest, ...]


class Event(Struct, frozen=True):
    """One change of one job, as it happened. place: the event's id, `<log index>.<position>`."""

    event: str
    id: int
    status: Status
    queue: str
    type: str
    at: datetime
    attempt: int = 0
    lease_token: int = 0
    consumer: str | None = None
    error: str | None = None
    place: str = ""
