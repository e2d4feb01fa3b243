"""A node whose HTTP port speaks TLS: everything that works without it, and who is turned away."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cqueue.web.tls import HANDSHAKE_S_MAX
from tests.cluster.fixtures import StartNode
from tests.cluster.harness import HOST, START_S, Node
from tests.node.https import ANSWER_S, DevCa, connected, shown
from tests.node.test_events import LIFE, following, given_life
from tests.node.test_leaving import given_consumer, reset
from tests.support import eventually
from tests.web.stream import JSON, MSGPACK, StreamClient

pytestmark = pytest.mark.cluster

WAIT_S = 40


@pytest.fixture
def ca(tmp_path: Path) -> DevCa:
    """Certificates for the node."""
    return DevCa(tmp_path / "tls")


@pytest.fixture
def start(start_node: StartNode, ca: DevCa) -> Callable[..., Node]:
    """Starts nodes that speak TLS."""

    def started(**settings: Any) -> Node:
        return start_node(tls=ca.trust(), **ca.flags, **settings)

    return started


def request(method: str, path: str, body: Any = None) -> bytes:
    """A request as it is sent."""
    data = b"" if body is None else json.dumps(body).encode()
    kind = "Content-Type: application/json\r\n" if data else ""
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{kind}Content-Length: {len(data)}\r\n\r\n".encode() + data


def is_let_in(node: Node, context: ssl.SSLContext) -> bool:
    """Whether a client is answered. In TLS 1.3 it is done before the node has looked at its certificate."""
    with connected(node, context) as connection:
        connection.sendall(request("GET", "/livez"))
        return connection.recv(65_536).startswith(b"HTTP/1.1 200")


def answers(connection: ssl.SSLSocket, count: int) -> list[bytes]:
    """The status lines of the next answers."""
    lines = []
    with connection.makefile("rb") as file:
        for _ in range(count):
            lines.append(file.readline().strip())
            length = 0
            while (line := file.readline().strip()) != b"":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            file.read(length)
    return lines


def test_a_node_with_a_certificate_is_called_by_https(start: Callable[..., Node], ca: DevCa) -> None:
    """It says so when it starts, and speaks TLS 1.3 with who can; gunicorn's name is told to nobody."""
    node = start()
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
    start: Callable[..., Node], settings: dict[str, int], said: str | None
) -> None:
    """Not by default: it binds every port of the host's name."""
    node = start(**settings)
    for method, path in (("GET", "/livez"), ("PUT", "/jobs/enqueue"), ("GET", "/nowhere")):
        assert node.call(method, path).headers.get("strict-transport-security") == said


@pytest.mark.parametrize(
    ("version", "ciphers", "agreed"),
    [
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256", "TLSv1.2"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA256", None),
        (ssl.TLSVersion.TLSv1_1, "DEFAULT@SECLEVEL=0", None),
    ],
    ids=["1.2", "1.2 without authenticated encryption", "1.1"],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_old_ways_to_encrypt_are_not_agreed_to(
    start: Callable[..., Node], ca: DevCa, version: ssl.TLSVersion, ciphers: str, agreed: str | None
) -> None:
    """TLS 1.2 with forward secrecy and authenticated encryption is the least."""
    node = start()
    context = ca.trust()
    context.minimum_version = context.maximum_version = version
    context.set_ciphers(ciphers)
    if agreed is None:
        with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
            connected(node, context)
        eventually(lambda: "handshake_refused from=127.0.0.1" in node.log)
    else:
        with connected(node, context) as connection:
            assert connection.version() == agreed
            connection.sendall(request("GET", "/livez"))
            assert answers(connection, 1) == [b"HTTP/1.1 200 OK"]


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
    start: Callable[..., Node], ca: DevCa, leave: Callable[[ssl.SSLSocket], None]
) -> None:
    """By a word of TLS, of TCP, or none: the job goes to the next one who waits."""
    node = start()
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


