"""Jobs to add: one object, or an array of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count, repeat
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, ValidationError, field

from cqueue.core import limits
from cqueue.core.jobs import DEFAULT_QUEUE, Backoff, Unique
from cqueue.core.operations import Enqueue, NewJob, Options
from cqueue.core.results import Enqueued, Refusal
from cqueue.web import body
from cqueue.web.body import SHALLOW_BYTES
from cqueue.web.shapes import fields
from cqueue.web.shapes.fields import place

TYPE_DEFAULT: Final = "NOT_TIME_CRITICAL"

_SCOPES: Final[tuple[Literal["queued", "unfinished"], ...]] = ("queued", "unfinished")


class PlainBody(Struct, forbid_unknown_fields=True, gc=False):
    """What most jobs say. `Type` is the original queue's spelling of `type`."""

    type: fields.TypeName | UnsetType = UNSET
    type_original: fields.TypeName | UnsetType = field(default=UNSET, name="Type")
    payload: fields.Payload | UnsetType = UNSET
    queue: fields.QueueName | UnsetType = UNSET


class EnqueueBody(PlainBody):
    """All that a job may say."""

    priority: fields.Priority | UnsetType = UNSET
    delay_seconds: fields.Seconds | UnsetType = UNSET
    run_at: fields.Time | UnsetType = UNSET
    expires_in_seconds: fields.SecondsAboveZero | UnsetType = UNSET
    lease_seconds: fields.LeaseSeconds | UnsetType = UNSET
    max_attempts: fields.Attempts | UnsetType = UNSET
    backoff: fields.BackoffBody | UnsetType = UNSET
    unique_key: fields.UniqueKey | UnsetType = UNSET
    unique_scope: Annotated[str, fields.one_of(_SCOPES)] | UnsetType = UNSET
    unique_seconds: fields.SecondsAboveZero | UnsetType = UNSET
    tags: fields.Tags | UnsetType = UNSET


_MANY: Final = Meta(min_length=1, max_length=limits.ENQUEUE_JOBS_MAX)
OneBody = Annotated[
    EnqueueBody,
    fields.not_both(
        ("type", "Type"),
        ("run_at", "delay_seconds"),
        ("unique_scope", "unique_seconds"),
        needs={"unique_scope": ["unique_key"], "unique_seconds": ["unique_key"]},
    ),
    Meta(examples=[{"queue": "mail", "type": "receipt", "payload": {"to": "ada@example.org"}, "max_attempts": 3}]),
]
ManyBody = Annotated[list[OneBody], _MANY]
_plain_many: msgspec.json.Decoder[list[PlainBody]] = msgspec.json.Decoder(Annotated[list[PlainBody], _MANY])
_full_many: msgspec.json.Decoder[list[EnqueueBody]] = msgspec.json.Decoder(ManyBody)
_decode_one = msgspec.json.Decoder(EnqueueBody).decode


_NO_OPTIONS: Final = Options()


def operation_of(data: bytes) -> tuple[Enqueue, bool]:
    """The operation, and whether the body was an array."""
    if data.lstrip()[:1] == b"[":
        return Enqueue(body.decode(_read_many, data)), True
    new = body.decode(_decode_one, data) if data else EnqueueBody()
    return Enqueue(_new_jobs([new], [_options(new, "")], None)), False


def _read_many(data: bytes) -> list[NewJob]:
    # To look for a dozen options in each of 10,000 plain jobs costs more than all the rest. So they are
    # read as plain ones, and once more if that fails: at the first job that is not, most often the first.
    try:
        return _new_jobs(_plain_many.decode(data), repeat(None), "")
    except ValidationError:
        news = _full_many.decode(data)
        return _new_jobs(news, [_options(new, f"/{position}") for position, new in enumerate(news)], "")


