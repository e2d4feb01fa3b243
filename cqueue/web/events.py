"""`GET /events`: every change of every job, as Server-Sent Events (WHATWG HTML, 9.2).

The id of an event is its place in the log, `<index>.<position>`, the same on every node. So a client
that lost its connection goes on with any node where it left off. Changes are fetched when the client
has taken those before: nothing is buffered for one that is slow, until the node's window has moved on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec
from flask import Response, request
from msgspec import UNSET, Struct
from msgspec.structs import replace

from cqueue.core.feed import Changed, Followed, Place, Wanted, decode_followed
from cqueue.core.jobs import Status
from cqueue.errors import CqueueError, Refused
from cqueue.protocol import FOLLOW, RESULT, encode
from cqueue.web import contract, parameters
from cqueue.web.auth.principals import principal_of
from cqueue.web.contract import REPLICA, Call, Gives, promises
from cqueue.web.headers import EventsHeaders
from cqueue.web.link import ReplicaLink
from cqueue.web.parameters import EventsParameters
from cqueue.web.presence import Presence
from cqueue.web.problems import KINDS, Problem
from cqueue.web.shapes import fields
from cqueue.web.shapes.fields import time_text

if TYPE_CHECKING:
    from flask import Flask

CONTENT_TYPE: Final = contract.EVENTS
HEARTBEAT_S: Final = 15
"""Something is sent at least this often, so that whatever is in between keeps the connection open."""
RETRY_MS: Final = 1_000
"""After how long a client shall connect again."""
STALLED_S_MAX: Final = 60
"""A client that takes nothing for this long is left."""

_PLACE: Final = re.compile(r"([0-9]{1,18})\.([0-9]{1,9})")
_HELLO: Final = f"retry: {RETRY_MS}\n\n".encode()


class EventAnswer(Struct, omit_defaults=True):
    """One change, and the job right after it; attempt, lease_token and consumer are of its last hand-out."""

    event: fields.EventName
    id: fields.Id
    status: Status
    queue: fields.QueueName
    type: fields.TypeName
    at: fields.TimeText
    attempt: fields.Count = 0
    lease_token: fields.Count = 0
    consumer: fields.Consumer | None = None
    error: fields.ErrorText | None = None


_encode = msgspec.json.Encoder().encode


EVENTS: Final = Call(
    "follow_events",
    "Every change of every job, in the order of the log, as it happens.",
    {200: Gives("the events, until the client leaves or the node stops", (EventAnswer,), (), (CONTENT_TYPE,))},
    (*REPLICA, "overloaded", "invalid_field", "events_off", "events_gone", "too_many_followers"),
    query=EventsParameters,
    headers=EventsHeaders,
)


def add_routes(app: Flask, link: ReplicaLink) -> None:
    """Add the route to `app`; it asks the replica at the other end of `link`."""

    def stream(wanted: Wanted, followed: Followed, caller: Presence) -> Iterator[bytes]:
        yield _HELLO
        while True:
            yield _text(followed)
            try:
                followed, _ = _follow(link, replace(wanted, after=followed.after), HEARTBEAT_S, caller)
            except (CqueueError, Problem) as error:
                yield _end(error.code, error.detail)
                return
            if not caller.is_there():
                return
            if link.draining:
                yield _end("shutting_down", "this node is shutting down")
                return

    @app.get("/events")
    @promises(EVENTS)
    def events() -> Response:
        wanted, caller = _wanted(request.environ), Presence(request.environ)
        try:
            followed, index = _follow(link, wanted, 0, caller)
        except (CqueueError, Problem) as error:
            if not _would_give_up(error.code):
                raise
            return _answer_with((_HELLO, _end(error.code, error.detail)))
        caller.give_up_after(STALLED_S_MAX)
        response = _answer_with(stream(wanted, followed, caller))
        response.headers["X-Cqueue-Index"] = str(index)
        return response


def _follow(link: ReplicaLink, wanted: Wanted, wait_s: int, caller: Presence) -> tuple[Followed, int]:
    _, outcome, index, data = link.ask(FOLLOW, encode(wanted), wait_s * 1000, caller)
    if outcome != RESULT:
        raise Problem.of_failure(data, index)
    return decode_followed(data), index


def _would_give_up(code: str) -> bool:
    """Whether the caller ought to come again, and would not: an EventSource does only after a 200 (HTML, 9.2.3)."""
    return KINDS[code].retry_after_s is not None and request.headers.get("Accept") == CONTENT_TYPE


def _answer_with(events: Iterable[bytes]) -> Response:
    # Neither a cache nor a proxy (nginx) shall keep events back.
    return Response(events, 200, {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}, mimetype=CONTENT_TYPE)


def _wanted(environ: dict[str, Any]) -> Wanted:
    given = parameters.read(environ, EventsParameters)
    wanted = Wanted(
        queue=parameters.queue(given.queue),
        types=parameters.types(given.type),
        statuses=parameters.statuses(given.status),
        id=None if given.job is UNSET else given.job,
    )
    caller = principal_of(environ)
    if wanted.queue is not None:
        caller.check_queue(wanted.queue)
    wanted = replace(wanted, reach=caller.reach)
    last = environ.get("HTTP_LAST_EVENT_ID")
    if last:
        return replace(wanted, after=_place(last, "the header Last-Event-ID"))
    return wanted if given.after is UNSET else replace(wanted, after=_place(given.after, "the parameter after"))


def _place(text: str, where: str) -> Place:
    place = _PLACE.fullmatch(text)
    if place is None:
        raise Refused(f"{where} is the id of an event, such as 17.2; 0.0 is before all of them")
    return int(place[1]), int(place[2])


def _text(followed: Followed) -> bytes:
    """The changes, and how far that is: a client that reconnects says so, even if it wanted none of the last ones."""
    parts = [b"id: %d.%d\ndata: %b\n\n" % (one.index, one.position, _encode(_answer(one))) for one in followed.changes]
    return b"".join((*parts, b": so far\nid: %d.%d\n\n" % followed.after))


def _answer(changed: Changed) -> EventAnswer:
    return EventAnswer(
        changed.event,
        changed.id,
        changed.status,
        changed.queue,
        changed.type,
        time_text(changed.at_ms),
        changed.attempt,
        changed.lease_token,
        changed.consumer,
        changed.error,
    )


def _end(code: str, detail: str) -> bytes:
    return b"event: end\ndata: %b\n\n" % _encode({"code": code, "detail": detail})
