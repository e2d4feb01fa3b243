"""What is held is kept, and who does not hold it any more hears of it: extends, cancels, time-outs, lost leases."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cqueue import Cancelled, Context, Worker
from cqueue.client.results import Event, Job
from cqueue.testing import LocalQueue
from tests.worker.running import eventually, running

LEASE_S = 3
"""The shortest that a busy machine keeps."""
PATIENCE_S = 60
LOST_S = 55
"""After that a lease is over, and a wait of 60 s is not."""


def events_of(q: LocalQueue, kind: str, count: int, after: str = "0.0") -> list[Event]:
    """The first so many events of a kind after a place."""
    found = []
    for event in q.events(after=after):
        if event.event == kind:
            found.append(event)
            if len(found) == count:
                return found
    raise AssertionError("events ended")


def test_a_lease_is_kept_for_as_long_as_the_handler_runs(q: LocalQueue) -> None:
    """By one request for all that are due; the attempt is still the first."""
    go = threading.Event()
    worker = Worker(q.address, lease_seconds=LEASE_S, concurrency=10, prefetch=10)
    worker.job()(lambda _job, _context: go.wait(PATIENCE_S))
    q.enqueue_many([{} for _ in range(20)])
    with running(worker):
        extended = events_of(q, "extend", 60)
        go.set()
        eventually(lambda: q.stats().jobs["CONCLUDED"] == 20)
    assert all(event.attempt == 1 for event in extended)
    places = [event.place.partition(".")[0] for event in extended]
    assert len(set(places)) == 3, "those that wait in the worker are held as those that run"


def test_progress_is_told_and_the_last_word_counts(q: LocalQueue) -> None:
    """While the handler runs; it does not wait for it."""
    told = threading.Event()
    worker = Worker(q.address)

    @worker.job()
    def handler(_job: Job, context: Context) -> None:
        context.progress(10, "begun")
        context.progress(note="half \ud800")
        context.progress(percent=50)
        told.wait(PATIENCE_S)

    added = q.enqueue()
    with running(worker):
        eventually(lambda: (progress := q.get(added.id).progress) and progress.percent == 50)
        told.set()
        eventually(lambda: q.get(added.id).is_finished)


@pytest.mark.parametrize("way", ["event", "exception", "swallowed"])
def test_a_cancelled_job_ends_where_its_handler_looks(q: LocalQueue, way: str) -> None:
    """At the event, at the next `check`, or not at all: then what it returns is kept with the cancelled job."""
    begun = threading.Event()
    seen: list[Any] = []
    worker = Worker(q.address, lease_seconds=LEASE_S)

    @worker.job()
    def handler(_job: Job, context: Context) -> str:
        begun.set()
        assert context.cancelled.wait(PATIENCE_S)
        seen.append((context.reason, context.lease_lost))
        if way == "exception":
            context.check()
        elif way == "swallowed":
            with pytest.raises(Cancelled):
                context.progress(1)
        return "result"

    added = q.enqueue()
    with running(worker):
        begun.wait(PATIENCE_S)
        q.cancel(added.id)
        job = eventually(lambda: (job := q.get(added.id)).is_finished and job)
    assert (job.status, job.result) == ("CANCELLED", None if way == "exception" else "result")
    assert job.errors == ()
    assert seen == [("cancelled", False)]


def test_a_cancelled_async_handler_gets_an_exception(q: LocalQueue) -> None:
    """Where it awaits; what it does then is waited for."""
    begun = threading.Event()
    seen: list[str] = []
    worker = Worker(q.address, lease_seconds=LEASE_S)

    @worker.job()
    async def handler(_job: Job, context: Context) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            seen.append(str(context.reason))

    added = q.enqueue()
    with running(worker):
        begun.wait(PATIENCE_S)
        q.cancel(added.id)
        job = eventually(lambda: (job := q.get(added.id)).is_finished and job)
    assert job.status == "CANCELLED"
    assert seen == ["cancelled"]


def test_progress_hears_of_a_cancel_at_once(q: LocalQueue) -> None:
    """Not only when the lease is extended: that is far away here."""
    begun = threading.Event()
    worker = Worker(q.address, lease_seconds=3600)

    @worker.job()
    def handler(_job: Job, context: Context) -> None:
        begun.set()
        while True:
            context.progress(1)
            context.cancelled.wait(0.01)

    added = q.enqueue()
    with running(worker):
        begun.wait(PATIENCE_S)
        q.cancel(added.id)
        eventually(lambda: q.get(added.id).status == "CANCELLED")


def test_a_job_that_was_cancelled_before_it_began_does_not_begin(q: LocalQueue) -> None:
    """It waits in the worker, and is given back."""
    go, ran = threading.Event(), []
    worker = Worker(q.address, lease_seconds=LEASE_S, concurrency=1, prefetch=1)

    @worker.job()
    def handler(job: Job, _context: Context) -> None:
        ran.append(job.id)
        go.wait(PATIENCE_S)

    first, second = q.enqueue_many([{}, {}])
    with running(worker):
        eventually(lambda: q.get(second.id).status == "IN_PROGRESS")
        q.cancel(second.id)
        # The second request that extends both is only sent when the first, which tells of the cancel, is answered.
        events = events_of(q, "extend", 4, f"{q.index}.0")
        go.set()
        eventually(lambda: q.get(second.id).status == "CANCELLED")
    assert ran == [first.id]
    assert {event.id for event in events} == {first.id, second.id}


def given_lost(q: LocalQueue, begun: threading.Event) -> Job:
    """A job whose lease runs out while its handler runs, and that somebody else holds then, who waits for it."""
    added = q.enqueue()
    begun.wait(PATIENCE_S)
    with ThreadPoolExecutor(1) as pool:
        before = q.index
        waiting = pool.submit(q.dequeue, lease_seconds=86_400, wait=60)
        # Every dequeue is in the log, also one that finds nothing.
        eventually(lambda: q.stats() and q.index > before)
        q.advance(LOST_S)
        other = waiting.result(PATIENCE_S)
    assert other is not None
    assert other.id == added.id
    return other


def test_who_lost_the_lease_hears_of_it_and_is_not_heard(q: LocalQueue) -> None:
    """The handler is told, and what it returns is not sent: the other's result is the job's."""
    begun, lost, over = threading.Event(), threading.Event(), threading.Event()
    worker = Worker(q.address, lease_seconds=LEASE_S, concurrency=1, prefetch=0)

    @worker.job()
    def handler(_job: Job, context: Context) -> str:
        begun.set()
        context.cancelled.wait(PATIENCE_S)
        if context.lease_lost:
            lost.set()
        over.wait(PATIENCE_S)
        return "mine"

    with running(worker):
        other = given_lost(q, begun)
        assert lost.wait(PATIENCE_S)
        over.set()
        q.conclude(other, result="theirs")
    job = q.get(other.id)
    assert (job.result, job.attempt) == ("theirs", 2)
    tokens = [change.lease_token for change in q.history(job.id).changes if change.event == "hand_out"]
    assert tokens == sorted(tokens)


def test_an_async_handler_that_lost_the_lease_is_cancelled(q: LocalQueue) -> None:
    """Its room is free for the next job."""
    begun, lost = threading.Event(), threading.Event()
    worker = Worker(q.address, lease_seconds=LEASE_S, concurrency=1, prefetch=0)

    @worker.job()
    async def handler(job: Job, context: Context) -> str:
        if job.payload == "next":
            return "next"
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            if context.lease_lost:
                lost.set()

    with running(worker):
        given_lost(q, begun)
        assert lost.wait(PATIENCE_S)
        added = q.enqueue("next")
        eventually(lambda: q.get(added.id).result == "next")


def test_an_end_that_came_too_late_changes_nothing(q: LocalQueue) -> None:
    """The worker had not heard of it: the queue decides, and the worker goes on."""
    begun, go = threading.Event(), threading.Event()
    worker = Worker(q.address, lease_seconds=LOST_S, concurrency=1, prefetch=0)

    @worker.job()
    def handler(job: Job, _context: Context) -> Any:
        begun.set()
        go.wait(PATIENCE_S)
        return job.payload or "late"

    with running(worker):
        other = given_lost(q, begun)
        go.set()
        after = q.enqueue("after")
        eventually(lambda: q.get(after.id).result == "after")
        q.conclude(other, result="in time")
    assert q.get(other.id).result == "in time"


def test_a_time_out_fails_the_attempt_of_an_async_handler(q: LocalQueue) -> None:
    """It is cancelled; the type's own time is before the worker's."""
    worker = Worker(q.address, timeout_s=3600)
    seen: list[Any] = []

    @worker.job("short", timeout_s=0.05)
    async def short(_job: Job, context: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(context.reason)

    @worker.job("long")
    async def awaited(_job: Job, _context: Context) -> str:
        return await asyncio.sleep(0.1, "in time")

    first, second = q.enqueue_many([{"type": "short", "max_attempts": 1}, {"type": "long"}])
    worker.run(until_empty=True)
    job = q.get(first.id)
    assert (job.status, job.errors[0].error) == ("DEAD", "timed out after 0.05 s")
    assert seen == ["timed_out"]
    assert q.get(second.id).result == "in time"


def test_a_time_out_fails_the_attempt_of_a_thread_that_goes_on(q: LocalQueue) -> None:
    """The job does not wait for it; what it returns in the end is not sent, and its thread is free then."""
    worker = Worker(q.address, timeout_s=0.05, concurrency=1)
    go = threading.Event()
    seen: list[Any] = []

    @worker.job()
    def handler(job: Job, context: Context) -> str:
        if job.payload == "next":
            return "next"
        seen.append(context.cancelled.wait(PATIENCE_S))
        go.wait(PATIENCE_S)
        return "too late"

    added = q.enqueue(max_attempts=1)
    with running(worker):
        eventually(lambda: q.get(added.id).status == "DEAD")
        after = q.enqueue("next")
        go.set()
        eventually(lambda: q.get(after.id).result == "next")
    assert q.get(added.id).result is None
    assert seen == [True]


def test_an_async_handler_that_blocks_loses_no_lease(q: LocalQueue) -> None:
    """Leases are kept by another loop."""
    worker = Worker(q.address, lease_seconds=1)

    @worker.job()
    async def handler(_job: Job, _context: Context) -> None:
        events_of(q, "extend", 1)

    added = q.enqueue()
    with running(worker):
        eventually(lambda: q.get(added.id).is_finished)
    assert q.get(added.id).status == "CONCLUDED"


def test_a_lone_job_waits_for_nobody(q: LocalQueue) -> None:
    """One that is done is told of at once, while others run."""
    go = threading.Event()
    worker = Worker(q.address, concurrency=2, lease_seconds=86_400)

    @worker.job()
    def handler(job: Job, _context: Context) -> None:
        if job.payload == "long":
            go.wait(PATIENCE_S)

    _, short = q.enqueue_many([{"payload": "long"}, {"payload": "short"}])
    with running(worker):
        eventually(lambda: q.get(short.id).status == "CONCLUDED")
        go.set()
