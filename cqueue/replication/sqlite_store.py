"""A journal's store in SQLite: one file, one transaction per round.

WAL mode. With fsync "always" a commit returns when the disk has it (synchronous=FULL); with
"interval" at most a second's worth is lost with the power; with "never" the operating system
decides. A crash of the process alone loses nothing in any of them.
Sources: sqlite.org/wal.html, sqlite.org/pragma.html#pragma_synchronous.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from cqueue.errors import Unusable
from cqueue.replication.clock import Clock
from cqueue.replication.journal import Entry, Kept
from cqueue.replication.snapshots import EXIT_DATA

FORMAT: Final = 1
FILE_NAME: Final = "journal.sqlite3"
ANYBODY: Final = ""
"""Node id of a journal that belongs to the first node that is started on it; as an argument, whichever it is."""
SYNC_INTERVAL_S: Final = 1.0

_SYNCHRONOUS: Final = {"always": "FULL", "interval": "NORMAL", "never": "OFF"}
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entry (
    idx INTEGER PRIMARY KEY, term INTEGER NOT NULL, crc INTEGER NOT NULL, command BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS meta (id INTEGER PRIMARY KEY, crc INTEGER NOT NULL, value BLOB NOT NULL) STRICT;
"""
_HEADER_BYTES: Final = 100
"""Of SQLite's file format; a file has it as soon as it is there at all."""
_READ_ERRORS: Final = (sqlite3.Error, msgspec.MsgspecError, ValueError, TypeError, OverflowError)
"""What reading a damaged file may end in: SQLite's own errors, or values of a kind that was never written."""


class _Meta(Struct, forbid_unknown_fields=True):
    """What is kept beside the entries, in one record. first, last: the entries' log indexes, 0 without any."""

    node: str
    format: int = FORMAT
    term: int = 0
    voted_for: str | None = None
    commit_index: int = 1
    is_whole: bool = False
    members_index: int = 0
    members: bytes = b""
    life: int = 0
    first: int = 0
    last: int = 0


