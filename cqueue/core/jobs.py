"""A job, and the table of what may happen to it.

`TRANSITIONS` is the rule: a missing key is the refusal. The diagram in docs/protocol.md and the
exhaustive test are made from it. Nothing else in the project assigns `Job.status`.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

Status = Literal["QUEUED", "IN_PROGRESS", "CONCLUDED", "DEAD"]
Event = Literal["hand_out", "conclude", "expire", "expire_last"]

QUEUED: Final = "QUEUED"
IN_PROGRESS: Final = "IN_PROGRESS"
CONCLUDED: Final = "CONCLUDED"
DEAD: Final = "DEAD"

STATUSES: Final[tuple[Status, ...]] = (QUEUED, IN_PROGRESS, CONCLUDED, DEAD)
FINISHED: Final[frozenset[Status]] = frozenset((CONCLUDED, DEAD))

TRANSITIONS: Final[dict[tuple[Status, Event], Status]] = {
    (QUEUED, "hand_out"): IN_PROGRESS,
    (IN_PROGRESS, "conclude"): CONCLUDED,
    (IN_PROGRESS, "expire"): QUEUED,
    (IN_PROGRESS, "expire_last"): DEAD,
}

DEFAULT_QUEUE: Final = "default"


class Job(Struct, array_like=True, gc=False):
    """One job as the state machine holds it, as a snapshot stores it and as an answer carries it.

    Times are integer milliseconds since the Unix epoch, in log time. `payload` and `result` are
    JSON text exactly as the client sent it. `lease_token` keeps the token of the last hand-out
    (0: never handed out), so that whoever concluded a job is still recognised when it asks again.
    """

    id: int
    type: str
    status: Status
    queue: str
    priority: int
    payload: bytes
    created_ms: int
    attempt: int = 0
    max_attempts: int = 0
    lease_token: int = 0
    lease_expires_ms: int = 0
    consumer: str | None = None
    finished_ms: int = 0
    result: bytes | None = None
