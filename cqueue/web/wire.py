"""The JSON shapes of door 1, and how they become operations and come back from results.

The structs below are the contract of docs/protocol.md: what they do not name is refused. Seconds
stop here (operations count milliseconds), and so do JSON's times (core counts milliseconds since
the Unix epoch). Payloads and results are carried as the bytes the client sent.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from cqueue.core import limits
from cqueue.core.jobs import FINISHED, IN_PROGRESS, STATUSES, Job, Status
from cqueue.core.operations import (
    Conclude,
    Conclusion,
    Dequeue,
    Dequeued,
    Enqueue,
    Enqueued,
    Found,
    NewJob,
    Refusal,
    Stats,
)
from cqueue.protocol import Member, NodeStatus
from cqueue.web import body

TYPE_DEFAULT: Final = "NOT_TIME_CRITICAL"
WAIT_S_MAX: Final = 60
ID_MAX: Final = 2**63 - 1

Id = Annotated[int, Meta(ge=1, le=ID_MAX)]
LeaseToken = Annotated[int, Meta(ge=1, le=ID_MAX)]
TypeName = Annotated[str, Meta(min_length=1, max_length=limits.TYPE_CHARS_MAX)]


# -- requests ------------------------------------------------------------------------------------


class EnqueueBody(Struct, forbid_unknown_fields=True, gc=False):
    """One job to add. `Type` is the original queue's spelling of `type`."""

    type: TypeName | UnsetType = UNSET
    type_original: TypeName | UnsetType = field(default=UNSET, name="Type")
    payload: Raw | UnsetType = UNSET


EnqueueManyBody = Annotated[list[EnqueueBody], Meta(min_length=1, max_length=limits.ENQUEUE_JOBS_MAX)]


