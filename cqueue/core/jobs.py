"""A job, and the table of what may happen to it.

`TRANSITIONS` is the rule: a missing key is the refusal. The diagram in docs/protocol.md and the
exhaustive test are made from it. Nothing but `cqueue.core.state` assigns `Job.status`.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

Status = Literal["SCHEDULED", "QUEUED", "IN_PROGRESS", "CONCLUDED", "DEAD", "CANCELLED", "EXPIRED"]
Event = Literal[
    "become_due",
    "hand_out",
    "conclude",
    "retry",
    "retry_now",
    "give_up",
    "release",
    "lose_lease",
    "lose_last_lease",
    "cancel",
    "expire",
    "redrive",
]

SCHEDULED: Final = "SCHEDULED"
QUEUED: Final = "QUEUED"
IN_PROGRESS: Final = "IN_PROGRESS"
CONCLUDED: Final = "CONCLUDED"
DEAD: Final = "DEAD"
CANCELLED: Final = "CANCELLED"
EXPIRED: Final = "EXPIRED"

STATUSES: Final[tuple[Status, ...]] = (SCHEDULED, QUEUED, IN_PROGRESS, CONCLUDED, DEAD, CANCELLED, EXPIRED)
FINISHED: Final[frozenset[Status]] = frozenset((CONCLUDED, DEAD, CANCELLED, EXPIRED))
WAITING: Final[frozenset[Status]] = frozenset((SCHEDULED, QUEUED))
"""Not handed out: what counts for a queue's depth, and may be cancelled, expire or be purged."""

TRANSITIONS: Final[dict[tuple[Status, Event], Status]] = {
    (SCHEDULED, "become_due"): QUEUED,
    (SCHEDULED, "cancel"): CANCELLED,
    (SCHEDULED, "expire"): EXPIRED,
    (QUEUED, "hand_out"): IN_PROGRESS,
    (QUEUED, "cancel"): CANCELLED,
    (QUEUED, "expire"): EXPIRED,
    (IN_PROGRESS, "conclude"): CONCLUDED,
    (IN_PROGRESS, "retry"): SCHEDULED,
    (IN_PROGRESS, "retry_now"): QUEUED,
    (IN_PROGRESS, "give_up"): DEAD,
    (IN_PROGRESS, "release"): QUEUED,
    (IN_PROGRESS, "lose_lease"): QUEUED,
    (IN_PROGRESS, "lose_last_lease"): DEAD,
    (IN_PROGRESS, "cancel"): CANCELLED,
    (DEAD, "redrive"): QUEUED,
}

DEFAULT_QUEUE: Final = "default"


Amount = Annotated[int, Meta(ge=0, le=2**53)]
"""A time, a duration or a count. A few of them added up are still less than what can be written down."""


class Backoff(Struct, array_like=True, frozen=True, gc=False):
    """How long a job waits after its n-th failed attempt, in ms.

    kind: `fixed`: base; `linear`: base x n; `exponential`: base x 2^(n-1); at most `cap_ms`.
    Of that, up to `jitter_percent` (0 to 100) is taken off, by an amount that the job's id and
    attempt decide, so that every replica takes off the same.
    """

    kind: Literal["fixed", "linear", "exponential"]
    base_ms: Amount
    cap_ms: Amount
    jitter_percent: Annotated[int, Meta(ge=0, le=100)] = 0


class Unique(Struct, array_like=True, frozen=True, gc=False):
    """One live job per key and queue. scope: how long the key is taken.

    `queued`: while the job is SCHEDULED or QUEUED; `unfinished`: until it is finished;
    `window`: for `window_ms` from its enqueue on, whatever becomes of it.
    """

    key: str
    scope: Literal["queued", "unfinished", "window"] = "unfinished"
    window_ms: Amount = 0


class Change(Struct, array_like=True, frozen=True, gc=False):
    """One change of a job: what happened, what it was then, when, and which log entry did it.

    attempt, lease_token, consumer: of the hand-out it belongs to. error: what `fail` said.
    """

    event: Event | Literal["enqueue", "request_cancel"]
    status: Status
    at_ms: int
    index: int
    attempt: int = 0
    lease_token: int = 0
    consumer: str | None = None
    error: str | None = None


class Extras(Struct, array_like=True, gc=False):
    """What most jobs do not have.

    backoff: None: its queue's. run_at_ms: what it waited for at first. changes: what happened to
    it, oldest first, the newest `limits.CHANGES_KEPT_MAX`, but for what the job's own fields tell:
    its enqueue, its last hand-out and its conclusion. percent 0 to 100 and note: what `progress`
    said last. cancel_requested_ms: when someone asked to cancel it while it was held; 0: nobody did.
    """

    tags: dict[str, str] | None = None
    backoff: Backoff | None = None
    unique: Unique | None = None
    run_at_ms: int = 0
    expires_ms: int = 0
    changes: tuple[Change, ...] = ()
    changes_forgotten: int = 0
    percent: int | None = None
    note: str | None = None
    progress_ms: int = 0
    cancel_requested_ms: int = 0


class Job(Struct, array_like=True, gc=False):
    """One job as the state machine holds it, as a snapshot stores it and as an answer carries it.

    Times are integer milliseconds since the Unix epoch, in log time; an index is that of the log
    entry that did it. `payload` and `result` are JSON text exactly as the client sent it.
    due_ms: SCHEDULED: when it becomes QUEUED; IN_PROGRESS: when its lease ends; else 0.
    `lease_token` keeps the token of the last hand-out (0: never handed out), so that whoever
    concluded a job is still recognised when it asks again. lease_ms: how long a consumer that does
    not say holds it. consumer, started_*: of the last hand-out.
    """

    id: int
    type: str
    status: Status
    queue: str
    priority: int
    payload: bytes
    created_ms: int
    created_index: int
    max_attempts: int
    lease_ms: int
    due_ms: int = 0
    attempt: int = 0
    lease_token: int = 0
    consumer: str | None = None
    started_ms: int = 0
    started_index: int = 0
    finished_ms: int = 0
    finished_index: int = 0
    result: bytes | None = None
    extras: Extras | None = None

    @property
    def tags(self) -> dict[str, str]:
        """Its tags; an empty map for most."""
        return (self.extras and self.extras.tags) or {}

    @property
    def cancel_requested(self) -> bool:
        """Whether someone asked to cancel it while it was held."""
        return self.extras is not None and self.extras.cancel_requested_ms > 0

    def with_extras(self) -> Extras:
        """Its extras, made if it has none yet."""
        extras = self.extras
        if extras is None:
            extras = self.extras = Extras()
        return extras
