"""What a route promises: what it takes, and every answer it gives. `cqueue.web.openapi` makes the document of it.

A promise stands beside its route and names shapes, never fields: those that decode requests and
encode answers are the ones described. It decides nothing; that routes keep it is for tests to see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from cqueue.web.headers import KeyHeaders
from cqueue.web.parameters import LookParameters

if TYPE_CHECKING:
    from msgspec import Struct

View = TypeVar("View", bound=Callable[..., Any])

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
INDEX: Final = "X-Cqueue-Index"
LOCATION: Final = "Location"
WAITED: Final = "Preference-Applied"

# -- the problems that calls have in common (codes of `cqueue.web.problems.KINDS`) ---------------------

EVERY: Final = ("method_not_allowed", "internal", "invalid_http", "uri_too_long", "headers_too_large")
"""Of any call. 405: a path with another value in it may be another route's; what is no HTTP may be meant for any."""
GATE: Final = ("unauthenticated", "invalid_token", "insufficient_scope", "too_many_failures", "too_many_requests")
"""Of any call but those that nobody is asked for: see `cqueue.web.auth.routes`."""
BODY: Final = (
    "invalid_json",
    "body_too_large",
    "unsupported_media_type",
    "invalid_field",
    "origin_not_allowed",
    "too_slow",
)
"""Of a call that may change something: what it says, and whose page it comes from."""
REPLICA: Final = ("not_ready",)
LOOK: Final = (*REPLICA, "overloaded", "no_leader", "index_not_reached", "invalid_field")
CHANGE: Final = (*BODY, *REPLICA, "overloaded", "no_leader", "outcome_unknown")
KEY: Final = ("key_reused", "keys_full")
JOB: Final = ("not_found", "gone")
ORDER: Final = (*REPLICA, "no_leader", "outcome_unknown", "invalid_field", "no_cluster", "change_in_progress")

Links = Mapping[str, Mapping[str, str]]
"""{name of the call that may follow: {its parameter: where in the answer its value is}}."""


@dataclass(frozen=True, slots=True)
class Gives:
    """One answer that is no problem.

    Args:
        meaning: to the caller.
        shapes: the body has one of these; none: there is no body.
        headers: those that are there besides the usual ones.
        media: the content types there are; shapes describe JSON, or the data of an event of a stream.
        links: what may follow.
    """

    meaning: str
    shapes: tuple[Any, ...] = ()
    headers: tuple[str, ...] = (INDEX,)
    media: tuple[str, ...] = (JSON,)
    links: Links = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """One route with one method.

    Args:
        name: what a client library would call it.
        summary: a sentence.
        gives: {status: answer}, problems aside.
        codes: of the problems that may come, those of `EVERY` aside.
        says: shapes of the body; none: it takes no body.
        must_say: whether it needs one.
        query: the shape of the query string; None: it takes no parameters.
        headers: the shape of the headers that mean something.
    """

    name: str
    summary: str
    gives: Mapping[int, Gives]
    codes: tuple[str, ...] = ()
    says: tuple[Any, ...] = ()
    must_say: bool = False
    query: type[Struct] | None = None
    headers: type[Struct] | None = None


def looking(name: str, summary: str, gives: Gives, *codes: str, query: type[LookParameters] = LookParameters) -> Call:
    """A call that looks at jobs or queues."""
    return Call(name, summary, {200: gives}, (*LOOK, *codes), query=query)


def changing(
    name: str,
    summary: str,
    gives: Mapping[int, Gives],
    *codes: str,
    says: tuple[Any, ...] = (),
    must_say: bool = False,
    headers: type[KeyHeaders] | None = KeyHeaders,
) -> Call:
    """A call that changes jobs or queues; headers: None where it takes no `Idempotency-Key`."""
    return Call(
        name,
        summary,
        gives,
        (*CHANGE, *(KEY if headers else ()), *codes),
        says,
        must_say=must_say,
        headers=headers,
    )


def promises(call: Call) -> Callable[[View], View]:
    """Mark a Flask view with what it promises."""

    def mark(view: View) -> View:
        view.promise = call  # type: ignore[attr-defined]
        return view

    return mark


def promise_of(view: Callable[..., Any]) -> Call:
    """What a view promises.

    Raises:
        LookupError: nothing; a route has been forgotten.
    """
    promise: Call | None = getattr(view, "promise", None)
    if promise is None:
        raise LookupError(f"{view.__module__}.{view.__qualname__} promises nothing: see cqueue.web.contract.promises")
    return promise
