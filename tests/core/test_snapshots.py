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
from cqueue.core.jobs import STATUSES, Unique
from cqueue.core.machine import SNAPSHOT_FORMAT, StateMachine, UnreadableSnapshot
from cqueue.core.operations import (
    Cancel,
    Conclude,
    Conclusion,
    Dequeue,
    Enqueue,
    Fail,
    FailedAttempt,
    Keyed,
    NewJob,
    Operation,
    Options,
    Purge,
    SetBounds,
    SetQueue,
)
from cqueue.core.queries import Explain, GetHistory, GetJob, GetQueue, GetStats, ListJobs, ListQueues
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
    """Jobs in every status, with everything jobs can have; two queues, sessions and keys."""
    queue = Driver()
    queue.enqueue("mail", "scan", "TIME_CRITICAL", "mail", "mail", "mail", payload='"é"'.encode())
    [third] = queue.dequeue(lease_ms=1_000, consumer="ann")
    queue.pass_time(1_000)
    assert queue.status(third.id) == "QUEUED"
    queue.set_queue("a", paused=True, priorities={"mail": 3}, retention_jobs=5)
    queue.enqueue("mail", "mail", queue="a", tags={"to": "ann"}, unique=Unique("k"), max_attempts=2)
    queue.enqueue("mail", queue="a", unique=Unique("l", "window", 9_000), expires_in_ms=50_000, delay_ms=7_000)
    queue.enqueue("mail", expires_in_ms=1)
    queue.pass_time(1)
    queue.dequeue(3, lease_ms=5_000, consumer="bob")
    queue.fail(1, error="no", retryable=False)
    queue.fail(2, error="later", retry_in_ms=30_000)
    queue.progress(3, percent=5, note="half")
    queue.dequeue(2, lease_ms=2_000)
    queue.conclude(4, result=b'{"n": 1}')
    queue.cancel(5)
    queue.cancel(queue.enqueue("mail", queue="a")[0])
    queue.apply(batch(1, Dequeue(1, 5_000, "bob"), session=12))
    queue.perform(Keyed("key", b"fingerprint", Dequeue(1, 5_000, "cid", ("a",))), SetBounds(1_000, 1_000_000))
    counts = {status: n for queue_ in ("default", "a") for status, n in queue.stats(queue_).items()}
    assert counts.keys() == set(STATUSES)
    return queue


SNAPSHOT = given_a_queue_with_a_past().machine.snapshot()


OPTIONS = [
    None,
    Options(delay_ms=2_000, tags={"to": "ann", "tier": "1"}),
    Options(expires_in_ms=1_500, unique=Unique("k", "window", 4_000)),
    Options(unique=Unique("l", "queued"), tags={"tier": "1"}, priority=3),
]


def given_a_long_log() -> list[bytes]:
    """Two hundred entries of every kind, the same each time."""
    log = []
    types = ["TIME_CRITICAL", *(f"type {n}" for n in range(7))]
    for n in range(200):
        operations: list[Operation] = [
            Enqueue(
                [NewJob(types[(n + k) % 8], b'"%d"' % k, f"queue {n % 3}", OPTIONS[n % 4]) for k in range(1 + n % 4)]
            ),
            Dequeue(1 + n % 4, 1_000 * (1 + n % 3), f"consumer {n % 6}", tuple(f"queue {k}" for k in range(1 + n % 3))),
            Conclude([Conclusion(n * 7 % (2 * n + 1), n % 3 or None), Conclusion(n)]),
            Fail([FailedAttempt(k, None, f"error {n}") for k in range(n, n + 9)]),
            Cancel([n * 3 % (2 * n + 1)]),
            Purge([n * 5 % (2 * n + 1)]),
            SetQueue(f"queue {n % 4}", max_attempts=1 + n % 3, priorities={types[n % 8]: n}, retention_jobs=1 + n % 9),
            Keyed(f"key {n % 50}", b"", Enqueue([NewJob("mail", b"1", f"queue {n % 5}")])),
        ]
        data = batch(1 + n // 9, *operations[: 1 + n % 8], session=1 + n % 9, done_below=n // 20)
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
        queue.set_queue("a", paused=False)
    for _ in range(4):
        assert encode(first.dequeue(queues=("a", "default"))) == encode(second.dequeue(queues=("a", "default")))
        assert second.machine.snapshot() == first.machine.snapshot()


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
    for query in (GetStats(), ListJobs(), ListJobs(tags={"to": "ann"}), ListQueues(), GetQueue("a")):
        queue.machine.query(query)
    for job_id in range(12):
        for query in (GetJob(job_id), GetHistory(job_id), Explain(job_id)):
            queue.machine.query(query)
    queue.machine.available(Dequeue(1, tags={"to": "ann"}), 5)
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


def test_a_snapshot_with_a_job_of_no_queue_is_unreadable() -> None:
    """Nobody knows what it is to be taken for."""
    name = encode("default")
    assert SNAPSHOT.count(name) > 2
    with pytest.raises(UnreadableSnapshot, match="of a queue it does not hold"):
        StateMachine.restore(SNAPSHOT.replace(name, encode("defaulT"), 1))
