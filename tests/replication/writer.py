"""Writes to a journal until it is killed: `python -m tests.replication.writer DIRECTORY FSYNC`.

Transaction number T replaces the last two entries and adds two, all in term T: the log then ends
at 2 T + 2. T is printed once it is committed.
"""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

from cqueue.replication.clock import SystemClock
from cqueue.replication.journal import Entry, Journal
from cqueue.replication.sqlite_store import SqliteStore
from tests.replication.media import NODE


def entry(index: int, term: int) -> Entry:
    """What the writer writes at `index` in `term`; a few are large."""
    return b"entry %d of term %d " % (index, term) * (2000 if index % 50 == 0 else 5), index, term


def entries_after(transaction: int) -> list[Entry]:
    """The log after transaction number `transaction`."""
    return [entry(index, min(transaction, (index + 1) // 2)) for index in range(1, 2 * transaction + 3)]


def main(directory: str, fsync: str) -> None:
    """Go on from where the last one was killed."""
    journal = Journal(SqliteStore(Path(directory), NODE, fsync, SystemClock()))
    for term in count(journal.getCurrentTerm() + 1):
        first = 2 * term - 1
        if len(journal):
            journal.deleteEntriesFrom(first - 1)
        for index in range(first, first + 4):
            journal.add(*entry(index, term))
        journal.setCurrentTerm(term, NODE)
        journal.commit()
        sys.stdout.write(f"{term}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
