"""Nodes that ask who calls: what they start with, new tokens while they run, and tickets across a cluster."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cqueue.config import load
from cqueue.errors import Unusable
from cqueue.node import bind
from tests.cluster.fixtures import StartCluster, StartNode
from tests.cluster.harness import CQUEUE, HOST, Node, environment
from tests.node.test_refusing_to_start import Situation, refused
from tests.support import eventually
from tests.web.callers import Callers
from tests.web.test_jwts import AUDIENCE, ISSUER, given_jwks, signed

pytestmark = pytest.mark.cluster

ANYWHERE = "0.0.0.0"


@pytest.fixture
def callers(tmp_path: Path) -> Callers:
    """A tokens file with one operator."""
    callers = Callers(tmp_path)
    callers.add("ann", "operator")
    return callers


def status(node: Node, callers: Callers, name: str) -> int:
    """What a look at the counts is answered."""
    return node.ask("GET", "/jobs/stats", headers=callers.header(name)).status


def workers_of(node: Node) -> list[int]:
    """The pids of a node's web workers: the only processes of it two levels down that stay."""
    return [pid for child in node.children(node.pid) for pid in node.children(child)]


def test_an_open_address_is_refused_and_the_ways_out_are_named() -> None:
    """Exit code 2, and one line with all three of them; so for every address but loopback."""
    for address in (ANYWHERE, "::"):
        code, line = refused(Situation(["--port", "0", "--addr", address]))
        assert code == 2
        for way in ("--tokens FILE", "cqueue token new", "--jwt-jwks", "--insecure", "CQUEUE_INSECURE=1"):
            assert way in line


def test_an_open_address_is_listened_on_by_who_knows_what_that_means(caplog: pytest.LogCaptureFixture) -> None:
    """As in a container, whose published ports decide who gets in. The log says so; with tokens there is no need."""
    settings = load({"port": 0, "addr": ANYWHERE}, {"CQUEUE_INSECURE": "1"})
    bind(settings).close()
    assert [record.getMessage() for record in caplog.records] == ["node_open addr=0.0.0.0"]

    bind(load({"port": 0, "addr": ANYWHERE, "tokens": "tokens.toml"}, {})).close()
    assert len(caplog.records) == 1
    with pytest.raises(Unusable, match="--insecure"):
        bind(load({"port": 0, "addr": ANYWHERE}, {"CQUEUE_INSECURE": "no"}))


@pytest.mark.parametrize("addr", ["127.0.0.1", "127.1.2.3", "localhost"])
def test_every_way_to_say_loopback_is_loopback(addr: str) -> None:
    """Nobody else reaches it, so nobody is asked."""
    bind(load({"port": 0, "addr": addr}, {})).close()


def test_a_node_with_tokens_serves_those_who_have_one(start_node: StartNode, callers: Callers) -> None:
    """On loopback, too; health checks aside."""
    node = start_node(tokens=str(callers.path))
    assert node.ask("GET", "/readyz").status == 200
    assert node.ask("PUT", "/jobs/enqueue").status == 401
    assert status(node, callers, "ann") == 200


def test_files_that_cannot_be_used_are_refused_at_the_start(callers: Callers, tmp_path: Path) -> None:
    """Exit code 2, one line, before anything runs."""
    jwt = ["--jwt-issuer", ISSUER, "--jwt-audience", AUDIENCE, "--jwt-jwks", given_jwks(tmp_path, [])]
    callers.path.chmod(0o644)
    for arguments, words in (
        (["--tokens", str(callers.path)], "chmod 600"),
        (["--tokens", "nowhere"], "nowhere: cannot be read"),
        (jwt, "there is no key in it"),
        (jwt[:2], "--jwt-audience, --jwt-jwks: missing"),
    ):
        code, line = refused(Situation(["--port", "0", *arguments]))
        assert code == 2
        assert words in line


def test_new_tokens_are_taken_on_sighup_by_every_worker(start_node: StartNode, callers: Callers) -> None:
    """Without a restart: a token that was added is taken, one that was removed is not."""
    node = start_node(tokens=str(callers.path), workers=2)
    first = callers.path.read_text()
    callers.add("bob", "viewer")
    callers.path.write_text(callers.path.read_text().replace(first, ""))
    assert status(node, callers, "bob") == 401
    workers = workers_of(node)

    node.send_signal(signal.SIGHUP)

    eventually(lambda: [status(node, callers, "bob") for _ in range(9)] == [200] * 9)
    eventually(lambda: {status(node, callers, "ann") for _ in range(9)} <= {401, 429})
    assert workers_of(node) == workers
    assert "access_renewed" in node.log


