"""What the state machine answers to operations and queries. A refusal is an answer like the others.

Answers are msgpack arrays with an integer tag first. They do not travel in the log.
"""

from __future__ import annotations

from msgspec import Struct

from cqueue.core.jobs import Change, Job, Status
from cqueue.core.operations import QueueSettings


class Refusal(Struct, array_like=True, frozen=True, tag=1):
    """The state machine says no; a value, not an exception. `code` as in docs/protocol.md."""

    code: str
    detail: str


class Enqueued(Struct, array_like=True, frozen=True, tag=2):
    """The ids, in the order of the request. duplicates: positions (from 0) of those that were there already."""

    ids: list[int]
    duplicates: list[int] = []


class Dequeued(Struct, array_like=True, frozen=True, tag=3):
    """The jobs handed out, best first; possibly none."""

    jobs: list[Job]


class Done(Struct, array_like=True, frozen=True, tag=2):
    """What one job is after it was asked for."""

    status: Status
    cancel_requested: bool = False


Outcome = Done | Refusal


class Settled(Struct, array_like=True, frozen=True, tag=4):
    """One outcome per job, in the order of the request; `job`: where one was asked for, and is kept."""

    outcomes: list[Outcome]
    job: Job | None = None


class Found(Struct, array_like=True, frozen=True, tag=5):
    """One job."""

    job: Job


class Stats(Struct, array_like=True, frozen=True, tag=6):
    """Jobs the queue still knows. counts: in all queues, by status; queues: the same by queue, if that was asked for.

    totals: what happened to jobs of the queues there are, by event. oldest_ms: when the oldest QUEUED job was
    created; 0: there is none.
    """

    counts: dict[Status, int]
    queues: dict[str, dict[Status, int]]
    totals: dict[str, int]
    oldest_ms: int


class Page(Struct, array_like=True, frozen=True, tag=7):
    """Some jobs. next: ask again `after` this id; None: there are no more. newest: the newest id given so far.

    Of payloads and results it carries as much as a dequeue's answer does.
    """

    jobs: list[Job]
    next: int | None
    newest: int = 0


class History(Struct, array_like=True, frozen=True, tag=8):
    """Every change of a job that is remembered, oldest first. forgotten: how many older ones are not."""

    changes: list[Change]
    forgotten: int = 0


class Explanation(Struct, array_like=True, frozen=True, tag=9):
    """Why a job is not running.

    reasons: queue_paused, delayed, backing_off, behind, next, held, cancel_requested, finished.
    until_ms: when the reason passes by itself; ahead: jobs of its queue handed out before it.
    """

    status: Status
    reasons: list[str]
    until_ms: int = 0
    ahead: int = 0


class QueueState(Struct, array_like=True, frozen=True, tag=10):
    """A queue. totals: since it was made, by event; recent: the same, of the last `recent_ms`.

    recent_ms: this minute and the one before. oldest_ms: when the oldest QUEUED job was created; 0: there is
    none. now_ms: log time.
    """

    queue: str
    settings: QueueSettings
    counts: dict[Status, int]
    totals: dict[str, int]
    recent: dict[str, int]
    recent_ms: int
    oldest_ms: int
    now_ms: int


class Queues(Struct, array_like=True, frozen=True, tag=11):
    """Some queues by name. next: ask again `after` this name; None: there are no more."""

    queues: list[QueueState]
    next: str | None


class Accepted(Struct, array_like=True, frozen=True, tag=12):
    """Done, with nothing to say."""


Result = (
    Refusal
    | Enqueued
    | Dequeued
    | Settled
    | Found
    | Stats
    | Page
    | History
    | Explanation
    | QueueState
    | Queues
    | Accepted
)