def test_half_a_record_is_neither_a_request_nor_a_farewell(start: Callable[..., Node], ca: DevCa) -> None:
    """The consumer is still there, is served, and its next request is read when the rest of it comes."""
    node = start()
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


def test_who_sends_the_next_request_while_waiting_is_there(start: Callable[..., Node], ca: DevCa) -> None:
    """Both are answered, one after the other; to look whether somebody is there takes nothing from what it says."""
    node = start()
    before = node.index()
    with connected(node, ca.trust()) as connection:
        connection.sendall(request("POST", "/jobs/dequeue", {"wait": WAIT_S}))
        eventually(lambda: node.index() > before)
        connection.sendall(request("PUT", "/jobs/enqueue", {"payload": "mine"}) + request("GET", "/livez"))
        node.call("PUT", "/jobs/enqueue", {"payload": "yours"})
        assert answers(connection, 3) == [b"HTTP/1.1 200 OK", b"HTTP/1.1 201 CREATED", b"HTTP/1.1 200 OK"]
    assert node.call("GET", "/jobs/2").body["payload"] == "mine"


def test_who_leaves_before_the_answer_was_written_gives_the_job_back(start: Callable[..., Node], ca: DevCa) -> None:
    """As without TLS."""
    node = start(body_bytes_max=16_000_000)
    job_id = node.call("PUT", "/jobs/enqueue", {"payload": "x" * 8_000_000}).body["id"]
    consumer = given_consumer(node, {"lease_seconds": 300}, receives_bytes=4_096, tls=ca.trust())
    eventually(lambda: node.call("GET", f"/jobs/{job_id}").body["status"] == "IN_PROGRESS")

    reset(consumer)

    again = node.ask("POST", "/jobs/dequeue", {"wait": WAIT_S})
    assert (again.status, again.body["id"], again.body["attempt"]) == (200, job_id, 1)


# -- streams -----------------------------------------------------------------------------------------------


def test_events_are_told_over_tls_to_the_end(start: Callable[..., Node], ca: DevCa) -> None:
    """And a node that stops says so."""
    node = start()
    with following(node, tls=ca.trust()) as stream:
        given_life(node)
        assert [event for _, event, _ in stream.events(len(LIFE))] == LIFE
        node.send_signal(signal.SIGTERM)
        _, end = stream.event()
        assert (end["event"], end["code"]) == ("end", "shutting_down")
    assert node.wait() == 0


def test_whoever_follows_and_leaves_holds_nothing(start: Callable[..., Node], ca: DevCa) -> None:
    """A connection that TLS ended is ended by the node, too."""
    node = start()
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
def test_a_stream_runs_over_tls(start: Callable[..., Node], ca: DevCa, subprotocol: str) -> None:
    """Jobs larger than a record come and go in the same connection, and the node ends it in order."""
    node = start()
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


def test_a_node_told_to_stop_answers_what_is_under_way(start: Callable[..., Node], ca: DevCa) -> None:
    """Waiting ones are answered, idle ones ended as TLS wants it, and one that never shook hands holds nobody up."""
    node = start(workers=1)
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


# -- reload ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 3])
def test_a_new_certificate_is_for_new_connections(start: Callable[..., Node], ca: DevCa, workers: int) -> None:
    """SIGHUP: the open ones go on, in every worker, and so does a worker that comes later."""
    node = start(workers=workers)
    old = ca.trust()
    before = ca.der
    with connected(node, old) as connection:
        waiting = node.send_waiting({"wait": WAIT_S})
        new = DevCa(ca.directory).trust()
        node.send_signal(signal.SIGHUP)
        eventually(lambda: node.log.count("tls_loaded") == 2)
        eventually(lambda: shown(node, new) == ca.der, ignoring=ssl.SSLError)
        assert ca.der != before
        connection.sendall(request("PUT", "/jobs/enqueue"))
        assert answers(connection, 1) == [b"HTTP/1.1 201 CREATED"]
        assert waiting.answer().status == 200
    for pid in node.worker_pids:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: shown(node, new) == ca.der, within_s=START_S, ignoring=OSError)
    assert "tls_kept" not in node.log


