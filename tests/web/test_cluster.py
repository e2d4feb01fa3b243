"""The routes that tell how the node is."""

from __future__ import annotations

import msgspec
import pytest

import cqueue
from cqueue.config import Settings
from cqueue.web.app import create_app
from cqueue.web.link import ReplicaLink
from tests.web.replica import READY
from tests.web.web import Web


def test_cluster_shows_the_node_and_its_members(web: Web) -> None:
    """As the wire table has it; why a node is not ready is not part of it."""
    reply = web.send("GET", "/cluster")
    assert reply.status == 200
    assert reply.json == {
        "node": "127.0.0.1:3000",
        "role": "leader",
        "leader": "127.0.0.1:3000",
        "term": 3,
        "commit_index": 7,
        "applied_index": 7,
        "members": [{"id": "127.0.0.1:3000", "state": "self"}],
        "mode": "memory",
        "level": 1,
        "level_max": 1,
        "change": None,
        "consumers_waiting": 0,
    }


@pytest.mark.parametrize("path", ["/readyz", "/healthz"])
def test_a_node_is_ready_until_the_replica_says_why_not(web: Web, path: str) -> None:
    """200, or 503 with the reason."""
    reply = web.send("GET", path)
    assert (reply.status, reply.json) == (200, {"status": "ready"})
    web.replica.status = msgspec.structs.replace(READY, leader=None, not_ready="no leader is known")
    reply = web.send("GET", path)
    assert (reply.status, reply.json["code"], reply.json["detail"]) == (503, "not_ready", "no leader is known")
    assert reply.headers["Retry-After"] == "1"


def test_a_web_process_is_alive_whatever_the_replica_does(web: Web) -> None:
    """Liveness asks nobody else."""
    web.replica.silent = True
    reply = web.send("GET", "/livez")
    assert (reply.status, reply.json) == (200, {"status": "alive"})


@pytest.mark.parametrize("path", ["/readyz", "/healthz"])
def test_a_node_that_stops_is_not_ready(link: ReplicaLink, path: str) -> None:
    """503 shutting_down, so that a load balancer looks elsewhere."""
    client = create_app(link, Settings(body_bytes_max=1024)).test_client()
    assert client.get(path).status_code == 200
    link.drain()
    answer = client.get(path)
    assert (answer.status_code, answer.get_json(force=True)["code"]) == (503, "shutting_down")
    assert answer.headers["Retry-After"] == "1"


def test_the_root_greets_with_the_routes(web: Web) -> None:
    """Whoever opens the address in a browser sees what it is."""
    greeting = web.send("GET", "/").json
    assert (greeting["name"], greeting["version"]) == ("cqueue", cqueue.__version__)
    assert {"PUT /jobs/enqueue", "POST /jobs/{id}/conclude", "GET /jobs/stats"} <= set(greeting["routes"])
