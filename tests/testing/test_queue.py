"""`cqueue.testing.queue`: a whole node in this process, and a clock to move."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from cqueue import AsyncClient, Client, testing
from cqueue.errors import Refused, Unavailable
from cqueue.testing import LocalQueue
from tests.support import eventually

WEEK_S = 7 * 86_400


@pytest.fixture
def q() -> Iterator[LocalQueue]:
    """An empty queue."""
    with testing.queue() as local:
        yield local


def test_a_delayed_job_is_there_once_time_has_moved(q: LocalQueue) -> None:
    """Nobody sleeps."""
    q.enqueue("later", delay_seconds=3600)
    q.advance(3599)
    assert q.dequeue() is None
    q.advance(1)
    job = q.dequeue()
    assert job is not None
    assert job.payload == "later"


def test_what_is_due_has_happened_when_time_was_moved(q: LocalQueue) -> None:
    """Also to those who only look: leases run out, jobs expire, finished ones are forgotten."""
    q.enqueue_many([{"max_attempts": 1}, {"expires_in_seconds": 60}, {"max_attempts": 2}])
    first, second, third = q.dequeue_many(3)
    q.release(second)
    q.advance(300)
    assert [q.get(job, consistency="stale").status for job in (first, second, third)] == ["DEAD", "EXPIRED", "QUEUED"]
    q.advance(WEEK_S)
    with pytest.raises(Refused) as caught:
        q.get(first)
    assert caught.value.code == "gone"


def test_time_is_the_queues(q: LocalQueue) -> None:
    """It moves by as much as it is told, and never back."""
    before = q.now
    q.advance(WEEK_S)
    assert timedelta(seconds=WEEK_S) <= q.now - before < timedelta(seconds=WEEK_S + 600)
    assert abs(q.get(q.enqueue().id).created_at - q.now) < timedelta(seconds=600)
    with pytest.raises(ValueError, match="seconds"):
        q.advance(-1)


def test_a_consumer_that_waits_gets_a_job_that_becomes_due(q: LocalQueue) -> None:
    """Waiting is real, only time is not."""
    q.enqueue("later", delay_seconds=30)
    with ThreadPoolExecutor(1) as pool:
        before = q.index
        waiting = pool.submit(q.dequeue, wait=60)
        eventually(lambda: q.stats() and q.index > before)
        q.advance(30)
        job = waiting.result(timeout=30)
    assert job is not None


def test_any_client_may_call_it(q: LocalQueue) -> None:
    """By its address, as a node's."""

    async def awaited() -> None:
        async with AsyncClient(q.address) as client:
            await client.enqueue("awaited")

    asyncio.run(awaited())
    with Client(q.address) as client, client.stream(credit=5) as stream, closing(client.events(after="0.0")) as events:
        stream.enqueue("pushed")
        jobs = [next(stream), next(stream)]
        assert [job.payload for job in jobs] == ["awaited", "pushed"]
        assert [one.status for one in stream.conclude_many(jobs)] == ["CONCLUDED"] * 2
        assert [next(events).event for _ in range(2)] == ["enqueue", "hand_out"]


def test_queues_have_nothing_of_each_other(q: LocalQueue) -> None:
    """Neither jobs nor time."""
    with testing.queue() as other:
        q.enqueue("mine", delay_seconds=60)
        other.advance(WEEK_S)
        assert other.stats().total == 0
        assert q.dequeue() is None
    q.advance(60)
    assert q.dequeue() is not None


def test_nothing_is_left_of_a_queue() -> None:
    """No thread, and nobody at its address."""
    before = set(threading.enumerate())
    with testing.queue() as q:
        q.enqueue()
        address = q.address
    assert set(threading.enumerate()) - before == set()
    with Client(address, timeout_s=0.01) as client, pytest.raises(Unavailable):
        client.enqueue()


def test_the_fixture_gives_each_test_an_empty_queue(tmp_path: Path) -> None:
    """In a pytest that knows nothing of this project but the plugin."""
    (tmp_path / "test_mine.py").write_text(
        "def test_one(cqueue_queue):\n"
        "    assert cqueue_queue.enqueue().id == 1\n"
        "def test_two(cqueue_queue):\n"
        "    assert cqueue_queue.enqueue().id == 1\n"
    )
    ran = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-m",
            "pytest",
            "-q",
            "-p",
            "cqueue.pytest_plugin",
            "-p",
            "no:cacheprovider",
            str(tmp_path),
        ],
        capture_output=True,
        check=False,
        text=True,
        cwd=tmp_path,
    )
    assert "2 passed" in ran.stdout, ran.stdout + ran.stderr


def test_the_plugin_loads_the_server_only_for_who_wants_it() -> None:
    """It is loaded by every pytest where cqueue is installed."""
    asked = subprocess.run(
        [sys.executable, "-c", "import cqueue.pytest_plugin, sys; print(*sys.modules)"],
        capture_output=True,
        check=True,
        text=True,
    )
    assert {name for name in asked.stdout.split() if name in {"flask", "gevent", "gunicorn", "pysyncobj"}} == set()
