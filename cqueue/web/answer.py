"""What a route gives back: bytes that are already JSON, under a status and a log index."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from flask import Response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_NO_CONTENT = 204
_JSON = ("Content-Type", "application/json")


class Answer(Response):
    """A finished answer.

    Args:
        status: the HTTP status; 204 has no body and no content type.
        body: JSON; it gets a line's end, so that a shell's prompt does not stick to it.
        index: the log index the answer reflects, None where the replica was not asked.
        headers: more headers.
    """

    default_mimetype = None

    def __init__(
        self, status: int, body: bytes, index: int | None = None, headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        lines = [*headers]
        if index is not None:
            lines.append(("X-Cqueue-Index", str(index)))
        if status == _NO_CONTENT:
            super().__init__(None, status, lines)
        else:
            lines.append(_JSON)
            super().__init__(body + b"\n", status, lines)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Hand it to the server."""
        # Everything is in place: the general way would look over headers that are known to be right.
        start_response(self.status, self.headers.to_wsgi_list())
        return () if environ["REQUEST_METHOD"] == "HEAD" else cast("list[bytes]", self.response)
