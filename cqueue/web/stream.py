"""`GET /stream`: a WebSocket on which one client produces and consumes. docs/protocol.md is its contract."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from flask import Response, request
from gunicorn.workers.base_async import ALREADY_HANDLED

from cqueue.web import headers, problems
from cqueue.web.asking import Desk
from cqueue.web.auth.principals import principal_of
from cqueue.web.contract import Call, Gives, promises
from cqueue.web.conversation import Caller, Conversation
from cqueue.web.link import ReplicaLink
from cqueue.web.parameters import TicketParameters
from cqueue.web.shapes.stream import CODECS
from cqueue.web.websocket import WebSocket, handshake

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from flask import Flask


STREAM: Final = Call(
    "open_stream",
    "A WebSocket on which one client produces and consumes; docs/protocol.md says what goes over it.",
    {101: Gives("the WebSocket is open", (), ())},
    ("overloaded", "invalid_handshake", "invalid_field", "origin_not_allowed", "upgrade_required"),
    query=TicketParameters,
    headers=headers.StreamHeaders,
)


class _TakenOver(Response):
    """What gunicorn is told once the connection has had its life as something else."""

    def __init__(self, live: Callable[[], None]) -> None:
        super().__init__()
        self._live = live

    def __call__(self, _environ: WSGIEnvironment, _start_response: StartResponse) -> Iterable[bytes]:
        self._live()
        return ALREADY_HANDLED  # type: ignore[no-any-return] # an object of gunicorn's, which it looks for


def add_routes(app: Flask, desk: Desk, link: ReplicaLink, *, message_bytes_max: int, silence_s: int) -> None:
    """Add the route to `app`.

    Args:
        app: the application.
        desk: the way to the replica at the other end of `link`.
        link: the same, for what does not wait.
        message_bytes_max: larger messages end the connection with 1009.
        silence_s: see `WebSocket`.
    """

    @app.get("/stream")
    @promises(STREAM)
    def stream() -> Response:
        environ = request.environ
        subprotocol, opening = handshake(environ, list(CODECS))
        codec, consumer = CODECS[subprotocol], headers.consumer(environ)
        request_id = problems.request_id_of(environ)
        connection: Any = environ["gunicorn.socket"]

        def live() -> None:
            connection.sendall(opening)
            socket = WebSocket(
                connection, is_binary=codec.is_binary, message_bytes_max=message_bytes_max, silence_s=silence_s
            )
            caller = Caller(principal_of(environ), environ.get("REMOTE_ADDR", "-"), consumer, request_id)
            Conversation(socket, codec, caller, desk=desk, link=link).run()

        return _TakenOver(live)
