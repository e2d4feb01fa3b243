"""More than a node can do: what is refused, in which order, how it is told, and that it ends."""

from __future__ import annotations

import json
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, BinaryIO

import gevent
import pytest

from cqueue import protocol
from cqueue.errors import Unavailable
from cqueue.web.link import OVERLOADED_RETRY_S, REQUESTS_MIN, ReplicaLink
from cqueue.web.overload import Overload
from tests.support import eventually
from tests.web.conftest import ask_until_connected
from tests.web.replica import StandInReplica
from tests.web.stream import StreamClient
from tests.web.web import ANSWER_S, Web

BODY = '{"type":"MAIL"}'
ENQUEUE = f"PUT /jobs/enqueue HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{BODY}"
DEQUEUE = "POST /jobs/dequeue HTTP/1.1\r\nHost: x\r\n\r\n"
LIVEZ = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"

NEW = [
    "PUT /jobs/enqueue",
    "POST /jobs/dequeue",
    "POST /jobs/dequeue?x=1",
    "GET /jobs/1",
    "GET /jobs/stats",
    "POST /jobs/cancel",
    "POST /jobs/7/redrive",
    "GET /queues",
    "GET /events",
    "GET /stream",
    "GET /nowhere",
]
HELD = [
    "POST /jobs/conclude",
    "POST /jobs/conclude/7",
    "POST /jobs/7/conclude",
    "POST /jobs/7/extend",
    "POST /jobs/fail",
    "POST /jobs/release",
    "POST /jobs/7/progress?x=1",
]
NEVER = ["GET /livez", "GET /readyz", "GET /healthz", "HEAD /livez", "GET /cluster", "POST /cluster/verify"]


def head_of(call: str, *lines: str) -> bytes:
    """A request's head."""
    return "\r\n".join((f"{call} HTTP/1.1", "Host: x", *lines, "", "")).encode()


# -- what is refused -------------------------------------------------------------------------------


@pytest.fixture
def behind() -> Iterator[ReplicaLink]:
    """A link that is half a second behind, and goes on falling behind."""
    with tempfile.TemporaryDirectory(prefix="cqueue-") as name:
        replica = StandInReplica(Path(name) / "replica.sock")
        replica.start()
        try:
            with closing(ReplicaLink(str(replica.path), request_timeout_s=30, overload_ms=500)) as link:
                ask_until_connected(link)
                replica.silent = True
                ask_in_vain(link, REQUESTS_MIN)
                until(link.is_behind)
                yield link
        finally:
            replica.stop()


class Nobody:
    """A receiver that does not listen."""

    def switch(self, reply: Any) -> None:
        """See `cqueue.web.link.Receiver`."""

    def throw(self, error: Any) -> None:
        """See `cqueue.web.link.Receiver`."""


def ask_in_vain(link: ReplicaLink, count: int, wait_ms: int = 0) -> None:
    """Send requests that nobody answers."""
    for _ in range(count):
        link.post(Nobody(), protocol.STATUS, wait_ms=wait_ms)


def until(predicate: Any) -> None:
    """Let the event loop turn until it is so."""
    with gevent.Timeout(ANSWER_S):
        while not predicate():
            gevent.sleep(0.01)


def test_new_work_is_refused_first_then_what_consumers_say_and_health_never(behind: ReplicaLink) -> None:
    """The further behind a node is, the more it refuses."""
    overload = Overload(behind, body_bytes_max=1024)
    refused = {call: overload.refuses(head_of(call)) for call in (*NEW, *HELD, *NEVER)}
    assert refused == dict.fromkeys(NEW, True) | dict.fromkeys((*HELD, *NEVER), False)
    behind.check_load(holds=True)
    with pytest.raises(Unavailable, match="more to do"):
        behind.check_load()

    until(lambda: overload.refuses(head_of(HELD[0])))
    refused = {call: overload.refuses(head_of(call)) for call in (*NEW, *HELD, *NEVER)}
    assert refused == dict.fromkeys((*NEW, *HELD), True) | dict.fromkeys(NEVER, False)


