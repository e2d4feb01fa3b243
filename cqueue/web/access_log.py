"""What the log says of requests: a line for each where somebody wants that, and what such lines have in common.

Off unless `--access-log` says otherwise, and then not there at all: a line adds a third to what a request takes.
It never says a query string, in which a ticket may be, or anything of a body.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from cqueue import logs
from cqueue.errors import Refused
from cqueue.web import headers
from cqueue.web.contract import INDEX
from cqueue.web.problems import given_request_id

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logs.of(__name__)

_JOB: Final = re.compile(r"/jobs/(?:[a-z]+/)?([1-9][0-9]{0,18})(?:/|\Z)")


class AccessLog:
    """A WSGI application in front of `inner`, that logs each answer as it begins."""

    def __init__(self, inner: WSGIApplication) -> None:
        self._inner = inner

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        begun_s = time.monotonic()

        def begin(status: str, answer: list[tuple[str, str]], exc_info: Any = None, /) -> Callable[..., object]:
            log.info(
                "request_answered",
                method=environ["REQUEST_METHOD"],
                path=path_of(environ),
                status=int(status[:3]),
                ms=round((time.monotonic() - begun_s) * 1000, 1),
                address=environ.get("REMOTE_ADDR", "-"),
                **fields_of(environ, answer),
            )
            return start_response(status, answer, exc_info)

        return self._inner(environ, begin)


def path_of(environ: WSGIEnvironment) -> str:
    """The path as it was sent: WSGI hands it over decoded, as Latin-1."""
    return quote(environ["PATH_INFO"], encoding="latin-1")


def fields_of(environ: WSGIEnvironment, answer: list[tuple[str, str]]) -> dict[str, Any]:
    """By what a line about a request is found: request_id, job_id, index, consumer, each where it applies."""
    said = dict(answer)
    consumer = None
    with suppress(Refused):
        consumer = headers.consumer(environ)
    job = _JOB.match(said.get("Location") or environ["PATH_INFO"])
    index = said.get(INDEX)
    found = {
        "request_id": said.get("X-Request-Id") or given_request_id(environ),
        "job_id": job and int(job[1]),
        "index": index and int(index),
        "consumer": consumer,
    }
    return {name: value for name, value in found.items() if value is not None}
