"""What becomes of a job by what its handler does."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from cqueue import Cancelled, Context, Dead, Retry, Worker
from cqueue.client.results import Job
from cqueue.testing import LocalQueue
from cqueue.worker.endings import ERROR_CHARS_MAX, FRAMES_MAX
from cqueue.worker.telling import TOLD_BYTES_MAX

BODY_BYTES_MAX = 1024 * 1024
"""What a node takes by default."""


def raises(error: BaseException) -> Callable[[Job, Context], None]:
    """A handler that raises this."""

    def handler(_job: Job, _context: Context) -> None:
        raise error

    return handler


def done(q: LocalQueue, handler: Callable[[Job, Context], Any], **options: Any) -> Job:
    """One job, after its handler has run once."""
    worker = Worker(q.address)
    worker.job("mine")(handler)
    # What comes back is not to run again meanwhile, however slow the machine is.
    added = q.enqueue(1, type="mine", **{"backoff": {"seconds": 3600}, **options})
    worker.run(until_empty=True)
    return q.get(added.id)


@pytest.mark.parametrize("result", [None, 0, "", [], {"a": [1, None, 2**70]}, "\u0000ü"])
def test_what_a_handler_returns_is_the_result(q: LocalQueue, result: Any) -> None:
    """As it is; None is no result."""
    job = done(q, lambda _job, _context: result)
    assert (job.status, job.result, job.attempt) == ("CONCLUDED", result, 1)


def test_an_async_handler_is_awaited(q: LocalQueue) -> None:
    """And has a loop of its own, which is not the worker's."""

    async def handler(job: Job, _context: Context) -> list[Any]:
        await asyncio.sleep(0)
        return [job.payload, threading.current_thread().name]

    assert done(q, handler).result == [1, "cqueue-handlers"]


def test_a_handler_knows_its_job(q: LocalQueue) -> None:
    """The fencing token among it."""
    job = done(q, lambda job, _context: [job.id, job.lease_token, job.attempt, job.payload], tags={"shop": "north"})
    history = q.history(job.id)
    assert job.result == [job.id, history.changes[-1].lease_token, 1, 1]


def test_an_exception_fails_the_attempt_with_where_it_came_from(q: LocalQueue) -> None:
    """The job waits for its backoff; the worker's own lines are not in the summary."""
    job = done(q, raises(KeyError("receipt")))
    assert job.status == "SCHEDULED"
    assert job.errors[0].error is not None
    first, second = job.errors[0].error.splitlines()
    assert first == "KeyError: 'receipt'"
    assert second.startswith(f"  {__file__}:")
    assert second.endswith(" in handler")


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()])
@pytest.mark.parametrize("is_async", [False, True])
def test_nothing_that_a_handler_raises_ends_the_worker(q: LocalQueue, error: BaseException, is_async: bool) -> None:  # noqa: FBT001 - one of pytest's parameters
    """It fails its attempt and nothing else."""

    async def awaited(_job: Job, _context: Context) -> None:
        raise error

    worker = Worker(q.address)
    worker.job("bad")(awaited if is_async else raises(error))
    worker.job("good")(lambda _job, _context: "done")
    bad, good = q.enqueue_many([{"type": "bad", "backoff": {"seconds": 3600}}, {"type": "good"}])
    worker.run(until_empty=True)
    assert q.get(bad.id).errors[0].event == "retry"
    assert q.get(good.id).result == "done"


def test_an_error_is_cut_to_what_a_node_takes(q: LocalQueue) -> None:
    """Messages of any length, stacks of any depth, and text that no text is."""

    def deep(levels: int) -> None:
        if levels:
            deep(levels - 1)
        raise ValueError("\ud800" + "x" * ERROR_CHARS_MAX)

    def shallow(levels: int) -> None:
        if levels:
            shallow(levels - 1)
        raise ValueError("no")

    long = done(q, lambda _job, _context: deep(100)).errors[0].error
    assert long is not None
    assert long.startswith("ValueError: ?xxx")
    assert len(long) == ERROR_CHARS_MAX
    short = done(q, lambda _job, _context: shallow(100)).errors[0].error
    assert short is not None
    assert len(short.splitlines()) == 1 + FRAMES_MAX