@pytest.mark.parametrize(
    "lines",
    [
        ("Origin: https://app.example",),
        ("sec-fetch-site: cross-site",),
        ("Transfer-Encoding: chunked",),
        ("Expect: 100-continue", "Content-Length: 5"),
        ("Upgrade: websocket",),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: +5",),
        ("Content-Length: 1025",),
    ],
)
def test_what_takes_more_than_a_look_at_its_head_takes_its_usual_way(behind: ReplicaLink, lines: tuple[str]) -> None:
    """A page in a browser needs other headers; where a body ends must be beyond doubt."""
    overload = Overload(behind, body_bytes_max=1024)
    assert overload.refusal(head_of("PUT /jobs/enqueue", *lines)) is None
    assert overload.refusal(head_of("PUT /jobs/enqueue", *lines)[:-2]) is None
    assert overload.refusal(head_of("PUT /jobs/enqueue")) is not None


@pytest.mark.parametrize(
    "data", [b"PUT /jobs/enqueue HTTP/1.0\r\n\r\n", b"PUT /jobs/en", b"\r\nPUT /", b"\x16\x03\x01", b""]
)
def test_what_is_no_plain_request_line_is_not_refused_here(behind: ReplicaLink, data: bytes) -> None:
    """Whatever else comes is the parser's to judge."""
    overload = Overload(behind, body_bytes_max=1024)
    assert not overload.refuses(data)
    assert overload.refusal(data) is None


@pytest.mark.parametrize("overload_ms", [0, 1])
def test_few_requests_are_no_overload_and_neither_are_those_that_wait(
    own_replica: StandInReplica, overload_ms: int
) -> None:
    """A leader that is missed, or consumers that wait for jobs, must not look like too much work; 0 is never."""
    with closing(ReplicaLink(str(own_replica.path), request_timeout_s=30, overload_ms=overload_ms)) as link:
        ask_until_connected(link)
        own_replica.silent = True
        begun_s = time.monotonic()
        ask_in_vain(link, REQUESTS_MIN - 1)
        ask_in_vain(link, REQUESTS_MIN, wait_ms=60_000)
        until(lambda: time.monotonic() > begun_s + 0.1)
        assert not link.is_behind()
        ask_in_vain(link, 1)
        assert link.is_behind() == bool(overload_ms)


# -- how it is told --------------------------------------------------------------------------------


@pytest.fixture
def crowded() -> Iterator[Web]:
    """A web that has handed more to its replica than it is answered, and knows it."""
    with tempfile.TemporaryDirectory(prefix="cqueue-") as name, ExitStack() as stack:
        replica = StandInReplica(Path(name) / "replica.sock")
        replica.start()
        stack.callback(replica.stop)
        web = Web(replica, Path(name), {"overload_ms": 50, "request_timeout_s": 60})
        stack.callback(web.stop)
        web.start()
        eventually(lambda: web.send("GET", "/readyz").status == 200)
        replica.silent = True
        asked = len(replica.kinds)
        for _ in range(REQUESTS_MIN):
            stack.enter_context(connected(web)).sendall(ENQUEUE.encode())
        eventually(lambda: len(replica.kinds) == asked + REQUESTS_MIN)
        begun_s = time.monotonic()
        eventually(lambda: time.monotonic() > begun_s + 0.05)
        yield web
        # Nobody waits any longer for what will not come, so that the web can stop at once.
        replica.drop_connections()


def connected(web: Web) -> socket.socket:
    """A connection to it."""
    return socket.create_connection(("127.0.0.1", web.port), timeout=ANSWER_S)


def answer_on(said: BinaryIO) -> tuple[int, dict[str, str], Any]:
    """The next answer: status, headers, JSON."""
    status = int(said.readline().split()[1])
    headers = dict(line.decode().strip().lower().split(": ", 1) for line in iter(said.readline, b"\r\n"))
    return status, headers, json.loads(said.read(int(headers["content-length"])))


