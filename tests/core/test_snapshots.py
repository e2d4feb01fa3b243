"""Snapshots: the whole state in bytes, and equal logs make equal bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cqueue.core import entry, invariants
from cqueue.core.machine import SNAPSHOT_FORMAT, StateMachine, UnreadableSnapshot
from cqueue.core.operations import Conclude, Conclusion, Dequeue, Enqueue, NewJob, Operation
from tests.core.driver import LEASE_MS, START_MS, Driver, batch, encode

REPLAY = """
import sys
from cqueue.core.machine import StateMachine

machine = StateMachine()
for index, line in enumerate(sys.stdin, start=1):
    machine.apply(index, bytes.fromhex(line))
sys.stdout.write(machine.snapshot().hex())
"""


def given_a_queue_with_a_past() -> Driver:
    """Jobs in every status, leases of several lengths, a session or two, the third job back in the queue."""
    queue = Driver()
    queue.enqueue("mail", "scan", "TIME_CRITICAL", "mail", "mail", "mail", payload='"é"'.encode())
    [third] = queue.dequeue(lease_ms=1_000, consumer="ann")
    queue.pass_time(1_000)
    assert queue.status(third.id) == "QUEUED"
    queue.enqueue("TIME_CRITICAL")
    for _ in range(4):
        queue.dequeue(2, lease_ms=1_000)
        queue.pass_time(1_000)
    queue.apply(batch(1, Dequeue(2, 5_000, "bob"), session=12))
    queue.conclude(7, result=b'{"n": 1}')
    queue.dequeue(2, lease_ms=2_000)
    assert queue.stats() == {"QUEUED": 2, "IN_PROGRESS": 3, "CONCLUDED": 1, "DEAD": 1}
    return queue


SNAPSHOT = given_a_queue_with_a_past().machine.snapshot()


def given_a_long_log() -> list[bytes]:
    """Two hundred entries of every kind, the same each time."""
    log = []
    types = ["TIME_CRITICAL", *(f"type {n}" for n in range(7))]
    for n in range(200):
        operations: list[Operation] = [
            Enqueue([NewJob(types[(n + k) % 8], b'"%d"' % k) for k in range(n % 5)]),
            Dequeue(1 + n % 4, 1_000 * (1 + n % 3), f"consumer {n % 6}"),
            Conclude([Conclusion(n * 7 % (2 * n + 1), n % 3 or None), Conclusion(n)]),
        ]
        data = batch(1 + n // 9, *operations[: 1 + n % 3], session=1 + n % 9, done_below=n // 20)
        log.append(entry.stamp(data, START_MS + 300 * n))
    return log


def test_a_restored_machine_is_the_machine_that_was(limit: Callable[..., None]) -> None:
    """Its snapshot has the same bytes, its parts are sound, and it hands out the same jobs next."""
    limit(SWEEP_JOBS_MAX=1)
    first, second = given_a_queue_with_a_past(), given_a_queue_with_a_past()
    second.machine = StateMachine.restore(first.machine.snapshot())
    assert invariants.check(second.machine) == []
    assert second.machine.snapshot() == first.machine.snapshot()
    for queue in (first, second):
        queue.pass_time(LEASE_MS)
    for _ in range(4):
        assert encode(first.dequeue()) == encode(second.dequeue())
        assert second.machine.snapshot() == first.machine.snapshot()


def test_a_restored_machine_forgets_jobs_in_the_order_they_finished(limit: Callable[..., None]) -> None:
    """Not in the order of their ids."""
    limit(FINISHED_JOBS_MAX=2)
    queue = Driver()
    queue.enqueue("mail", "mail", "mail")
    queue.dequeue(3)
    queue.conclude(2)
    queue.conclude(1)
    queue.machine = StateMachine.restore(queue.machine.snapshot())
    queue.conclude(3)
    assert [queue.status(job_id) for job_id in (1, 2, 3)] == ["CONCLUDED", "gone", "CONCLUDED"]


def test_an_empty_machine_can_be_restored() -> None:
    """A node that has just started may be asked for its snapshot."""
    machine = StateMachine.restore(StateMachine().snapshot())
    assert machine.snapshot() == StateMachine().snapshot()
    assert invariants.check(machine) == []


def test_a_snapshot_says_how_far_in_the_log_it_is() -> None:
    """The index comes back with it."""
    queue = given_a_queue_with_a_past()
    assert StateMachine.restore(queue.machine.snapshot()).applied_index == len(queue.log)


def test_looking_changes_nothing() -> None:
    """Neither a query nor the next due time nor a snapshot leaves a trace."""
    queue = given_a_queue_with_a_past()
    before = queue.machine.snapshot()
    for job_id in range(9):
        queue.get(job_id)
    queue.stats()
    queue.machine.next_due_ms()
    assert queue.machine.snapshot() == before


@pytest.mark.parametrize("as_restored_at", [None, 0, 57, 123])
def test_equal_logs_make_equal_bytes_whatever_the_hash_seed(as_restored_at: int | None) -> None:
    """Another process with another seed for its hashes replays the log to the same snapshot."""
    log = given_a_long_log()
    machine = StateMachine()
    for index, data in enumerate(log, start=1):
        if index - 1 == as_restored_at:
            machine = StateMachine.restore(machine.snapshot())
        machine.apply(index, data)
    seed = "0" if as_restored_at is None else str(1 + as_restored_at)
    replay = subprocess.run(
        [sys.executable, "-c", REPLAY],
        input="\n".join(data.hex() for data in log),
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert replay.stdout == machine.snapshot().hex()


@pytest.mark.parametrize("layout", [0, SNAPSHOT_FORMAT + 1])
def test_a_snapshot_of_another_format_is_unreadable(layout: int) -> None:
    """The sentence says which format it is and which one is read."""
    parts = msgspec.msgpack.decode(SNAPSHOT)
    with pytest.raises(UnreadableSnapshot, match=f"format {layout}, this version reads {SNAPSHOT_FORMAT}"):
        StateMachine.restore(encode([layout, *parts[1:]]))


def test_a_cut_snapshot_is_unreadable() -> None:
    """Wherever it was cut."""
    for length in range(len(SNAPSHOT)):
        with pytest.raises(UnreadableSnapshot, match="damaged snapshot"):
            StateMachine.restore(SNAPSHOT[:length])


def test_a_snapshot_with_an_unknown_status_is_unreadable() -> None:
    """A job that is in no place would be lost in silence."""
    assert b"\xa6QUEUED" in SNAPSHOT
    with pytest.raises(UnreadableSnapshot, match="damaged snapshot"):
        StateMachine.restore(SNAPSHOT.replace(b"\xa6QUEUED", b"\xa6PAUSED"))


def test_a_snapshot_with_text_that_is_no_text_is_unreadable() -> None:
    """Bytes that are not UTF-8 where a type stands."""
    with pytest.raises(UnreadableSnapshot, match="damaged snapshot"):
        StateMachine.restore(SNAPSHOT.replace(b"scan", b"sc\xff\xfe"))


@given(at=st.integers(0, len(SNAPSHOT) - 1), byte=st.integers(0, 255))
def test_a_damaged_snapshot_is_read_or_refused_and_nothing_else(at: int, byte: int) -> None:
    """No other exception comes out, whichever byte is wrong."""
    with suppress(UnreadableSnapshot):
        StateMachine.restore(SNAPSHOT[:at] + bytes([byte]) + SNAPSHOT[at + 1 :])