class SqliteStore:
    """A `Store` in `<directory>/journal.sqlite3`, locked against a second process.

    on_commit: called with the seconds each commit took.

    Raises:
        Unusable: the directory cannot be made, read or locked, or holds something damaged; the
            sentence names the file.
    """

    def __init__(
        self,
        directory: Path,
        node_id: str,
        fsync: str,
        clock: Clock,
        on_commit: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        self._path = directory / FILE_NAME
        self._on_commit = on_commit
        self._clock = clock
        self._sync_interval_s = SYNC_INTERVAL_S if fsync == "interval" else None
        self._synced_s = clock.monotonic_s()
        self._appended: list[tuple[int, int, int, bytes]] = []
        self._meta = _Meta(node_id)
        self._lock = lock(directory)
        try:
            self._db = self._connect(_SYNCHRONOUS[fsync])
        except BaseException:
            os.close(self._lock)
            raise
        try:
            self._open(node_id)
        except BaseException:
            self._db.close()
            os.close(self._lock)
            raise

    def _connect(self, synchronous: str) -> sqlite3.Connection:
        if self._path.is_file() and self._path.stat().st_size < _HEADER_BYTES:
            # SQLite would begin anew in it, as if nothing had ever been there.
            raise self._damaged("it is cut off")
        try:
            db = sqlite3.connect(self._path, isolation_level=None)
        except sqlite3.Error as error:
            raise self._damaged(str(error)) from error
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {synchronous}")
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
        except _READ_ERRORS as error:
            db.close()
            raise self._damaged(str(error)) from error
        return db

    def _open(self, node_id: str) -> None:
        try:
            if self._db.execute("SELECT 1 FROM sqlite_master").fetchone():
                self._meta = self._read_meta()
            if self._meta.node == ANYBODY:
                self._meta.node = node_id
            if node_id not in {self._meta.node, ANYBODY}:
                raise Unusable(
                    f"{self._path}: belongs to node {self._meta.node!r}, this is {node_id!r}", exit_code=EXIT_DATA
                )
            # Tables and first record in one transaction: a crash in between must not look like damage.
            self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA}")
            self.commit()
        except _READ_ERRORS as error:
            raise self._damaged(str(error)) from error

    def _read_meta(self) -> _Meta:
        row = self._db.execute("SELECT crc, value FROM meta").fetchone()
        if row is None:
            raise self._damaged("its record of term and vote is missing")
        crc, value = row
        if crc != zlib.crc32(value):
            raise self._damaged("its record of term and vote fails its checksum")
        kept_format = msgspec.json.decode(value)["format"]
        if kept_format != FORMAT:
            raise self._damaged(f"format {kept_format}, this version reads {FORMAT}")
        return msgspec.json.decode(value, type=_Meta)

    @property
    def node(self) -> str:
        """The id of the node it belongs to."""
        return self._meta.node

    def load(self) -> Kept:
        """Everything kept, with each entry's checksum and place verified."""
        entries: list[Entry] = []
        try:
            meta = self._read_meta()
            for index, term, crc, command in self._db.execute("SELECT idx, term, crc, command FROM entry ORDER BY idx"):
                if crc != _checksum(index, term, command):
                    raise self._damaged(f"entry {index} fails its checksum")
                if entries and index != entries[-1][1] + 1:
                    raise self._damaged(f"entry {entries[-1][1] + 1} is missing")
                entries.append((command, index, term))
        except _READ_ERRORS as error:
            raise self._damaged(str(error)) from error
        if (meta.first, meta.last) != ((entries[0][1], entries[-1][1]) if entries else (0, 0)):
            raise self._damaged(f"entries {meta.first} to {meta.last} are not all there")
        return Kept(
            term=meta.term,
            voted_for=meta.voted_for,
            commit_index=meta.commit_index,
            is_whole=meta.is_whole,
            entries=entries,
            members_index=meta.members_index,
            members=meta.members,
            life=meta.life,
        )

    def append(self, entry: Entry) -> None:
        """See `Store`."""
        command, index, term = entry
        self._appended.append((index, term, _checksum(index, term, command), command))
        self._meta.first = self._meta.first or index
        self._meta.last = index

    def delete_from(self, index: int) -> None:
        """See `Store`."""
        self._begin()
        self._db.execute("DELETE FROM entry WHERE idx >= ?", (index,))
        self._set_range(self._meta.first, min(self._meta.last, index - 1))

    def delete_before(self, index: int) -> None:
        """See `Store`."""
        self._begin()
        self._db.execute("DELETE FROM entry WHERE idx < ?", (index,))
        self._set_range(max(self._meta.first, index), self._meta.last)

    def _set_range(self, first: int, last: int) -> None:
        self._meta.first, self._meta.last = (first, last) if first <= last else (0, 0)

    def set_vote(self, term: int, voted_for: str | None) -> None:
        """See `Store`."""
        self._meta.term, self._meta.voted_for = term, voted_for

    def set_whole(self) -> None:
        """See `Store`."""
        self._meta.is_whole = True

    def set_members(self, index: int, members: bytes) -> None:
        """See `Store`."""
        self._meta.members_index, self._meta.members = index, members

    def set_life(self, life: int) -> None:
        """See `Store`."""
        self._meta.life = life

    def set_commit_index(self, index: int) -> None:
        """See `Store`."""
        self._meta.commit_index = index

    def commit(self) -> None:
        """See `Store`."""
        begun_s = self._clock.monotonic_s()
        self._begin()
        value = msgspec.json.encode(self._meta)
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (1, ?, ?)", (zlib.crc32(value), value))
        self._db.execute("COMMIT")
        if self._sync_interval_s is not None and self._clock.monotonic_s() - self._synced_s >= self._sync_interval_s:
            # In WAL mode with synchronous=NORMAL only a checkpoint syncs.
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
            self._synced_s = self._clock.monotonic_s()
        self._on_commit(self._clock.monotonic_s() - begun_s)

    def _begin(self) -> None:
        """Open the round's transaction if it is not, and write what was appended so far into it."""
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")
        if self._appended:
            self._db.executemany("INSERT INTO entry VALUES (?, ?, ?, ?)", self._appended)
            self._appended.clear()

    def close(self) -> None:
        """See `Store`."""
        with suppress(sqlite3.ProgrammingError):  # closed before
            self.commit()
            self._db.close()
        os.close(self._lock)

    def _damaged(self, what: str) -> Unusable:
        return Unusable(
            f"{self._path}: cannot be used: {what}. Nothing was changed; restore the directory from a backup, "
            "or move it away and let the node be filled by the others",
            exit_code=EXIT_DATA,
        )


def lock(directory: Path) -> int:
    """Make the directory if it is missing and take its lock; returns the lock's descriptor."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unusable(f"--data-dir: {directory}: cannot be used: {error.strerror}", exit_code=EXIT_DATA) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise Unusable(f"--data-dir: {directory}: in use by another node", exit_code=EXIT_DATA) from error
    return lock


def _checksum(index: int, term: int, command: bytes) -> int:
    return zlib.crc32(command, zlib.crc32(b"%d %d" % (index, term)))
