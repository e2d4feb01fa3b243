"""TLS around the links: who is let in with which certificate, and what is said to whom is not."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from cqueue.certificates import TlsFiles
from cqueue.config import EXIT_CONFIG
from cqueue.errors import Unusable
from cqueue.replication import transport
from cqueue.replication.tls import Certificates
from tests.replication.authority import Authority, pem_of
from tests.replication.linked import (
    ATTACKER,
    LinkClock,
    Linked,
    given_connection,
    given_nodes,
    is_hung_up,
    turn_until,
)

Pair = tuple[Linked, Linked]
Logs = pytest.LogCaptureFixture
A: Final = "127.0.0.1"
B: Final = "127.0.0.2"


@pytest.fixture
def clock() -> LinkClock:
    """The nodes' timers."""
    return LinkClock()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The CA of the cluster."""
    return Authority(tmp_path)


@contextmanager
def given_nodes_with(clock: LinkClock, files: dict[str, TlsFiles | None]) -> Iterator[Pair]:
    """Two nodes with these files by host; None: no TLS. Nobody has looked yet whether they can talk."""

    def certificates(host: str) -> Certificates | None:
        found = files[host]
        return None if found is None else Certificates(found, host, clock)

    with given_nodes(clock, certificates=certificates) as nodes:
        yield nodes


def given_each(authority: Authority) -> dict[str, TlsFiles | None]:
    """A certificate for each node."""
    return {host: authority.given_files(host, name=host) for host in (A, B)}


def refused(logs: Logs) -> list[str]:
    """The lines about somebody who was refused."""
    return [line for line in logs.messages if line.startswith("link_refused")]


def test_two_nodes_talk_through_tls(clock: LinkClock, authority: Authority) -> None:
    """Messages larger than a TLS record arrive as they were, both ways."""
    with given_nodes_with(clock, given_each(authority)) as nodes:
        a, b = nodes
        turn_until(nodes, lambda: a.peers and b.peers)
        for size in (0, 1, 16_384, 100_000, 700_000):
            a.tell(b.node_id, {"type": "n", "data": b"a" * size})
            b.tell(a.node_id, {"type": "n", "data": b"b" * size})
            turn_until(nodes, lambda: a.received and b.received)
            assert a.received.pop() == (b.node_id, {"type": "n", "data": b"b" * size})
            assert b.received.pop() == (a.node_id, {"type": "n", "data": b"a" * size})


def test_a_plain_node_and_one_with_tls_tell_each_other_apart(
    clock: LinkClock, authority: Authority, caplog: Logs
) -> None:
    """Whichever has it: the one that is called names the cause, and the caller where to look."""
    files = authority.given_files(A, B)
    with given_nodes_with(clock, {A: files, B: None}) as nodes:
        turn_until(nodes, lambda: len(refused(caplog)) == 2)
        b_id = nodes[0].node_id
        assert refused(caplog)[0] == (
            f"link_refused host={A} reason='it does not speak TLS, as this node does: "
            "--raft-tls-cert is for all nodes or none'"
        )
        assert refused(caplog)[1].startswith(f"link_refused host={b_id} reason='")
    caplog.clear()
    with given_nodes_with(clock, {A: None, B: files}) as nodes:
        turn_until(nodes, lambda: len(refused(caplog)) == 2)
        assert refused(caplog)[0] == (
            f"link_refused host={A} reason='it speaks TLS, and this node does not: "
            "--raft-tls-cert is for all nodes or none'"
        )
        assert "its log may say why" in refused(caplog)[1]


@pytest.mark.parametrize("whose", [A, B])
def test_a_certificate_of_another_authority_does_not_count(
    clock: LinkClock, authority: Authority, tmp_path: Path, caplog: Logs, whose: str
) -> None:
    """Be it the acceptor's or the connector's. The secret alone does not help."""
    directory = tmp_path / "theirs"
    directory.mkdir()
    theirs = Authority(directory).given_files(whose)
    with given_nodes_with(clock, {**given_each(authority), whose: theirs}) as nodes:
        turn_until(nodes, lambda: refused(caplog) and not nodes[1].transport._attempts)
        assert "its certificate does not count" in "".join(refused(caplog))
        assert (nodes[0].peers, nodes[1].peers) == (set(), set())


@pytest.mark.parametrize("whose", [A, B])
def test_a_certificate_proves_its_own_host_and_no_other(
    clock: LinkClock, authority: Authority, caplog: Logs, whose: str
) -> None:
    """A node cannot take another's place with its own certificate, though it has the secret."""
    elsewhere = authority.given_files("127.0.0.9", name="elsewhere")
    certificates = {host: Certificates(found, host, clock) for host, found in given_each(authority).items() if found}
    certificates[whose] = Certificates(elsewhere, "127.0.0.9", clock)
    with given_nodes(clock, certificates=lambda host: certificates[host]) as nodes:
        turn_until(nodes, lambda: refused(caplog) and not nodes[1].transport._attempts)
        said = "".join(refused(caplog))
        assert "certificate is not for 127.0.0.2" in said or "IP address mismatch" in said
        assert (nodes[0].peers, nodes[1].peers) == (set(), set())


