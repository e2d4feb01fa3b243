"""Backups: a snapshot of the state, for use elsewhere and later. Made beside the loop; restored into a directory.

A backup's file is a snapshot's, see snapshots.py. Whoever asks for one gives the path of a file of
its own, which a forked child fills: when the one that asked dies, nothing is left behind here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from cqueue import logs, protocol
from cqueue.core.machine import Applied
from cqueue.errors import Unusable
from cqueue.protocol import Failure
from cqueue.replication import snapshots
from cqueue.replication.children import Failed, Start, Work
from cqueue.replication.clock import Clock, SystemClock
from cqueue.replication.consensus import Consensus
from cqueue.replication.journal import Journal
from cqueue.replication.requests import Request
from cqueue.replication.snapshots import EXIT_DATA, FileSnapshots
from cqueue.replication.sqlite_store import ANYBODY, SqliteStore, lock

log = logs.of(__name__)

_LOCK_NAME: Final = "lock"
_KEPT: Final = ("journal.sqlite3*", "snapshot*")
"""Names of what a node keeps in its directory."""


class Backups:
    """The errand of writing the present state into a file, one at a time; see `Errand`.

    A request's body is the path of a file that is there; the answer is empty and comes when it is filled.

    Args:
        clock: the node's.
        state: encodes the present state.
        start: starts what writes.
    """

    def __init__(self, clock: Clock, state: Callable[[], bytes], start: Start) -> None:
        self._clock = clock
        self._state = state
        self._start = start
        self._consensus: Consensus
        self._request: Request | None = None
        self._work: Work
        self._index = 0
        self._until_s = 0.0

    def attach(self, consensus: Consensus) -> None:
        """Give it the consensus that knows what the state stands for."""
        self._consensus = consensus

    def take(self, request: Request, index: int, wait_ms: int) -> None:
        """See `Errand`."""
        if self._request is not None:
            self._fail(request, "busy", "this node is making a backup already")
            return
        term = self._consensus.applied_term
        try:
            self._work = self._start(partial(_write, request.body.decode(), index, term, self._state))
        except Failed as error:
            self._fail(request, "backup_failed", str(error))
            return
        self._request, self._index = request, index
        self._until_s = self._clock.monotonic_s() + wait_ms / 1000

    def moved(self, index: int, applied: Applied) -> None:
        """See `Errand`: a backup is of the moment it was begun."""

    def advance(self, index: int, now_s: float) -> None:  # noqa: ARG002 - the interface's
        """See `Errand`."""
        request = self._request
        if request is None:
            return
        try:
            is_made = self._work.found() is not None
        except Failed as error:
            self._request = None
            log.error("backup_failed", index=self._index, why=str(error))  # noqa: TRY400 - it has no trace to show
            self._fail(request, "backup_failed", str(error))
            return
        if is_made:
            self._request = None
            log.info("backup_made", index=self._index)
            request.answer(protocol.RESULT, self._index, b"")
        elif request.done or self._until_s <= now_s:
            self._give_up(request, "it took longer than a backup may")

    def stop(self, request: Request, index: int) -> None:  # noqa: ARG002 - the interface's
        """See `Errand`."""
        if request is self._request:
            self._give_up(request, "this node is shutting down")

    def _give_up(self, request: Request, why: str) -> None:
        self._request = None
        self._work.end()
        self._fail(request, "backup_failed", why)

    def _fail(self, request: Request, code: str, why: str) -> None:
        request.answer(protocol.UNAVAILABLE, self._consensus.applied_index, protocol.encode(Failure(code, why)))


def _write(path: str, index: int, term: int, state: Callable[[], bytes]) -> bytes:
    with Path(path).open("r+b") as file:
        file.write(snapshots.encode(index, term, state()))
    return b""


def restore(encoded: bytes, directory: Path, *, force: bool) -> None:
    """Make `directory` the data directory of a node that starts with the state of the backup `encoded`.

    The backup must have been checked. The directory belongs to the first node that is started on it.

    Args:
        encoded: the backup.
        directory: made if it is missing.
        force: a node's data that is there is removed; other files are left alone.

    Raises:
        Unusable: it is in use, cannot be written, or is not empty; nothing was changed.
    """
    index, term, state = snapshots.decode(encoded)
    held = lock(directory)
    try:
        _clear(directory, force=force)
        # The snapshot comes first: a restore that is cut short then leaves what a start refuses.
        # The members go their own way: a node that is restored belongs to those its settings name.
        FileSnapshots(directory, sync=True).install(snapshots.encode(index, term, state))
    except OSError as error:
        raise Unusable(f"--data-dir: {directory}: cannot be used: {error.strerror}", exit_code=EXIT_DATA) from error
    finally:
        os.close(held)
    store = SqliteStore(directory, ANYBODY, "always", SystemClock())
    try:
        journal = Journal(store)
        journal.setCurrentTerm(term, None)
        journal.start_over(index, term)
        journal.setRaftCommitIndex(index)
        journal.set_whole()
        journal.commit()
    finally:
        store.close()


def _clear(directory: Path, *, force: bool) -> None:
    there = sorted(path.name for path in directory.iterdir() if path.name != _LOCK_NAME)
    if there and not force:
        raise Unusable(
            f"--data-dir: {directory}: not empty: it holds {', '.join(there[:3])}{' …' if len(there) > 3 else ''}; "  # noqa: PLR2004
            "choose an empty one, or have --force remove the data of a node that is there",
            exit_code=EXIT_DATA,
        )
    for pattern in _KEPT:
        for path in directory.glob(pattern):
            path.unlink()
