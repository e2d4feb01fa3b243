"""`cqueue tls dev-ca`, and the commands that call a node over https."""

from __future__ import annotations

import socket
import ssl
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from tests.cli.test_backup import is_refused, run
from tests.cluster.fixtures import StartNode
from tests.cluster.harness import CQUEUE, HOST, START_S, Ports, environment
from tests.node.https import ANSWER_S, DevCa
from tests.replication.authority import Authority

EXIT_REFUSED = 1


# -- dev-ca ------------------------------------------------------------------------------------------------


def test_the_default_is_one_certificate_for_this_machine(tmp_path: Path) -> None:
    """Keys are for their owner alone; what is printed can be run."""
    directory = tmp_path / "new" / "tls"
    made = run("tls", "dev-ca", directory)
    assert made.returncode == 0
    names = ["ca.key", "ca.pem", "localhost.key", "localhost.pem"]
    assert sorted(path.name for path in directory.iterdir()) == names
    assert {stat.S_IMODE((directory / name).stat().st_mode) for name in names if name.endswith(".key")} == {0o600}
    told = made.stdout.decode()
    assert f"cqueue serve --tls-cert {directory}/localhost.pem --tls-key {directory}/localhost.key" in told
    assert f"curl --cacert {directory}/ca.pem https://localhost:3000/jobs/stats" in told
    assert "for development only" in made.stderr.decode()


def test_each_host_has_a_certificate_of_its_own(tmp_path: Path) -> None:
    """Named after the first of its names; addresses and wildcards are names, too."""
    made = run("tls", "dev-ca", tmp_path, "--host", "node1,10.0.0.1", "--host", "::1", "--host", "*.example.org")
    assert made.returncode == 0, made.stderr
    for file, names in (
        ("node1", [("DNS", "node1"), ("IP Address", "10.0.0.1")]),
        ("__1", [("IP Address", "0:0:0:0:0:0:0:1")]),
        ("_.example.org", [("DNS", "*.example.org")]),
    ):
        decoded = ssl._ssl._test_decode_cert(tmp_path / f"{file}.pem")  # type: ignore[attr-defined]
        assert list(decoded["subjectAltName"]) == names


def test_nothing_is_overwritten_unless_it_is_said(tmp_path: Path) -> None:
    """Neither files nor what a link points to; with --force the files are new ones, whatever was open to others."""
    run("tls", "dev-ca", tmp_path)
    before = (tmp_path / "ca.pem").read_bytes()
    is_refused(run("tls", "dev-ca", tmp_path, "--host", "node1"), EXIT_REFUSED, tmp_path / "ca.key", "--force")
    assert (tmp_path / "ca.pem").read_bytes() == before
    assert not (tmp_path / "node1.pem").exists()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    key = tmp_path / "localhost.key"
    key.unlink()
    key.symlink_to(elsewhere)
    assert run("tls", "dev-ca", tmp_path, "--force").returncode == 0
    assert (tmp_path / "ca.pem").read_bytes() != before
    assert elsewhere.read_text() == "mine"
    assert stat.S_IMODE(key.lstat().st_mode) == 0o600


@pytest.mark.parametrize("hosts", [["a b"], [""], ["ca"], ["node1", "node1"], ["-x.org"], ["http://localhost"]])
def test_what_is_no_host_is_refused(tmp_path: Path, hosts: list[str]) -> None:
    """And so are two certificates that would have the same files."""
    refused = run("tls", "dev-ca", tmp_path / "tls", *(part for host in hosts for part in ("--host", host)))
    assert refused.returncode == 2
    assert b"--host" in refused.stderr
    assert not (tmp_path / "tls").exists()


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """One line, no traceback."""
    file = tmp_path / "file"
    file.touch()
    is_refused(run("tls", "dev-ca", file / "below"), EXIT_REFUSED, str(file), "cannot be written")


# -- commands over https -----------------------------------------------------------------------------------