def test_a_certificate_that_cannot_be_used_changes_nothing(start: Callable[..., Node], ca: DevCa) -> None:
    """One line says why; workers that come later have the old one, too."""
    node = start(workers=2)
    trust, before = ca.trust(), ca.der
    good = Path(ca.key).read_bytes()
    Path(ca.key).write_text("nonsense")
    node.send_signal(signal.SIGHUP)
    eventually(lambda: "tls_kept" in node.log)
    for pid in node.worker_pids:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: shown(node, trust) == before, within_s=START_S, ignoring=OSError)
    assert node.log.count("tls_kept") == 1
    assert f"--tls-key: {ca.key}: holds no private key in PEM" in node.log
    Path(ca.key).write_bytes(good)
    node.send_signal(signal.SIGHUP)
    eventually(lambda: node.log.count("tls_loaded") == 2)


# -- who is turned away ------------------------------------------------------------------------------------


def test_whoever_does_not_speak_tls_is_told_to(start: Callable[..., Node]) -> None:
    """In HTTP, so that it is read; and whoever says something else is told nothing."""
    node = start()
    with socket.create_connection((HOST, node.port), timeout=ANSWER_S) as connection:
        connection.sendall(request("GET", "/livez"))
        answer = connection.makefile("rb").read()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"https://" in body
    with socket.create_connection((HOST, node.port), timeout=ANSWER_S) as connection:
        connection.sendall(b"\x00\x00\x00\x0acqueue2\n")
        assert b"HTTP" not in connection.makefile("rb").read()
    assert node.log.count("handshake_refused from=127.0.0.1") == 1
    assert "Traceback" not in node.log


def test_a_handshake_that_takes_for_ever_is_ended_and_holds_nobody_up(start: Callable[..., Node]) -> None:
    """Ten that say nothing and ten that begin and stop: others are served at once, and these are sent away."""
    node = start(workers=1)
    silent = [socket.create_connection((HOST, node.port), timeout=HANDSHAKE_S_MAX + ANSWER_S) for _ in range(20)]
    try:
        for connection in silent[:10]:
            connection.sendall(b"\x16\x03\x01")
        assert node.call("PUT", "/jobs/enqueue").status == 201
        for connection in silent:
            assert connection.recv(1) == b""
    finally:
        for connection in silent:
            connection.close()
    assert f"reason='it took longer than {HANDSHAKE_S_MAX:.0f} s'" in node.log


def test_clients_show_certificates_where_they_have_to(start_node: StartNode, ca: DevCa, tmp_path: Path) -> None:
    """One that the CA signed is let in; none, or another's, is not, and both ends say why."""
    clients, others = DevCa(tmp_path / "clients"), DevCa(tmp_path / "others")
    node = start_node(tls=ca.trust(clients), **ca.flags, tls_client_ca=clients.ca)
    assert node.call("PUT", "/jobs/enqueue").status == 201
    for context, words in (
        (ca.trust(), "certificate required"),
        (ca.trust(others), "unknown ca"),
    ):
        with pytest.raises(ssl.SSLError, match=words):
            is_let_in(node, context)
    eventually(lambda: "handshake_refused from=127.0.0.1" in node.log)
    assert node.call("GET", "/jobs/1").status == 200


def test_old_client_certificates_do_not_count_after_a_change_of_the_ca(
    start_node: StartNode, ca: DevCa, tmp_path: Path
) -> None:
    """SIGHUP takes the CA of clients anew, too: whom it no longer trusts cannot come back."""
    clients = DevCa(tmp_path / "clients")
    before = ca.trust(clients)
    node = start_node(tls=before, **ca.flags, tls_client_ca=clients.ca)
    after = ca.trust(DevCa(clients.directory))
    node.send_signal(signal.SIGHUP)
    eventually(lambda: node.log.count("tls_loaded") == 2)
    eventually(lambda: is_let_in(node, after), ignoring=OSError)
    with pytest.raises(ssl.SSLError, match="unknown ca"):
        is_let_in(node, before)