def test_retry_says_when(q: LocalQueue) -> None:
    """Now, then, or after its backoff; and with what error."""
    job = done(q, raises(Retry("later", in_seconds=3600)))
    assert job.status == "SCHEDULED"
    assert job.run_at is not None
    assert 3590 < (job.run_at - q.now).total_seconds() <= 3600
    assert job.errors[0].error == "later"
    job = done(q, raises(Retry(in_seconds=0)), max_attempts=3)
    assert [(failed.event, failed.error) for failed in job.errors] == [
        ("retry_now", None),
        ("retry_now", None),
        ("give_up", None),
    ]
    job = done(q, raises(Retry("soon")), backoff={"kind": "fixed", "seconds": 60, "jitter": 0})
    assert job.run_at is not None
    assert 50 < (job.run_at - q.now).total_seconds() <= 60


@pytest.mark.parametrize("in_seconds", [-1, 31_622_401, float("nan"), float("inf")])
def test_retry_refuses_what_a_node_would(in_seconds: float) -> None:
    """At once, where the mistake is."""
    with pytest.raises(ValueError, match="in_seconds"):
        Retry(in_seconds=in_seconds)


def test_dead_ends_it_for_good(q: LocalQueue) -> None:
    """Attempts are left, and not used."""
    job = done(q, raises(Dead("no such address")))
    assert (job.status, job.attempt, job.errors[0].error) == ("DEAD", 1, "no such address")


def test_cancelled_without_a_reason_is_an_error_as_any(q: LocalQueue) -> None:
    """Nobody told it to stop."""
    error = done(q, raises(Cancelled("mine"))).errors[0].error
    assert error is not None
    assert error.startswith("cqueue.worker.endings.Cancelled: mine")


@pytest.mark.parametrize(
    ("result", "error"),
    [
        (object(), "TypeError: Encoding objects of type object is unsupported"),
        ("\ud800", "UnicodeEncodeError: "),
        ("x" * BODY_BYTES_MAX, "the body is larger"),
    ],
)
def test_a_result_that_cannot_be_kept_fails_its_job_alone(q: LocalQueue, result: Any, error: str) -> None:
    """Others that are told of at the same time are not touched by it."""
    worker = Worker(q.address, concurrency=4)
    everyone = threading.Barrier(4)

    @worker.job()
    def handler(job: Job, _context: Context) -> Any:
        everyone.wait(30)
        return result if job.payload == 2 else job.payload

    q.enqueue_many([{"payload": number, "backoff": {"seconds": 3600}} for number in range(4)])
    worker.run(until_empty=True)
    jobs = q.list_jobs().jobs
    assert [job.result for job in jobs if job.status == "CONCLUDED"] == [0, 1, 3]
    (bad,) = (job for job in jobs if job.status != "CONCLUDED")
    assert bad.payload == 2
    assert bad.errors[0].error is not None
    assert bad.errors[0].error.startswith(f"the result was refused: {error}")
    assert bad.status == "DEAD"


def test_a_result_that_is_nested_too_deep_is_found_among_many(q: LocalQueue) -> None:
    """A node refuses the request as a whole; it is said again by halves."""
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]
    worker = Worker(q.address, concurrency=8)
    everyone = threading.Barrier(8)

    @worker.job()
    def handler(job: Job, _context: Context) -> Any:
        everyone.wait(30)
        return deep if job.payload == 5 else job.payload

    q.enqueue_many([{"payload": number, "backoff": {"seconds": 3600}} for number in range(8)])
    worker.run(until_empty=True)
    assert {job.payload for job in q.list_jobs(status="CONCLUDED").jobs} == {0, 1, 2, 3, 4, 6, 7}


