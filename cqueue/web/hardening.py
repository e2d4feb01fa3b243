"""What every answer says to browsers, and what none of them gives away, however it is made."""

from __future__ import annotations

from gunicorn.http.wsgi import Response

from cqueue.web import problems
from cqueue.web.answer import STATUS_LINES
from cqueue.web.problems import Problem


class HardenedResponse(Response):  # type: ignore[misc] # gunicorn has no types
    """An answer of gunicorn's with what every answer says to browsers, and without the server's name.

    Here and not in the application, where each header is looked at letter by letter: 0.2 µs each time, not 0.7.
    """

    fixed = "X-Content-Type-Options: nosniff\r\n"
    """The lines as they are sent."""

    def default_headers(self) -> list[str]:
        """Gunicorn's own, but for the second, which is `Server`."""
        lines: list[str] = super().default_headers()
        lines[1] = self.fixed
        return lines


def answer_of(problem: Problem, path: str, request_id: str, *, closes: bool) -> bytes:
    """A problem as it goes over the wire where no application is asked; path: decoded."""
    status, headers, body = problems.render(problem, path, request_id)
    lines = [
        *(f"{name}: {text}\r\n" for name, text in headers),
        HardenedResponse.fixed,
        f"Connection: {'close' if closes else 'keep-alive'}\r\n",
        f"Content-Length: {len(body)}\r\n",
    ]
    return f"HTTP/1.1 {STATUS_LINES[status]}\r\n{''.join(lines)}\r\n".encode() + body
