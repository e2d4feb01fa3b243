"""A queue: what can be set, and how it is shown."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from cqueue.core import limits
from cqueue.core.jobs import WAITING
from cqueue.core.operations import SetQueue
from cqueue.core.results import Accepted, Queues, QueueState, Refusal
from cqueue.web import body
from cqueue.web.shapes import fields

COUNT_MAX: Final = 1_000_000_000
"""Of `max_depth`, `max_in_progress` and `retention_jobs`: beyond what any cluster holds."""
RATE_MAX: Final = 1_000_000
BURST_MAX: Final = 1_000_000

EVENTS: Final[dict[str, tuple[str, ...]]] = {
    "enqueued": ("enqueue",),
    "dequeued": ("hand_out",),
    "concluded": ("conclude",),
    "failed": ("retry", "retry_now", "give_up"),
    "released": ("release",),
    "leases_lost": ("lose_lease", "lose_last_lease"),
    "died": ("give_up", "lose_last_lease"),
    "cancelled": ("cancel",),
    "expired": ("expire",),
    "redriven": ("redrive",),
}
"""What a queue shows in `totals` and `rates`, and the events each counts."""

Totals = Annotated[dict[str, int], Meta(examples=[dict.fromkeys(EVENTS, 43)])]

Priorities = Annotated[
    dict[str, int],
    Meta(
        max_length=limits.QUEUE_PRIORITIES_MAX,
        description=f"by type: 0, which is served first, to {limits.PRIORITY_MAX}",
        examples=[limits.PRIORITY_BY_TYPE],
        extra_json_schema={
            "propertyNames": {"minLength": 1, "maxLength": limits.TYPE_CHARS_MAX},
            "additionalProperties": {"type": "integer", "minimum": 0, "maximum": limits.PRIORITY_MAX},
        },
    ),
]


class QueueBody(Struct, forbid_unknown_fields=True):
    """Settings to change; what is not said stays."""

    paused: fields.Flag | UnsetType = UNSET
    require_lease_token: fields.Flag | UnsetType = UNSET
    lease_seconds: fields.LeaseSeconds | UnsetType = UNSET
    max_attempts: fields.Attempts | UnsetType = UNSET
    backoff: fields.BackoffBody | UnsetType = UNSET
    priorities: Priorities | UnsetType = UNSET
    max_depth: Annotated[int, Meta(ge=0, le=COUNT_MAX, examples=[0])] | UnsetType = UNSET
    retention_jobs: Annotated[int, Meta(ge=1, le=COUNT_MAX, examples=[100_000])] | UnsetType = UNSET
    retention_seconds: (
        Annotated[float, Meta(ge=0, le=limits.RETENTION_MS_MAX // 1000, examples=[604_800])] | UnsetType
    ) = UNSET
    max_in_progress: Annotated[int, Meta(ge=0, le=COUNT_MAX, examples=[0])] | UnsetType = UNSET
    rate_per_second: Annotated[float, Meta(ge=0, le=RATE_MAX, examples=[0])] | UnsetType = UNSET
    rate_burst: Annotated[int, Meta(ge=0, le=BURST_MAX, examples=[0])] | UnsetType = UNSET


_decode_body = msgspec.json.Decoder(QueueBody).decode


def operation_of(data: bytes, queue: str) -> SetQueue:
    """The operation for the queue in the path."""
    said = body.decode(_decode_body, data) if data else QueueBody()
    return SetQueue(
        queue,
        None if said.paused is UNSET else said.paused,
        None if said.require_lease_token is UNSET else said.require_lease_token,
        None if said.lease_seconds is UNSET else fields.ms(said.lease_seconds),
        None if said.max_attempts is UNSET else said.max_attempts,
        None if said.backoff is UNSET else fields.backoff_of(said.backoff, "/backoff"),
        None if said.priorities is UNSET else _priorities(said.priorities),
        None if said.max_depth is UNSET else said.max_depth,
        None if said.retention_jobs is UNSET else said.retention_jobs,
        None if said.retention_seconds is UNSET else fields.ms(said.retention_seconds),
        None if said.max_in_progress is UNSET else said.max_in_progress,
        None if said.rate_per_second is UNSET else _rate_milli(said.rate_per_second),
        None if said.rate_burst is UNSET else said.rate_burst,
    )


def _rate_milli(said: float) -> int:
    rate_milli = round(said * 1_000)
    if said and not rate_milli:
        raise body.invalid_field("/rate_per_second", "expected 0, or at least 0.001")
    return rate_milli


def _priorities(said: dict[str, int]) -> dict[str, int]:
    for name, priority in said.items():
        pointer = f"/priorities/{body.step(name)}"
        if not 1 <= len(name) <= limits.TYPE_CHARS_MAX:
            raise body.invalid_field(pointer, f"a type has 1 to {limits.TYPE_CHARS_MAX} characters")
        fields.check_printable(name, pointer)
        if not 0 <= priority <= limits.PRIORITY_MAX:
            raise body.invalid_field(pointer, f"expected a whole number from 0 to {limits.PRIORITY_MAX}")
    return said


# -- answers -------------------------------------------------------------------------------------


class SettingsAnswer(Struct):
    """What a queue decides for its jobs."""

    require_lease_token: fields.Flag
    lease_seconds: fields.ShownSeconds
    max_attempts: fields.Attempts
    backoff: fields.BackoffAnswer
    priorities: Priorities
    max_depth: fields.Count
    retention_jobs: fields.Count
    retention_seconds: fields.ShownSeconds
    max_in_progress: fields.Count
    rate_per_second: Annotated[float, Meta(ge=0, examples=[0])]
    rate_burst: fields.Count


class QueueAnswer(Struct, omit_defaults=True):
    """A queue. depth: jobs that wait, ready or not. rates: a second, over the last minute or two."""

    name: fields.QueueName
    paused: fields.Flag
    settings: SettingsAnswer
    jobs: fields.ByStatus
    depth: fields.Count
    totals: Totals
    rates: Annotated[dict[str, float], Meta(examples=[dict.fromkeys(EVENTS, 0.35)])]
    oldest_created_at: fields.TimeText | UnsetType = UNSET
    oldest_age_seconds: fields.ShownSeconds | UnsetType = UNSET


class QueuesAnswer(Struct):
    """Some queues by name. next: the cursor of those that follow; null: there are no more."""

    queues: list[QueueAnswer]
    next: fields.Cursor | None


decode_queue = msgspec.msgpack.Decoder(Refusal | QueueState).decode
decode_queues = msgspec.msgpack.Decoder(Refusal | Queues).decode
decode_dropped = msgspec.msgpack.Decoder(Refusal | Accepted).decode
_encode = msgspec.json.Encoder().encode


def queue_json(state: QueueState, now_ms: int) -> bytes:
    """One queue. now_ms: by this node's clock."""
    return _encode(_answer_of(state, now_ms))