def test_a_bad_file_on_sighup_changes_nothing(start_node: StartNode, callers: Callers) -> None:
    """One line says why; workers that start later know the old tokens, too. A good file is taken again."""
    node = start_node(tokens=str(callers.path), workers=1)
    good = callers.path.read_text()
    callers.path.write_text(good + "[[token]]\n")

    node.send_signal(signal.SIGHUP)

    eventually(lambda: "access_kept" in node.log)
    assert status(node, callers, "ann") == 200
    [worker] = workers_of(node)
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: workers_of(node) not in ([worker], []), within_s=30)
    eventually(lambda: status(node, callers, "ann") == 200, within_s=30, ignoring=Exception)
    assert node.log.count("access_kept") == 1

    callers.path.write_text(good)
    callers.add("bob", "viewer")
    node.send_signal(signal.SIGHUP)
    eventually(lambda: status(node, callers, "bob") == 200)


def test_sighup_does_nothing_to_a_node_that_asks_nobody(start_node: StartNode) -> None:
    """Least of all end it."""
    node = start_node()
    node.send_signal(signal.SIGHUP)
    assert node.call("PUT", "/jobs/enqueue").status == 201
    assert workers_of(node)


def test_a_provider_s_tokens_are_taken_and_its_new_keys_on_sighup(start_node: StartNode, tmp_path: Path) -> None:
    """Real processes: the keys are loaded where gevent has patched everything, without a word of warning."""
    keys = json.loads(Path(given_jwks(tmp_path)).read_text())["keys"]
    jwks = given_jwks(tmp_path, keys[1:])
    node = start_node(jwt_issuer=ISSUER, jwt_audience=AUDIENCE, jwt_jwks=jwks)

    def shown(token: str) -> int:
        return node.ask("GET", "/jobs/stats", headers={"Authorization": f"Bearer {token}"}).status

    assert (shown(signed("ec")), shown(signed("rsa"))) == (200, 401)

    given_jwks(tmp_path, keys[:1])
    node.send_signal(signal.SIGHUP)

    # To ask again and again with a token that is not taken yet would be to guess, and be told to wait.
    eventually(lambda: "access_renewed" in node.log)
    assert (shown(signed("ec")), shown(signed("rsa"))) == (401, 200)
    assert "Warning" not in node.log


def test_a_ticket_of_one_node_opens_the_events_of_another(start_cluster: StartCluster, callers: Callers) -> None:
    """A page asks one node for a ticket, and is sent to another; it sees its caller's queues and no others."""
    callers.add("bob", "viewer", queues=("mail-*",))
    cluster = start_cluster(tokens=str(callers.path))
    one, _, other = cluster.nodes
    for queue in ("mail-1", "secret-plans", "mail-2"):
        added = one.ask("PUT", "/jobs/enqueue", {"queue": queue}, headers=callers.header("ann"))
        assert added.status == 201

    ticket = one.ask("POST", "/tickets", headers=callers.header("bob")).body["ticket"]
    changes = _events(other, f"/events?after=0.0&ticket={ticket}", 2)

    assert [change["queue"] for change in changes] == ["mail-1", "mail-2"]
    for node in cluster.nodes:
        assert ticket not in node.log


def _events(node: Node, path: str, count: int) -> list[dict[str, Any]]:
    """The first so many events of a stream."""
    with socket.create_connection((node.host, node.port), 30) as connection, connection.makefile("rb") as stream:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        assert b" 200 " in stream.readline()
        found = []
        while len(found) < count:
            line = stream.readline()
            assert line
            if line.startswith(b"data: "):
                found.append(json.loads(line[6:]))
        return found


def test_the_commands_show_the_token_they_are_given(start_node: StartNode, callers: Callers, tmp_path: Path) -> None:
    """From a file or the environment, never from the command line; without one the sentence says how."""
    node = start_node(tokens=str(callers.path))
    file = tmp_path / "token"
    file.write_text(callers.secrets["ann"] + "\n")
    url = f"http://{HOST}:{node.port}"

    def run(*arguments: str, **variables: str) -> tuple[int, str]:
        done = subprocess.run(
            [*CQUEUE, "cluster", "status", "--node", url, *arguments],
            env=environment(**variables),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.returncode, done.stderr

    assert run("--token-file", str(file))[0] == 0
    assert run(CQUEUE_TOKEN=callers.secrets["ann"])[0] == 0
    code, said = run()
    assert code == 1
    assert "--token-file" in said
    assert run("--token-file", "nowhere")[0] == 2
    for wrong in ("", "two words", "é"):
        file.write_text(wrong)
        assert run("--token-file", str(file))[0] == 2
