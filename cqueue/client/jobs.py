"""Adding, taking and settling jobs: each verb of docs/protocol.md as a function that makes a call.

`_many` takes any number of jobs in one request and gives an outcome for each. `_where` names jobs by
what they are, and goes on until there are no more. A verb is given a `Job` from a dequeue, whose lease
token it sends along, or a bare id, which says nothing of who holds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict, Unpack

from msgspec import UNSET, Struct

from cqueue.client.call import Again, Call, WhichJob, encode, id_of, nothing, path, reader, said
from cqueue.client.results import Enqueued, Job, Outcome, Status, Swept


class BackoffOptions(TypedDict, total=False):
    """How long a job waits after a failed attempt."""

    kind: Literal["fixed", "linear", "exponential"]
    seconds: float
    cap_seconds: float
    jitter: int


class JobOptions(TypedDict, total=False):
    """What may be said of a job to add, beside its payload."""

    type: str
    queue: str
    priority: int
    delay_seconds: float
    run_at: datetime | str
    expires_in_seconds: float
    lease_seconds: int
    max_attempts: int
    backoff: BackoffOptions
    unique_key: str
    unique_scope: Literal["queued", "unfinished"]
    unique_seconds: float
    tags: Mapping[str, str]


class NewJob(JobOptions, total=False):
    """One job of many to add."""

    payload: Any


class Wish(TypedDict, total=False):
    """Which jobs are to be handed out, and for how long. wait: seconds to wait for one."""

    queue: str
    queues: Sequence[str]
    type: str
    types: Sequence[str]
    tags: Mapping[str, str]
    lease_seconds: int
    wait: float


class Filter(TypedDict, total=False):
    """Jobs by what they are: all of it must fit."""

    queue: str
    status: Status
    statuses: Sequence[Status]
    type: str
    types: Sequence[str]
    tags: Mapping[str, str]
    created_before: datetime | str


class Settled(TypedDict, total=False):
    """One job of many, with what a verb says of it alone: `id`, and the fields of the verb."""

    id: int
    lease_token: int
    result: Any
    error: str
    retryable: bool
    retry_in_seconds: float
    lease_seconds: int
    percent: int
    note: str


class _Ids(Struct):
    ids: list[int]
    duplicates: list[int] = []


class _Jobs(Struct):
    jobs: list[Job]


class _Results(Struct):
    results: list[Outcome]


_read_enqueued = reader(Enqueued)
_read_ids = reader(_Ids)
_read_job = reader(Job)
_read_jobs = reader(_Jobs)
_read_results = reader(_Results)
_read_swept = reader(Swept)

# -- adding and taking -----------------------------------------------------------------------------


def enqueue(payload: Any = None, *, key: str | None = None, **options: Unpack[JobOptions]) -> Call[Enqueued]:
    """Add one job. payload: any JSON value, or what msgspec makes one of."""
    body = encode({"payload": payload, **options})
    return Call("PUT", "/jobs/enqueue", _read_enqueued, body, Again.WITH_KEY, key)


def enqueue_many(jobs: Iterable[NewJob], *, key: str | None = None) -> Call[list[Enqueued]]:
    """Add up to 10,000 jobs, all or none; the answer is in their order."""
    return Call("PUT", "/jobs/enqueue", _enqueued, encode(list(jobs)), Again.WITH_KEY, key)


def _enqueued(body: bytes) -> list[Enqueued]:
    answer = _read_ids(body)
    duplicates = frozenset(answer.duplicates)
    return [Enqueued(job_id, position in duplicates) for position, job_id in enumerate(answer.ids)]


def dequeue(*, consumer: str | None = None, key: str | None = None, **wish: Unpack[Wish]) -> Call[Job | None]:
    """Take the next job, or None where there is none.

    Sent without a key unless one is given: where the answer is lost, a node gives the job back, at the
    latest when its lease ends. Under a key the same job comes again.
    """
    return Call("POST", "/jobs/dequeue", _job_if_any, encode(wish), key=key, consumer=consumer, wait_s=_wait_s(wish))


def dequeue_many(
    count: int, *, consumer: str | None = None, key: str | None = None, **wish: Unpack[Wish]
) -> Call[list[Job]]:
    """Take up to `count` jobs, 1,000 at most, best first."""
    body = encode({"count": count, **wish})
    return Call("POST", "/jobs/dequeue", _jobs, body, key=key, consumer=consumer, wait_s=_wait_s(wish))


def _wait_s(wish: Wish) -> float:
    return wish.get("wait", 0.0)


def _job_if_any(body: bytes) -> Job | None:
    return _read_job(body) if body else None


def _jobs(body: bytes) -> list[Job]:
    return _read_jobs(body).jobs


# -- of a job that is held -------------------------------------------------------------------------


def conclude(
    job: WhichJob, *, result: Any = UNSET, lease_token: int | None = None, key: str | None = None
) -> Call[Job]:
    """Say that a job is done. result: any JSON value, kept with it."""
    fields = {} if result is UNSET else {"result": result}
    return _held(job, "conclude", fields, lease_token, key, again=Again.FREELY)


def conclude_many(jobs: Iterable[WhichJob | Settled], *, key: str | None = None) -> Call[list[Outcome]]:
    """Say that many are done. With results: `{"id": …, "lease_token": …, "result": …}` for each."""
    return _many_held(jobs, "conclude", {}, key, again=Again.FREELY)


def fail(
    job: WhichJob,
    *,
    error: str | None = None,
    retryable: bool | None = None,
    retry_in_seconds: float | None = None,
    lease_token: int | None = None,
    key: str | None = None,
) -> Call[Job]:
    """Say that this attempt failed. The job's new status says what follows."""
    fields = said({"error": error, "retryable": retryable, "retry_in_seconds": retry_in_seconds})
    return _held(job, "fail", fields, lease_token, key, again=Again.WITH_KEY)


