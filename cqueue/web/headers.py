"""Request headers that mean something to the queue: `Consumer-Id`, `Idempotency-Key`, and `Prefer` on dequeue."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Struct, UnsetType, field

from cqueue.core import limits
from cqueue.core.operations import Dequeue, DropQueue, Enqueue, Keyed, Operation, PerJob, SetQueue, Within
from cqueue.errors import Refused
from cqueue.protocol import encode
from cqueue.web.shapes import fields

OnceOperation = Enqueue | Dequeue | PerJob | SetQueue | DropQueue | Within
"""What can be done once under a key."""

_QUOTED: Final = re.compile(rf'"((?:[ !#-\[\]-~]|\\["\\]){{1,{limits.KEY_CHARS_MAX}}})"')
"""A string of RFC 8941, 3.3.3."""
_BARE: Final = re.compile(rf"[!#-+\--~]{{1,{limits.KEY_CHARS_MAX}}}")
"""Printable characters without a space, a quote or a comma."""
_WAIT: Final = re.compile(r'(?:^|[,;])\s*wait\s*=\s*"?([0-9]{1,9})"?\s*(?=[,;]|$)', re.IGNORECASE)
_ESCAPED: Final = re.compile(r'\\(["\\])')


class KeyHeaders(Struct):
    """Of a call that changes something."""

    key: (
        Annotated[
            str,
            Meta(
                pattern=f"^(?:{_QUOTED.pattern}|{_BARE.pattern})$",
                description="what is done under a key is done once, however often it is sent",
                examples=['"order-1017"'],
            ),
        ]
        | UnsetType
    ) = field(default=UNSET, name="Idempotency-Key")


ConsumerName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=limits.CONSUMER_CHARS_MAX,
        description="a name for the consumer, printable, in UTF-8",
        examples=["mailer-1"],
    ),
]


class StreamHeaders(Struct):
    """Of the handshake."""

    consumer: ConsumerName | UnsetType = field(default=UNSET, name="Consumer-Id")


class DequeueHeaders(KeyHeaders):
    """Of a dequeue."""

    consumer: ConsumerName | UnsetType = field(default=UNSET, name="Consumer-Id")
    prefer: (
        Annotated[
            str,
            Meta(description="`wait=` and seconds, where the body says nothing of it (RFC 7240)", examples=["wait=20"]),
        ]
        | UnsetType
    ) = field(default=UNSET, name="Prefer")


class EventsHeaders(Struct):
    """Of the events."""

    last: fields.EventId | UnsetType = field(default=UNSET, name="Last-Event-ID")


def consumer(environ: dict[str, Any]) -> str | None:
    """The name in `Consumer-Id`. WSGI hands headers over as Latin-1; on the wire the name is UTF-8.

    Raises:
        Refused: it is no name.
    """
    name = environ.get("HTTP_CONSUMER_ID")
    if name is None:
        return None
    if not name.isascii():
        try:
            name = name.encode("latin-1").decode()
        except UnicodeDecodeError:
            name = ""
    if not 1 <= len(name) <= limits.CONSUMER_CHARS_MAX or not name.isprintable():
        raise Refused(f"the header Consumer-Id takes 1 to {limits.CONSUMER_CHARS_MAX} printable characters")
    return str(name)


def preferred_wait(environ: dict[str, Any]) -> tuple[int, tuple[tuple[str, str], ...]]:
    """How long to wait, in ms, by `Prefer: wait=` (RFC 7240, 4.3), and what to say of it; 60 seconds at most."""
    wait = _WAIT.search(environ.get("HTTP_PREFER", ""))
    if wait is None:
        return 0, ()
    seconds = min(int(wait[1]), fields.WAIT_S_MAX)
    return seconds * 1000, (("Preference-Applied", f"wait={seconds}"),)


def has_key(environ: dict[str, Any]) -> bool:
    """Whether the request is to be done once under an `Idempotency-Key`."""
    return "HTTP_IDEMPOTENCY_KEY" in environ


def under_key(environ: dict[str, Any], operation: OnceOperation) -> Operation:
    """The operation, done once if the request has an `Idempotency-Key`.

    Raises:
        Refused: the header holds no key.
    """
    value = environ.get("HTTP_IDEMPOTENCY_KEY")
    if value is None:
        return operation
    quoted = _QUOTED.fullmatch(value)
    key = _ESCAPED.sub(r"\1", quoted[1]) if quoted else value if _BARE.fullmatch(value) else ""
    if not key:
        raise Refused(
            f"the header Idempotency-Key takes 1 to {limits.KEY_CHARS_MAX} printable ASCII characters, "
            "in double quotes or without spaces, quotes and commas"
        )
    return once(key, operation)


def once(key: str, operation: OnceOperation) -> Keyed:
    """The operation, done once under `key`."""
    return Keyed(key, sha256(encode(operation)).digest(), operation)
