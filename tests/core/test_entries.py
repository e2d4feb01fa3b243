"""Log entries as bytes: what goes in comes out, and what cannot be read stops the node."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cqueue.core import entry
from cqueue.core.entry import FORMAT, TICK, UnreadableEntry
from cqueue.core.jobs import Backoff, Unique
from cqueue.core.operations import (
    Cancel,
    Conclude,
    Conclusion,
    Dequeue,
    DropQueue,
    Enqueue,
    Extend,
    Extension,
    Fail,
    FailedAttempt,
    Held,
    Keyed,
    NewJob,
    Operation,
    Options,
    Progress,
    Purge,
    Redrive,
    Release,
    Report,
    SetBounds,
    SetQueue,
    Within,
)
from cqueue.core.queries import Query
from cqueue.core.results import Result
from tests.core.driver import Driver, batch, encode

U64 = st.integers(0, 2**64 - 1)
IDS = st.integers(-(2**63), 2**64 - 1)
TEXTS = st.text(max_size=5)
JSONS = st.binary(max_size=5)
TOKENS = st.none() | IDS
AMOUNTS = st.integers(0, 2**53)
MAYBE = st.none() | AMOUNTS
QUEUES = st.text(min_size=1, max_size=5)
BACKOFFS = st.builds(
    Backoff, st.sampled_from(["fixed", "linear", "exponential"]), AMOUNTS, AMOUNTS, st.integers(0, 100)
)
UNIQUES = st.builds(Unique, TEXTS, st.sampled_from(["queued", "unfinished", "window"]), AMOUNTS)
TAGS = st.none() | st.dictionaries(TEXTS, TEXTS, max_size=2)
OPTIONS = st.builds(Options, MAYBE, *[AMOUNTS] * 5, st.none() | BACKOFFS, st.none() | UNIQUES, TAGS)
NAMES = st.lists(TEXTS, max_size=3).map(tuple)
FLAGS = st.none() | st.booleans()


def some(each: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """A few of them."""
    return st.lists(each, max_size=3)


PER_JOB = st.one_of(
    st.builds(Conclude, some(st.builds(Conclusion, IDS, TOKENS, st.none() | JSONS))),
    st.builds(Fail, some(st.builds(FailedAttempt, IDS, TOKENS, st.none() | TEXTS, st.booleans(), MAYBE))),
    st.builds(Release, some(st.builds(Held, IDS, TOKENS))),
    st.builds(Extend, some(st.builds(Extension, IDS, TOKENS, AMOUNTS))),
    st.builds(Progress, some(st.builds(Report, IDS, TOKENS, MAYBE, st.none() | TEXTS))),
    st.builds(Cancel, some(IDS)),
    st.builds(Redrive, some(IDS)),
    st.builds(Purge, some(IDS)),
)
UNKEYED = st.one_of(
    st.builds(Enqueue, st.lists(st.builds(NewJob, TEXTS, JSONS, QUEUES, st.none() | OPTIONS), min_size=1, max_size=3)),
    st.builds(Dequeue, st.integers(0, 1_000), AMOUNTS, st.none() | TEXTS, NAMES, st.none() | NAMES, TAGS),
    PER_JOB,
    st.builds(Within, NAMES, PER_JOB),
    st.builds(
        SetQueue,
        QUEUES,
        FLAGS,
        FLAGS,
        MAYBE,
        MAYBE,
        st.none() | BACKOFFS,
        st.none() | st.dictionaries(TEXTS, AMOUNTS, max_size=2),
        MAYBE,
        MAYBE,
        MAYBE,
    ),
    st.builds(DropQueue, QUEUES),
)
OPERATIONS = UNKEYED | st.builds(Keyed, TEXTS, JSONS, UNKEYED) | st.builds(SetBounds, AMOUNTS, AMOUNTS)
SAMPLE = entry.stamp(
    batch(
        3,
        Enqueue([NewJob("mail", b'{"to": "ann"}'), NewJob("é", b"null")]),
        Dequeue(2, 60_000, "ann"),
        Conclude([Conclusion(1, 2, b"null")]),
        session=9,
        done_below=2,
    ),
    1_000_000,
)


@given(stamp_ms=U64, session=U64, number=U64, done_below=U64, operations=st.lists(OPERATIONS, max_size=4))
def test_what_is_encoded_and_stamped_is_what_is_decoded(
    stamp_ms: int, session: int, number: int, done_below: int, operations: list[Operation]
) -> None:
    """Over the whole range of the header, for every kind of operation."""
    unstamped = batch(number, *operations, session=session, done_below=done_below)
    assert entry.decode(unstamped) == (0, session, number, done_below, operations)
    stamped = entry.stamp(unstamped, stamp_ms)
    assert entry.decode(stamped) == (stamp_ms, session, number, done_below, operations)
    assert len(stamped) == len(unstamped)


def test_the_last_stamp_counts() -> None:
    """A leader stamps what another stamped before and could not commit."""
    assert entry.stamp(entry.stamp(SAMPLE, 5), 7) == entry.stamp(SAMPLE, 7)


def test_a_tick_is_an_entry_of_no_session_that_asks_for_nothing() -> None:
    """It only brings the time."""
    assert entry.decode(entry.stamp(TICK, 12)) == (12, 0, 0, 0, [])


def test_operations_are_joined_as_they_were_encoded() -> None:
    """A batch is made without decoding one of them."""
    operations = [encode(Dequeue(1, 1_000)), encode(Conclude([Conclusion(1)]))]
    assert entry.encode(1, 1, 1, operations).endswith(b"".join(operations))


@pytest.mark.parametrize("layout", [0, FORMAT + 1, 255])
def test_an_entry_of_another_format_is_unreadable(layout: int) -> None:
    """The sentence says which format it is and which one is read."""
    with pytest.raises(UnreadableEntry, match=f"format {layout}, this version reads {FORMAT}"):
        entry.decode(bytes([layout]) + SAMPLE[1:])


@pytest.mark.parametrize("length", range(len(SAMPLE)))
def test_a_cut_entry_is_unreadable(length: int) -> None:
    """Wherever it was cut."""
    with pytest.raises(UnreadableEntry, match="damaged log entry"):
        entry.decode(SAMPLE[:length])


def test_an_entry_with_something_behind_it_is_unreadable() -> None:
    """Nobody knows what that was meant to be."""
    with pytest.raises(UnreadableEntry, match="damaged log entry"):
        entry.decode(SAMPLE + b"\x00")


def test_an_entry_with_an_unknown_operation_is_unreadable() -> None:
    """A later version wrote it; to skip it would be to disagree with the others."""
    with pytest.raises(UnreadableEntry, match="damaged log entry"):
        entry.decode(entry.encode(1, 1, 1, [encode([99, "of a later version"])]))


def test_an_entry_with_text_that_is_no_text_is_unreadable() -> None:
    """Bytes that are not UTF-8 where a type stands."""
    with pytest.raises(UnreadableEntry, match="damaged log entry"):
        entry.decode(SAMPLE.replace(b"mail", b"ma\xff\xfe"))


@given(at=st.integers(0, len(SAMPLE) - 1), byte=st.integers(0, 255))
def test_a_damaged_entry_is_read_or_refused_and_nothing_else(at: int, byte: int) -> None:
    """No other exception comes out, whichever byte is wrong."""
    damaged = SAMPLE[:at] + bytes([byte]) + SAMPLE[at + 1 :]
    with suppress(UnreadableEntry):
        entry.decode(damaged)


@given(st.binary(max_size=80))
def test_noise_is_read_or_refused_and_nothing_else(noise: bytes) -> None:
    """The same behind a header that is right."""
    for data in (noise, SAMPLE[:33] + noise):
        with suppress(UnreadableEntry):
            entry.decode(data)


def test_an_unreadable_entry_changes_nothing(queue: Driver) -> None:
    """Not even the index or the time: the node stops where it was."""
    queue.enqueue("mail")
    before = queue.machine.snapshot()
    with pytest.raises(UnreadableEntry):
        queue.machine.apply(2, entry.stamp(batch(2), queue.now_ms + 60_000) + b"\x00")
    assert queue.machine.snapshot() == before


def test_a_tag_is_never_given_a_second_meaning() -> None:
    """Old logs and other versions have it: add a line here, change none."""
    assert {each.__name__: each.__struct_config__.tag for each in (*get_args(Operation), *get_args(Query))} == {
        "Enqueue": 1,
        "Dequeue": 2,
        "Conclude": 3,
        "Keyed": 4,
        "Fail": 5,
        "Release": 6,
        "Extend": 7,
        "Progress": 8,
        "Cancel": 9,
        "Redrive": 10,
        "Purge": 11,
        "SetQueue": 12,
        "DropQueue": 13,
        "SetBounds": 14,
        "Within": 15,
        "GetJob": 65,
        "GetStats": 66,
        "ListJobs": 67,
        "GetHistory": 68,
        "Explain": 69,
        "GetQueue": 70,
        "ListQueues": 71,
        "LookWithin": 72,
    }
    tags = [each.__struct_config__.tag for each in get_args(Result)]
    assert tags == list(range(1, len(tags) + 1))
