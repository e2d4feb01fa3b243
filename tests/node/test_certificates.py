"""What a node proves itself with, and whom it lets in: certificates, their change, and handshakes that fail."""

from __future__ import annotations

import os
import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from cqueue.web.tls import HANDSHAKE_S_MAX
from tests.cluster.fixtures import StartNode
from tests.cluster.harness import HOST, START_S, Node
from tests.node.https import ANSWER_S, DevCa, answers, connected, is_let_in, request, shown
from tests.support import eventually

pytestmark = pytest.mark.cluster

WAIT_S = 40


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
    start_tls: Callable[..., Node], ca: DevCa, version: ssl.TLSVersion, ciphers: str, agreed: str | None
) -> None:
    """TLS 1.2 with forward secrecy and authenticated encryption is the least."""
    node = start_tls()
    context = ca.trust()
    context.minimum_version = context.maximum_version = version
    context.set_ciphers(ciphers)
    if agreed is None:
        with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
            connected(node, context)
        eventually(lambda: "handshake_refused host=127.0.0.1" in node.log)
    else:
        with connected(node, context) as connection:
            assert connection.version() == agreed
            connection.sendall(request("GET", "/livez"))
            assert answers(connection, 1) == [b"HTTP/1.1 200 OK"]


# -- reload ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 3])
def test_a_new_certificate_is_for_new_connections(start_tls: Callable[..., Node], ca: DevCa, workers: int) -> None:
    """SIGHUP: the open ones go on, in every worker, and so does a worker that comes later."""
    node = start_tls(workers=workers)
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


def test_a_certificate_that_cannot_be_used_changes_nothing(start_tls: Callable[..., Node], ca: DevCa) -> None:
    """One line says why; workers that come later have the old one, too."""
    node = start_tls(workers=2)
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


def test_whoever_does_not_speak_tls_is_told_to(start_tls: Callable[..., Node]) -> None:
    """In HTTP, so that it is read; and whoever says something else is told nothing."""
    node = start_tls()
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
    assert node.log.count("handshake_refused host=127.0.0.1") == 1
    assert "Traceback" not in node.log


def test_a_handshake_that_takes_for_ever_is_ended_and_holds_nobody_up(start_tls: Callable[..., Node]) -> None:
    """Ten that say nothing and ten that begin and stop: others are served at once, and these are sent away."""
    node = start_tls(workers=1)
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
    eventually(lambda: "handshake_refused host=127.0.0.1" in node.log)
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