def test_results_that_are_too_much_together_go_one_by_one(q: LocalQueue) -> None:
    """Each of them a node takes."""
    worker = Worker(q.address, concurrency=4)
    worker.job()(lambda _job, _context: "x" * (TOLD_BYTES_MAX - 1000))
    q.enqueue_many([{} for _ in range(8)])
    worker.run(until_empty=True)
    assert q.stats().jobs["CONCLUDED"] == 8


def test_a_worker_takes_the_types_that_it_has_handlers_for(q: LocalQueue) -> None:
    """And leaves the others; one without a type takes all others."""
    q.enqueue_many([{"type": "a"}, {"type": "b"}, {"type": "c"}])
    some = Worker(q.address)
    some.job("a", "b")(lambda job, _context: f"some {job.type}")
    some.run(until_empty=True)
    assert [job.result for job in q.list_jobs().jobs] == ["some a", "some b", None]
    every = Worker(q.address)
    every.job("a")(lambda _job, _context: "a")
    every.job()(lambda job, _context: f"other {job.type}")
    q.enqueue(type="a")
    every.run(until_empty=True)
    assert [job.result for job in q.list_jobs().jobs][2:] == ["other c", "a"]


def test_a_worker_takes_from_its_queues_in_their_order_and_by_tags(q: LocalQueue) -> None:
    """As a dequeue does."""
    ran = []
    worker = Worker(q.address, queues=["urgent", "mail"], tags={"shop": "north"}, concurrency=1)
    worker.job()(lambda job, _context: ran.append(job.payload))
    q.enqueue_many(
        [
            {"queue": queue, "payload": payload, "tags": {"shop": shop}}
            for queue, payload, shop in (("mail", 3, "north"), ("urgent", 1, "north"), ("mail", 0, "south"))
        ]
    )
    worker.run(until_empty=True)
    assert ran == [1, 3]


def test_middleware_is_around_every_handler(q: LocalQueue) -> None:
    """The first is the outermost; it sees what was raised, and may raise something else."""
    seen: list[Any] = []
    worker = Worker(q.address, concurrency=1)

    @worker.middleware
    def outer(job: Job, context: Context) -> Iterator[None]:
        seen.append(("begin", job.payload, context.reason))
        try:
            yield
        except Dead as error:
            seen.append(("dead", str(error)))
            raise
        seen.append(("end", job.payload))

    @worker.middleware
    @contextmanager
    def inner(_job: Job, _context: Context) -> Iterator[None]:
        try:
            yield
        except LookupError as error:
            raise Dead(f"not found: {error}") from error

    @worker.job("sync")
    def sync(job: Job, _context: Context) -> None:
        if job.payload == 2:
            raise LookupError("two")

    @worker.job("async")
    async def awaited(_job: Job, _context: Context) -> str:
        return await asyncio.sleep(0, "awaited")

    one, two, three = q.enqueue_many(
        [{"type": "sync", "payload": 1}, {"type": "sync", "payload": 2}, {"type": "async"}]
    )
    worker.run(until_empty=True)
    assert q.get(one.id).status == "CONCLUDED"
    assert q.get(two.id).errors[0].error == "not found: two"
    assert q.get(three.id).result == "awaited"
    assert [event for event in seen if event[1] is not None] == [
        ("begin", 1, None),
        ("end", 1),
        ("begin", 2, None),
        ("dead", "not found: two"),
    ]


def test_what_middleware_swallows_is_no_failure(q: LocalQueue) -> None:
    """It decided so."""
    worker = Worker(q.address)

    @worker.middleware
    def lenient(_job: Job, _context: Context) -> Iterator[None]:
        with suppress(ZeroDivisionError):
            yield

    worker.job()(raises(ZeroDivisionError()))
    added = q.enqueue()
    worker.run(until_empty=True)
    assert (q.get(added.id).status, q.get(added.id).result) == ("CONCLUDED", None)


