"""Which pages in browsers may do what: CORS for allowed origins, and nothing to change for the others.

It stands in front of both ways in and looks at headers alone. A request that carries neither `Origin`
nor `Sec-Fetch-Site` comes from no page of another origin, and passes as it is.

Reading is left to browsers: they show a page the answer only where this module says so. Changing is
not, as browsers ask beforehand for some requests only, and never for `POST /jobs/dequeue` without a
body or for a WebSocket; so both are refused here to pages of origins that are not allowed.

It is about pages, not people: it authenticates nobody, and what is no browser may send any `Origin`.
Sources: Fetch (https://fetch.spec.whatwg.org) 3.1, the `Origin` header, and 3.3, CORS, which includes
what a preflight asks; Fetch Metadata (https://www.w3.org/TR/fetch-metadata/) 2.4, `Sec-Fetch-Site`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Final

from flask import Request, Response

from cqueue.config import ANY_ORIGIN
from cqueue.web import problems
from cqueue.web.problems import Problem

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from flask import Flask

PREFLIGHT_S: Final = 7_200
"""How long a browser may remember what it was told it may send; Chromium remembers no longer than this."""
REQUEST_HEADERS: Final = (
    "Authorization",
    "Consumer-Id",
    "Content-Type",
    "Idempotency-Key",
    "Last-Event-ID",
    "Prefer",
    "X-Request-Id",
)
"""What an allowed page may send beyond what every page may."""
ANSWER_HEADERS: Final = ("Location", "Preference-Applied", "Retry-After", "X-Cqueue-Index", "X-Request-Id")
"""What an allowed page may read beyond what every page may."""

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN: Final = frozenset({"same-origin", "none"})
"""What `Sec-Fetch-Site` says of this node's own pages, and of what a person typed or clicked in the browser itself."""
_VARY: Final = ("Vary", "Origin")
_EXPOSE: Final = ("Access-Control-Expose-Headers", ", ".join(ANSWER_HEADERS))


class Origins:
    """A WSGI application before the one of `app`.

    Args:
        app: what is asked which methods a path has.
        inner: what answers.
        allowed: origins as browsers write them, or `*` alone for all.
    """

    def __init__(self, app: Flask, inner: WSGIApplication, allowed: tuple[str, ...]) -> None:
        self._app = app
        self._inner = inner
        self._allowed = frozenset(allowed)
        self._any = ANY_ORIGIN in allowed

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        if "HTTP_ORIGIN" not in environ and "HTTP_SEC_FETCH_SITE" not in environ:
            return self._inner(environ, start_response)
        origin = environ.get("HTTP_ORIGIN")
        if self._any or origin in self._allowed:
            shown = ("Access-Control-Allow-Origin", ANY_ORIGIN if self._any else origin or "")
            start = _with_headers(start_response, [shown, _EXPOSE, _VARY])
            methods = self._methods(environ) if _is_preflight(environ) else ()
            return _tell(methods, environ, start) if methods else self._inner(environ, start)
        start = _with_headers(start_response, [_VARY])
        if _changes(environ) and _is_foreign(environ):
            return _refuse(environ, start)
        return self._inner(environ, start)

    def _methods(self, environ: WSGIEnvironment) -> Collection[str]:
        """What can be done at the path; nothing where there is none such."""
        routes = self._app.create_url_adapter(Request(environ))
        return list(routes.allowed_methods()) if routes else ()


def _is_preflight(environ: WSGIEnvironment) -> bool:
    """Whether a browser asks what it may send (Fetch 3.3.2)."""
    return environ["REQUEST_METHOD"] == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ


def _tell(methods: Collection[str], environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer a preflight, the same whatever it is about: the browser compares that with what it has to send."""
    headers = {
        "Access-Control-Allow-Methods": ", ".join(sorted(methods)),
        "Access-Control-Allow-Headers": ", ".join(REQUEST_HEADERS),
        "Access-Control-Max-Age": str(PREFLIGHT_S),
    }
    return Response(status=204, headers=headers)(environ, start_response)


def _changes(environ: WSGIEnvironment) -> bool:
    """Whether it may change something; what a connection that becomes a WebSocket will say, nobody knows yet."""
    return environ["REQUEST_METHOD"] not in _SAFE or "HTTP_UPGRADE" in environ


def _is_foreign(environ: WSGIEnvironment) -> bool:
    """Whether a page of another origin than this node's own sent it.

    No page can write `Sec-Fetch-Site`, and it stays true behind a proxy that rewrites `Host`. Browsers
    send it over TLS and to localhost only, so elsewhere `Origin` and `Host` decide, without the
    scheme: which one a proxy before this node speaks is not known here.
    """
    site = environ.get("HTTP_SEC_FETCH_SITE")
    if site is not None:
        return site not in _OWN
    return bool(environ["HTTP_ORIGIN"].partition("://")[2] != environ.get("HTTP_HOST"))


def _refuse(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    who = environ.get("HTTP_ORIGIN", "another origin")
    problem = Problem("origin_not_allowed", f"pages of {who} may not do this: --allowed-origins does not name it")
    status, headers, body = problems.render(problem, Request(environ).path, problems.request_id_of(environ))
    return Response(body, status, headers)(environ, start_response)


def _with_headers(start_response: StartResponse, more: list[tuple[str, str]]) -> StartResponse:
    """The same, for an answer with `more` headers."""

    def start(
        status: str, headers: list[tuple[str, str]], exc_info: OptExcInfo | None = None, /
    ) -> Callable[[bytes], object]:
        return start_response(status, [*headers, *more], exc_info)

    return start