@pytest.mark.cluster
def test_commands_call_a_node_over_https(start_node: StartNode, tmp_path: Path) -> None:
    """With the CA and a certificate to show, by option or by variable; and a backup comes whole."""
    ca, clients = DevCa(tmp_path / "tls"), DevCa(tmp_path / "clients")
    node = start_node(tls=ca.trust(clients), **ca.flags, tls_client_ca=clients.ca)
    node.call("PUT", "/jobs/enqueue", {"payload": "x" * 100_000})
    named = ["--node", node.url, "--ca", ca.ca, "--cert", clients.cert, "--key", clients.key]
    for command in (["cluster", "status"], ["cluster", "verify"], ["backup", tmp_path / "backup"]):
        done = run(*command, *named)
        assert done.returncode == 0, done.stderr
    variables = {"NODE": node.url, "CA": ca.ca, "CERT": clients.cert, "KEY": clients.key}
    by_variable = subprocess.run(
        [*CQUEUE, "cluster", "status"],
        env=environment(**{f"CQUEUE_{name}": value for name, value in variables.items()}),
        capture_output=True,
        check=False,
        timeout=START_S,
    )
    assert b"leader" in by_variable.stdout
    assert run("inspect", tmp_path / "backup").returncode == 0
    nothing = run("cluster", "status", "--node", node.url, "--ca", ca.ca)
    is_refused(nothing, EXIT_REFUSED, node.url, "certificate required", "--cert FILE and --key FILE")
    stranger = run("cluster", "status", "--node", node.url, "--ca", ca.ca, "--cert", ca.cert, "--key", ca.key)
    is_refused(stranger, EXIT_REFUSED, "does not let this end in", "unknown ca")


@pytest.mark.cluster
def test_a_node_that_cannot_be_trusted_is_not_spoken_to(start_node: StartNode, tmp_path: Path) -> None:
    """Without its CA, with another's, or by a name that it has no certificate for: one line says which."""
    ca, other = DevCa(tmp_path / "tls"), DevCa(tmp_path / "other")
    node = start_node(tls=ca.trust(), **ca.flags)
    for arguments in ([], ["--ca", other.ca]):
        done = run("cluster", "status", "--node", node.url, *arguments)
        is_refused(done, EXIT_REFUSED, "its certificate cannot be trusted", "--ca FILE or CQUEUE_CA")
    by_name = run("cluster", "status", "--node", f"https://127.1:{node.port}", "--ca", ca.ca)
    is_refused(by_name, EXIT_REFUSED, "its certificate cannot be trusted", "127.1")
    plain = run("cluster", "status", "--node", f"http://{HOST}:{node.port}")
    is_refused(plain, EXIT_REFUSED, "status 400; is it at https://?")


@pytest.mark.cluster
def test_a_node_without_tls_is_not_called_over_https(start_node: StartNode) -> None:
    """It is said how it can be reached."""
    node = start_node()
    done = run("cluster", "status", "--node", f"https://{HOST}:{node.port}")
    is_refused(done, EXIT_REFUSED, "does not speak TLS", "http://")


@contextmanager
def given_server(context: ssl.SSLContext) -> Iterator[int]:
    """Something that shakes hands once, and its port."""
    with socket.create_server((HOST, 0)) as listener:
        listener.settimeout(ANSWER_S)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, pytest.raises(ssl.SSLError):
                context.wrap_socket(connection, server_side=True)

        server = Thread(target=serve)
        server.start()
        yield int(listener.getsockname()[1])
        server.join()


def test_a_certificate_that_has_expired_is_called_that(tmp_path: Path) -> None:
    """No node starts with one, but it may run out while a node runs."""
    authority = Authority(tmp_path)
    files = authority.given_files(HOST, days=(-9, -2))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    with given_server(context) as port:
        done = run("cluster", "status", "--node", f"https://{HOST}:{port}", "--ca", authority.path)
    is_refused(done, EXIT_REFUSED, "its certificate cannot be trusted: certificate has expired")


@pytest.mark.parametrize("option", ["--ca", "--cert"])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, ports: Ports, option: str) -> None:
    """Missing, or no PEM; before anything is sent."""
    url = f"https://{HOST}:{ports.reserve()}"
    (tmp_path / "nonsense.pem").write_text("nonsense")
    for file in (tmp_path / "nothing.pem", tmp_path / "nonsense.pem"):
        done = run("cluster", "status", "--node", url, option, file)
        assert done.returncode == 2
        assert option in done.stderr.decode()
        assert str(file) in done.stderr.decode()
        assert "Traceback" not in done.stderr.decode()
