"""The routes of jobs: enqueue, dequeue, conclude, look. docs/protocol.md is their contract."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qsl

from flask import Response, request

from cqueue.core.operations import Conclude, Dequeue, Enqueue, GetJob, GetStats, Operation, Query, Refusal
from cqueue.errors import Refused
from cqueue.protocol import AWAIT, OPERATE, PEEK, QUERY, RESULT, encode
from cqueue.web import body, headers, wire
from cqueue.web.answer import Answer
from cqueue.web.link import ReplicaLink
from cqueue.web.problems import Problem

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment
    from flask import Flask

T = TypeVar("T")

_LOOK_KINDS: Final = {"linearizable": QUERY, "stale": PEEK}


class JobRoutes:
    """The routes, over the replica at the other end of `link`. Each takes the WSGI environment of its request."""

    def __init__(self, link: ReplicaLink, *, body_bytes_max: int) -> None:
        self._link = link
        self._body_bytes_max = body_bytes_max

    def add_to(self, app: Flask) -> None:
        """Make them routes of `app`."""
        for method, rule, view in (
            ("PUT", "/jobs/enqueue", self.enqueue),
            ("POST", "/jobs/dequeue", self.dequeue),
            ("POST", "/jobs/conclude/<id:job_id>", self.conclude),
            ("POST", "/jobs/<id:job_id>/conclude", self.conclude),
            ("POST", "/jobs/conclude", self.conclude_many),
            ("GET", "/jobs/<id:job_id>", self.job),
            ("GET", "/jobs/stats", self.stats),
        ):
            app.add_url_rule(rule, rule, _flask_view(view), methods=[method])

    def enqueue(self, environ: WSGIEnvironment) -> Answer:
        """Add one job or many."""
        operation, many = wire.enqueue(self._read(environ))
        enqueued, index = self._operate(environ, wire.decode_enqueued, operation)
        location = () if many else (("Location", f"/jobs/{enqueued.ids[0]}"),)
        return Answer(201, wire.enqueued_json(enqueued.ids, many=many), index, location)

    def dequeue(self, environ: WSGIEnvironment) -> Answer:
        """Hand out one job or many, waiting for the first one if asked to."""
        data = self._read(environ)
        operation, many, wait_ms = wire.dequeue(data, headers.consumer(environ))
        dequeued, index = self._operate(environ, wire.decode_dequeued, operation, wait_ms)
        if many:
            return Answer(200, wire.jobs_json(dequeued.jobs), index)
        if not dequeued.jobs:
            return Answer(204, b"", index)
        return Answer(200, wire.job_json(dequeued.jobs[0]), index)

    def conclude(self, environ: WSGIEnvironment, job_id: int) -> Answer:
        """Conclude the job in the path."""
        job, index = self._operate(environ, wire.decode_settled_one, wire.conclude(self._read(environ), job_id))
        return Answer(200, wire.job_json(job), index)

    def conclude_many(self, environ: WSGIEnvironment) -> Answer:
        """Conclude the jobs in the body, each on its own."""
        operation = wire.conclude_many(self._read(environ))
        outcomes, index = self._operate(environ, wire.decode_settled, operation)
        return Answer(200, wire.results_json(operation, outcomes), index)

    def job(self, environ: WSGIEnvironment, job_id: int) -> Answer:
        """Show one job."""
        found, index = self._ask(wire.decode_found, look(self._link, environ), GetJob(job_id))
        return Answer(200, wire.job_json(found.job), index)

    def stats(self, environ: WSGIEnvironment) -> Answer:
        """Count the jobs."""
        counts, index = self._ask(wire.decode_stats, look(self._link, environ), GetStats())
        return Answer(200, wire.stats_json(counts), index)

    def _read(self, environ: WSGIEnvironment) -> bytes:
        if environ["QUERY_STRING"]:
            refuse_parameters(environ)
        return body.read(environ, self._body_bytes_max)

    def _operate(
        self,
        environ: WSGIEnvironment,
        decode: Callable[[bytes], T | Refusal],
        operation: Enqueue | Dequeue | Conclude,
        wait_ms: int = 0,
    ) -> tuple[T, int]:
        return self._ask(decode, OPERATE, headers.under_key(environ, operation), wait_ms)

    def _ask(
        self, decode: Callable[[bytes], T | Refusal], kind: int, asked: Operation | Query, wait_ms: int = 0
    ) -> tuple[T, int]:
        _, outcome, index, data = self._link.ask(kind, encode(asked), wait_ms)
        if outcome != RESULT:
            raise Problem.of_failure(data, index)
        result = decode(data)
        if isinstance(result, Refusal):
            raise Problem(result.code, result.detail, index=index)
        return result, index


def _flask_view(route: Callable[..., Answer]) -> Callable[..., Response]:
    return lambda **values: route(request.environ, **values).response()


def look(link: ReplicaLink, environ: dict[str, Any]) -> int:
    """How a question is asked, from `?consistency=`: linearizable where nothing is said. `?min_index=` waits here."""
    if not environ["QUERY_STRING"]:
        return QUERY
    parameters = _parameters(environ)
    consistency = parameters.pop("consistency", "linearizable")
    min_index = parameters.pop("min_index", None)
    _refuse(parameters)
    if consistency not in _LOOK_KINDS:
        raise Refused(f"the parameter consistency is one of {', '.join(_LOOK_KINDS)}")
    if min_index is not None:
        if not re.fullmatch("[0-9]{1,19}", min_index) or int(min_index) > wire.ID_MAX:
            raise Refused(f"the parameter min_index is a whole number from 0 to {wire.ID_MAX}")
        _, outcome, index, data = link.ask(AWAIT, encode(int(min_index)))
        if outcome != RESULT:
            raise Problem.of_failure(data, index)
    return _LOOK_KINDS[consistency]


def _parameters(environ: dict[str, Any]) -> dict[str, str]:
    return dict(parse_qsl(environ["QUERY_STRING"], keep_blank_values=True))


def refuse_parameters(environ: dict[str, Any]) -> None:
    """For routes that know none."""
    _refuse(_parameters(environ))


def _refuse(parameters: dict[str, str]) -> None:
    """What is not known is refused by name, in the address as in the body."""
    for name in parameters:
        raise Refused(f"there is no parameter {name[:100]!r} here; the fields of a request go into its body")
