"""A node whose HTTP port speaks TLS: everything works as it does without."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.harness import HOST, Node
from tests.node.https import ANSWER_S, DevCa, answers, connected, request
from tests.node.test_events import LIFE, following, given_life
from tests.node.test_leaving import given_consumer, reset
from tests.support import eventually
from tests.web.stream import JSON, MSGPACK, StreamClient

pytestmark = pytest.mark.cluster

WAIT_S = 40


def test_a_node_with_a_certificate_is_called_by_https(start_tls: Callable[..., Node], ca: DevCa) -> None:
    """It says so when it starts, and speaks TLS 1.3 with who can; gunicorn's name is told to nobody."""
    node = start_tls()
    assert f" serves https://localhost:{node.port} " in node.log
    assert f"tls_loaded cert={ca.cert} valid_until=" in node.log
    assert node.call("PUT", "/jobs/enqueue", {"payload": "x" * 200_000}).body == {"id": 1}
    assert len(node.call("POST", "/jobs/dequeue").body["payload"]) == 200_000
    with connected(node, ca.trust()) as connection:
        assert connection.version() == "TLSv1.3"
        assert connection.selected_alpn_protocol() is None
        connection.sendall(request("GET", "/livez") * 3)
        assert answers(connection, 3) == [b"HTTP/1.1 200 OK"] * 3


@pytest.mark.parametrize(("settings", "said"), [({}, None), ({"tls_hsts_s": 300}, "max-age=300")])
def test_browsers_are_held_to_tls_only_where_it_is_set(
    start_tls: Callable[..., Node], settings: dict[str, int], said: str | None
) -> None:
    """Not by default: it binds every port of the host's name."""
    node = start_tls(**settings)
    for method, path in (("GET", "/livez"), ("PUT", "/jobs/enqueue"), ("GET", "/nowhere")):
        assert node.call(method, path).headers.get("strict-transport-security") == said


# -- who waits, and who leaves -----------------------------------------------------------------------------


def say_goodbye(connection: ssl.SSLSocket) -> None:
    """Say to TLS that no more comes, and leave TCP as it is."""
    connection.settimeout(0)
    # It is said at once; what fails is to wait for the node's word, or to pass over what it said before.
    with pytest.raises(ssl.SSLError):
        connection.unwrap()


def close_below(connection: ssl.SSLSocket) -> None:
    """Close without a word to TLS."""
    connection.close()


def reset_below(connection: ssl.SSLSocket) -> None:
    """Leave without a word to TCP."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize("leave", [say_goodbye, close_below, reset_below])
def test_who_leaves_while_waiting_gets_nothing(
    start_tls: Callable[..., Node], ca: DevCa, leave: Callable[[ssl.SSLSocket], None]
) -> None:
    """By a word of TLS, of TCP, or none: the job goes to the next one who waits."""
    node = start_tls()
    before = node.index()
    with connected(node, ca.trust()) as first:
        first.sendall(request("POST", "/jobs/dequeue", {"wait": WAIT_S}))
        eventually(lambda: node.index() > before)
        second = node.send_waiting({"wait": WAIT_S})
        leave(first)

        job_id = node.call("PUT", "/jobs/enqueue").body["id"]

        answer = second.answer()
        assert (answer.body["id"], answer.body["attempt"]) == (job_id, 1)


class Records:
    """A client's end of TLS whose records the test moves by itself."""

    def __init__(self, node: Node, context: ssl.SSLContext) -> None:
        self.socket = socket.create_connection((HOST, node.port), timeout=ANSWER_S)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=HOST)
        self._until_done(self._tls.do_handshake)

    def sealed(self, data: bytes) -> bytes:
        """What is to be sent to say this."""
        self._tls.write(data)
        return self._out.read()

    def heard(self) -> bytes:
        """What the node says next."""
        return bytes(self._until_done(lambda: self._tls.read(65_536)))

    def _until_done(self, do: Callable[[], Any]) -> Any:
        while True:
            try:
                return do()
            except ssl.SSLWantReadError:
                self.socket.sendall(self._out.read())
                data = self.socket.recv(65_536)
                assert data, "the node ended the connection"
                self._in.write(data)
            finally:
                self.socket.sendall(self._out.read())


def test_half_a_record_is_neither_a_request_nor_a_farewell(start_tls: Callable[..., Node], ca: DevCa) -> None:
    """The consumer is still there, is served, and its next request is read when the rest of it comes."""
    node = start_tls()
    before = node.index()
    client = Records(node, ca.trust())
    with client.socket:
        client.socket.sendall(client.sealed(request("POST", "/jobs/dequeue", {"wait": WAIT_S})))
        eventually(lambda: node.index() > before)
        record = client.sealed(request("GET", "/livez"))
        client.socket.sendall(record[:9])
        job_id = node.call("PUT", "/jobs/enqueue").body["id"]

        answer = client.heard()
        while b"\r\n\r\n" not in answer or not answer.endswith(b"}\n"):
            answer += client.heard()
        assert f'"id":{job_id}'.encode() in answer
        client.socket.sendall(record[9:])
        assert client.heard().startswith(b"HTTP/1.1 200 OK")


