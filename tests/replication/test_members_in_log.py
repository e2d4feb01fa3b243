"""The configuration a journal holds: the newest entry's, whatever is cut off or dropped, also after a restart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from cqueue.core.entry import UnreadableEntry
from cqueue.replication import membership
from cqueue.replication.journal import Journal
from cqueue.replication.membership import MEMBERS, Configuration
from tests.replication.media import MEDIA, Medium

FIRST: Final = Configuration.of(1, ["a:1", "b:1", "c:1"])
SECOND: Final = FIRST.adding("d:1", 9)
FORCED: Final = Configuration.of(3, ["a:1"])


@pytest.fixture(params=MEDIA)
def medium(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Medium]:
    """Each of the media, empty."""
    made = MEDIA[request.param](tmp_path)
    yield made
    made.close()


def given_journal(medium: Medium) -> Journal:
    """Entries 1 to 20 of term 1, with a configuration at 3 and another at 12."""
    journal = Journal(medium.open())
    held = {3: FIRST, 12: SECOND}
    for index in range(1, 21):
        command = MEMBERS + membership.encode(held[index]) if index in held else b"\x00 something"
        journal.add(command, index, 1)
    return journal


def reopened(medium: Medium, journal: Journal) -> Journal:
    """The same log after a commit and a crash."""
    journal.commit()
    medium.crash()
    return Journal(medium.open())


def test_the_newest_configuration_in_the_log_is_in_effect(medium: Medium) -> None:
    """As soon as it is there (Raft 4.1), and as of an index the newest up to it."""
    journal = given_journal(medium)
    for held in (journal, reopened(medium, journal)):
        assert (held.configuration, held.configuration_index) == (SECOND, 12)
        assert [held.configuration_at(index) for index in (2, 3, 11, 12, 99)] == [None, FIRST, FIRST, SECOND, SECOND]


def test_a_configuration_that_is_cut_off_was_never_there(medium: Medium) -> None:
    """The one before it is in effect again."""
    journal = given_journal(medium)
    journal.deleteEntriesFrom(11)
    for held in (journal, reopened(medium, journal)):
        assert (held.configuration, held.configuration_index) == (FIRST, 3)


def test_a_configuration_outlives_the_entry_it_came_in(medium: Medium) -> None:
    """What is in a snapshot is dropped from the log; who the members are is not."""
    journal = given_journal(medium)
    journal.deleteEntriesTo(8)
    assert journal.configuration_at(9) == FIRST
    journal.deleteEntriesTo(10)
    journal = reopened(medium, journal)
    assert (journal[0][1], journal.configuration) == (19, SECOND)
    journal.deleteEntriesFrom(1)
    assert reopened(medium, journal).configuration == SECOND


def test_a_log_that_starts_over_takes_the_members_of_the_snapshot(medium: Medium) -> None:
    """What the replaced log said of them is gone with it; where the log goes on, so does what it says."""
    journal = given_journal(medium)
    journal.start_over(10, 1, FIRST)
    journal = reopened(medium, journal)
    assert journal.configuration == SECOND
    journal.start_over(500, 2, FORCED)
    journal = reopened(medium, journal)
    assert (journal.configuration, journal.configuration_index) == (FORCED, 500)


def test_a_forced_configuration_counts_more_than_what_the_log_says_up_to_there(medium: Medium) -> None:
    """It stays when the log's end, which others do not have, is cut off; a later entry takes its place."""
    journal = given_journal(medium)
    journal.set_configuration(20, FORCED)
    journal = reopened(medium, journal)
    assert journal.configuration == FORCED
    journal.deleteEntriesFrom(15)
    assert journal.configuration == FORCED
    for index in range(16, 22):
        journal.add(b"\x00", index, 2)
    newer = Configuration.of(4, ["a:1", "e:1"])
    journal.add(MEMBERS + membership.encode(newer), 22, 2)
    assert reopened(medium, journal).configuration == newer


def test_a_memory_has_one_number_for_as_long_as_it_lasts(medium: Medium) -> None:
    """The first it was given, whatever later starts bring along."""
    journal = Journal(medium.open())
    assert journal.life(77) == 77
    assert reopened(medium, journal).life(78) == 77


def test_an_unreadable_configuration_is_not_skipped(medium: Medium) -> None:
    """A node that does not know who the members are must not go on."""
    journal = given_journal(medium)
    with pytest.raises(UnreadableEntry):
        journal.add(MEMBERS + b"\x80\x04", 21, 1)