def _new_jobs(news: Sequence[PlainBody], options_of_each: Iterable[Options | None], array: str | None) -> list[NewJob]:
    """The jobs that `news` describe; array: the pointer to the array they stand in, None where there is none."""
    jobs: list[NewJob] = []
    for position, new, options in zip(count(), news, options_of_each):
        type_name, raw, queue = new.type, new.payload, new.queue
        if new.type_original is not UNSET:
            if type_name is not UNSET:
                pointer = f"{place(position, array)}/Type"
                raise body.invalid_field(pointer, "the same as `type`, which is there too; send one of them")
            type_name = new.type_original
        if type_name is UNSET:
            type_name = TYPE_DEFAULT
        elif not type_name.isprintable():
            name = "type" if new.type_original is UNSET else "Type"
            fields.check_printable(type_name, f"{place(position, array)}/{name}")
        payload = b"null" if raw is UNSET else bytes(raw)
        if len(payload) > SHALLOW_BYTES:
            body.check_nesting(payload, place(position, array), "payload")
        if queue is UNSET:
            queue = DEFAULT_QUEUE
        elif fields.why_no_queue(queue) is not None:
            fields.check_queue(queue, f"{place(position, array)}/queue")
        jobs.append(NewJob(type_name, payload, queue, options))
    return jobs


def _options(new: EnqueueBody, pointer: str) -> Options | None:
    run_at_ms = 0
    if new.run_at is not UNSET:
        if new.delay_seconds is not UNSET:
            raise body.invalid_field(f"{pointer}/run_at", "`delay_seconds` is there too; send one of them")
        run_at_ms = fields.at_ms(new.run_at, f"{pointer}/run_at")
    options = Options(
        None if new.priority is UNSET else new.priority,
        fields.ms(new.delay_seconds),
        run_at_ms,
        fields.ms(new.expires_in_seconds),
        fields.ms(new.lease_seconds),
        0 if new.max_attempts is UNSET else new.max_attempts,
        _backoff(new.backoff, pointer),
        _unique(new, pointer),
        fields.tags_of(new.tags, f"{pointer}/tags"),
    )
    return None if options == _NO_OPTIONS else options


def _backoff(said: fields.BackoffBody | UnsetType, pointer: str) -> Backoff | None:
    return None if said is UNSET else fields.backoff_of(said, f"{pointer}/backoff")


def _unique(new: EnqueueBody, pointer: str) -> Unique | None:
    scope, seconds = new.unique_scope, new.unique_seconds
    if new.unique_key is UNSET:
        for name, value in (("unique_scope", scope), ("unique_seconds", seconds)):
            if value is not UNSET:
                raise body.invalid_field(f"{pointer}/{name}", "it goes with `unique_key`, which is missing")
        return None
    key = fields.check_printable(new.unique_key, f"{pointer}/unique_key")
    if seconds is not UNSET:
        if scope is not UNSET:
            raise body.invalid_field(f"{pointer}/unique_seconds", "`unique_scope` is there too; send one of them")
        return Unique(key, "window", fields.ms(seconds))
    if scope is UNSET:
        return Unique(key)
    return Unique(key, fields.check_one_of(scope, _SCOPES, f"{pointer}/unique_scope"))


# -- answers -------------------------------------------------------------------------------------


class EnqueuedAnswer(Struct, omit_defaults=True):
    """The answer to an enqueue of one. duplicate: its unique key was taken by this job already."""

    id: fields.Id
    duplicate: fields.Flag = False


class EnqueuedManyAnswer(Struct, omit_defaults=True):
    """The answer to an enqueue of many, in the order of the request. duplicates: positions, from 0."""

    ids: list[fields.Id]
    duplicates: list[fields.Count] = []


decode = msgspec.msgpack.Decoder(Refusal | Enqueued).decode
_encode = msgspec.json.Encoder().encode


def answer(enqueued: Enqueued, *, many: bool) -> tuple[int, bytes]:
    """The status and the body of the answer to an enqueue: 201 if a job was added, 200 if all were there already."""
    status = 201 if len(enqueued.duplicates) < len(enqueued.ids) else 200
    if many:
        return status, _encode(EnqueuedManyAnswer(enqueued.ids, enqueued.duplicates))
    return status, _encode(EnqueuedAnswer(enqueued.ids[0], bool(enqueued.duplicates)))
