"""The routes that tell how the node and its cluster are: for people, load balancers and containers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

import cqueue
from cqueue.protocol import RESULT, STATUS, Change, Index, Level, Member, Mode, NodeId, NodeStatus, Role, decode_status
from cqueue.web.answer import Answer
from cqueue.web.contract import Call, Gives, promises
from cqueue.web.link import ReplicaLink
from cqueue.web.problems import Problem
from cqueue.web.shapes import fields

if TYPE_CHECKING:
    from flask import Flask, Response


DOCS_URL: Final = "https://github.com/cqueue/cqueue/tree/main/docs"

_PLACEHOLDER: Final = re.compile(r"<(?:\w+:\w+|(\w+))>")


class ClusterAnswer(Struct):
    """The cluster as this node sees it. change: what this node, as the leader, is changing.

    consumers_waiting: dequeues that wait for a job here.
    """

    node: NodeId
    role: Role
    leader: NodeId | None
    term: fields.Count
    commit_index: Index
    applied_index: Index
    members: list[Member]
    mode: Mode
    level: Level
    level_max: Level
    change: Change | None
    consumers_waiting: fields.Count


class HealthAnswer(Struct):
    """How the node is."""

    status: Literal["alive", "ready"]


class GreetingAnswer(Struct):
    """What this is."""

    name: Annotated[str, Meta(examples=["cqueue"])]
    version: Annotated[str, Meta(examples=["0.1.0"])]
    docs: Annotated[str, Meta(description="where it is written about", examples=[DOCS_URL])]
    routes: Annotated[list[str], Meta(examples=[["PUT /jobs/enqueue"]])]


_READINESS: Final = ("not_ready", "shutting_down")


_encode = msgspec.json.Encoder().encode
_ALIVE: Final = _encode(HealthAnswer("alive"))
_READY: Final = _encode(HealthAnswer("ready"))


def add_routes(app: Flask, link: ReplicaLink) -> None:
    """Add the routes to `app`; all but `/livez` and `/` ask the replica at the other end of `link`."""

    def node_status() -> tuple[NodeStatus, int]:
        _, outcome, index, data = link.ask(STATUS)
        if outcome != RESULT:
            raise Problem.of_failure(data, index)
        return decode_status(data), index

    @app.get("/cluster")
    @promises(
        Call(
            "get_cluster",
            "How this node sees the cluster.",
            {200: Gives("what this node knows", (ClusterAnswer,))},
            ("not_ready",),
        )
    )
    def cluster() -> Response:
        status, index = node_status()
        return Answer(200, _cluster_json(status), index).response()

    @app.get("/livez")
    @promises(
        Call(
            "get_livez",
            "Whether this node's web process answers.",
            {200: Gives("it lives", (HealthAnswer,), headers=())},
        )
    )
    def livez() -> Response:
        return Answer(200, _ALIVE).response()

    @app.get("/readyz")
    @promises(Call("get_readyz", "Whether this node can serve.", {200: Gives("it can", (HealthAnswer,))}, _READINESS))
    def readyz() -> Response:
        if link.draining:
            raise Problem("shutting_down", "this node is shutting down")
        status, index = node_status()
        if status.not_ready is not None:
            raise Problem("not_ready", status.not_ready, index=index)
        return Answer(200, _READY, index).response()

    @app.get("/healthz")
    @promises(Call("get_healthz", "The same as /readyz.", {200: Gives("it can", (HealthAnswer,))}, _READINESS))
    def healthz() -> Response:
        return readyz()

    @app.get("/")
    @promises(
        Call("get_root", "Says that this is cqueue.", {200: Gives("what this is", (GreetingAnswer,), headers=())})
    )
    def root() -> Response:
        # Made when asked: only then are all routes known.
        routes = sorted(
            f"{method} {placeholders(rule.rule)}"
            for rule in app.url_map.iter_rules()
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        )
        greeting = GreetingAnswer("cqueue", cqueue.__version__, DOCS_URL, routes)
        return Answer(200, msgspec.json.format(_encode(greeting), indent=2)).response()


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
            status.level,
            status.level_max,
            status.change,
            status.consumers_waiting,
        )
    )
