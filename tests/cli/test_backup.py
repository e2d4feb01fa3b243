"""`cqueue restore` and `cqueue inspect`, on files that are whole and on files that are not."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from cqueue.core import entry
from cqueue.core.jobs import STATUSES
from cqueue.core.machine import StateMachine
from cqueue.core.operations import Dequeue, Enqueue, NewJob
from cqueue.protocol import encode
from cqueue.replication import snapshots
from tests.cluster.harness import CQUEUE, HOST, START_S, Ports, environment

INDEX, TERM = 7, 2
NOW_MS = 1_767_323_045_678


def given_backup(path: Path, count: int = 3) -> bytes:
    """A backup of `count` jobs, one of them handed out; its bytes are also at `path`."""
    machine = StateMachine()
    operations = [encode(Enqueue([NewJob("A", b'"x"')] * count)), encode(Dequeue(1, 300_000))]
    machine.apply(INDEX, entry.stamp(entry.encode(1, 1, 1, operations), NOW_MS))
    backup = snapshots.encode(INDEX, TERM, machine.snapshot())
    path.write_bytes(backup)
    return backup


def run(*arguments: str | Path, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run `cqueue` to its end."""
    command = [*CQUEUE, *(str(argument) for argument in arguments)]
    return subprocess.run(command, input=stdin, env=environment(), capture_output=True, check=False, timeout=START_S)


def is_refused(done: subprocess.CompletedProcess[bytes], exit_code: int, *words: str | Path) -> None:
    """It ended with one line on stderr that has the words in it."""
    said = done.stderr.decode()
    assert (done.returncode, done.stdout, said.count("\n")) == (exit_code, b"", 1), said
    for word in words:
        assert str(word) in said


def test_inspect_says_what_is_in_a_backup(tmp_path: Path) -> None:
    """Index, time, size, digest, and jobs by queue and status; for people and for programs."""
    backup = given_backup(tmp_path / "b")

    found = json.loads(run("inspect", tmp_path / "b", "--json").stdout)
    shown = run("inspect", tmp_path / "b").stdout.decode()

    counts = {**dict.fromkeys(STATUSES, 0), "QUEUED": 2, "IN_PROGRESS": 1}
    assert len(found.pop("sha256")) == 64
    assert found == {
        "index": INDEX,
        "time": "2026-01-02T03:04:05.678Z",
        "bytes": len(backup),
        "next_id": 4,
        "jobs": 3,
        "queues": {"default": counts},
    }
    assert "2026-01-02T03:04:05.678Z" in shown
    assert "QUEUED 2, IN_PROGRESS 1" in shown


def test_a_backup_comes_from_stdin_too(tmp_path: Path) -> None:
    """`-` stands for it."""
    backup = given_backup(tmp_path / "b")
    assert run("inspect", "-", stdin=backup).stdout == run("inspect", tmp_path / "b").stdout
    assert run("restore", "-", "--data-dir", tmp_path / "data", stdin=backup).returncode == 0
    assert (tmp_path / "data" / "snapshot").read_bytes() == backup


@pytest.mark.parametrize("command", [["inspect"], ["restore", "--data-dir", "data"]], ids=["inspect", "restore"])
@pytest.mark.parametrize(
    "damage",
    [
        "empty",
        "short header",
        "cut off",
        "one byte more",
        "flipped",
        "flipped magic",
        "flipped index",
        "another format",
    ],
)
def test_a_damaged_file_is_refused_by_name_and_nothing_is_made(
    tmp_path: Path, command: Sequence[str], damage: str
) -> None:
    """Whatever is wrong with it: exit code 1, one line, no data directory."""
    backup = given_backup(tmp_path / "b")
    middle = len(backup) // 2
    damaged = {
        "empty": b"",
        "short header": backup[:40],
        "cut off": backup[:-1],
        "one byte more": backup + b"\x00",
        "flipped": backup[:middle] + bytes([backup[middle] ^ 1]) + backup[middle + 1 :],
        "flipped magic": bytes([backup[0] ^ 1]) + backup[1:],
        "flipped index": backup[:10] + b"\x01" + backup[11:],
        "another format": snapshots.encode(INDEX, TERM, b"\x99\x02" + backup[snapshots.HEADER_BYTES + 2 :]),
    }[damage]
    path = tmp_path / "damaged"
    path.write_bytes(damaged)

    done = run(*(tmp_path / "data" if word == "data" else word for word in command), path)

    is_refused(done, 1, path, "no usable backup")
    assert not (tmp_path / "data").exists()


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """One line that names it."""
    is_refused(run("inspect", tmp_path / "none"), 1, tmp_path / "none", "No such file")


def test_a_directory_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    """Nothing in it changes, and the line says what is there and what would help."""
    given_backup(tmp_path / "b")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "letter").write_text("dear")

    done = run("restore", tmp_path / "b", "--data-dir", tmp_path / "data")

    is_refused(done, 4, tmp_path / "data", "letter", "--force")
    assert {path.name for path in (tmp_path / "data").iterdir()} <= {"letter", "lock"}


def test_force_replaces_the_data_of_a_node_and_nothing_else(tmp_path: Path) -> None:
    """What a node keeps goes; a file of someone else's stays."""
    given_backup(tmp_path / "old", count=5)
    new = given_backup(tmp_path / "new")
    data = tmp_path / "data"
    assert run("restore", tmp_path / "old", "--data-dir", data).returncode == 0
    (data / "letter").write_text("dear")

    assert run("restore", tmp_path / "new", "--data-dir", data, "--force").returncode == 0

    assert (data / "snapshot").read_bytes() == new
    assert (data / "letter").read_text() == "dear"


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """A file stands where it should be."""
    given_backup(tmp_path / "b")
    is_refused(run("restore", tmp_path / "b", "--data-dir", tmp_path / "b" / "data"), 4, "--data-dir", tmp_path / "b")


def test_the_members_in_a_nodes_own_snapshot_are_left_behind(tmp_path: Path) -> None:
    """A restored node belongs to the cluster its settings name, whichever the file came from."""
    backup = given_backup(tmp_path / "b")
    _, _, state = snapshots.decode(backup)
    (tmp_path / "snapshot").write_bytes(snapshots.encode(INDEX, TERM, state, b"\x92\x01\x80"))

    assert run("restore", tmp_path / "snapshot", "--data-dir", tmp_path / "data").returncode == 0

    assert (tmp_path / "data" / "snapshot").read_bytes() == backup


@pytest.mark.parametrize("command", [["backup", "file"], ["backup", "-"]])
def test_a_backup_without_a_node_leaves_no_file(tmp_path: Path, ports: Ports, command: Sequence[str]) -> None:
    """Exit code 69, one line with the address, and nothing in the directory."""
    url = f"http://{HOST}:{ports.reserve()}"
    done = run(*(tmp_path / "file" if word == "file" else word for word in command), "--node", url)
    is_refused(done, 69, url)
    assert list(tmp_path.iterdir()) == []


def test_a_backup_into_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Before a node is asked."""
    is_refused(run("backup", tmp_path / "no" / "file"), 1, tmp_path / "no" / "file", "cannot be written")