def test_so_many_run_at_a_time(q: LocalQueue) -> None:
    """As `concurrency` says, of either kind; no more."""
    for is_async in (False, True):
        at_once: list[int] = []
        running: set[int] = set()
        worker = Worker(q.address, concurrency=3)

        def begin(job: Job, running: set[int] = running, at_once: list[int] = at_once) -> None:
            running.add(job.id)
            at_once.append(len(running))

        def sync(job: Job, _context: Context, running: set[int] = running, begin: Any = begin) -> None:
            begin(job)
            threading.Event().wait(0.01)
            running.discard(job.id)

        async def awaited(job: Job, _context: Context, running: set[int] = running, begin: Any = begin) -> None:
            begin(job)
            await asyncio.sleep(0.01)
            running.discard(job.id)

        worker.job()(awaited if is_async else sync)
        q.enqueue_many([{} for _ in range(12)])
        worker.run(until_empty=True)
        assert max(at_once) == 3


def test_many_jobs_take_few_requests(q: LocalQueue) -> None:
    """Far fewer log entries than jobs, where each would be three alone."""
    worker = Worker(q.address, prefetch=1000)
    worker.job()(lambda _job, _context: None)
    q.enqueue_many([{} for _ in range(2_000)])
    before = q.index
    worker.run(until_empty=True)
    assert q.stats().jobs["CONCLUDED"] == 2_000
    assert q.index - before < 400


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"concurrency": 0}, "concurrency: expected 1 to 1,000"),
        ({"processes": 257}, "processes: expected 1 to 256"),
        ({"prefetch": -1}, "prefetch: expected 0 to 10,000"),
        ({"lease_seconds": 86_401}, "lease_seconds: expected 1 to 86,400"),
        ({"grace_s": -1}, "grace_s: expected 0 to 86,400"),
        ({"timeout_s": 0}, "timeout_s: expected more than 0"),
    ],
)
def test_arguments_are_checked_at_once(arguments: dict[str, Any], why: str) -> None:
    """And named."""
    with pytest.raises(ValueError, match=why):
        Worker(**arguments)


def test_a_wrong_address_is_refused_at_once() -> None:
    """Not when it runs."""
    with pytest.raises(ValueError, match="no address"):
        Worker("ftp://queue")


def test_handlers_are_checked_at_once() -> None:
    """One for each type, some for the worker, not too many, and their time is no nonsense."""
    worker = Worker()
    with pytest.raises(ValueError, match="there is no handler"):
        worker.run()
    worker.job("a")(raises(Dead()))
    with pytest.raises(ValueError, match="a: there is a handler already"):
        worker.job("b", "a")(raises(Dead()))
    with pytest.raises(ValueError, match="timeout_s"):
        worker.job(timeout_s=-1)
    with pytest.raises(ValueError, match="more than 64 types"):
        worker.job(*(f"type{number}" for number in range(65)))(raises(Dead()))


@pytest.mark.parametrize(
    ("arguments", "why"),
    [({"percent": 101}, "percent"), ({"percent": True}, "percent"), ({"note": "x" * 1_025}, "note")],
)
def test_progress_refuses_what_a_node_would(q: LocalQueue, arguments: dict[str, Any], why: str) -> None:
    """At once, where the mistake is: others' progress goes in the same request."""
    error = done(q, lambda _job, context: context.progress(**arguments)).errors[0].error
    assert error is not None
    assert error.startswith(f"ValueError: {why}: expected")


def test_importing_the_worker_loads_no_part_of_the_server() -> None:
    """Nor an HTTP library."""
    asked = subprocess.run(
        [sys.executable, "-c", "import cqueue; cqueue.Worker; import sys; print(*sys.modules)"],
        capture_output=True,
        check=True,
        text=True,
    )
    loaded = {name.partition(".")[0] for name in asked.stdout.split()}
    assert loaded & {"flask", "gevent", "gunicorn", "pysyncobj", "cryptography", "click", "aiohttp", "urllib3"} == set()
