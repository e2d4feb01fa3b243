"""`GET /stream` where callers are asked: each message is held to its route's roles, and to the caller's queues."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import eventually
from tests.web.callers import Callers
from tests.web.replica import StandInReplica
from tests.web.stream import StreamClient
from tests.web.web import Web

TWO_QUEUES = [{"queue": "mail-1"}, {"queue": "other"}]


@pytest.fixture
def callers(tmp_path: Path) -> Callers:
    """`worker` and `operator` may do anything their role may, `bob` in mail-* alone."""
    callers = Callers(tmp_path)
    callers.add("worker", "consumer")
    callers.add("viewer", "viewer")
    callers.add("operator", "operator")
    callers.add("bob", "producer", "consumer", queues=("mail-*",))
    return callers


@pytest.fixture
def asking_web(own_replica: StandInReplica, callers: Callers) -> Iterator[Web]:
    """A web that asks who calls."""
    web = Web(own_replica, own_replica.path.parent, {"tokens": str(callers.path)})
    try:
        web.start()
        eventually(lambda: web.send("GET", "/readyz").status == 200)
        yield web
    finally:
        web.stop()


def test_a_stream_is_opened_with_a_token_or_a_ticket(asking_web: Web, callers: Callers) -> None:
    """And not without, nor by a viewer: it is for those who produce or consume."""
    ticket = asking_web.send("POST", "/tickets", **callers.header("worker")).json["ticket"]

    assert asking_web.send("GET", "/stream").status == 401
    assert asking_web.send("GET", "/stream?ticket=x").status == 401
    assert asking_web.send("GET", "/stream", **callers.header("viewer")).status == 403
    # It is let in, and told that this is no handshake.
    assert asking_web.send("GET", f"/stream?ticket={ticket}").status == 426


def test_each_message_is_held_to_the_role_of_its_route(asking_web: Web, callers: Callers) -> None:
    """A consumer adds nothing and cancels nothing; the connection goes on."""
    with StreamClient(asking_web.port, headers=callers.header("worker")) as worker:
        for verb, body in (("enqueue", {}), ("cancel", {"ids": [1]}), ("purge", {"ids": [1]})):
            answer = worker.ask(verb, body)
            assert (answer["status"], answer["body"]["code"]) == (403, "insufficient_scope")
        assert worker.ask("subscribe", {"credit": 1})["status"] == 200
        assert worker.ask("conclude", {"ids": [99]})["body"] == {"results": [{"id": 99, "code": "not_found"}]}
    with StreamClient(asking_web.port, headers=callers.header("operator")) as operator:
        assert operator.ask("enqueue", {})["status"] == 201
        assert operator.ask("cancel", {"ids": [1]})["status"] == 200
    eventually(lambda: "who=worker what='POST /jobs/cancel /stream' outcome=403 address=127.0.0.1" in asking_web.log)
    assert "who=operator what='POST /jobs/cancel /stream' outcome=200 address=127.0.0.1" in asking_web.log
    assert "what='POST /jobs/conclude" not in asking_web.log


def test_what_is_said_of_jobs_is_bound_to_the_callers_queues(asking_web: Web, callers: Callers) -> None:
    """Jobs out of reach are not there; with a key as without one."""
    ids = asking_web.send("PUT", "/jobs/enqueue", TWO_QUEUES, **callers.header("operator")).json["ids"]
    asking_web.send("POST", "/jobs/dequeue", {"queues": ["mail-1", "other"], "count": 2}, **callers.header("operator"))

    with StreamClient(asking_web.port, headers=callers.header("bob")) as bob:
        assert bob.ask("enqueue", TWO_QUEUES)["status"] == 403
        assert bob.ask("enqueue", {"queue": "mail-2"})["status"] == 201
        for fields in ({}, {"key": "k"}):
            results = bob.ask("extend", {"ids": ids}, **fields)["body"]["results"]
            assert [result.get("code") for result in results] == [None, "not_found"]
        bob.say("subscribe", {"credit": 1, "queues": ["mail-2"]})
        assert [job["queue"] for job in bob.jobs(1)] == ["mail-2"]


def test_who_subscribes_to_what_is_not_theirs_is_cut_off(asking_web: Web, callers: Callers) -> None:
    """4403, and the reason names the queue."""
    with StreamClient(asking_web.port, headers=callers.header("bob")) as bob:
        bob.say("subscribe", {"credit": 1, "queues": ["mail-1", "other"]})
        code, reason = bob.closed()
    assert code == 4403
    assert reason.startswith("insufficient_scope: ")
    assert "'other'" in reason
