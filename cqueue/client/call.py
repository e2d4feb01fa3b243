"""One call as data: what is sent, how its answer is read, and whether it may be sent again.

Nothing here does I/O or knows how to: the verbs make calls, `cqueue.client.carrying` sees them through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any, Final, Generic, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from cqueue.client.results import Job

T = TypeVar("T")


class Again(Enum):
    """What to do where nobody can say whether a call was done."""

    FREELY = "send it again as it is: twice does no harm"
    WITH_KEY = "send it again under the key it was first sent with"
    NEVER = "leave that to the caller"


class Call(NamedTuple, Generic[T]):
    """A call.

    read: makes the result of a good answer's body. target: path and query. key: the caller's own
    `Idempotency-Key`. wait_s: how much longer than others it may take. then: given the result and the
    seconds it took, the call that follows, where one is not enough.
    """

    method: str
    target: str
    read: Callable[[bytes], T]
    body: bytes | None = None
    again: Again = Again.FREELY
    key: str | None = None
    consumer: str | None = None
    wait_s: float = 0.0
    then: Callable[[T, float], Call[T] | None] | None = None


WhichJob = Job | int
"""A job that was dequeued, which brings its lease token, or a bare id."""

JSON: Final[Mapping[str, str]] = {"Content-Type": "application/json"}

encode: Final = msgspec.json.Encoder().encode


def reader(kind: type[T]) -> Callable[[bytes], T]:
    """Reads a body of this shape."""
    return msgspec.json.Decoder(kind).decode


def nothing(_body: bytes) -> None:
    """Reads an answer without a body."""


def said(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that were given."""
    return {name: value for name, value in fields.items() if value is not None}


def id_of(job: WhichJob) -> int:
    """The id of a job."""
    return job if isinstance(job, int) else job.id


def path(*steps: str | int) -> str:
    """`path("jobs", 1)` → `/jobs/1`, percent-encoded."""
    return "".join(f"/{quote(str(step), safe='')}" for step in steps)


def query(base: str, parameters: Mapping[str, Any]) -> str:
    """The path with the parameters that were given; a list gives several of one name."""
    pairs = list(_pairs(parameters))
    return f"{base}?{urlencode(pairs)}" if pairs else base


def _pairs(parameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in parameters.items():
        for one in () if value is None else value if isinstance(value, (list, tuple)) else (value,):
            yield name, one.isoformat() if hasattr(one, "isoformat") else str(one)