class DequeueBody(Struct, forbid_unknown_fields=True):
    """What to hand out. Without `count` the answer is one bare job. `wait`: seconds, may be fractional."""

    count: Annotated[int, Meta(ge=1, le=limits.DEQUEUE_JOBS_MAX)] | UnsetType = UNSET
    lease_seconds: Annotated[int, Meta(ge=limits.LEASE_MS_MIN // 1000, le=limits.LEASE_MS_MAX // 1000)] = (
        limits.LEASE_MS_DEFAULT // 1000
    )
    wait: Annotated[float, Meta(ge=0, le=WAIT_S_MAX)] = 0.0


class ConcludeBody(Struct, forbid_unknown_fields=True):
    """What is said of one job whose id is in the path."""

    lease_token: LeaseToken | UnsetType = UNSET
    result: Raw | UnsetType = UNSET


class ConclusionBody(Struct, forbid_unknown_fields=True, gc=False):
    """One job of many."""

    id: Id
    lease_token: LeaseToken | UnsetType = UNSET
    result: Raw | UnsetType = UNSET


class ConcludeManyBody(Struct, forbid_unknown_fields=True):
    """Either plain ids or jobs with what is said of each."""

    ids: Annotated[list[Id], Meta(min_length=1, max_length=limits.CONCLUDE_JOBS_MAX)] | UnsetType = UNSET
    jobs: Annotated[list[ConclusionBody], Meta(min_length=1, max_length=limits.CONCLUDE_JOBS_MAX)] | UnsetType = UNSET


_decode_enqueue = msgspec.json.Decoder(EnqueueBody).decode
_decode_enqueue_many = msgspec.json.Decoder(EnqueueManyBody).decode
_decode_dequeue = msgspec.json.Decoder(DequeueBody).decode
_decode_conclude = msgspec.json.Decoder(ConcludeBody).decode
_decode_conclude_many = msgspec.json.Decoder(ConcludeManyBody).decode


def enqueue(data: bytes) -> tuple[Enqueue, bool]:
    """The operation, and whether the body was an array."""
    if data.lstrip()[:1] == b"[":
        news = body.decode(_decode_enqueue_many, data)
        return Enqueue([_new_job(new, position) for position, new in enumerate(news)]), True
    new = body.decode(_decode_enqueue, data) if data else EnqueueBody()
    return Enqueue([_new_job(new, None)]), False


def _new_job(new: EnqueueBody, position: int | None) -> NewJob:
    """The job that `new` describes; position: where it stands in an array, None where there is none."""
    type_name, payload = new.type, new.payload
    if new.type_original is not UNSET:
        if type_name is not UNSET:
            pointer = f"{_place(position)}/Type"
            raise body.invalid_field(pointer, "the same as `type`, which is there too; send one of them")
        type_name = new.type_original
    return NewJob(
        TYPE_DEFAULT if type_name is UNSET else type_name,
        b"null" if payload is UNSET else _json(payload, "", position, "payload"),
    )


def dequeue(data: bytes, consumer: str | None) -> tuple[Dequeue, bool, int]:
    """The operation, whether `count` was given, and how long to wait in ms."""
    asked = body.decode(_decode_dequeue, data) if data else DequeueBody()
    many = asked.count is not UNSET
    return (
        Dequeue(asked.count if many else 1, asked.lease_seconds * 1000, consumer),  # type: ignore[arg-type]
        many,
        round(asked.wait * 1000),
    )


def conclude(data: bytes, job_id: int) -> Conclude:
    """The operation for the one job `job_id`."""
    said = body.decode(_decode_conclude, data) if data else ConcludeBody()
    return Conclude([_conclusion(job_id, said, None)])


def conclude_many(data: bytes) -> Conclude:
    """The operation for the jobs the body names."""
    said = body.decode(_decode_conclude_many, data) if data else ConcludeManyBody()
    ids, jobs = said.ids, said.jobs
    if ids is UNSET:
        if jobs is UNSET:
            raise body.invalid_field("", "one of the fields `ids` and `jobs` is required")
        return Conclude([_conclusion(job.id, job, position) for position, job in enumerate(jobs)])
    if jobs is not UNSET:
        raise body.invalid_field("/jobs", "`ids` is there too; send one of them")
    return Conclude([Conclusion(job_id) for job_id in ids])


def _conclusion(job_id: int, said: ConcludeBody | ConclusionBody, position: int | None) -> Conclusion:
    token, result = said.lease_token, said.result
    return Conclusion(
        job_id,
        None if token is UNSET else token,
        None if result is UNSET else _json(result, "/jobs", position, "result"),
    )


def _json(raw: Raw, array: str, position: int | None, name: str) -> bytes:
    value = bytes(raw)
    # A level takes two bytes: what is this short cannot nest too deeply, and need not be looked through.
    if len(value) > body.NESTING_LEVELS_MAX * 2:
        body.check_nesting(value, _place(position, array), name)
    return value


def _place(position: int | None, array: str = "") -> str:
    """The pointer to an element of the body's `array`, or to the body. Made only where something is wrong or large."""
    return "" if position is None else f"{array}/{position}"


# -- results -------------------------------------------------------------------------------------


class Outcome(Struct, array_like=True, gc=False):
    """The front of one outcome of a conclude, whichever it is; what follows is skipped, not decoded.

    A `Job` begins with id, type, status, queue; a `Refusal` is its tag, code and detail, no more.
    """

    id: int
    type: str
    status: str
    queue: str | None = None

    @property
    def refusal(self) -> Refusal | None:
        """The refusal, if it is one."""
        return Refusal(self.type, self.status) if self.queue is None else None


class _Settled(Struct, array_like=True, tag=4):
    outcomes: list[Outcome]


class _SettledOne(Struct, array_like=True, tag=4):
    outcomes: tuple[Raw]


decode_enqueued = msgspec.msgpack.Decoder(Refusal | Enqueued).decode
decode_dequeued = msgspec.msgpack.Decoder(Refusal | Dequeued).decode
decode_found = msgspec.msgpack.Decoder(Refusal | Found).decode
decode_stats = msgspec.msgpack.Decoder(Refusal | Stats).decode
_decode_settled = msgspec.msgpack.Decoder(Refusal | _Settled).decode
_decode_settled_one = msgspec.msgpack.Decoder(Refusal | _SettledOne).decode
_decode_outcome = msgspec.msgpack.Decoder(Outcome).decode
_decode_job = msgspec.msgpack.Decoder(Job).decode


def decode_settled(data: bytes) -> Refusal | list[Outcome]:
    """The outcomes of a conclude of many, or its refusal as a whole."""
    settled = _decode_settled(data)
    return settled if isinstance(settled, Refusal) else settled.outcomes


def decode_settled_one(data: bytes) -> Refusal | Job:
    """The outcome of a conclude of one."""
    settled = _decode_settled_one(data)
    if isinstance(settled, Refusal):
        return settled
    raw = settled.outcomes[0]
    return _decode_outcome(raw).refusal or _decode_job(raw)


# -- answers -------------------------------------------------------------------------------------


class JobAnswer(Struct, gc=False, omit_defaults=True):
    """A job as everybody sees it, on every node alike. Fields that do not apply are left out."""

    id: int
    type: str
    status: Status
    queue: str
    priority: int
    payload: Raw
    created_at: str
    attempt: int
    max_attempts: int
    lease_token: int | UnsetType = UNSET
    lease_expires_at: str | UnsetType = UNSET
    consumer: str | UnsetType = UNSET
    finished_at: str | UnsetType = UNSET
    result: Raw | UnsetType = UNSET


class JobsAnswer(Struct):
    """The answer to a dequeue of many."""

    jobs: list[JobAnswer]


class EnqueuedAnswer(Struct):
    """The answer to an enqueue of one."""

    id: int


class EnqueuedManyAnswer(Struct):
    """The answer to an enqueue of many, in the order of the request."""

    ids: list[int]


class ResultAnswer(Struct, gc=False, omit_defaults=True):
    """One line of the answer to a conclude of many: `status` where it worked, else `code`."""

    id: int
    status: str | None = None
    code: str | None = None


class ResultsAnswer(Struct):
    """The answer to a conclude of many, in the order of the request."""

    results: list[ResultAnswer]


class StatsAnswer(Struct):
    """Jobs by status, over all queues and by queue."""

    jobs: dict[str, int]
    total: int
    queues: dict[str, dict[Status, int]]


class ClusterAnswer(Struct):
    """The cluster as this node sees it."""

    node: str
    role: str
    leader: str | None
    term: int
    commit_index: int
    applied_index: int
    members: list[Member]
    mode: str


_encode = msgspec.json.Encoder().encode


@lru_cache(maxsize=4096)
def time_text(ms: int) -> str:
    """Milliseconds since the epoch → RFC 3339 in UTC. A batch shares its times, hence the cache."""
    seconds, rest_ms = divmod(ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest_ms:03d}Z"


def job_answer(job: Job) -> JobAnswer:
    """The job as it is shown."""
    status = job.status
    token: int | UnsetType = UNSET
    expires_at: str | UnsetType = UNSET
    finished_at: str | UnsetType = UNSET
    if status == IN_PROGRESS:
        token, expires_at = job.lease_token, time_text(job.lease_expires_ms)
    elif status in FINISHED:
        finished_at = time_text(job.finished_ms)
    # One call with everything: of a batch of 1,000 this is the dearest line.
    return JobAnswer(
        job.id,
        job.type,
        status,
        job.queue,
        job.priority,
        Raw(job.payload),
        time_text(job.created_ms),
        job.attempt,
        job.max_attempts,
        token,
        expires_at,
        UNSET if job.consumer is None or token is UNSET else job.consumer,
        finished_at,
        UNSET if job.result is None or finished_at is UNSET else Raw(job.result),
    )


def job_json(job: Job) -> bytes:
    """One bare job."""
    return _encode(job_answer(job))


def jobs_json(jobs: list[Job]) -> bytes:
    """The answer to a dequeue of many."""
    return _encode(JobsAnswer([job_answer(job) for job in jobs]))


def enqueued_json(ids: list[int], *, many: bool) -> bytes:
    """The answer to an enqueue."""
    return _encode(EnqueuedManyAnswer(ids) if many else EnqueuedAnswer(ids[0]))


def results_json(operation: Conclude, outcomes: list[Outcome]) -> bytes:
    """The answer to a conclude of many: outcomes come in the order of the request."""
    return _encode(
        ResultsAnswer(
            [
                ResultAnswer(said.id, None, outcome.type)
                if outcome.queue is None
                else ResultAnswer(said.id, outcome.status)
                for said, outcome in zip(operation.jobs, outcomes, strict=True)
            ]
        )
    )


def stats_json(stats: Stats) -> bytes:
    """The answer to the question for counts."""
    jobs: dict[str, int] = {
        status: sum(by_status[status] for by_status in stats.queues.values()) for status in STATUSES
    }
    return _encode(StatsAnswer(jobs, sum(jobs.values()), stats.queues))


def cluster_json(status: NodeStatus) -> bytes:
    """The cluster as this node sees it."""
    return _encode(
        ClusterAnswer(
            status.node,
            status.role,
            status.leader,
            status.term,
            status.commit_index,
            status.applied_index,
            status.members,
            status.mode,
        )
    )