def test_who_sends_the_next_request_while_waiting_is_there(start_tls: Callable[..., Node], ca: DevCa) -> None:
    """Both are answered, one after the other; to look whether somebody is there takes nothing from what it says."""
    node = start_tls()
    before = node.index()
    with connected(node, ca.trust()) as connection:
        connection.sendall(request("POST", "/jobs/dequeue", {"wait": WAIT_S}))
        eventually(lambda: node.index() > before)
        connection.sendall(request("PUT", "/jobs/enqueue", {"payload": "mine"}) + request("GET", "/livez"))
        node.call("PUT", "/jobs/enqueue", {"payload": "yours"})
        assert answers(connection, 3) == [b"HTTP/1.1 200 OK", b"HTTP/1.1 201 CREATED", b"HTTP/1.1 200 OK"]
    assert node.call("GET", "/jobs/2").body["payload"] == "mine"


def test_who_leaves_before_the_answer_was_written_gives_the_job_back(start_tls: Callable[..., Node], ca: DevCa) -> None:
    """As without TLS."""
    node = start_tls(body_bytes_max=16_000_000)
    job_id = node.call("PUT", "/jobs/enqueue", {"payload": "x" * 8_000_000}).body["id"]
    consumer = given_consumer(node, {"lease_seconds": 300}, receives_bytes=4_096, tls=ca.trust())
    eventually(lambda: node.call("GET", f"/jobs/{job_id}").body["status"] == "IN_PROGRESS")

    reset(consumer)

    again = node.ask("POST", "/jobs/dequeue", {"wait": WAIT_S})
    assert (again.status, again.body["id"], again.body["attempt"]) == (200, job_id, 1)


# -- streams -----------------------------------------------------------------------------------------------


def test_events_are_told_over_tls_to_the_end(start_tls: Callable[..., Node], ca: DevCa) -> None:
    """And a node that stops says so."""
    node = start_tls()
    with following(node, tls=ca.trust()) as stream:
        given_life(node)
        assert [event for _, event, _ in stream.events(len(LIFE))] == LIFE
        node.send_signal(signal.SIGTERM)
        _, end = stream.event()
        assert (end["event"], end["code"]) == ("end", "shutting_down")
    assert node.wait() == 0


def test_whoever_follows_and_leaves_holds_nothing(start_tls: Callable[..., Node], ca: DevCa) -> None:
    """A connection that TLS ended is ended by the node, too."""
    node = start_tls()
    with connected(node, ca.trust()) as connection:
        connection.sendall(request("GET", "/events"))
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 OK")
        say_goodbye(connection)
        with socket.socket(fileno=os.dup(connection.fileno())) as below:
            below.settimeout(ANSWER_S)
            while below.recv(65_536):
                pass
    assert "WARNING" not in node.log


@pytest.mark.parametrize("subprotocol", [JSON, MSGPACK])
def test_a_stream_runs_over_tls(start_tls: Callable[..., Node], ca: DevCa, subprotocol: str) -> None:
    """Jobs larger than a record come and go in the same connection, and the node ends it in order."""
    node = start_tls()
    payload = "x" * 100_000
    with StreamClient(node.port, subprotocol, tls=ca.trust()) as client:
        client.ask("subscribe", {"credit": 10})
        ids = client.ask("enqueue", [{"payload": payload} for _ in range(8)])["body"]["ids"]
        jobs = client.jobs(8)
        assert [job["id"] for job in jobs] == ids
        assert all(job["payload"] == payload for job in jobs)
        done = client.ask("conclude", {"jobs": [{k: job[k] for k in ("id", "lease_token")} for job in jobs]})
        assert {one["status"] for one in done["body"]["results"]} == {"CONCLUDED"}
        node.send_signal(signal.SIGTERM)
        assert client.closed()[0] == 1001
    assert node.wait() == 0
    assert "Traceback" not in node.log


# -- stopping ----------------------------------------------------------------------------------------------


def test_a_node_told_to_stop_answers_what_is_under_way(start_tls: Callable[..., Node], ca: DevCa) -> None:
    """Waiting ones are answered, idle ones ended as TLS wants it, and one that never shook hands holds nobody up."""
    node = start_tls(workers=1)
    waiting = [node.send_waiting({"wait": 60}) for _ in range(3)]
    half_sent, rest = node.client.send_part("PUT", "/jobs/enqueue", {"payload": "late"})
    with (
        connected(node, ca.trust()) as idle,
        socket.create_connection((HOST, node.port), timeout=ANSWER_S) as never_spoke,
    ):
        idle.sendall(request("GET", "/livez"))
        assert answers(idle, 1) == [b"HTTP/1.1 200 OK"]
        node.send_signal(signal.SIGTERM)
        assert {one.answer().status for one in waiting} == {204}
        assert idle.recv(1) == b""
        assert never_spoke.recv(1) == b""
        half_sent.finish(rest)
        assert half_sent.answer().body == {"id": 1}
        assert node.wait() == 0
    node.wait_gone()
    assert "requests_cut_off" not in node.log
    assert "Traceback" not in node.log