def queues_json(queues: list[QueueState], cursor: str | None, now_ms: int) -> bytes:
    """One page of the list of queues. now_ms: by this node's clock."""
    return _encode(QueuesAnswer([_answer_of(state, now_ms) for state in queues], cursor))


def _answer_of(state: QueueState, now_ms: int) -> QueueAnswer:
    # Time in the log stands still while nothing happens. Then jobs grow old all the same, and rates fall.
    still_ms = max(now_ms - state.now_ms, 0)
    settings = state.settings
    return QueueAnswer(
        state.queue,
        settings.paused,
        SettingsAnswer(
            settings.require_lease_token,
            fields.shown_seconds(settings.lease_ms),
            settings.max_attempts,
            fields.backoff_answer(settings.backoff),
            settings.priorities,
            settings.max_depth,
            settings.retention_jobs,
            fields.shown_seconds(settings.retention_ms),
            settings.max_in_progress,
            settings.rate_milli / 1_000,
            settings.rate_burst,
        ),
        state.counts,
        sum(count for status, count in state.counts.items() if status in WAITING),
        totals_of(state.totals),
        {name: round(_count(state.recent, name) * 1000 / (state.recent_ms + still_ms), 3) for name in EVENTS},
        fields.time_text(state.oldest_ms) if state.oldest_ms else UNSET,
        fields.shown_seconds(state.now_ms + still_ms - state.oldest_ms) if state.oldest_ms else UNSET,
    )


def totals_of(by_event: dict[str, int]) -> dict[str, int]:
    """What happened to jobs, as it is shown."""
    return {name: _count(by_event, name) for name in EVENTS}


def _count(by_event: dict[str, int], name: str) -> int:
    return sum(by_event.get(event, 0) for event in EVENTS[name])
