"""The log of a node as PySyncObj sees it, and as its own code does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cqueue.replication.journal import Journal, MemoryStore
from tests.replication.media import SqliteMedium


@pytest.fixture
def medium(tmp_path: Path) -> Iterator[SqliteMedium]:
    """An empty directory."""
    made = SqliteMedium(tmp_path, "never")
    yield made
    made.close()


def given_journal(first: int, last: int, term: int = 1) -> Journal:
    """A log in memory with these indexes; each command is ten bytes."""
    journal = Journal(MemoryStore())
    for index in range(first, last + 1):
        journal.add(b"%010d" % index, index, term)
    return journal


def test_positions_count_from_the_first_entry_held_and_indexes_from_one() -> None:
    """After the head was dropped, position 0 is a later index."""
    journal = given_journal(1, 10)

    journal.deleteEntriesTo(4)

    assert len(journal) == 6
    assert journal[0] == (b"0000000005", 5, 1)
    assert [entry[1] for entry in journal[1:3]] == [6, 7]
    assert journal.entry_at(5) == journal[0]
    assert journal.entry_at(10) == journal[-1]
    assert journal.entry_at(4) is None
    assert journal.entry_at(11) is None


def test_the_last_entry_is_never_dropped_from_the_head() -> None:
    """PySyncObj takes it for granted that there is one."""
    journal = given_journal(1, 3)

    journal.deleteEntriesTo(3)
    assert len(journal) == 3
    journal.deleteEntriesTo(2)

    assert [entry[1] for entry in journal] == [3]


def test_a_slice_is_bounded_by_bytes_but_never_empty() -> None:
    """An entry larger than the bound goes alone; beyond the end there is nothing."""
    journal = given_journal(5, 14)

    assert [entry[1] for entry in journal.slice(6, 30)] == [6, 7, 8]
    assert [entry[1] for entry in journal.slice(6, 29)] == [6, 7]
    assert [entry[1] for entry in journal.slice(14, 1)] == [14]
    assert [entry[1] for entry in journal.slice(5, 10_000)] == list(range(5, 15))
    assert journal.slice(15, 100) == []


def test_bytes_between_two_indexes_are_those_of_the_commands_behind_the_first() -> None:
    """What lies outside of what is held counts nothing."""
    journal = given_journal(5, 14)

    assert journal.bytes_between(5, 8) == 30
    assert journal.bytes_between(0, 8) == 30
    assert journal.bytes_between(8, 100) == 60
    assert journal.bytes_between(8, 8) == 0
    journal.deleteEntriesTo(2)
    assert journal.bytes_between(8, 100) == 60


def test_starting_over_keeps_what_follows_from_the_snapshot() -> None:
    """The entry at the snapshot's index has its term: that one becomes the base, and the rest stays."""
    journal = given_journal(1, 10, term=2)

    journal.start_over(6, 2)

    assert [entry[1:] for entry in journal] == [(index, 2) for index in range(6, 11)]


@pytest.mark.parametrize(("index", "term"), [(6, 3), (11, 2), (500, 9)])
def test_starting_over_drops_what_does_not_follow_from_the_snapshot(index: int, term: int) -> None:
    """Another term at that index, or nothing held there: the log begins anew behind the snapshot."""
    journal = given_journal(1, 10, term=2)

    journal.start_over(index, term)

    assert [entry[1:] for entry in journal] == [(index, term)]


def test_a_log_without_entries_starts_over_too() -> None:
    """A node that never had any gets its first from a snapshot."""
    journal = Journal(MemoryStore())

    journal.start_over(7, 1)

    assert [entry[1:] for entry in journal] == [(7, 1)]


def test_the_commit_index_is_never_past_the_last_entry(medium: SqliteMedium) -> None:
    """It is kept with the transaction of other changes; where the tail is cut it goes no further."""
    journal = Journal(medium.open())
    for index in range(1, 11):
        journal.add(b"x", index, 1)
    journal.setRaftCommitIndex(9)
    journal.commit()
    journal.deleteEntriesFrom(5)
    journal.commit()
    medium.crash()

    assert Journal(medium.open()).getRaftCommitIndex() == 5


def test_a_commit_index_alone_costs_no_transaction(medium: SqliteMedium) -> None:
    """An idle cluster's heartbeats write nothing; the index is kept with the next change."""
    journal = Journal(medium.open())
    for index in range(1, 11):
        journal.add(b"x", index, 1)
    journal.commit()
    written = _sizes(medium.directory)

    journal.setRaftCommitIndex(9)
    journal.commit()

    assert _sizes(medium.directory) == written
    journal.add(b"x", 11, 1)
    journal.commit()
    medium.crash()
    assert Journal(medium.open()).getRaftCommitIndex() == 9


def test_a_journal_knows_whether_it_ever_held_anything(medium: SqliteMedium) -> None:
    """A node with an emptied data directory lost its memory, and must know it."""
    assert Journal(medium.open()).was_empty
    medium.crash()

    journal = Journal(medium.open())
    assert journal.was_empty
    journal.setCurrentTerm(1, "10.0.0.1:4000")
    journal.commit()
    medium.crash()

    found = Journal(medium.open())
    assert not found.was_empty
    assert (found.getCurrentTerm(), found.getVotedForNodeId()) == (1, "10.0.0.1:4000")


def test_without_a_data_directory_nothing_is_kept() -> None:
    """The log is read from memory all the same."""
    journal = given_journal(1, 3)
    journal.setCurrentTerm(2, "10.0.0.1:4000")
    journal.setRaftCommitIndex(3)
    journal.set_whole()
    journal.commit()

    assert len(journal) == 3
    assert (journal.getCurrentTerm(), journal.getRaftCommitIndex(), journal.is_whole) == (2, 3, True)
    assert Journal(MemoryStore()).was_empty


def _sizes(directory: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in directory.iterdir()}
