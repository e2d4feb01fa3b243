"""What can be asked of the state machine, and what it answers: the typed shapes of doors 2 to 4.

Operations change the state and travel in the log; queries only look and never do. All of them are
msgpack arrays with an integer tag first, so that a replica can put encoded operations side by side
into one log entry without decoding them. A tag is never given a second meaning: old logs hold it.
"""

from __future__ import annotations

from msgspec import Struct

from cqueue.core.jobs import Job, Status


class NewJob(Struct, array_like=True, frozen=True, gc=False):
    """One job to add. `payload` is JSON text."""

    type: str
    payload: bytes


class Enqueue(Struct, array_like=True, frozen=True, tag=1):
    """Add all of `jobs` or none of them. Answer: `Enqueued`, or `Refusal` queue_full."""

    jobs: list[NewJob]


class Dequeue(Struct, array_like=True, frozen=True, tag=2):
    """Hand out up to `count` jobs (1 to 1,000) for `lease_ms` each. Answer: `Dequeued`."""

    count: int
    lease_ms: int
    consumer: str | None = None


class Conclusion(Struct, array_like=True, frozen=True, gc=False):
    """One job is done. Without a `lease_token` anyone may say so while the job is in progress."""

    id: int
    lease_token: int | None = None
    result: bytes | None = None


class Conclude(Struct, array_like=True, frozen=True, tag=3):
    """Conclude each of `jobs` on its own. Answer: `Settled`, one outcome a job, in order."""

    jobs: list[Conclusion]


class Keyed(Struct, array_like=True, frozen=True, tag=4):
    """Do `operation` once under `key` (1 to 255 characters); afterwards only answer the same again.

    `fingerprint` is the SHA-256 of the encoded operation. Answer: the operation's, or `Refusal`
    key_reused (another operation was done under the key) or keys_full. A dequeue that found
    nothing and a refusal of the whole operation are not remembered.
    """

    key: str
    fingerprint: bytes
    operation: Enqueue | Dequeue | Conclude


class GetJob(Struct, array_like=True, frozen=True, tag=65):
    """Answer: `Found`, or `Refusal` not_found or gone."""

    id: int


class GetStats(Struct, array_like=True, frozen=True, tag=66):
    """Answer: `Stats`."""


Operation = Enqueue | Dequeue | Conclude | Keyed
Query = GetJob | GetStats


class Refusal(Struct, array_like=True, frozen=True, tag=1):
    """The state machine says no; a value, not an exception. `code` as in docs/protocol.md."""

    code: str
    detail: str


class Enqueued(Struct, array_like=True, frozen=True, tag=2):
    """The new ids, in the order of the request."""

    ids: list[int]


class Dequeued(Struct, array_like=True, frozen=True, tag=3):
    """The jobs handed out, best first; possibly none."""

    jobs: list[Job]


class Settled(Struct, array_like=True, frozen=True, tag=4):
    """One outcome per job of a conclude, in the order of the request."""

    outcomes: list[Job | Refusal]


class Found(Struct, array_like=True, frozen=True, tag=5):
    """One job."""

    job: Job


class Stats(Struct, array_like=True, frozen=True, tag=6):
    """Jobs the queue still knows, by queue and status. Shape: {queue: {status: jobs}}."""

    queues: dict[str, dict[Status, int]]


Result = Refusal | Enqueued | Dequeued | Settled | Found | Stats
