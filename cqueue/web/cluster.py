"""The routes that tell how the node and its cluster are: for people, load balancers and containers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

import cqueue
from cqueue.protocol import RESULT, STATUS, NodeStatus, decode_status
from cqueue.web import wire
from cqueue.web.answer import Answer
from cqueue.web.link import ReplicaLink
from cqueue.web.problems import Problem

if TYPE_CHECKING:
    from flask import Flask, Response

DOCS_URL: Final = "https://github.com/cqueue/cqueue/tree/main/docs"

_ALIVE: Final = b'{"status":"alive"}'
_READY: Final = b'{"status":"ready"}'


def add_routes(app: Flask, link: ReplicaLink) -> None:
    """Add the routes to `app`; all but `/livez` and `/` ask the replica at the other end of `link`."""

    def node_status() -> tuple[NodeStatus, int]:
        _, outcome, index, data = link.ask(STATUS)
        if outcome != RESULT:
            raise Problem.of_failure(data, index)
        return decode_status(data), index

    @app.get("/cluster")
    def cluster() -> Response:
        status, index = node_status()
        return Answer(200, wire.cluster_json(status), index).response()

    @app.get("/livez")
    def livez() -> Response:
        return Answer(200, _ALIVE).response()

    @app.get("/readyz")
    @app.get("/healthz")
    def readyz() -> Response:
        if link.draining:
            raise Problem("shutting_down", "this node is shutting down")
        status, index = node_status()
        if status.not_ready is not None:
            raise Problem("not_ready", status.not_ready, index=index)
        return Answer(200, _READY, index).response()

    @app.get("/")
    def root() -> Response:
        # Made when asked: only then are all routes known.
        routes = sorted(
            f"{method} {rule.rule.replace('<id:job_id>', '{id}')}"
            for rule in app.url_map.iter_rules()
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        )
        greeting = {"name": "cqueue", "version": cqueue.__version__, "docs": DOCS_URL, "routes": routes}
        return Answer(200, msgspec.json.format(msgspec.json.encode(greeting), indent=2)).response()