def fail_many(
    jobs: Iterable[WhichJob | Settled],
    *,
    error: str | None = None,
    retryable: bool | None = None,
    retry_in_seconds: float | None = None,
    key: str | None = None,
) -> Call[list[Outcome]]:
    """Say that the attempts of many failed."""
    fields = said({"error": error, "retryable": retryable, "retry_in_seconds": retry_in_seconds})
    return _many_held(jobs, "fail", fields, key, again=Again.WITH_KEY)


def release(job: WhichJob, *, lease_token: int | None = None, key: str | None = None) -> Call[Job]:
    """Give a job back untouched; the attempt does not count."""
    return _held(job, "release", {}, lease_token, key, again=Again.WITH_KEY)


def release_many(jobs: Iterable[WhichJob | Settled], *, key: str | None = None) -> Call[list[Outcome]]:
    """Give many back untouched."""
    return _many_held(jobs, "release", {}, key, again=Again.WITH_KEY)


def extend(
    job: WhichJob, *, lease_seconds: int | None = None, lease_token: int | None = None, key: str | None = None
) -> Call[Job]:
    """Hold a job longer, from now. If the answer has `cancel_requested`, stop."""
    fields = said({"lease_seconds": lease_seconds})
    return _held(job, "extend", fields, lease_token, key, again=Again.FREELY)


def extend_many(
    jobs: Iterable[WhichJob | Settled], *, lease_seconds: int | None = None, key: str | None = None
) -> Call[list[Outcome]]:
    """Hold many longer."""
    return _many_held(jobs, "extend", said({"lease_seconds": lease_seconds}), key, again=Again.FREELY)


def progress(
    job: WhichJob,
    *,
    percent: int | None = None,
    note: str | None = None,
    lease_token: int | None = None,
    key: str | None = None,
) -> Call[Job]:
    """Say how far a job is. If the answer has `cancel_requested`, stop."""
    fields = said({"percent": percent, "note": note})
    return _held(job, "progress", fields, lease_token, key, again=Again.FREELY)


def progress_many(
    jobs: Iterable[WhichJob | Settled],
    *,
    percent: int | None = None,
    note: str | None = None,
    key: str | None = None,
) -> Call[list[Outcome]]:
    """Say how far many are."""
    return _many_held(jobs, "progress", said({"percent": percent, "note": note}), key, again=Again.FREELY)


def _held(
    job: WhichJob, verb: str, fields: dict[str, Any], lease_token: int | None, key: str | None, *, again: Again
) -> Call[Job]:
    token = lease_token or _token_of(job)
    if token is None:
        # Without the token a second try may be about an attempt that somebody else was given.
        again = Again.WITH_KEY
    body = encode({**fields, **said({"lease_token": token})})
    return Call("POST", path("jobs", id_of(job), verb), _read_job, body, again, key)


