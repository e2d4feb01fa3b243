"""The operator's way out, on the data directory of a node that is stopped.

Where a majority is gone for good, no election can be won any more. This writes into one directory
that the cluster is some other, smaller set of members; what only the lost nodes had is lost. The
log stays as it is. A node that runs does the same with `Consensus.bootstrap`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from cqueue.errors import Unusable
from cqueue.replication.clock import SystemClock
from cqueue.replication.journal import Journal
from cqueue.replication.membership import Configuration
from cqueue.replication.snapshots import EXIT_DATA, FileSnapshots
from cqueue.replication.sqlite_store import ANYBODY, FILE_NAME, SqliteStore


class Found(NamedTuple):
    """What a directory holds. members: empty where no log ever said who they are."""

    node: str
    members: list[str]
    last_index: int
    last_term: int
    is_whole: bool


def look(directory: Path) -> Found:
    """What the directory of a stopped node holds; nothing is changed.

    Raises:
        Unusable: there is no journal in it, it is in use, or damaged.
    """
    with _journal(directory) as (node, journal):
        return _found(node, journal)


def force(directory: Path, members: list[str]) -> Found:
    """Let the cluster be `members`, the directory's node among them.

    Raises:
        Unusable: as `look`, or the node is not among them.
    """
    with _journal(directory) as (node, journal):
        if node not in members:
            raise Unusable(f"--members: {node}, whose directory {directory} is, is not among them")
        before = journal.configuration or Configuration.of(0, members)
        last_index = journal[-1][1] if len(journal) else 1
        journal.set_configuration(last_index, Configuration.of(before.number + 1, members, before.level))
        journal.set_whole()
        journal.commit()
        return _found(node, journal)


def _found(node: str, journal: Journal) -> Found:
    configuration = journal.configuration
    _, last_index, last_term = journal[-1] if len(journal) else (b"", 0, 0)
    members = [] if configuration is None else list(configuration.members)
    return Found(node, members, last_index, last_term, journal.is_whole)


@contextmanager
def _journal(directory: Path) -> Iterator[tuple[str, Journal]]:
    if not (directory / FILE_NAME).is_file():
        raise Unusable(f"--data-dir: {directory}: no node ever kept a journal there", exit_code=EXIT_DATA)
    store = SqliteStore(directory, ANYBODY, "always", SystemClock())
    journal = Journal(store)
    try:
        if ":" not in store.node:
            raise Unusable(f"--data-dir: {directory}: holds the data of no member of a cluster", exit_code=EXIT_DATA)
        snapshots = FileSnapshots(directory, sync=True)
        snapshots.load()
        journal.reconcile(snapshots.latest)
        yield store.node, journal
    finally:
        journal._destroy()
