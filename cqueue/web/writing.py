"""How an answer goes over the wire: in one write, with what it says to browsers, and without the server's name.

gunicorn's own writes the head alone, looks at each header letter by letter, and makes the date anew each
time: with a job or two in an answer that is more work than all of Flask's. gunicorn is pinned because of it.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Any

from gunicorn.http import wsgi
from gunicorn.util import http_date

from cqueue.web import problems
from cqueue.web.answer import STATUS_LINES, Checked
from cqueue.web.problems import Problem


class Response(wsgi.Response):  # type: ignore[misc] # gunicorn has no types
    """An answer of gunicorn's, whose head leaves with the first part of its body.

    sendfile is not for it (cqueue.web.server): that would be a second way to write.
    """

    status: str | None
    headers_sent: bool
    fixed = "X-Content-Type-Options: nosniff\r\n"
    """Lines that every answer has, as they are sent."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._lines: str | None = None
        self._head = b""

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """See PEP 3333."""
        if type(headers) is not Checked or self.status is not None or self.req.method == "HEAD":
            return super().start_response(status, headers, exc_info)
        self.status, self.status_code = status, int(status[:3])
        self.response_length, self._lines = headers.length, headers.lines
        self._omits_body = headers.length is None
        return self.write

    def send_headers(self) -> None:
        """Make the head, to be written before anything else."""
        if self.headers_sent:
            return
        lines = self._lines
        if lines is None:
            lines = "".join([f"{name}: {text}\r\n" for name, text in self.headers])
        if self.chunked:
            lines += "Transfer-Encoding: chunked\r\n"
        version = self.req.version
        connection = "upgrade" if self.upgrade else "close" if self.should_close() else "keep-alive"
        self._head = (
            f"HTTP/{version[0]}.{version[1]} {self.status}\r\n{self.fixed}Date: {_date(int(time.time()))}\r\n"
            f"Connection: {connection}\r\n{lines}\r\n"
        ).encode("latin-1")
        self.headers_sent = True

    def write(self, arg: bytes) -> None:
        """Write a part of the body; an empty one lets the head go."""
        super().write(arg)
        self._flush()

    def close(self) -> None:
        """Write what there is still to write."""
        self.send_headers()
        self._flush()
        super().close()

    def _emit_body(self, data: bytes) -> None:
        if self.chunked:
            data = b"%X\r\n%b\r\n" % (len(data), data)
        self._flush(data)

    def _flush(self, data: bytes = b"") -> None:
        data, self._head = self._head + data, b""
        if data:
            # gevent's sendall asks the system about its buffer first, whatever there is to send.
            sent = self.sock.send(data)
            if sent < len(data):
                self.sock.sendall(memoryview(data)[sent:])


@lru_cache(maxsize=1)
def _date(_now_s: int) -> str:
    """The header `Date` of this second."""
    return str(http_date())


def answer_of(problem: Problem, path: str, request_id: str, *, closes: bool) -> bytes:
    """A problem as it goes over the wire where no application is asked; path: decoded."""
    status, headers, body = problems.render(problem, path, request_id)
    lines = [
        *(f"{name}: {text}\r\n" for name, text in headers),
        Response.fixed,
        f"Connection: {'close' if closes else 'keep-alive'}\r\n",
        f"Content-Length: {len(body)}\r\n",
    ]
    return f"HTTP/1.1 {STATUS_LINES[status]}\r\n{''.join(lines)}\r\n".encode() + body
