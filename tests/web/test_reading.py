"""Requests that come in slowly: each has its time, is told when that is over, and does not hold its connection."""

from __future__ import annotations

import json
import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import gevent
import pytest

from cqueue.web.link import ReplicaLink
from cqueue.web.overload import Overload
from cqueue.web.reading import BODY_BYTES_PER_S_MIN, Reader, TooSlow
from tests.support import eventually
from tests.web.replica import StandInReplica
from tests.web.web import ANSWER_S, Web

JSON = "Content-Type: application/json\r\n"
MOMENT_S = 0.05


@pytest.fixture(scope="module")
def hasty() -> Iterator[Web]:
    """A web that waits no longer than a second for what it reads."""
    with tempfile.TemporaryDirectory(prefix="cqueue-") as name:
        replica = StandInReplica(Path(name) / "replica.sock")
        replica.start()
        web = Web(replica, Path(name), {"read_timeout_s": 1})
        try:
            web.start()
            eventually(lambda: web.send("GET", "/readyz").status == 200)
            yield web
        finally:
            web.stop()
            replica.stop()


def said_to(web: Web, data: str) -> bytes:
    """All that is said to one who sends `data` and then nothing more, until the connection is closed."""
    with socket.create_connection(("127.0.0.1", web.port), timeout=ANSWER_S) as connection:
        connection.sendall(data.encode())
        with connection.makefile("rb") as answer:
            return answer.read()


def assert_too_slow(answer: bytes) -> dict[str, Any]:
    """One whole problem, and no promise that the connection goes on; the problem."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert lines[0] == b"http/1.1 408 request timeout"
    assert {b"connection: close", b"content-type: application/problem+json"} <= {*lines}
    problem: dict[str, Any] = json.loads(body)
    assert (problem["status"], problem["code"]) == (408, "too_slow")
    return problem


@pytest.mark.parametrize(
    "begun", ["P", "PUT /jobs/enqueue HTTP/1.1\r\n", "PUT /jobs/enqueue HTTP/1.1\r\nHost: x\r\nX:"]
)
def test_a_head_that_does_not_come_to_its_end_is_answered_408(hasty: Web, begun: str) -> None:
    """Wherever it stops."""
    assert "head" in assert_too_slow(said_to(hasty, begun))["detail"]


@pytest.mark.parametrize("length", ["Content-Length: 100", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("body", ["", "1"])
def test_a_body_that_does_not_come_to_its_end_is_answered_408(hasty: Web, length: str, body: str) -> None:
    """Nothing was done, on either way in."""
    for call in ("PUT /jobs/enqueue", "POST /jobs/cancel"):
        answer = said_to(hasty, f"{call} HTTP/1.1\r\nHost: x\r\n{JSON}{length}\r\n\r\n{body}")
        problem = assert_too_slow(answer)
        assert "body" in problem["detail"]
        assert problem["instance"] == call.split()[1]
    assert sum(hasty.send("GET", "/jobs/stats").json["jobs"].values()) == 0


def test_a_connection_on_which_nothing_comes_is_closed_without_a_word(hasty: Web) -> None:
    """Browsers open some in advance; there is no request to answer."""
    assert said_to(hasty, "") == b""


def test_a_later_request_has_the_time_that_the_first_one_has(hasty: Web) -> None:
    """The answer to the first is as always."""
    first, _, second = said_to(hasty, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /li").partition(b'"alive"}\n')
    assert first.startswith(b"HTTP/1.1 200 OK")
    assert_too_slow(second)


def test_a_body_that_nobody_read_is_not_waited_for_either(hasty: Web) -> None:
    """It was answered before it was there; where the next request begins, nobody will know."""
    answer = said_to(hasty, "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n1")
    assert answer.startswith(b"HTTP/1.1 404 NOT FOUND")
    assert answer.count(b"HTTP/1.1") == 1
    assert "Traceback" not in hasty.log


# -- the reader alone ------------------------------------------------------------------------------


class Request:
    """What a reader needs of gunicorn's request."""

    closes = False

    def force_close(self) -> None:
        """The connection ends with its answer."""
        self.closes = True


@pytest.fixture
def pair() -> Iterator[tuple[Any, Any]]:
    """Two ends of a connection."""
    mine, other = gevent.socket.socketpair()
    with mine, other:
        yield mine, other


def given_reader(connection: Any, read_timeout_s: float = MOMENT_S) -> Reader:
    """A reader in front of a replica that has nothing to do."""
    with closing(ReplicaLink("/nowhere", request_timeout_s=1)) as link:
        return Reader(connection, read_timeout_s, Overload(link, body_bytes_max=1024))


def test_bytes_of_a_body_give_it_more_time(pair: tuple[Any, Any]) -> None:
    """What has come earns a second for each 1,000 bytes: the rest may come after the first time is over."""
    reader = given_reader(pair[0])
    reader.await_body(Request(), 1.0)
    pair[1].sendall(b"x" * (60 * BODY_BYTES_PER_S_MIN))
    gevent.spawn_later(5 * MOMENT_S, pair[1].sendall, b"y")
    while not (data := reader.read()).endswith(b"y"):
        assert data
    with pytest.raises(TooSlow):
        given_body_of_few_bytes(pair)


def given_body_of_few_bytes(pair: tuple[Any, Any]) -> None:
    """Read a body of which ten bytes come, and no more."""
    reader = given_reader(pair[0])
    request = Request()
    reader.await_body(request, 1.0)
    pair[1].sendall(b"0123456789")
    try:
        while reader.read():
            pass
    finally:
        assert request.closes


def test_a_kept_connection_may_be_idle_for_longer_than_a_head_may_take(pair: tuple[Any, Any]) -> None:
    """Until a request begins; one that does not begin in time is no request."""
    reader = given_reader(pair[0])
    reader.await_body(Request(), 60.0)
    reader.await_head()
    gevent.spawn_later(3 * MOMENT_S, pair[1].sendall, b"GET ")
    assert reader.read() == b"GET "
    assert reader.has_begun
    with pytest.raises(TooSlow):
        reader.read()
    reader.await_body(Request(), MOMENT_S)
    reader.await_head()
    with pytest.raises(TooSlow):
        reader.read()
    assert not reader.has_begun
