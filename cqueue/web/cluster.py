"""The routes that tell how the node and its cluster are: for people, load balancers and containers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

import cqueue
from cqueue.protocol import RESULT, STATUS, Change, Member, NodeStatus, decode_status
from cqueue.web.answer import Answer
from cqueue.web.link import ReplicaLink
from cqueue.web.problems import Problem

if TYPE_CHECKING:
    from flask import Flask, Response


DOCS_URL: Final = "https://github.com/cqueue/cqueue/tree/main/docs"

_PLACEHOLDER: Final = re.compile(r"<(?:\w+:\w+|(\w+))>")
_ALIVE: Final = b'{"status":"alive"}'
_READY: Final = b'{"status":"ready"}'


class ClusterAnswer(Struct):
    """The cluster as this node sees it. change: what this node, as the leader, is changing."""

    node: str
    role: str
    leader: str | None
    term: int
    commit_index: int
    applied_index: int
    members: list[Member]
    mode: str
    change: Change | None


_encode = msgspec.json.Encoder().encode


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
        return Answer(200, _cluster_json(status), index).response()

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
            f"{method} {placeholders(rule.rule)}"
            for rule in app.url_map.iter_rules()
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        )
        greeting = {"name": "cqueue", "version": cqueue.__version__, "docs": DOCS_URL, "routes": routes}
        return Answer(200, msgspec.json.format(msgspec.json.encode(greeting), indent=2)).response()


def placeholders(rule: str) -> str:
    """A route as people write it: `/jobs/<id:job_id>` → `/jobs/{id}`."""
    return _PLACEHOLDER.sub(lambda variable: f"{{{variable[1] or 'id'}}}", rule)


def _cluster_json(status: NodeStatus) -> bytes:
    return _encode(
        ClusterAnswer(
            status.node,
            status.role,
            status.leader,
            status.term,
            status.commit_index,
            status.applied_index,
            status.members,
            status.mode,
            status.change,
        )
    )
