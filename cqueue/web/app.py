"""The Flask application: routes by noun, and every error as problem+json.

No traceback and no page of the framework's ever reaches a caller: what nobody expected is logged
with the request's id and answered 500 with that id.
"""

from __future__ import annotations

from typing import Final

from flask import Flask, Request, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import BaseConverter, MapAdapter

from cqueue import logs
from cqueue.config import Settings
from cqueue.errors import CqueueError
from cqueue.web import (
    backup,
    cluster,
    docs,
    events,
    members,
    metrics,
    openapi,
    problems,
    stream,
    ticketing,
    ui,
    whoami,
)
from cqueue.web.access_log import AccessLog, path_of
from cqueue.web.asking import Desk
from cqueue.web.auth.access import Access
from cqueue.web.auth.gate import Gate
from cqueue.web.counting import Counting
from cqueue.web.jobs import JobRoutes
from cqueue.web.link import ReplicaLink
from cqueue.web.looking import LookRoutes
from cqueue.web.origins import Origins
from cqueue.web.problems import Problem
from cqueue.web.queues import QueueRoutes
from cqueue.web.shapes.fields import ID_MAX
from cqueue.web.short_way import ShortWay

log = logs.of(__name__)

_LOOKING: Final = frozenset({"GET", "HEAD"})


class _IdConverter(BaseConverter):
    """A job id in a path: a whole number from 1 on, without leading zeros; anything else is no route."""

    regex = "[1-9][0-9]{0,18}"

    def to_python(self, value: str) -> int:
        job_id = int(value)
        if job_id > ID_MAX:
            # Not ValidationError: routes with other methods on the same path would make a 405 of it.
            raise NotFound
        return job_id


class _Application(Flask):
    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        # Routes depend on the path alone: what a caller puts into Host is neither looked at nor trusted.
        if request is None:
            return None
        return MapAdapter(self.url_map, "", "/", "", "http", request.path, request.method)


def create_app(link: ReplicaLink, settings: Settings, access: Access | None = None) -> Flask:
    """The application over the replica at the other end of `link`; access: None: as the settings say."""
    body_bytes_max = settings.body_bytes_max
    app = _Application("cqueue", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = body_bytes_max
    app.url_map.converters["id"] = _IdConverter
    app.url_map.merge_slashes = False
    access = access or Access(settings)
    desk = Desk(link, body_bytes_max=body_bytes_max)
    job_routes = JobRoutes(desk)
    for routes in (job_routes, LookRoutes(desk), QueueRoutes(desk)):
        routes.add_to(app)
    cluster.add_routes(app, link)
    events.add_routes(app, link)
    stream.add_routes(app, desk, link, message_bytes_max=body_bytes_max, silence_s=settings.stream_silence_s)
    members.add_routes(app, link, body_bytes_max=body_bytes_max)
    metrics.add_routes(app, desk, link, labels_max=settings.metrics_labels_max, data_dir=settings.data_dir)
    ticketing.add_routes(app, access.tickets)
    backup.add_routes(app, link, body_bytes_max=body_bytes_max, spool_dir=settings.data_dir or None)
    openapi.add_routes(app)
    docs.add_routes(app)
    ui.add_routes(app, settings.node_urls)
    whoami.add_routes(app)
    app.after_request(_keep_out_of_caches)
    app.register_error_handler(Problem, _show)
    app.register_error_handler(CqueueError, lambda error: _show(Problem.of(error)))
    app.register_error_handler(HTTPException, _show_http)
    app.register_error_handler(Exception, _show_unexpected)
    gate = Gate(app, ShortWay(app, job_routes), access, request_rate=settings.request_rate)
    origins = Origins(app, gate, (*settings.allowed_origins, *settings.node_urls))
    counted = Counting(origins, desk.counts)
    app.wsgi_app = AccessLog(counted) if settings.access_log else counted  # type: ignore[method-assign]
    return app


def _keep_out_of_caches(response: Response) -> Response:
    """What is looked at may be a secret, and is so now only; caches may keep it unless they are told (RFC 9111, 4.2.2).

    Answers to other methods no cache may keep as they are, so the short way says nothing.
    """
    if request.method in _LOOKING:
        response.headers.setdefault("Cache-Control", "no-store")
    return response


def _show(problem: Problem, request_id: str | None = None) -> Response:
    given = request_id or problems.request_id_of(request.environ)
    status, headers, body = problems.render(problem, request.path, given)
    return Response(body, status, headers)


def _show_http(error: HTTPException) -> Response:
    """What the framework refused: an unknown path, a method a route does not take."""
    path, method = request.path, request.method
    response = error.get_response()
    code = problems.code_of_status(response.status_code)
    if code is None:
        return _show_unexpected(error)
    if isinstance(error, MethodNotAllowed):
        methods = sorted(set(error.valid_methods or ()) - {"HEAD", "OPTIONS"})
        shown = _show(Problem(code, f"{path} does not take {method}, only {' and '.join(methods)}"))
        shown.headers["Allow"] = response.headers["Allow"]
        return shown
    return _show(Problem(code, f"there is no {path}" if code == "not_found" else error.description or ""))


def _show_unexpected(error: Exception) -> Response:
    request_id = problems.request_id_of(request.environ)
    log.error(
        "request_failed", request_id=request_id, method=request.method, path=path_of(request.environ), exc_info=error
    )
    return _show(Problem("internal", f"an unexpected error; the node's log has it under {request_id}"), request_id)
