"""What every store keeps, whatever is below it: one suite over SQLite and the simulator's disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cqueue.replication.journal import Entry, Journal, Kept
from tests.replication.media import MEDIA, Medium

_COUNT: Final = st.integers(0, 12)
_STEPS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 4)),
        st.tuples(st.just("delete from"), _COUNT),
        st.tuples(st.just("delete to"), _COUNT),
        st.tuples(st.just("vote"), st.integers(1, 3)),
        st.tuples(st.just("whole"), st.just(0)),
        st.tuples(st.just("start over"), _COUNT),
        st.tuples(st.just("commit"), st.just(0)),
        st.tuples(st.just("crash"), st.just(0)),
    ),
    max_size=40,
)


@pytest.fixture(params=MEDIA)
def medium(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Medium]:
    """Each of the media, empty."""
    made = MEDIA[request.param](tmp_path)
    yield made
    made.close()


def given_entries(first: int, last: int, term: int = 1) -> list[Entry]:
    """Entries that tell which they are."""
    return [(b"entry %d of term %d" % (index, term), index, term) for index in range(first, last + 1)]


def test_an_empty_store_says_that_it_is(medium: Medium) -> None:
    """No term, no vote, no entries: a node that never was."""
    assert medium.open().load() == Kept()


def test_what_was_committed_is_there_after_a_crash(medium: Medium) -> None:
    """Entries in their order with index and term, the vote, the commit index and the mark of a full member."""
    store = medium.open()
    for entry in given_entries(1, 20):
        store.append(entry)
    store.set_vote(3, "10.0.0.2:4000")
    store.set_commit_index(15)
    store.set_whole()
    store.commit()
    medium.crash()

    assert medium.open().load() == Kept(3, "10.0.0.2:4000", 15, True, given_entries(1, 20))


def test_what_was_not_committed_is_gone_after_a_crash(medium: Medium) -> None:
    """All of it: appends, deletions at both ends, the vote."""
    store = medium.open()
    for entry in given_entries(1, 20):
        store.append(entry)
    store.set_vote(1, None)
    store.commit()
    before = store.load()

    store.append(given_entries(21, 21)[0])
    store.delete_from(15)
    store.delete_before(5)
    store.set_vote(2, "10.0.0.2:4000")
    store.set_whole()
    medium.crash()

    assert medium.open().load() == before


def test_changes_of_one_transaction_act_in_their_order(medium: Medium) -> None:
    """A tail replaced, a head dropped and entries added in one go: each change sees the ones before it."""
    store = medium.open()
    for entry in given_entries(1, 10):
        store.append(entry)
    store.commit()

    store.append(given_entries(11, 11)[0])
    store.delete_from(8)
    for entry in given_entries(8, 9, term=2):
        store.append(entry)
    store.delete_before(4)
    store.append(given_entries(10, 10, term=2)[0])
    store.commit()
    medium.crash()

    assert medium.open().load().entries == given_entries(4, 7) + given_entries(8, 10, term=2)


def test_a_log_may_be_emptied_and_begun_elsewhere(medium: Medium) -> None:
    """As after a snapshot from another node: everything goes, and the log goes on far ahead."""
    store = medium.open()
    for entry in given_entries(1, 5):
        store.append(entry)
    store.commit()

    store.delete_from(1)
    for entry in given_entries(500, 503, term=7):
        store.append(entry)
    store.commit()
    medium.crash()

    assert medium.open().load().entries == given_entries(500, 503, term=7)


def test_deleting_what_is_not_there_changes_nothing(medium: Medium) -> None:
    """Beyond either end, and in a store without entries."""
    store = medium.open()
    store.delete_from(1)
    store.delete_before(10)
    store.commit()
    for entry in given_entries(5, 6):
        store.append(entry)
    store.delete_from(7)
    store.delete_before(5)
    store.commit()
    medium.crash()

    assert medium.open().load().entries == given_entries(5, 6)


def test_any_bytes_come_back(medium: Medium) -> None:
    """Empty, binary and large commands, in the same transaction."""
    commands = [b"", b"\0", bytes(range(256)), b"\xff" * 1_000_000, "ü".encode()]
    entries = [(command, index, 1) for index, command in enumerate(commands, 1)]
    store = medium.open()
    for entry in entries:
        store.append(entry)
    store.commit()
    medium.crash()

    assert medium.open().load().entries == entries


def test_a_commit_of_nothing_is_a_commit(medium: Medium) -> None:
    """It does no harm, at any time."""
    store = medium.open()
    store.commit()
    store.append(given_entries(1, 1)[0])
    store.commit()
    store.commit()
    medium.crash()

    assert medium.open().load().entries == given_entries(1, 1)


@pytest.mark.parametrize("name", MEDIA)
@settings(max_examples=50)
@given(steps=_STEPS)
def test_a_journal_finds_again_what_it_committed_last(name: str, steps: list[tuple[str, int]]) -> None:
    """Any sequence of changes and crashes against a plain list: all of a round is kept, or nothing."""
    with tempfile.TemporaryDirectory() as directory:
        medium = MEDIA[name](Path(directory))
        try:
            _Walk(medium).go(steps)
        finally:
            medium.close()


class _Walk:
    """A journal beside a model of it. model: (term, voted for, is whole, entries), now and as committed."""

    def __init__(self, medium: Medium) -> None:
        self._medium = medium
        self._journal = Journal(medium.open())
        self._term = 0
        self._voted_for: str | None = None
        self._is_whole = False
        self._entries: list[Entry] = []
        self._next = 1
        self._committed = self._state()

    def _state(self) -> tuple[int, str | None, bool, list[Entry]]:
        return self._term, self._voted_for, self._is_whole, list(self._entries)

    def go(self, steps: list[tuple[str, int]]) -> None:
        """Take every step, and crash at the end."""
        for name, number in [*steps, ("crash", 0)]:
            getattr(self, "_" + name.replace(" ", "_"))(number)
            assert list(self._journal) == self._entries

    def _add(self, number: int) -> None:
        for entry in given_entries(self._next, self._next + number - 1, self._term):
            self._journal.add(*entry)
            self._entries.append(entry)
        self._next += number

    def _delete_from(self, number: int) -> None:
        self._journal.deleteEntriesFrom(number)
        del self._entries[number:]
        if self._entries:
            self._next = self._entries[-1][1] + 1

    def _delete_to(self, number: int) -> None:
        self._journal.deleteEntriesTo(number)
        if 0 < number < len(self._entries):
            del self._entries[:number]

    def _start_over(self, number: int) -> None:
        index = self._next + number
        self._journal.start_over(index, self._term)
        base = self._journal[0]
        assert base[1:] == (index, self._term)
        self._entries = [base]
        self._next = index + 1

    def _vote(self, number: int) -> None:
        self._term += number
        self._journal.setCurrentTerm(self._term, None)

    def _whole(self, _number: int) -> None:
        self._is_whole = True
        self._journal.set_whole()

    def _commit(self, _number: int) -> None:
        self._journal.commit()
        self._committed = self._state()

    def _crash(self, _number: int) -> None:
        self._medium.crash()
        self._journal = Journal(self._medium.open())
        self._term, self._voted_for, self._is_whole, self._entries = self._committed
        self._entries = list(self._entries)
        self._next = self._entries[-1][1] + 1 if self._entries else 1
        found = self._journal.getCurrentTerm(), self._journal.getVotedForNodeId(), self._journal.is_whole
        assert (*found, list(self._journal)) == self._committed
