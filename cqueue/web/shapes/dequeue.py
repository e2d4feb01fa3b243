"""What a consumer asks for, and how long it waits for it."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from cqueue.core import limits
from cqueue.core.jobs import DEFAULT_QUEUE
from cqueue.core.operations import Dequeue
from cqueue.core.results import Dequeued, Refusal
from cqueue.web import body
from cqueue.web.shapes import fields


class DequeueBody(Struct, forbid_unknown_fields=True):
    """What to hand out. Without `count` the answer is one bare job. `wait`: seconds, may be fractional."""

    count: Annotated[int, Meta(ge=1, le=limits.DEQUEUE_JOBS_MAX)] | UnsetType = UNSET
    lease_seconds: fields.LeaseSeconds | UnsetType = UNSET
    wait: fields.WaitSeconds | UnsetType = UNSET
    queue: fields.QueueName | UnsetType = UNSET
    queues: fields.QueueNames | UnsetType = UNSET
    type: fields.TypeName | UnsetType = UNSET
    types: fields.TypeNames | UnsetType = UNSET
    tags: fields.Tags | UnsetType = UNSET


_decode_body = msgspec.json.Decoder(DequeueBody).decode
decode = msgspec.msgpack.Decoder(Refusal | Dequeued).decode


def operation_of(data: bytes, consumer: str | None) -> tuple[Dequeue, bool, int | None]:
    """The operation, whether `count` was given, and how long to wait in ms; None: nothing is said of it."""
    asked = body.decode(_decode_body, data) if data else DequeueBody()
    many = asked.count is not UNSET
    return (
        Dequeue(
            1 if asked.count is UNSET else asked.count,
            fields.ms(asked.lease_seconds),
            consumer,
            _queues(asked),
            fields.types_of(asked.type, asked.types, "") or None,
            fields.tags_of(asked.tags, "/tags"),
        ),
        many,
        None if asked.wait is UNSET else fields.ms(asked.wait),
    )


def _queues(asked: DequeueBody) -> tuple[str, ...]:
    said = fields.one_or_many(asked.queue, asked.queues, "queue", "queues", "")
    return tuple(dict.fromkeys(fields.check_queue(name, place) for name, place in said)) or (DEFAULT_QUEUE,)
