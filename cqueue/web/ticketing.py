"""`POST /tickets`: what a page in a browser fetches with its token before it opens an `EventSource` or `WebSocket`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from flask import request
from msgspec import Struct

from cqueue.web.answer import Answer
from cqueue.web.auth.principals import principal_of
from cqueue.web.auth.tickets import Ticket, Tickets
from cqueue.web.contract import Call, Gives, promises
from cqueue.web.parameters import refuse_all
from cqueue.web.shapes.fields import TimeText, time_text

if TYPE_CHECKING:
    from flask import Flask, Response


class TicketAnswer(Struct):
    """A ticket, and until when it is good."""

    ticket: Ticket
    expires_at: TimeText


ISSUE: Final = Call(
    "issue_ticket",
    "A ticket to open an EventSource or a WebSocket with, good for about half a minute.",
    {200: Gives("a ticket", (TicketAnswer,), headers=())},
    ("invalid_field", "origin_not_allowed", "overloaded"),
)


def add_routes(app: Flask, tickets: Tickets) -> None:
    """Add the route to `app`."""

    @app.post("/tickets")
    @promises(ISSUE)
    def issue_ticket() -> Response:
        refuse_all(request.environ)
        ticket, expires_ms = tickets.issue(principal_of(request.environ))
        answer = TicketAnswer(ticket, time_text(expires_ms))
        return Answer(200, msgspec.json.encode(answer), None, (("Cache-Control", "no-store"),)).response()
