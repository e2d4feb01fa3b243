"""A job as everybody sees it."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from cqueue.core.jobs import FINISHED, IN_PROGRESS, SCHEDULED, Change, Extras, Job, Status
from cqueue.core.results import Found, Refusal
from cqueue.web.shapes import fields
from cqueue.web.shapes.fields import time_text

_FAILURES: Final = frozenset(("retry", "retry_now", "give_up", "lose_lease", "lose_last_lease"))
"""Changes that end an attempt without success."""


class ProgressAnswer(Struct, omit_defaults=True):
    """How far the consumer says it is."""

    at: fields.TimeText
    percent: fields.Percent | None = None
    note: fields.Note | None = None


class ErrorAnswer(Struct, omit_defaults=True):
    """How one attempt ended without success. error: what `fail` said."""

    attempt: fields.Count
    event: fields.EventName
    at: fields.TimeText
    error: fields.ErrorText | None = None
    consumer: fields.Consumer | None = None


class JobAnswer(Struct, gc=False, omit_defaults=True):
    """A job, on every node alike. Fields that do not apply are left out."""

    id: fields.Id
    type: fields.TypeName
    status: Status
    queue: fields.QueueName
    priority: fields.Priority
    payload: fields.Payload
    created_at: fields.TimeText
    attempt: fields.Count
    max_attempts: fields.Attempts
    lease_token: fields.LeaseToken | UnsetType = UNSET
    lease_expires_at: fields.TimeText | UnsetType = UNSET
    consumer: fields.Consumer | UnsetType = UNSET
    finished_at: fields.TimeText | UnsetType = UNSET
    result: fields.Result | UnsetType = UNSET
    run_at: fields.TimeText | UnsetType = UNSET
    expires_at: fields.TimeText | UnsetType = UNSET
    cancel_requested: fields.Flag | UnsetType = UNSET
    unique_key: fields.UniqueKey | UnsetType = UNSET
    tags: fields.Tags | UnsetType = UNSET
    progress: ProgressAnswer | UnsetType = UNSET
    errors: list[ErrorAnswer] | UnsetType = UNSET


class JobsAnswer(Struct):
    """The answer to a dequeue of many."""

    jobs: list[JobAnswer]


decode_found = msgspec.msgpack.Decoder(Refusal | Found).decode
_encode = msgspec.json.Encoder().encode


def answer_of(job: Job) -> JobAnswer:
    """The job as it is shown."""
    status = job.status
    token: int | UnsetType = UNSET
    expires_at: str | UnsetType = UNSET
    finished_at: str | UnsetType = UNSET
    if status == IN_PROGRESS:
        token, expires_at = job.lease_token, time_text(job.due_ms)
    elif status in FINISHED:
        finished_at = time_text(job.finished_ms)
    # One call with everything: of a batch of 1,000 this is the dearest line.
    answer = JobAnswer(
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
    if status == SCHEDULED:
        answer.run_at = time_text(job.due_ms)
    if job.extras is not None:
        _show_extras(answer, job.extras)
    return answer


def _show_extras(answer: JobAnswer, extras: Extras) -> None:
    if answer.status not in FINISHED:
        if extras.expires_ms:
            answer.expires_at = time_text(extras.expires_ms)
        if extras.cancel_requested_ms:
            answer.cancel_requested = True
    if extras.unique is not None:
        answer.unique_key = extras.unique.key
    if extras.tags:
        answer.tags = extras.tags
    if extras.progress_ms:
        answer.progress = ProgressAnswer(time_text(extras.progress_ms), extras.percent, extras.note)
    if errors := [_error(change) for change in extras.changes if change.event in _FAILURES or change.error is not None]:
        answer.errors = errors


def _error(change: Change) -> ErrorAnswer:
    return ErrorAnswer(change.attempt, change.event, time_text(change.at_ms), change.error, change.consumer)


def job_json(job: Job) -> bytes:
    """One bare job."""
    return _encode(answer_of(job))


def jobs_json(jobs: list[Job]) -> bytes:
    """The answer to a dequeue of many."""
    return _encode(JobsAnswer([answer_of(job) for job in jobs]))
