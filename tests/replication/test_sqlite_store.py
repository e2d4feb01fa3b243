"""The journal's file: killed writers, damaged bytes, other nodes' directories."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import zlib
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from cqueue.config import FSYNC_MODES
from cqueue.errors import Unusable
from cqueue.replication.journal import Kept
from cqueue.replication.snapshots import EXIT_DATA
from cqueue.replication.sqlite_store import SYNC_INTERVAL_S, SqliteStore
from tests.replication.media import NODE, ManualClock
from tests.replication.writer import entries_after

FILE: Final = "journal.sqlite3"
FLIP_EVERY: Final = 11
CUT_EVERY: Final = 509
KILLS: Final = 4
END_S: Final = 60


def opened(directory: Path, node: str = NODE, fsync: str = "never") -> SqliteStore:
    """The store in `directory`."""
    return SqliteStore(directory, node, fsync, ManualClock())


def kept_in(directory: Path) -> Kept:
    """What is in `directory`."""
    with closing(opened(directory)) as store:
        return store.load()


def refusal(directory: Path) -> str:
    """The sentence that `directory` is refused with."""
    with pytest.raises(Unusable) as caught:
        kept_in(directory)
    assert caught.value.exit_code == EXIT_DATA
    return caught.value.detail


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory whose store was closed in good order, with a log that was cut at both ends."""
    place = tmp_path / "data"
    with closing(opened(place)) as store:
        for index in range(1, 61):
            store.append((b"entry %d " % index * 10, index, 1))
        store.set_vote(7, "10.0.0.2:4000")
        store.set_commit_index(33)
        store.set_whole()
        store.commit()
        store.delete_from(51)
        store.delete_before(11)
    return place


