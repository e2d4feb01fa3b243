"""The short way in, for the calls that make up nearly all traffic: enqueue, dequeue, and what consumers say.

Flask's routing, contexts and response objects cost ten times what cqueue itself does for one job.
So these calls go from the server straight to the same route functions that Flask would call.
Everything else takes the long way, through Flask: other calls, unusual paths, and every error.

Flask's hooks (`before_request` and its like) do not see what comes this way. What must hold for
every request belongs into the route functions, or in front of both ways.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from cqueue.web.jobs import JobRoutes

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from flask import Flask

    from cqueue.web.answer import Answer

_one = re.compile(r"/jobs/(?:conclude/([1-9][0-9]{0,17})|([1-9][0-9]{0,17})/(conclude|extend|fail))").fullmatch
"""Ids of up to 18 digits are in range whatever they are; longer ones are Flask's to judge."""
_MANY: Final = {"/jobs/conclude": "conclude", "/jobs/extend": "extend", "/jobs/fail": "fail"}


class ShortWay:
    """A WSGI application before the one of `app`."""

    def __init__(self, app: Flask, routes: JobRoutes) -> None:
        self._app = app
        self._long_way: WSGIApplication = app.wsgi_app
        self._routes = routes

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        try:
            answer = self._answer(environ["REQUEST_METHOD"], environ["PATH_INFO"], environ)
        except Exception as error:  # noqa: BLE001 - whatever it is, Flask has a handler for it
            with self._app.request_context(environ):
                return self._app.make_response(self._app.handle_user_exception(error))(environ, start_response)
        return self._long_way(environ, start_response) if answer is None else answer(environ, start_response)

    def _answer(self, method: str, path: str, environ: WSGIEnvironment) -> Answer | None:
        if method == "PUT":
            if path == "/jobs/enqueue":
                return self._routes.enqueue(environ)
        elif method == "POST":
            if path == "/jobs/dequeue":
                return self._routes.dequeue(environ)
            if path in _MANY:
                return self._routes.many(environ, _MANY[path])
            match = _one(path)
            if match:
                return self._routes.one(environ, int(match[1] or match[2]), match[3] or "conclude")
        return None
