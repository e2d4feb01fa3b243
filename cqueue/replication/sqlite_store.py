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
from contextlib import suppress
from pathlib import Path
from typing import Final

from cqueue.errors import Unusable
from cqueue.replication.clock import Clock
from cqueue.replication.journal import Entry, Kept

FORMAT: Final = 1
SYNC_INTERVAL_S: Final = 1.0
EXIT_DATA: Final = 4
"""Exit code when the data directory cannot be used."""

_SYNCHRONOUS: Final = {"always": "FULL", "interval": "NORMAL", "never": "OFF"}
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entry (
    idx INTEGER PRIMARY KEY, term INTEGER NOT NULL, crc INTEGER NOT NULL, command BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
"""


class SqliteStore:
    """A `Store` in `<directory>/journal.sqlite3`, locked against a second process.

    Raises:
        Unusable: the directory cannot be made, read or locked, or holds something damaged; the
            sentence names the file.
    """

    def __init__(self, directory: Path, node_id: str, fsync: str, clock: Clock) -> None:
        self._path = directory / "journal.sqlite3"
        self._clock = clock
        self._sync_interval_s = SYNC_INTERVAL_S if fsync == "interval" else None
        self._synced_s = clock.monotonic_s()
        self._appended: list[tuple[int, int, int, bytes]] = []
        self._meta: dict[str, int | str | None] = {}
        self._lock = _lock(directory)
        try:
            self._db = sqlite3.connect(self._path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute(
                f"PRAGMA synchronous = {'FULL' if fsync == 'always' else 'OFF' if fsync == 'never' else 'NORMAL'}"
            )
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._open(node_id)
        except sqlite3.Error as error:
            raise self._damaged(str(error)) from error

    def _open(self, node_id: str) -> None:
        kept = self._read_meta() if self._db.execute("SELECT 1 FROM sqlite_master").fetchone() else {}
        if kept.setdefault("format", FORMAT) != FORMAT:
            raise self._damaged(f"format {kept['format']}, this version reads {FORMAT}")
        if kept.setdefault("node", node_id) != node_id:
            raise Unusable(f"{self._path}: belongs to node {kept['node']!r}, this is {node_id!r}", exit_code=EXIT_DATA)
        self._db.executescript(_SCHEMA)
        self._meta = {"format": FORMAT, "node": node_id}
        self.commit()

    def _read_meta(self) -> dict[str, int | str | None]:
        rows: list[tuple[str, int | str | None]] = self._db.execute("SELECT key, value FROM meta").fetchall()
        return dict(rows)

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
        except sqlite3.Error as error:
            raise self._damaged(str(error)) from error
        term, voted_for, commit_index = meta.get("term"), meta.get("voted_for"), meta.get("commit_index")
        return Kept(int(term or 0), None if voted_for is None else str(voted_for), int(commit_index or 1), entries)

    def append(self, entry: Entry) -> None:
        """See `Store`."""
        command, index, term = entry
        self._appended.append((index, term, _checksum(index, term, command), command))

    def delete_from(self, index: int) -> None:
        """See `Store`."""
        self._begin()
        self._db.execute("DELETE FROM entry WHERE idx >= ?", (index,))

    def delete_before(self, index: int) -> None:
        """See `Store`."""
        self._begin()
        self._db.execute("DELETE FROM entry WHERE idx < ?", (index,))

    def set_vote(self, term: int, voted_for: str | None) -> None:
        """See `Store`."""
        self._meta |= {"term": term, "voted_for": voted_for}

    def set_commit_index(self, index: int) -> None:
        """See `Store`."""
        self._meta["commit_index"] = index

    def commit(self) -> None:
        """See `Store`."""
        self._begin()
        if self._meta:
            self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", self._meta.items())
            self._meta.clear()
        self._db.execute("COMMIT")
        if self._sync_interval_s is not None and self._clock.monotonic_s() - self._synced_s >= self._sync_interval_s:
            # In WAL mode with synchronous=NORMAL only a checkpoint syncs.
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
            self._synced_s = self._clock.monotonic_s()

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


def _lock(directory: Path) -> int:
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
