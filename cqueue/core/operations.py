"""What can be asked of the state machine, and what it answers: the typed shapes of doors 2 to 4.

Operations change the state and travel in the log; queries only look and never do. All of them are
msgpack arrays with an integer tag first, so that a replica can put encoded operations side by side
into one log entry without decoding them. A tag is never given a second meaning: old logs hold it.

Operations on held jobs carry a `lease_token`. With one that is no longer the current one they are
refused (`lease_lost`); without one (None) they are allowed while the job is IN_PROGRESS, unless its
queue requires tokens (`token_required`).
"""

from __future__ import annotations

from msgspec import Struct

from cqueue.core.jobs import DEFAULT_QUEUE, Backoff, Change, Job, Status, Unique

# -- operations: jobs come and are handed out ------------------------------------------------------


class Options(Struct, array_like=True, frozen=True, gc=False):
    """What a new job says beyond its type and payload; None or 0: as its queue does.

    delay_ms: from now on; run_at_ms: since the Unix epoch; the later of both counts, and one that
    is over means at once. expires_in_ms: from now on; 0: never.
    """

    priority: int | None = None
    delay_ms: int = 0
    run_at_ms: int = 0
    expires_in_ms: int = 0
    lease_ms: int = 0
    max_attempts: int = 0
    backoff: Backoff | None = None
    unique: Unique | None = None
    tags: dict[str, str] | None = None


class NewJob(Struct, array_like=True, frozen=True, gc=False):
    """One job to add. `payload` is JSON text."""

    type: str
    payload: bytes
    queue: str = DEFAULT_QUEUE
    options: Options | None = None


class Enqueue(Struct, array_like=True, frozen=True, tag=1):
    """Add all of `jobs` or none of them. Answer: `Enqueued`, or `Refusal` queue_full, too_many_queues.

    A job whose unique key is taken is not added; the answer has the id of the one that took it.
    """

    jobs: list[NewJob]


class Dequeue(Struct, array_like=True, frozen=True, tag=2):
    """Hand out up to `count` jobs (1 to 1,000). Answer: `Dequeued`.

    queues: in this order, the next one only when the one before has nothing. types: only these;
    None: any. tags: only jobs that have all of these. lease_ms: 0: as each job says.
    """

    count: int
    lease_ms: int = 0
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
    retry_in_ms: int | None = None


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
    lease_ms: int = 0


class Extend(Struct, array_like=True, frozen=True, tag=7):
    """Each is held longer."""

    jobs: list[Extension]


class Report(Struct, array_like=True, frozen=True, gc=False):
    """How far one job is. percent: 0 to 100. None leaves what was said before."""

    id: int
    lease_token: int | None = None
    percent: int | None = None
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
    least 1: the one that finished last stays), or when they finished longer ago.
    """

    paused: bool
    require_lease_token: bool
    lease_ms: int
    max_attempts: int
    backoff: Backoff
    priorities: dict[str, int]
    max_depth: int
    retention_jobs: int
    retention_ms: int


class SetQueue(Struct, array_like=True, frozen=True, tag=12):
    """Change settings of a queue, which is made if it is new; None leaves what is.

    Answer: `QueueState`, or `Refusal` too_many_queues.
    """

    queue: str
    paused: bool | None = None
    require_lease_token: bool | None = None
    lease_ms: int | None = None
    max_attempts: int | None = None
    backoff: Backoff | None = None
    priorities: dict[str, int] | None = None
    max_depth: int | None = None
    retention_jobs: int | None = None
    retention_ms: int | None = None


class DropQueue(Struct, array_like=True, frozen=True, tag=13):
    """Forget a queue, its settings and its finished jobs. Answer: `Accepted`, or `Refusal` queue_not_empty."""

    queue: str


class SetBounds(Struct, array_like=True, frozen=True, tag=14):
    """The leader says how much the cluster takes in. Answer: `Accepted`.

    max_jobs: that are not finished; max_bytes: of payloads, results and `limits.JOB_BYTES` a job.
    """

    max_jobs: int
    max_bytes: int


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
    )

    @property
    def weight(self) -> int:
        """How much of the room for keys it takes: one, and one more for every job it may be about."""
        operation = self.operation
        if isinstance(operation, Dequeue):
            return 1 + operation.count
        if isinstance(operation, Cancel | Redrive | Purge):
            return 1 + len(operation.ids)
        if isinstance(operation, SetQueue | DropQueue):
            return 1
        return 1 + len(operation.jobs)


# -- queries ---------------------------------------------------------------------------------------


class GetJob(Struct, array_like=True, frozen=True, tag=65):
    """Answer: `Found`, or `Refusal` not_found or gone."""

    id: int


class GetStats(Struct, array_like=True, frozen=True, tag=66):
    """Answer: `Stats`."""


class ListJobs(Struct, array_like=True, frozen=True, tag=67):
    """Jobs by ascending id, above `after` and up to `until` (0: the newest). Answer: `Page`.

    None or empty: any. created_*_ms: created at or after, and before. count: 1 to 1,000.
    One query looks at `limits.LOOK_JOBS_MAX` ids at most: a page may be short and yet not the last.
    """

    after: int = 0
    until: int = 0
    count: int = 100
    queue: str | None = None
    statuses: tuple[Status, ...] = ()
    types: tuple[str, ...] = ()
    tags: dict[str, str] | None = None
    created_from_ms: int = 0
    created_before_ms: int = 0


class GetHistory(Struct, array_like=True, frozen=True, tag=68):
    """Answer: `History`, or `Refusal` not_found or gone."""

    id: int


class Explain(Struct, array_like=True, frozen=True, tag=69):
    """Why a job is not running. Answer: `Explanation`, or `Refusal` not_found or gone."""

    id: int


class GetQueue(Struct, array_like=True, frozen=True, tag=70):
    """Answer: `QueueState`, or `Refusal` queue_not_found."""

    queue: str


class ListQueues(Struct, array_like=True, frozen=True, tag=71):
    """Queues by name, after `after`. count: 1 to 1,000. Answer: `Queues`."""

    after: str = ""
    count: int = 100


PerJob = Conclude | Fail | Release | Extend | Progress | Cancel | Redrive | Purge
Operation = Enqueue | Dequeue | PerJob | SetQueue | DropQueue | SetBounds | Keyed
Query = GetJob | GetStats | ListJobs | GetHistory | Explain | GetQueue | ListQueues

# -- results ---------------------------------------------------------------------------------------


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
    """Jobs the queue still knows, by queue and status. Shape: {queue: {status: jobs}}."""

    queues: dict[str, dict[Status, int]]


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