def _many_held(
    jobs: Iterable[WhichJob | Settled], verb: str, fields: dict[str, Any], key: str | None, *, again: Again
) -> Call[list[Outcome]]:
    named = [{**fields, **_named(job)} for job in jobs]
    if any("lease_token" not in job for job in named):
        again = Again.WITH_KEY
    return Call("POST", path("jobs", verb), _results, encode({"jobs": named}), again, key)


def _named(job: WhichJob | Settled) -> Mapping[str, Any]:
    if isinstance(job, Mapping):
        return job
    return said({"id": id_of(job), "lease_token": _token_of(job)})


def _token_of(job: WhichJob) -> int | None:
    return None if isinstance(job, int) else job.lease_token


def _results(body: bytes) -> list[Outcome]:
    return _read_results(body).results


# -- of any job ------------------------------------------------------------------------------------


def cancel(job: WhichJob, *, key: str | None = None) -> Call[Job]:
    """Cancel a job that waits; ask the consumer of a held one to stop."""
    return Call("POST", path("jobs", id_of(job), "cancel"), _read_job, key=key)


def cancel_many(jobs: Iterable[WhichJob], *, key: str | None = None) -> Call[list[Outcome]]:
    """Cancel many."""
    return _many(jobs, "cancel", key)


def cancel_where(**which: Unpack[Filter]) -> Call[Swept]:
    """Cancel all jobs that fit."""
    return sweep(path("jobs", "cancel"), encode({"filter": which}))


def redrive(job: WhichJob, *, key: str | None = None) -> Call[Job]:
    """Give a dead job all its attempts again."""
    return Call("POST", path("jobs", id_of(job), "redrive"), _read_job, None, Again.WITH_KEY, key)


def redrive_many(jobs: Iterable[WhichJob], *, key: str | None = None) -> Call[list[Outcome]]:
    """Give many dead jobs all their attempts again."""
    return _many(jobs, "redrive", key)


def redrive_where(**which: Unpack[Filter]) -> Call[Swept]:
    """Give all dead jobs that fit their attempts again."""
    return sweep(path("jobs", "redrive"), encode({"filter": which}))


def purge(job: WhichJob, *, key: str | None = None) -> Call[None]:
    """Forget a job that nobody holds."""
    return Call("POST", path("jobs", id_of(job), "purge"), nothing, None, Again.WITH_KEY, key)


def purge_many(jobs: Iterable[WhichJob], *, key: str | None = None) -> Call[list[Outcome]]:
    """Forget many that nobody holds."""
    return _many(jobs, "purge", key)


def purge_where(**which: Unpack[Filter]) -> Call[Swept]:
    """Forget all jobs that fit and that nobody holds."""
    return sweep(path("jobs", "purge"), encode({"filter": which}))


def _many(jobs: Iterable[WhichJob], verb: str, key: str | None) -> Call[list[Outcome]]:
    body = encode({"ids": [id_of(job) for job in jobs]})
    return Call("POST", path("jobs", verb), _results, body, Again.WITH_KEY, key)


def sweep(target: str, body: bytes | None, matched: int = 0) -> Call[Swept]:
    """A call that a node may leave unfinished; it is made again until it is done. matched: before this time."""

    def read(answer: bytes) -> Swept:
        swept = _read_swept(answer)
        return Swept(matched + swept.matched, swept.done)

    def then(swept: Swept, _seconds: float) -> Call[Swept] | None:
        return None if swept.done else sweep(target, body, swept.matched)

    return Call("POST", target, read, body, then=then)


def wait(job: WhichJob, seconds: float = 60.0) -> Call[Job]:
    """Wait until a job is finished, for so many seconds; then the job as it is: look at its status."""
    return _wait(id_of(job), seconds)


def _wait(job_id: int, seconds: float) -> Call[Job]:
    wait_s = max(min(seconds, _WAIT_S_MAX), 0.0)

    def then(job: Job, took_s: float) -> Call[Job] | None:
        left_s = seconds - took_s
        return None if job.is_finished or left_s <= 0 else _wait(job_id, left_s)

    return Call("GET", f"{path('jobs', job_id)}?wait={wait_s:.3f}", _read_job, wait_s=wait_s, then=then)


_WAIT_S_MAX = 60.0
"""The longest that a node waits; see docs/protocol.md#limits-of-the-http-api."""