def test_a_stranger_without_a_certificate_is_refused(clock: LinkClock, authority: Authority, caplog: Logs) -> None:
    """TLS alone is nothing: both ends must prove themselves, in version 1.3."""
    with given_nodes_with(clock, given_each(authority)) as nodes:
        a, b = nodes
        turn_until(nodes, lambda: a.peers and b.peers)
        for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.minimum_version = context.maximum_version = version
            connection = given_connection(a)
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            stranger = context.wrap_bio(incoming, outgoing)
            closed = False
            while not closed:
                try:
                    stranger.do_handshake()
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLError:
                    break
                connection.send(outgoing.read())
                a.turn(0.001)
                try:
                    data = connection.recv(65536)
                except BlockingIOError:
                    continue
                except ConnectionError:
                    break
                closed = not data
                incoming.write(data)
            turn_until(nodes, lambda: not a.transport._strangers)
            clock.now_s += 10
        assert "peer did not return a certificate" in refused(caplog)[0]
        assert "unsupported protocol" in refused(caplog)[1]
        assert a.peers == {b.node_id}


@pytest.mark.parametrize(
    "data", [b"", b"\x16\x03\x01\xff\xff" + b"x" * 100_000, b"\x15\x03\x01\0\2\2\0", b"\0\0\0\x30cqueue2\n"]
)
def test_noise_at_a_tls_port_costs_a_closed_connection_and_one_line(
    clock: LinkClock, authority: Authority, caplog: Logs, data: bytes
) -> None:
    """Silence, too long a record, an alert instead of a greeting, a plain greeting."""
    with given_nodes_with(clock, given_each(authority)) as nodes:
        a, b = nodes
        turn_until(nodes, lambda: a.peers and b.peers)
        connection = given_connection(a)
        connection.send(data)
        turn_until(nodes, lambda: a.transport._strangers or refused(caplog))
        a.turn(0.001)
        clock.now_s += transport.HANDSHAKE_S_MAX
        turn_until(nodes, lambda: is_hung_up(connection))
        assert len(refused(caplog)) == 1
        assert refused(caplog)[0].startswith(f"link_refused host={ATTACKER} ")
        a.tell(b.node_id, {"type": "still here"})
        turn_until(nodes, lambda: b.received)


def test_the_secret_is_needed_all_the_same(clock: LinkClock, authority: Authority, caplog: Logs) -> None:
    """A certificate is an address, not a membership."""
    files = given_each(authority)
    with given_nodes(
        clock,
        certificates=lambda host: Certificates(files[host], host, clock),  # type: ignore[arg-type]
        secrets=("s" * 32, "t" * 32),
    ) as nodes:
        turn_until(nodes, lambda: refused(caplog))
        assert "it does not know the cluster secret, or is another node" in refused(caplog)[0]


def test_new_links_use_the_files_as_they_are_now(clock: LinkClock, authority: Authority, caplog: Logs) -> None:
    """Renewed certificates need no restart: links that are open stay, the next ones use the new files."""
    caplog.set_level("INFO")
    files = given_each(authority)
    with given_nodes_with(clock, files) as nodes:
        a, b = nodes
        turn_until(nodes, lambda: a.peers and b.peers)
        assert len([line for line in caplog.messages if line.startswith("raft_tls_loaded")]) == 2
        for host in (A, B):
            authority.given_files(host, name=host)
        a.tell(b.node_id, {"type": "by the old link"})
        turn_until(nodes, lambda: b.received)
        peer = next(node for node in b._others if node.id == a.node_id)
        b.transport.dropNode(peer)
        b.transport.addNode(peer)
        turn_until(nodes, lambda: not a.peers)
        clock.now_s += 1
        turn_until(nodes, lambda: a.peers and b.peers)
        assert len([line for line in caplog.messages if line.startswith("raft_tls_loaded")]) == 4


