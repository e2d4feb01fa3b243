"""`GET /whoami`: who the caller is and what they may do, for pages that offer only that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from flask import request
from msgspec import Meta, Struct

from cqueue.web.answer import Answer
from cqueue.web.auth.principals import Role, principal_of
from cqueue.web.auth.routes import ROLES_OF
from cqueue.web.contract import Call, Gives, promises
from cqueue.web.parameters import refuse_all

if TYPE_CHECKING:
    from flask import Flask, Response


class WhoAnswer(Struct):
    """A caller. queues: patterns of those that are theirs; null: all. routes: those they may call."""

    name: Annotated[str, Meta(examples=["ann"])]
    roles: Annotated[list[Role], Meta(examples=[["viewer"]])]
    queues: Annotated[list[str], Meta(examples=[["mail-*"]])] | None
    routes: Annotated[list[str], Meta(examples=[["GET /jobs"]])]


WHO: Final = Call(
    "get_whoami",
    "Who the caller is, and what they may do.",
    {200: Gives("who it is", (WhoAnswer,), headers=())},
    ("invalid_field",),
)


def add_routes(app: Flask) -> None:
    """Add the route to `app`."""

    @app.get("/whoami")
    @promises(WHO)
    def whoami() -> Response:
        refuse_all(request.environ)
        caller = principal_of(request.environ)
        routes = sorted(route for route, roles in ROLES_OF.items() if roles & caller.roles)
        queues = None if caller.reach is None else list(caller.reach)
        answer = WhoAnswer(caller.name, sorted(caller.roles), queues, routes)
        return Answer(200, msgspec.json.encode(answer)).response()
