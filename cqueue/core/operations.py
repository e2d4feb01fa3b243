"""What can be done: the operations, which change the state and travel in the log.

All of them are msgpack arrays with an integer tag first, so that a replica can put encoded
operations side by side into one log entry without decoding them. A tag is never given a second
meaning: old logs hold it. What can be looked at is in `queries`, what is answered in `results`.

Operations on held jobs carry a `lease_token`. With one that is no longer the current one they are
refused (`lease_lost`); without one (None) they are allowed while the job is IN_PROGRESS, unless its
queue requires tokens (`token_required`).

What a caller may say is checked where it comes in (`cqueue.web`), with narrower bounds. Those here are what
the state machine relies on: what is beyond them is no operation, and no entry can be read that holds it.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from cqueue.core import limits
from cqueue.core.jobs import DEFAULT_QUEUE, Amount, Backoff, Unique
from cqueue.core.reach import Reach

QueueName = Annotated[str, Meta(min_length=1)]
Burst = Annotated[int, Meta(ge=0, le=2**32)]
"""In parts of a job (cqueue.core.pace) it still fits into a snapshot."""

# -- operations: jobs come and are handed out ------------------------------------------------------


class Options(Struct, array_like=True, frozen=True, gc=False):
    """What a new job says beyond its type and payload; None or 0: as its queue does.

    delay_ms: from now on; run_at_ms: since the Unix epoch; the later of both counts, and one that
    is over means at once. expires_in_ms: from now on; 0: never.
    """

    priority: Amount | None = None
    delay_ms: Amount = 0
    run_at_ms: Amount = 0
    expires_in_ms: Amount = 0
    lease_ms: Amount = 0
    max_attempts: Amount = 0
    backoff: Backoff | None = None
    unique: Unique | None = None
    tags: dict[str, str] | None = None


class NewJob(Struct, array_like=True, frozen=True, gc=False):
    """One job to add. `payload` is JSON text."""

    type: str
    payload: bytes
    queue: QueueName = DEFAULT_QUEUE
    options: Options | None = None


class Enqueue(Struct, array_like=True, frozen=True, tag=1):
    """Add all of `jobs` or none of them. Answer: `Enqueued`, or `Refusal` queue_full, too_many_queues.

    A job whose unique key is taken is not added; the answer has the id of the one that took it.
    """

    jobs: Annotated[list[NewJob], Meta(min_length=1)]


class Dequeue(Struct, array_like=True, frozen=True, tag=2):
    """Hand out up to `count` jobs (1 to 1,000). Answer: `Dequeued`.

    queues: in this order, the next one only when the one before has nothing. types: only these;
    None: any. tags: only jobs that have all of these. lease_ms: 0: as each job says.
    """

    count: Annotated[int, Meta(ge=0, le=limits.DEQUEUE_JOBS_MAX)]
    lease_ms: Amount = 0
    consumer: str | None = None
    queues: tuple[str, ...] = (DEFAULT_QUEUE,)
    types: tuple[str, ...] | None = None
    tags: dict[str, str] | None = None


# -- operations: on jobs by id, many at once; answer: `Settled` ------------------------------------


class Conclusion(Struct, array_like=True, frozen=True, gc=False):
    """One job is done, with `result` (JSON text)."""

    id: int
    lease_token: int | None = None
    result: bytes | None = None


class Conclude(Struct, array_like=True, frozen=True, tag=3):
    """Each becomes CONCLUDED, or CANCELLED where that was asked for. Once concluded, again is fine."""

    jobs: list[Conclusion]


class FailedAttempt(Struct, array_like=True, frozen=True, gc=False):
    """One attempt failed. retry_in_ms: instead of the backoff; None: as the backoff says."""

    id: int
    lease_token: int | None = None
    error: str | None = None
    retryable: bool = True
    retry_in_ms: Amount | None = None


class Fail(Struct, array_like=True, frozen=True, tag=5):
    """Each is tried again after its backoff, or DEAD: not retryable, or attempts are used up."""

    jobs: list[FailedAttempt]


class Held(Struct, array_like=True, frozen=True, gc=False):
    """One held job."""

    id: int
    lease_token: int | None = None


class Release(Struct, array_like=True, frozen=True, tag=6):
    """Each is QUEUED again as if it had not been handed out: it costs no attempt."""

    jobs: list[Held]


class Extension(Struct, array_like=True, frozen=True, gc=False):
    """The lease of one job ends `lease_ms` from now; 0: as the job says."""

    id: int
    lease_token: int | None = None
    lease_ms: Amount = 0


class Extend(Struct, array_like=True, frozen=True, tag=7):
    """Each is held longer."""

    jobs: list[Extension]


class Report(Struct, array_like=True, frozen=True, gc=False):
    """How far one job is. percent: 0 to 100. None leaves what was said before."""

    id: int
    lease_token: int | None = None
    percent: Amount | None = None
    note: str | None = None


class Progress(Struct, array_like=True, frozen=True, tag=8):
    """Each says how far it is; leases stay as they are."""

    jobs: list[Report]


class Cancel(Struct, array_like=True, frozen=True, tag=9):
    """A waiting job is CANCELLED at once; one in progress is asked to stop. Again is fine."""

    ids: list[int]


class Redrive(Struct, array_like=True, frozen=True, tag=10):
    """Each DEAD job is QUEUED again, with all its attempts before it. Others: `not_dead`."""

    ids: list[int]


class Purge(Struct, array_like=True, frozen=True, tag=11):
    """Each is forgotten, unless it is held (`in_progress`). Unknown ones are `gone` or `not_found`."""

    ids: list[int]


# -- operations: queues, and the cluster's bounds --------------------------------------------------


class QueueSettings(Struct, array_like=True, frozen=True):
    """What a queue decides for its jobs. max_depth 0: none but the cluster's bound.

    priorities: {type: priority}. retention_*: finished jobs leave when there are more of them (at
    least 1: the one that finished last stays), or when they finished longer ago. max_in_progress 0: any
    number may be held. rate_milli: jobs handed out in 1,000 s, 0: any number; rate_burst: jobs handed out at
    once after a pause, 0: those of one second, at least one.
    """

    paused: bool
    require_lease_token: bool
    lease_ms: Amount
    max_attempts: Amount
    backoff: Backoff
    priorities: dict[str, Amount]
    max_depth: Amount
    retention_jobs: Amount
    retention_ms: Amount
    max_in_progress: Amount
    rate_milli: Amount
    rate_burst: Burst


class SetQueue(Struct, array_like=True, frozen=True, tag=12):
    """Change settings of a queue, which is made if it is new; None leaves what is.

    Answer: `QueueState`, or `Refusal` too_many_queues.
    """

    queue: QueueName
    paused: bool | None = None
    require_lease_token: bool | None = None
    lease_ms: Amount | None = None
    max_attempts: Amount | None = None
    backoff: Backoff | None = None
    priorities: dict[str, Amount] | None = None
    max_depth: Amount | None = None
    retention_jobs: Amount | None = None
    retention_ms: Amount | None = None
    max_in_progress: Amount | None = None
    rate_milli: Amount | None = None
    rate_burst: Burst | None = None


class DropQueue(Struct, array_like=True, frozen=True, tag=13):
    """Forget a queue, its settings and its finished jobs. Answer: `Accepted`, or `Refusal` queue_not_empty."""

    queue: QueueName


class SetBounds(Struct, array_like=True, frozen=True, tag=14):
    """The leader says how much the cluster takes in. Answer: `Accepted`.

    max_jobs: that are not finished; max_bytes: of payloads, results and `limits.JOB_BYTES` a job.
    """

    max_jobs: Amount
    max_bytes: Amount


class Within(Struct, array_like=True, frozen=True, tag=15):
    """Do `operation` to those of its jobs that are in queues which `reach` covers; others: `not_found`.

    What names its queues itself needs no such thing: whoever asks can be told no before the log.
    """

    reach: Reach
    operation: Conclude | Fail | Release | Extend | Progress | Cancel | Redrive | Purge


class Keyed(Struct, array_like=True, frozen=True, tag=4):
    """Do `operation` once under `key` (1 to 255 characters); afterwards only answer the same again.

    `fingerprint` is the SHA-256 of the encoded operation. Answer: the operation's, or `Refusal`
    key_reused (another operation was done under the key) or keys_full. A dequeue that found
    nothing and a refusal of the whole operation are not remembered.
    """

    key: str
    fingerprint: bytes
    operation: (
        Enqueue
        | Dequeue
        | Conclude
        | Fail
        | Release
        | Extend
        | Progress
        | Cancel
        | Redrive
        | Purge
        | SetQueue
        | DropQueue
        | Within
    )

    @property
    def weight(self) -> int:
        """How much of the room for keys it takes: one, and one more for every job it may be about."""
        operation = self.operation
        if isinstance(operation, Within):
            operation = operation.operation
        if isinstance(operation, Dequeue):
            return 1 + operation.count
        if isinstance(operation, Cancel | Redrive | Purge):
            return 1 + len(operation.ids)
        if isinstance(operation, SetQueue | DropQueue):
            return 1
        return 1 + len(operation.jobs)


PerJob = Conclude | Fail | Release | Extend | Progress | Cancel | Redrive | Purge
Operation = Enqueue | Dequeue | PerJob | SetQueue | DropQueue | SetBounds | Within | Keyed
