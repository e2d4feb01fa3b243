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


class WishBody(Struct, forbid_unknown_fields=True):
    """Which jobs, and for how long."""

    lease_seconds: fields.LeaseSeconds | UnsetType = UNSET
    queue: fields.QueueName | UnsetType = UNSET
    queues: fields.QueueNames | UnsetType = UNSET
    type: fields.TypeName | UnsetType = UNSET
    types: fields.TypeNames | UnsetType = UNSET
    tags: fields.Tags | UnsetType = UNSET


class DequeueBody(WishBody):
    """What to hand out. Without `count` the answer is one bare job. `wait`: seconds, may be fractional."""

    count: (
        Annotated[int, Meta(ge=1, le=limits.DEQUEUE_JOBS_MAX, description="up to so many", examples=[10])] | UnsetType
    ) = UNSET
    wait: fields.WaitSeconds | UnsetType = UNSET


Body = Annotated[
    DequeueBody,
    fields.not_both(("queue", "queues"), ("type", "types")),
    Meta(examples=[{"queue": "mail", "lease_seconds": 60, "wait": 20}]),
]
_decode_body = msgspec.json.Decoder(DequeueBody).decode
decode = msgspec.msgpack.Decoder(Refusal | Dequeued).decode


def operation_of(data: bytes, consumer: str | None) -> tuple[Dequeue, bool, int | None]:
    """The operation, whether `count` was given, and how long to wait in ms; None: nothing is said of it."""
    asked = body.decode(_decode_body, data) if data else DequeueBody()
    many = asked.count is not UNSET
    count = 1 if asked.count is UNSET else asked.count
    return wish(asked, count, consumer), many, None if asked.wait is UNSET else fields.ms(asked.wait)


def wish(said: WishBody, count: int, consumer: str | None) -> Dequeue:
    """The operation that hands out `count` such jobs."""
    return Dequeue(
        count,
        fields.ms(said.lease_seconds),
        consumer,
        _queues(said),
        fields.types_of(said.type, said.types, "") or None,
        fields.tags_of(said.tags, "/tags"),
    )


def _queues(said: WishBody) -> tuple[str, ...]:
    names = fields.one_or_many(said.queue, said.queues, "queue", "queues", "")
    return tuple(dict.fromkeys(fields.check_queue(name, place) for name, place in names)) or (DEFAULT_QUEUE,)
