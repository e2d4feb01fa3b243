"""`POST /tickets`: what a page in a browser fetches with its token before it opens an `EventSource` or `WebSocket`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from flask import request
from msgspec import Struct

from cqueue.web.answer import Answer
from cqueue.web.auth.principals import principal_of
from cqueue.web.auth.tickets import Tickets
from cqueue.web.parameters import refuse_all
from cqueue.web.shapes.fields import time_text

if TYPE_CHECKING:
    from flask import Flask, Response


class TicketAnswer(Struct):
    """A ticket, and until when it is good."""

    ticket: str
    expires_at: str


def add_routes(app: Flask, tickets: Tickets) -> None:
    """Add the route to `app`."""

    @app.post("/tickets")
    def issue_ticket() -> Response:
        refuse_all(request.environ)
        ticket, expires_ms = tickets.issue(principal_of(request.environ))
        answer = TicketAnswer(ticket, time_text(expires_ms))
        return Answer(200, msgspec.json.encode(answer), None, (("Cache-Control", "no-store"),)).response()
