"""What a node refuses to start with: one line that says what is wrong, one documented exit code, no traceback."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from cqueue.core.machine import StateMachine
from cqueue.replication import snapshots
from cqueue.replication.clock import SystemClock
from cqueue.replication.journal import Journal
from cqueue.replication.sqlite_store import SqliteStore
from tests.cluster.client import NotSent
from tests.cluster.fixtures import StartNode
from tests.cluster.harness import CQUEUE, HOST, START_S, Ports, environment
from tests.replication.authority import Authority
from tests.support import eventually

pytestmark = pytest.mark.cluster

FAILED: Final = 1
SETTING: Final = 2
TAKEN: Final = 3
DATA: Final = 4
SECRET: Final = "0123456789abcdef" * 3
PEER: Final = "127.0.0.1:9"


@dataclass
class Situation:
    """What `cqueue serve` finds when it starts."""

    arguments: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)


READS_ALL: Final = "-dac_override,-dac_read_search"
AS_OTHERS_ARE: Final = (
    ["setpriv", f"--bounding-set={READS_ALL}", f"--inh-caps={READS_ALL}"] if os.geteuid() == 0 else []
)
"""Root without its right to read whatever there is (util-linux)."""


def refused(situation: Situation, through: Sequence[str] = ()) -> tuple[int, str]:
    """Start a node that must not come up, `through` another command; its exit code and the one line it says."""
    done = subprocess.run(
        [*through, *CQUEUE, "serve", *situation.arguments],
        env=environment(**situation.variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=START_S,
    )
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("cqueue: ")]
    assert SECRET not in done.stderr
    return done.returncode, line


class Place:
    """Makes situations: ports that are taken, directories that are broken."""

    def __init__(self, directory: Path, ports: Ports, cleanup: ExitStack) -> None:
        self.directory = directory
        self._ports = ports
        self._cleanup = cleanup

    def taken_port(self) -> int:
        """A port that somebody listens on."""
        listener = socket.create_server((HOST, 0))
        self._cleanup.callback(listener.close)
        return int(listener.getsockname()[1])

    def single(self, *arguments: str, **variables: str) -> Situation:
        """A node that would be alone."""
        return Situation(["--port", str(self._ports.reserve()), *arguments], variables)

    def member(self, *arguments: str, **variables: str) -> Situation:
        """A node that would be one of two."""
        return self.single("--peers", PEER, *arguments, **variables)

    def file(self, name: str, content: bytes) -> str:
        """The path of a file with this content."""
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return str(path)

    def tls(self, **odd: Any) -> list[str]:
        """The flags of a certificate for this host, and what is odd with it."""
        files = Authority(self.directory, "odd").given_files(HOST, name="odd-node", **odd)
        return ["--tls-cert", files.cert, "--tls-key", files.key]

    def data(self, damage: Callable[[bytes], bytes]) -> str:
        """The path of a data directory whose journal was good before `damage` was done to it."""
        directory = self.directory / "data"
        store = SqliteStore(directory, "single", "never", SystemClock())
        journal = Journal(store)
        for index in range(1, 101):
            journal.add(b"\0" + b"entry %d " % index * 20, index, 1)
        journal.setCurrentTerm(1, None)
        journal.commit()
        journal._destroy()
        path = directory / "journal.sqlite3"
        path.write_bytes(damage(path.read_bytes()))
        return str(directory)

    def compacted_data(self, *, without: str = "", damage: Callable[[bytes], bytes] = bytes) -> str:
        """The path of a data directory with a snapshot and the journal behind it, without one of the two files."""
        directory = self.directory / "data"
        journal = Journal(SqliteStore(directory, "single", "never", SystemClock()))
        journal.start_over(500, 3)
        journal.setCurrentTerm(3, None)
        journal.set_whole()
        journal._destroy()
        snapshots.FileSnapshots(directory, sync=False).install(snapshots.encode(500, 3, StateMachine().snapshot()))
        for path in directory.iterdir():
            if path.name == without:
                path.unlink()
            elif path.name == snapshots.FILE_NAME:
                path.write_bytes(damage(path.read_bytes()))
        return str(directory)

    def foreign_data(self) -> str:
        """The path of a data directory that another node wrote."""
        directory = self.directory / "data"
        SqliteStore(directory, "10.0.0.1:4000", "never", SystemClock()).close()
        return str(directory)

    def used_data(self) -> str:
        """The path of a data directory that is in use."""
        directory = self.directory / "data"
        self._cleanup.callback(SqliteStore(directory, "single", "never", SystemClock()).close)
        return str(directory)


@pytest.fixture
def place(tmp_path: Path, ports: Ports, cleanup: ExitStack) -> Place:
    """Where situations are made."""
    return Place(tmp_path, ports, cleanup)


def _flipped(data: bytes) -> bytes:
    place = data.index(b"entry 50")
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


REFUSED: Final[Mapping[str, tuple[int, str, Callable[[Place], Situation]]]] = {
    "a port that is taken": (
        TAKEN,
        "the port is taken; choose another with --port",
        lambda place: Situation(["--port", str(place.taken_port())]),
    ),
    "an address that is not this machine's": (
        TAKEN,
        "cannot listen on 203.0.113.1",
        lambda place: place.single("--insecure", "--addr", "203.0.113.1"),
    ),
    "an address that is none": (TAKEN, "'not an address'", lambda place: place.single("--addr", "not an address")),
    "a raft port that is taken": (
        TAKEN,
        "--raft-addr",
        lambda place: place.member("--raft-addr", f"{HOST}:{place.taken_port()}", CQUEUE_CLUSTER_SECRET=SECRET),
    ),
    "a raft address that is not this machine's": (
        TAKEN,
        "--raft-addr",
        lambda place: place.member("--raft-addr", "203.0.113.1:4000", CQUEUE_CLUSTER_SECRET=SECRET),
    ),
    "a raft address that is no name": (
        TAKEN,
        "--raft-addr",
        lambda place: place.member("--raft-addr", "nowhere.invalid:4000", CQUEUE_CLUSTER_SECRET=SECRET),
    ),
    "a certificate for the links that is not there": (
        SETTING,
        "--raft-tls-cert: nowhere: cannot be read: No such file or directory",
        lambda place: place.member(
            *("--raft-addr", f"{HOST}:10"),
            *(part for name in ("cert", "key", "ca") for part in (f"--raft-tls-{name}", "nowhere")),
            CQUEUE_CLUSTER_SECRET=SECRET,
        ),
    ),
    "a certificate for clients that is not there": (
        SETTING,
        "--tls-cert: nowhere: cannot be read: No such file or directory",
        lambda place: place.single("--tls-cert", "nowhere", "--tls-key", "nowhere"),
    ),
    "a certificate for clients that has expired": (
        SETTING,
        "expired at",
        lambda place: place.single(*place.tls(days=(-9, -2))),
    ),
    "a key that is not the certificate's": (
        SETTING,
        "is not the key of the certificate in",
        lambda place: place.single(*place.tls(), "--tls-key", Authority(place.directory).given_files(name="o").key),
    ),
    "a certificate for clients that is none for servers": (
        SETTING,
        "is not for serverAuth: see extendedKeyUsage",
        lambda place: place.single(*place.tls(uses=[ExtendedKeyUsageOID.CLIENT_AUTH])),
    ),
    "a CA of clients that is no certificate": (
        SETTING,
        "--tls-client-ca: ",
        lambda place: place.single(*place.tls(), "--tls-client-ca", place.file("none.pem", b"none")),
    ),
    "a data directory that is a file": (
        DATA,
        "file",
        lambda place: place.single("--data-dir", place.file("file", b"")),
    ),
    "a data directory below a file": (
        DATA,
        "below",
        lambda place: place.single("--data-dir", place.file("file", b"") + "/below"),
    ),
    "a data directory in use": (
        DATA,
        "in use by another node",
        lambda place: place.single("--data-dir", place.used_data()),
    ),
    "a data directory of another node": (
        DATA,
        "belongs to node '10.0.0.1:4000'",
        lambda place: place.single("--data-dir", place.foreign_data()),
    ),
    "a journal that is garbage": (
        DATA,
        "journal.sqlite3",
        lambda place: place.single("--data-dir", place.data(lambda _: b"garbage " * 1000)),
    ),
    "a journal that is half written": (
        DATA,
        "journal.sqlite3",
        lambda place: place.single("--data-dir", place.data(lambda data: data[: len(data) // 2])),
    ),
    "a journal with a byte flipped": (
        DATA,
        "journal.sqlite3",
        lambda place: place.single("--data-dir", place.data(_flipped)),
    ),
    "a journal whose snapshot is gone": (
        DATA,
        "snapshot",
        lambda place: place.single("--data-dir", place.compacted_data(without=snapshots.FILE_NAME)),
    ),
    "a snapshot whose journal is gone": (
        DATA,
        "journal",
        lambda place: place.single("--data-dir", place.compacted_data(without="journal.sqlite3")),
    ),
    "a snapshot that is half written": (
        DATA,
        "snapshot",
        lambda place: place.single("--data-dir", place.compacted_data(damage=lambda data: data[: len(data) // 2])),
    ),
    "a snapshot that is garbage": (
        DATA,
        "snapshot",
        lambda place: place.single("--data-dir", place.compacted_data(damage=lambda data: b"garbage!" * len(data))),
    ),
    "a journal that is a directory": (
        DATA,
        "journal.sqlite3",
        lambda place: place.single("--data-dir", str(Path(place.file("journal.sqlite3/x", b"")).parent.parent)),
    ),
    "peers without a secret": (
        SETTING,
        "openssl rand -hex 32",
        lambda place: place.member("--raft-addr", f"{HOST}:4000"),
    ),
    "a secret that is too short": (
        SETTING,
        "at least 32 characters",
        lambda place: place.member("--raft-addr", f"{HOST}:4000", "--cluster-secret", "x" * 31),
    ),
    "a secret file that is not there": (
        SETTING,
        "--cluster-secret-file",
        lambda place: place.member("--raft-addr", f"{HOST}:4000", "--cluster-secret-file", "nowhere"),
    ),
    "peers without a raft address": (
        SETTING,
        "--raft-addr is needed with --peers",
        lambda place: place.member(CQUEUE_CLUSTER_SECRET=SECRET),
    ),
    "peers that name this node": (
        SETTING,
        "--peers",
        lambda place: place.member("--raft-addr", PEER, CQUEUE_CLUSTER_SECRET=SECRET),
    ),
    "peers without a port": (SETTING, "'node2'", lambda place: place.single("--peers", "node2")),
    "a raft address without a port": (SETTING, "'node1'", lambda place: place.member("--raft-addr", "node1")),
    "a port that is no number": (SETTING, "--port: 'http'", lambda _: Situation(["--port", "http"])),
    "a port out of range": (SETTING, "--port: 65536", lambda _: Situation(["--port", "65536"])),
    "a log level there is not": (SETTING, "--log-level: 'loud'", lambda place: place.single("--log-level", "loud")),
    "an fsync mode there is not": (SETTING, "--fsync: 'often'", lambda place: place.single("--fsync", "often")),
    "a variable that is wrong": (
        SETTING,
        "CQUEUE_WORKERS: 'many'",
        lambda place: place.single(CQUEUE_WORKERS="many"),
    ),
    "elections quicker than heartbeats": (
        SETTING,
        "--election-ms-min",
        lambda place: place.single("--heartbeat-ms", "500"),
    ),
    "a key in the file that is no setting": (
        SETTING,
        "'prot' is no setting",
        lambda place: place.single("--config", place.file("cqueue.toml", b"prot = 3000\n")),
    ),
    "a file that is not TOML": (
        SETTING,
        "not TOML",
        lambda place: place.single("--config", place.file("cqueue.toml", b"port 3000\n")),
    ),
    "a file that is not there": (
        SETTING,
        "nowhere.toml: cannot be read",
        lambda place: place.single("--config", "nowhere.toml"),
    ),
    "a file that cannot be read": (SETTING, "cannot be read", lambda place: place.single("--config", "/")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_node_that_cannot_start_says_why_in_one_line(place: Place, case: str) -> None:
    """Each case of the table: the exit code, and the words that tell a person what to mend."""
    code, words, situation = REFUSED[case]

    exit_code, line = refused(situation(place))

    assert exit_code == code, line
    assert words in line


def test_a_snapshot_with_the_journal_behind_it_is_no_reason_to_refuse(start_node: StartNode, place: Place) -> None:
    """What the table breaks, whole: the node starts from it."""
    node = start_node(data_dir=place.compacted_data())

    assert node.call("PUT", "/jobs/enqueue").body == {"id": 1}
    assert node.status()["applied_index"] > 500


def test_a_refused_data_directory_is_left_as_it_was(place: Place) -> None:
    """Nothing is mended, moved or begun anew in a directory that is damaged."""
    directory = Path(place.data(_flipped))
    before = (directory / "journal.sqlite3").read_bytes()

    code, _ = refused(place.single("--data-dir", str(directory)))

    assert code == DATA
    assert (directory / "journal.sqlite3").read_bytes() == before


def test_a_data_directory_that_may_not_be_read_is_refused(place: Place) -> None:
    """The line names the directory."""
    directory = Path(place.foreign_data())
    directory.chmod(0)

    code, line = refused(place.single("--data-dir", str(directory)), AS_OTHERS_ARE)

    directory.chmod(0o700)
    assert code == DATA
    assert str(directory) in line


def test_a_running_node_is_not_harmed_by_a_second_one(start_node: StartNode, place: Place, tmp_path: Path) -> None:
    """A second node on its data directory, and one on its port, are refused; the first one goes on."""
    data_dir = str(tmp_path / "data")
    node = start_node(data_dir=data_dir)
    assert node.call("PUT", "/jobs/enqueue").body == {"id": 1}

    in_use, _ = refused(place.single("--data-dir", data_dir))
    taken, _ = refused(Situation(["--port", str(node.port)]))

    assert (in_use, taken) == (DATA, TAKEN)
    assert node.call("PUT", "/jobs/enqueue").body == {"id": 2}


@pytest.mark.parametrize("peer", ["0.nowhere.invalid:4000", "nowhere.invalid:4000"])
def test_peers_that_do_not_resolve_leave_the_node_running_and_not_ready(
    start_node: StartNode, ports: Ports, peer: str
) -> None:
    """A name that is not known yet may be known soon: the node waits, says why, and warns once.

    Of two nodes the one with the greater name connects: the warning must not depend on which one that is.
    """
    node = start_node(
        wait=False,
        variables={"CQUEUE_CLUSTER_SECRET": SECRET},
        raft_addr=f"{HOST}:{ports.reserve()}",
        peers=peer,
        request_timeout_s=2,
    )
    eventually(lambda: "nowhere.invalid" in node.log, within_s=START_S)

    # A write waits for its whole time, long enough for the name to be looked up again.
    write = eventually(partial(node.ask, "PUT", "/jobs/enqueue"), within_s=START_S, ignoring=NotSent)
    ready = node.ask("GET", "/readyz")

    assert (write.status, write.body["code"]) == (503, "no_leader")
    assert (ready.status, ready.body["code"]) == (503, "not_ready")
    assert ready.body["detail"]
    assert node.ask("GET", "/livez").status == 200
    warnings = [line for line in node.log.splitlines() if "nowhere.invalid" in line and "WARNING" in line]
    assert len(warnings) == 1
    assert node.stop() == 0
    assert "Traceback" not in node.log