def test_a_refusal_is_a_problem_like_any_other_and_the_connection_goes_on(crowded: Web) -> None:
    """Its body is passed over, whether it is there already or still to come; health is answered."""
    with connected(crowded) as connection, connection.makefile("rb") as said:
        head, body = ENQUEUE.replace("Host", "X-Request-Id: mine-1\r\nHost").split(BODY)[0], BODY
        connection.sendall(head.encode())
        connection.sendall((body + LIVEZ).encode())
        status, headers, problem = answer_on(said)
        assert status == 503
        assert problem == {
            "type": "urn:cqueue:problem:overloaded",
            "title": "The node has more to do than it can",
            "status": 503,
            "detail": "this node has more to do than it does in time",
            "instance": "/jobs/enqueue",
            "code": "overloaded",
            "request_id": "mine-1",
        }
        assert headers["content-type"] == "application/problem+json"
        assert (headers["retry-after"], headers["x-request-id"]) == (str(OVERLOADED_RETRY_S), "mine-1")
        assert headers["connection"] == "keep-alive"
        assert answer_on(said)[2] == {"status": "alive"}


def test_a_client_that_wants_the_connection_closed_has_it_closed(crowded: Web) -> None:
    """After the refusal."""
    with connected(crowded) as connection, connection.makefile("rb") as said:
        connection.sendall(DEQUEUE.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").encode())
        status, headers, _ = answer_on(said)
        assert (status, headers["connection"]) == (503, "close")
        assert said.read() == b""


def test_who_comes_again_too_early_is_refused_when_it_would_have_been_time(crowded: Web) -> None:
    """However often it asks, it is told once in a while; but what is never refused does not wait for that."""
    with connected(crowded) as connection, connection.makefile("rb") as said:
        connection.sendall(DEQUEUE.encode())
        assert answer_on(said)[0] == 503
        told_s = time.monotonic()
        connection.sendall((LIVEZ + DEQUEUE).encode())
        assert answer_on(said)[0] == 200
        assert answer_on(said)[0] == 503
        assert time.monotonic() > told_s + OVERLOADED_RETRY_S - 0.1


def test_work_goes_on_when_there_is_less_of_it(crowded: Web) -> None:
    """Also for one who is still waiting for its next refusal."""
    with connected(crowded) as connection, connection.makefile("rb") as said:
        connection.sendall(ENQUEUE.encode())
        assert answer_on(said)[0] == 503
        crowded.replica.silent = False
        crowded.replica.drop_connections()
        eventually(lambda: crowded.send("GET", "/readyz").status == 200)
        eventually(lambda: crowded.send("PUT", "/jobs/enqueue", {}).status == 201)
        connection.sendall(ENQUEUE.encode())
        assert answer_on(said)[0] == 201
    assert "Traceback" not in crowded.log


def test_a_stream_hears_of_it_as_of_any_refusal(own_replica: StandInReplica) -> None:
    """Enqueued messages are answered 503, and jobs do not come for a while."""
    web = Web(own_replica, own_replica.path.parent, {"overload_ms": 50, "request_timeout_s": 60})
    web.start()
    try:
        eventually(lambda: web.send("GET", "/readyz").status == 200)
        with StreamClient(web.port) as client:
            own_replica.silent = True
            asked = len(own_replica.kinds)
            for _ in range(REQUESTS_MIN):
                client.say("conclude", {"ids": [1]})
            eventually(lambda: len(own_replica.kinds) == asked + REQUESTS_MIN)
            begun_s = time.monotonic()
            eventually(lambda: time.monotonic() > begun_s + 0.05)
            answer = client.ask("enqueue", {})
            assert (answer["status"], answer["body"]["code"]) == (503, "overloaded")
            assert answer["retry_after"] == OVERLOADED_RETRY_S
            client.say("subscribe", {"credit": 1})
            assert client.event("interrupted")["body"]["code"] == "overloaded"
            own_replica.drop_connections()
    finally:
        assert web.stop() == 0
