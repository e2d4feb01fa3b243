"""The door in front of both ways in, the short one and Flask's: who calls, and may they call this?

It decides by the route, which it finds as Flask does, and by the table of `routes`. Behind it every
request has a caller (`principals.principal_of`); what queues they reach is for the routes to mind.
How it answers: RFC 6750.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from flask import Request
from werkzeug.exceptions import HTTPException

from cqueue import logs
from cqueue.errors import Refused
from cqueue.web.access_log import fields_of, path_of
from cqueue.web.auth.access import Access
from cqueue.web.auth.failures import Failures
from cqueue.web.auth.jwts import InvalidToken
from cqueue.web.auth.principals import ANYBODY, Principal, known_principal_of, let_in
from cqueue.web.auth.rates import Rates
from cqueue.web.auth.routes import AUDITED, OPEN, ROLES_OF, TICKETED, check_role
from cqueue.web.cluster import placeholders
from cqueue.web.counting import ROUTE
from cqueue.web.problems import Problem

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from flask import Flask

audit_log = logs.of(logs.AUDIT)

_ID: Final = re.compile(r"(?<=/)[1-9][0-9]{0,18}(?=/|\Z)")
_HINT: Final = "it takes the header Authorization: Bearer <token>"


class Gate:
    """A WSGI application in front of `inner`.

    Args:
        app: whose routes they are, and whose way to show errors.
        inner: what a request that may pass goes to.
        access: what callers may show.
        request_rate: requests a second that each caller may send; 0: any number.
    """

    def __init__(self, app: Flask, inner: WSGIApplication, access: Access, *, request_rate: int = 0) -> None:
        self._app = app
        self._inner = inner
        self._access = access
        self._failures = Failures()
        self._rates = Rates(request_rate) if request_rate else None

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Let a request pass, or answer it."""
        route = environ[ROUTE] = self._route(environ)
        if route in AUDITED:
            start_response = _Audit(environ, route or "", start_response)
        try:
            self._admit(environ, route)
            if self._rates is not None and route not in OPEN:
                standing = self._rates.take(environ)
                start_response = standing.telling(start_response)
                standing.check()
        except (Refused, Problem) as error:
            with self._app.request_context(environ):
                return self._app.make_response(self._app.handle_user_exception(error))(environ, start_response)
        return self._inner(environ, start_response)

    def _admit(self, environ: WSGIEnvironment, route: str | None) -> None:
        if not self._access.is_on:
            let_in(environ, ANYBODY)
            return
        # What a browser asks beforehand carries no token (Fetch, CORS-preflight); it does nothing.
        if route in OPEN or environ["REQUEST_METHOD"] == "OPTIONS":
            return
        principal = self._caller(environ, route)
        let_in(environ, principal)
        if route is not None:
            check_role(principal, route)

    def _caller(self, environ: WSGIEnvironment, route: str | None) -> Principal:
        header = environ.get("HTTP_AUTHORIZATION")
        if header is None:
            ticket = parse_qs(environ["QUERY_STRING"]).get("ticket") if route in TICKETED else None
            if ticket is None:
                raise Problem("unauthenticated", f"this node asks who calls: {_HINT}")
            return self._tried(environ, self._redeem, ticket[0])
        scheme, _, shown = header.partition(" ")
        if scheme.lower() != "bearer":
            raise Problem("unauthenticated", f"this node takes no other scheme: {_HINT}")
        shown = shown.strip()
        return self._access.recall(shown) or self._tried(environ, self._access.check, shown)

    def _tried(self, environ: WSGIEnvironment, check: Callable[[str], Principal], shown: str) -> Principal:
        """What `check` says of it; an address that has been wrong too often has to wait for that."""
        address = environ.get("REMOTE_ADDR", "")
        wait_s = self._failures.wait_s(address)
        if wait_s:
            raise Problem("too_many_failures", "too many wrong tokens came from your address", retry_after_s=wait_s)
        try:
            return check(shown)
        except InvalidToken as error:
            self._failures.count(address)
            raise Problem("invalid_token", f"the token was not taken: {error}") from None

    def _redeem(self, ticket: str) -> Principal:
        principal = self._access.tickets.redeem(ticket)
        if principal is None:
            raise InvalidToken("the ticket is none, or its time is over")
        return principal

    def _route(self, environ: WSGIEnvironment) -> str | None:
        """The route as the table spells it; None: there is none, or not with this method."""
        method = environ["REQUEST_METHOD"]
        if method == "HEAD":
            method = "GET"
        route = f"{method} {_ID.sub('{id}', environ['PATH_INFO'])}"
        if route in ROLES_OF or route in OPEN:
            return route
        adapter = self._app.create_url_adapter(Request(environ))
        if adapter is None or method == "OPTIONS":
            return None
        try:
            rule, _ = adapter.match(return_rule=True)
        except HTTPException:
            return None
        return f"{method} {placeholders(rule.rule)}"


class _Audit:
    """Says what a caller did once it is known how it went."""

    def __init__(self, environ: WSGIEnvironment, route: str, start_response: StartResponse) -> None:
        self._environ = environ
        self._route = route
        self._start_response = start_response

    def __call__(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        principal = known_principal_of(self._environ)
        if principal is not None:
            what = f"{self._route} {path_of(self._environ)}"
            address = self._environ.get("REMOTE_ADDR", "-")
            note(principal, what, status[:3], address, **fields_of(self._environ, headers))
        return self._start_response(status, headers, exc_info)


def note(principal: Principal, what: str, outcome: str, address: str, **more: Any) -> None:
    """One line of the audit. what: the route, and what it was about, escaped. outcome: a status or a code."""
    audit_log.info("operator_acted", who=principal.name, what=what, outcome=outcome, address=address, **more)
