"""What a route gives back: bytes that are already JSON, under a status and a log index."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from flask import Response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_NO_CONTENT: Final = 204
_JSON: Final = ("Content-Type", "application/json")
STATUS_LINES: Final = {status.value: f"{status.value} {status.phrase.upper()}" for status in HTTPStatus}


class Checked(list[tuple[str, str]]):
    """Headers that are known to be right, so that nobody looks at them again.

    lines: as they are sent. length: of the body; None: it has none.
    """

    __slots__ = ("length", "lines")

    def __init__(self, headers: Iterable[tuple[str, str]], length: int | None) -> None:
        super().__init__(headers)
        if length is not None:
            self.append(("Content-Length", str(length)))
        self.lines = "".join([f"{name}: {text}\r\n" for name, text in self])
        self.length = length


class _Response(Response):
    default_mimetype = None


class Answer:
    """A finished answer, which is a WSGI application: everything in it is known to be right.

    Args:
        status: the HTTP status; 204 has no body and no content type.
        body: JSON; it gets a line's end, so that a shell's prompt does not stick to it.
        index: the log index the answer reflects, None where the replica was not asked.
        headers: more headers.

    on_lost: called when the answer could not be written, or not to its end.
    """

    __slots__ = ("_body", "_headers", "_status", "on_lost")

    def __init__(
        self, status: int, body: bytes, index: int | None = None, headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        self.on_lost: Callable[[], None] | None = None
        self._status = STATUS_LINES[status]
        shown = [*headers]
        if index is not None:
            shown.append(("X-Cqueue-Index", str(index)))
        if status == _NO_CONTENT:
            self._body = body
            self._headers = Checked(shown, None)
        else:
            shown.append(_JSON)
            self._body = body + b"\n"
            self._headers = Checked(shown, len(self._body))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Hand it to the server."""
        start_response(self._status, self._headers)
        if self.on_lost is not None:
            return self._written(self.on_lost)
        return () if environ["REQUEST_METHOD"] == "HEAD" else (self._body,)

    def _written(self, on_lost: Callable[[], None]) -> Iterator[bytes]:
        try:
            yield self._body
        except GeneratorExit:
            # The server asks for the next part when it has written this one; it gave up instead.
            on_lost()
            raise

    def response(self) -> Response:
        """The same as Flask wants it."""
        return _Response(self._body, self._status, self._headers)