def test_files_that_cannot_be_used_change_nothing(clock: LinkClock, authority: Authority, caplog: Logs) -> None:
    """A certificate is written before its key: in between, the node keeps what it has, and says so once."""
    files = authority.given_files(A)
    certificates = Certificates(files, A, clock)
    key = Path(files.key).read_bytes()
    before = certificates.accept()._tls.context
    authority.given_files(A)
    new_key = Path(files.key).read_bytes()
    Path(files.key).write_bytes(key)
    assert certificates.accept()._tls.context is before
    assert certificates.accept()._tls.context is before
    kept = [line for line in caplog.messages if line.startswith("raft_tls_kept")]
    assert len(kept) == 1
    assert "--raft-tls-key" in kept[0]
    Path(files.key).unlink()
    assert certificates.accept()._tls.context is before
    Path(files.key).write_bytes(new_key)
    assert certificates.accept()._tls.context is not before


def refusal(files: TlsFiles, host: str = A) -> str:
    """The sentence these files are refused with."""
    with pytest.raises(Unusable) as caught:
        Certificates(files, host, LinkClock())
    assert caught.value.exit_code == EXIT_CONFIG
    return caught.value.detail


@pytest.mark.parametrize("name", ["cert", "key", "ca"])
def test_a_file_that_cannot_be_read_is_named_with_its_flag(authority: Authority, tmp_path: Path, name: str) -> None:
    """Missing, a directory, or not PEM."""
    files = authority.given_files(A)
    paths = {"cert": files.cert, "key": files.key, "ca": files.ca}
    nothing = tmp_path / "nothing.pem"
    assert refusal(TlsFiles(**{**paths, name: str(nothing)})) == (
        f"--raft-tls-{name}: {nothing}: cannot be read: No such file or directory"
    )
    assert "cannot be read: Is a directory" in refusal(TlsFiles(**{**paths, name: str(tmp_path)}))
    nothing.write_bytes(b"-----BEGIN NOTHING-----\n")
    assert refusal(TlsFiles(**{**paths, name: str(nothing)})).startswith(f"--raft-tls-{name}: {nothing}: holds no ")


def test_a_key_that_is_another_or_encrypted_is_refused(authority: Authority) -> None:
    """Nobody is asked for a password."""
    files = authority.given_files(A)
    other = ec.generate_private_key(ec.SECP256R1())
    Path(files.key).write_bytes(pem_of(other))
    assert f"--raft-tls-key: {files.key}: is not the key of the certificate in {files.cert}" == refusal(files)
    Path(files.key).write_bytes(pem_of(other, b"password"))
    assert "is encrypted" in refusal(files)


@pytest.mark.parametrize(("days", "words"), [((-9, -2), "expired at"), ((2, 9), "is not valid before")])
def test_a_certificate_out_of_its_time_is_refused(
    authority: Authority, tmp_path: Path, days: tuple[int, int], words: str
) -> None:
    """The node's own, and the authority's."""
    assert words in refusal(authority.given_files(A, days=days))
    assert refusal(authority.given_files(A, days=days)).startswith("--raft-tls-cert: ")
    old = Authority(tmp_path, "old", days=days)
    assert words in refusal(old.given_files(A))
    assert refusal(old.given_files(A)).startswith("--raft-tls-ca: ")


def test_a_certificate_that_others_would_refuse_is_refused_at_the_start(authority: Authority, tmp_path: Path) -> None:
    """Of another authority, for another host, for no host, or for servers only."""
    files = authority.given_files("node2", "*.example.org")
    assert "is not for '127.0.0.1', this node's host in --raft-addr" in refusal(files)
    assert "is not for 'node3.example.com'" in refusal(files, "node3.example.com")
    Certificates(files, "node2", LinkClock())
    Certificates(files, "Node3.Example.org", LinkClock())
    assert "is not for" in refusal(authority.given_files())
    other = Authority(tmp_path, "other")
    assert f"is not signed by the CA in {other.path}" in refusal(
        TlsFiles(files.cert, files.key, str(other.path)), "node2"
    )
    servers_only = authority.given_files(A, uses=[ExtendedKeyUsageOID.SERVER_AUTH])
    assert "is not for clientAuth" in refusal(servers_only)
    Certificates(authority.given_files(A, uses=[]), A, LinkClock())
