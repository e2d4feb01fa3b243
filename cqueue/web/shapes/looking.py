"""Lists, histories, explanations and counts, as they are shown."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from cqueue.core.jobs import Job, Status
from cqueue.core.results import Explanation, History, Page, Refusal, Stats
from cqueue.protocol import Index
from cqueue.web.shapes import fields
from cqueue.web.shapes.fields import time_text
from cqueue.web.shapes.job import JobAnswer, answer_of
from cqueue.web.shapes.queues import Totals, totals_of

Reason = Annotated[str, Meta(description="why it is not running", examples=["behind"])]


class PageAnswer(Struct):
    """Some jobs. next: the cursor of those that follow; null: there are no more."""

    jobs: list[JobAnswer]
    next: fields.Cursor | None


class ChangeAnswer(Struct, omit_defaults=True):
    """One change of a job; attempt, lease_token and consumer are those of the hand-out it belongs to."""

    event: fields.EventName
    status: Status
    at: fields.TimeText
    index: Index
    attempt: fields.Count = 0
    lease_token: fields.Count = 0
    consumer: fields.Consumer | None = None
    error: fields.ErrorText | None = None


class HistoryAnswer(Struct, omit_defaults=True):
    """What happened to a job, oldest first. forgotten: how many changes before these are not kept."""

    id: fields.Id
    changes: list[ChangeAnswer]
    forgotten: fields.Count = 0


class ExplanationAnswer(Struct, omit_defaults=True):
    """Why a job is not running."""

    id: fields.Id
    status: Status
    reasons: list[Reason]
    until: fields.TimeText | None = None
    ahead: fields.Count = 0


class StatsAnswer(Struct, omit_defaults=True):
    """Jobs by status, over all queues and by queue. totals: what happened to the jobs of the queues there are."""

    jobs: fields.ByStatus
    total: fields.Count
    queues: Annotated[
        dict[str, dict[Status, int]], Meta(description="the same by queue", examples=[{"mail": {"QUEUED": 1}}])
    ]
    totals: Totals
    oldest_created_at: fields.TimeText | UnsetType = UNSET


decode_page = msgspec.msgpack.Decoder(Refusal | Page).decode
decode_history = msgspec.msgpack.Decoder(Refusal | History).decode
decode_explanation = msgspec.msgpack.Decoder(Refusal | Explanation).decode
decode_stats = msgspec.msgpack.Decoder(Refusal | Stats).decode
_encode = msgspec.json.Encoder().encode


def page_json(jobs: list[Job], cursor: str | None) -> bytes:
    """One page of a list."""
    return _encode(PageAnswer([answer_of(job) for job in jobs], cursor))


def history_json(job_id: int, history: History) -> bytes:
    """What happened to a job."""
    changes = [
        ChangeAnswer(
            change.event,
            change.status,
            time_text(change.at_ms),
            change.index,
            change.attempt,
            change.lease_token,
            change.consumer,
            change.error,
        )
        for change in history.changes
    ]
    return _encode(HistoryAnswer(job_id, changes, history.forgotten))


def explanation_json(job_id: int, explanation: Explanation) -> bytes:
    """Why a job is not running."""
    until = time_text(explanation.until_ms) if explanation.until_ms else None
    return _encode(ExplanationAnswer(job_id, explanation.status, explanation.reasons, until, explanation.ahead))


def stats_json(stats: Stats) -> bytes:
    """The answer to the question for counts."""
    return _encode(
        StatsAnswer(
            stats.counts,
            sum(stats.counts.values()),
            stats.queues,
            totals_of(stats.totals),
            time_text(stats.oldest_ms) if stats.oldest_ms else UNSET,
        )
    )