@pytest.mark.cluster
@pytest.mark.parametrize("fsync", FSYNC_MODES)
def test_a_writer_that_is_killed_leaves_whole_transactions(tmp_path: Path, fsync: str) -> None:
    """Kill -9, again and again: all that was committed is there, and of the next transaction all or nothing."""
    for kill in range(KILLS):
        writer = subprocess.Popen(
            [sys.executable, "-m", "tests.replication.writer", str(tmp_path), fsync],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        with writer:
            assert writer.stdout is not None
            said = [writer.stdout.readline() for _ in range(1 + 40 * kill)]
            writer.kill()
            said += writer.stdout.read().splitlines()
            writer.wait(END_S)

        kept = kept_in(tmp_path)
        committed = int(said[-1])
        assert kept.term in {committed, committed + 1}
        assert kept.entries == entries_after(kept.term)
        assert kept.voted_for == NODE


def test_a_second_process_is_refused_and_the_lock_dies_with_the_first(directory: Path) -> None:
    """Two nodes on one directory would write over each other."""
    with closing(opened(directory)):
        with pytest.raises(Unusable, match="in use by another node") as caught:
            opened(directory)
        assert caught.value.exit_code == EXIT_DATA

    assert kept_in(directory).term == 7


def test_another_nodes_directory_is_refused(directory: Path) -> None:
    """Its votes and its log are not this node's."""
    with pytest.raises(Unusable, match=r"belongs to node '10\.0\.0\.1:4000', this is '10\.0\.0\.3:4000'"):
        opened(directory, node="10.0.0.3:4000")

    assert kept_in(directory).term == 7


def test_another_format_is_refused(directory: Path) -> None:
    """A later version's directory is named and left alone."""
    with closing(sqlite3.connect(directory / FILE)) as db:
        (value,) = db.execute("SELECT value FROM meta").fetchone()
        value = value.replace(b'"format":1', b'"format":2')
        db.execute("UPDATE meta SET value = ?, crc = ?", (value, zlib.crc32(value)))
        db.commit()

    assert "format 2, this version reads 1" in refusal(directory)


def test_a_refused_directory_is_let_go(directory: Path) -> None:
    """Neither the lock nor the file stays open: who mends it can go on in the same process."""
    good = (directory / FILE).read_bytes()
    (directory / FILE).write_bytes(b"garbage" * 1000)
    assert FILE in refusal(directory)

    (directory / FILE).write_bytes(good)

    assert kept_in(directory).term == 7


def test_a_flipped_bit_is_refused_or_changes_nothing(directory: Path) -> None:
    """Wherever it is in the file: nobody starts from a log, a term or a vote that never was."""
    path, wanted = directory / FILE, kept_in(directory)
    good = path.read_bytes()
    refused = 0

    for place in range(0, len(good), FLIP_EVERY):
        bit = 1 << (place % 8)
        _replace(directory, good[:place] + bytes([good[place] ^ bit]) + good[place + 1 :])
        refused += _is_refused_or(wanted, directory, f"bit {bit} of byte {place}")

    assert refused > 150


def test_a_file_that_was_cut_is_refused(directory: Path) -> None:
    """A half-written copy, a full disk: at whatever length it ends."""
    good = (directory / FILE).read_bytes()

    for length in [*range(0, len(good), CUT_EVERY), 1, len(good) - 1]:
        _replace(directory, good[:length])
        assert FILE in refusal(directory), length


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("DELETE FROM entry WHERE idx = 30", "entry 30 is missing"),
        ("DELETE FROM entry WHERE idx > 40", "entries 11 to 50 are not all there"),
        ("DELETE FROM entry WHERE idx < 20", "entries 11 to 50 are not all there"),
        ("DELETE FROM entry", "entries 11 to 50 are not all there"),
        ("UPDATE entry SET command = x'00' WHERE idx = 30", "entry 30 fails its checksum"),
        ("UPDATE entry SET term = 2 WHERE idx = 30", "entry 30 fails its checksum"),
        ("UPDATE entry SET idx = 51 WHERE idx = 50", "entry 51 fails its checksum"),
        ("UPDATE meta SET value = x'7b7d'", "term and vote fails its checksum"),
        ("DELETE FROM meta", "term and vote is missing"),
        ("DROP TABLE meta", "meta"),
        ("DROP TABLE entry", "entries 11 to 50 are not all there"),
    ],
)
def test_a_log_with_holes_is_refused(directory: Path, damage: str, words: str) -> None:
    """The file may be good for SQLite and no log for us."""
    with closing(sqlite3.connect(directory / FILE)) as db:
        db.execute(damage)
        db.commit()

    assert words in refusal(directory)


def test_with_fsync_interval_a_commit_syncs_once_the_interval_is_over(tmp_path: Path) -> None:
    """Until then the entries are in the write-ahead log only; a sync brings them into the file itself."""
    clock = ManualClock()
    with closing(SqliteStore(tmp_path, NODE, "interval", clock)) as store:
        store.append((b"the first entry", 1, 1))
        store.commit()
        before = b"the first entry" in (tmp_path / FILE).read_bytes()
        clock.now_s += SYNC_INTERVAL_S
        store.append((b"the second entry", 2, 1))
        store.commit()
        after = b"the second entry" in (tmp_path / FILE).read_bytes()

    assert (before, after) == (False, True)


def test_closing_commits(tmp_path: Path) -> None:
    """A node that stops in good order keeps its last round; closing twice does no harm to the file."""
    store = opened(tmp_path)
    store.append((b"entry", 1, 1))
    store.close()

    assert kept_in(tmp_path).entries == [(b"entry", 1, 1)]


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """The sentence names the setting and the directory."""
    (tmp_path / "file").touch()

    assert refusal(tmp_path / "file" / "data").startswith(f"--data-dir: {tmp_path / 'file' / 'data'}: cannot be used")


def _is_refused_or(wanted: Kept, directory: Path, what: str) -> bool:
    try:
        kept = kept_in(directory)
    except Unusable as error:
        named = FILE in error.detail
    else:
        assert kept == wanted, what
        return False
    assert named, what
    return True


def _replace(directory: Path, content: bytes) -> None:
    for path in directory.iterdir():
        path.unlink()
    (directory / FILE).write_bytes(content)
