"""The query string: what a route takes of it is a struct, as bodies are; what is not known is refused by name.

Parameters are no part of the body, so there is no pointer to them: the sentence names them.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from cqueue.core import limits
from cqueue.core.jobs import STATUSES, Status
from cqueue.errors import Refused
from cqueue.protocol import PEEK, QUERY
from cqueue.web import body
from cqueue.web.auth.tickets import Ticket
from cqueue.web.shapes import fields

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

P = TypeVar("P", bound=Struct)

LIMIT_DEFAULT: Final = 100

Statuses = Annotated[list[Status], Meta(description="in one of these; may be there several times")]
Types = Annotated[
    list[fields.TypeName], Meta(max_length=limits.DEQUEUE_NAMES_MAX, description="of one of these; as above")
]
Tags = Annotated[
    list[Annotated[str, Meta(pattern="^[^:]+:", examples=["shop:north"])]],
    Meta(max_length=limits.TAGS_MAX, description="`name:value`; with all of these; as above"),
]
Limit = Annotated[int, Meta(ge=1, le=limits.PAGE_JOBS_MAX, description="how many on one page", examples=[100])]


class LookParameters(Struct, forbid_unknown_fields=True):
    """How a question is asked."""

    consistency: Annotated[
        Literal["linearizable", "stale"], Meta(description="stale: this node's own state, at once")
    ] = "linearizable"
    min_index: (
        Annotated[int, Meta(ge=0, le=fields.ID_MAX, description="wait until this node has got that far", examples=[3])]
        | UnsetType
    ) = UNSET

    @property
    def kind(self) -> int:
        """As the replica is asked."""
        return PEEK if self.consistency == "stale" else QUERY


class JobParameters(LookParameters):
    """Of a look at one job."""

    wait: fields.WaitSeconds | UnsetType = UNSET
    until: (
        Annotated[Literal["finished"], Meta(description="what `wait` waits for; only with it", examples=["finished"])]
        | UnsetType
    ) = UNSET

    @property
    def wait_ms(self) -> int:
        """How long to wait for what `until` says."""
        if self.wait is UNSET and self.until is not UNSET:
            raise Refused("the parameter until goes with wait, which is missing")
        return fields.ms(self.wait)


class StatsParameters(LookParameters):
    """Of the counts."""

    by_queue: Annotated[bool, Meta(description="with the counts of each queue", examples=[True])] = True


class PageParameters(LookParameters):
    """Of a list."""

    limit: Limit = LIMIT_DEFAULT
    cursor: fields.Cursor | UnsetType = UNSET


class JobsParameters(PageParameters):
    """Of the list of jobs; a job must fit all that are there."""

    queue: fields.QueueName | UnsetType = UNSET
    status: Statuses = []
    type: Types = []
    tag: Tags = []
    created_from: fields.TimeText | UnsetType = UNSET
    created_before: fields.TimeText | UnsetType = UNSET
    order: Annotated[Literal["oldest", "newest"], Meta(description="which jobs come first")] = "oldest"


class TicketParameters(Struct, forbid_unknown_fields=True):
    """Who calls, where a browser cannot send a header; the gate has looked at it."""

    ticket: Ticket | UnsetType = UNSET


class EventsParameters(TicketParameters, forbid_unknown_fields=True):
    """Which events to tell."""

    after: fields.EventId | UnsetType = UNSET
    queue: fields.QueueName | UnsetType = UNSET
    type: Types = []
    status: Statuses = []
    job: fields.Id | UnsetType = UNSET


def refuse_all(environ: WSGIEnvironment) -> None:
    """Refuse a query string where there is nothing to say in it."""
    for name, _ in parse_qsl(environ["QUERY_STRING"], keep_blank_values=True):
        raise Refused(f"there is no parameter {name[:100]!r} here; the fields of a request go into its body")


def read(environ: WSGIEnvironment, shape: type[P]) -> P:
    """The parameters of a request.

    Raises:
        Refused: one is not known, wrong, or there too often.
    """
    text = environ["QUERY_STRING"]
    if not text:
        return shape()
    values: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        if name not in shape.__struct_encode_fields__:
            raise Refused(f"there is no parameter {name[:100]!r} here")
        if name in _lists_of(shape):
            values.setdefault(name, []).append(value)
        elif name in values:
            raise Refused(f"the parameter {name} is there several times; it may be there once")
        else:
            values[name] = value
    try:
        # Not strict: a number comes as text. What is no number in JSON is none here, either.
        return msgspec.convert(values, shape, strict=False)
    except msgspec.ValidationError as error:
        raise _wrong(str(error), shape) from None


@cache
def _properties_of(shape: type[Struct]) -> dict[str, dict[str, Any]]:
    properties: dict[str, dict[str, Any]] = msgspec.json.schema_components([shape])[1][shape.__name__]["properties"]
    return properties


@cache
def _lists_of(shape: type[Struct]) -> frozenset[str]:
    """The parameters that may be there several times."""
    return frozenset(name for name, schema in _properties_of(shape).items() if schema.get("type") == "array")


def _wrong(message: str, shape: type[Struct]) -> Refused:
    pointer, what = body.fault_of(message)
    name = pointer.split("/")[1]
    schema = _properties_of(shape)[name]
    words = schema.get("items", schema).get("enum")
    return Refused(f"the parameter {name}: {what if words is None else 'expected one of ' + ', '.join(words)}")


# -- what a type cannot say -----------------------------------------------------------------------------


def queue(name: str | UnsetType) -> str | None:
    """The name of a queue."""
    return None if name is UNSET else queue_name(name, "the parameter queue")


def statuses(given: list[Status]) -> tuple[Status, ...]:
    """Each once, in their usual order."""
    return tuple(status for status in STATUSES if status in given)


def types(given: list[str]) -> tuple[str, ...]:
    """Each once."""
    for name in given:
        if not name.isprintable():
            raise Refused("the parameter type takes printable characters")
    return tuple(dict.fromkeys(given))


def tags(given: Iterable[str]) -> dict[str, str] | None:
    """Each is a name and a value with `:` between them; None where there is none."""
    tags: dict[str, str] = {}
    for text in given:
        name, _, value = text.partition(":")
        why = fields.why_no_tag(name, value)
        if why is None and tags.get(name, value) != value:
            why = f"no job has two values of {name}"
        if why is not None:
            raise Refused(f"the parameter tag is name:value; {why}")
        tags[name] = value
    return tags or None


def time_ms(text: str | UnsetType, name: str) -> int:
    """A time, in ms since the Unix epoch; 0: it is not there."""
    if text is UNSET:
        return 0
    try:
        return fields.at_ms(msgspec.convert(text, fields.Time), "")
    except (msgspec.ValidationError, Refused):
        # A + that was not escaped is a space here; say what else could be wrong.
        hint = "; write + as %2B" if " " in text else ""
        raise Refused(f"the parameter {name} is a time with an offset (RFC 3339){hint}") from None


def cursor(text: str | UnsetType) -> str | None:
    """Where a list goes on, as `cursor_of` made it; None: it starts."""
    if text is UNSET:
        return None
    try:
        return b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        raise _no_cursor() from None


def cursor_id(text: str | UnsetType) -> int:
    """The same where it is an id; 0: from the start."""
    place = cursor(text)
    if place is None:
        return 0
    if not re.fullmatch("[1-9][0-9]{0,18}", place) or int(place) > fields.ID_MAX:
        raise _no_cursor()
    return int(place)


def cursor_of(place: int | str | None) -> str | None:
    """Where a list goes on, in a form that nobody is tempted to make up; None: nowhere."""
    return None if place is None else urlsafe_b64encode(str(place).encode()).decode().rstrip("=")


def queue_name(name: str, where: str) -> str:
    """The name of a queue that stands in the address. where: for the sentence, if it is no name."""
    if not 1 <= len(name) <= limits.QUEUE_CHARS_MAX:
        raise Refused(f"{where} takes 1 to {limits.QUEUE_CHARS_MAX} characters")
    if (why := fields.why_no_queue(name)) is not None:
        raise Refused(f"{where}: {why}")
    return name


def _no_cursor() -> Refused:
    return Refused("the parameter cursor is the `next` of the page before")
