"""What a worker leaves behind when it is told to stop, when it is told twice, and when nobody asks it."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import pytest

from cqueue import Context, Refused, Worker
from cqueue.client.results import Job
from cqueue.testing import LocalQueue
from tests.cluster.fixtures import StartCommand
from tests.cluster.harness import Command
from tests.worker.running import eventually, running


def start(start_command: StartCommand, name: str, q: LocalQueue) -> Command:
    """One of `tests.worker.programs`."""
    return start_command([sys.executable, "-m", "tests.worker.programs", name, q.address])


def history_of(q: LocalQueue, job_id: int) -> list[str]:
    """What happened to a job."""
    return [change.event for change in q.history(job_id).changes]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_what_runs_come_to_its_end(
    q: LocalQueue, start_command: StartCommand, tmp_path: Path, number: signal.Signals
) -> None:
    """What has not begun is given back at once, at no cost of an attempt; what runs is finished, and then it ends."""
    go = tmp_path / "go"
    jobs = q.enqueue_many([{"type": "finishes", "payload": str(go)} for _ in range(5)])
    worker = start(start_command, "obedient", q)
    eventually(lambda: worker.log.count("begun") == 2)
    eventually(lambda: q.stats().jobs["IN_PROGRESS"] == 4)
    worker.send_signal(number)
    eventually(lambda: q.stats().jobs["IN_PROGRESS"] == 2)
    go.touch()
    assert worker.wait() == 0
    assert [q.get(job.id).result for job in jobs] == ["finished", "finished", None, None, None]
    assert [q.get(job.id).attempt for job in jobs] == [1, 1, 0, 0, 0]
    assert history_of(q, jobs[2].id) == ["enqueue", "hand_out", "release"]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_after_the_grace_period_handlers_are_told_to_stop(
    q: LocalQueue, start_command: StartCommand, kind: str
) -> None:
    """Their jobs are given back."""
    added = q.enqueue(type=kind)
    worker = start(start_command, "stubborn", q)
    eventually(lambda: "begun" in worker.log)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert "told stopping" in worker.log
    assert history_of(q, added.id)[-1] == ("release" if kind == "async" else "conclude")


def test_a_thread_that_does_not_listen_is_left_behind(q: LocalQueue, start_command: StartCommand) -> None:
    """Its job is given back, and the process ends."""
    added = q.enqueue(type="deaf")
    worker = start(start_command, "stubborn", q)
    eventually(lambda: "begun" in worker.log)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert history_of(q, added.id) == ["enqueue", "hand_out", "release"]


def test_a_second_signal_ends_it_at_once(q: LocalQueue, start_command: StartCommand) -> None:
    """The job comes back when its lease ends."""
    added = q.enqueue(type="deaf")
    worker = start(start_command, "stubborn", q)
    eventually(lambda: "begun" in worker.log)
    worker.send_signal(signal.SIGTERM)
    worker.send_signal(signal.SIGINT)
    assert worker.wait() in {128 + signal.SIGINT, 128 + signal.SIGTERM}
    assert q.get(added.id).status == "IN_PROGRESS"


def test_stop_may_be_said_before_it_runs_and_from_any_thread(q: LocalQueue) -> None:
    """Then it begins nothing."""
    worker = Worker(q.address)
    worker.job()(lambda _job, _context: None)
    added = q.enqueue()
    worker.stop()
    worker.run()
    assert q.get(added.id).status == "QUEUED"
    worker.run(until_empty=True)
    assert q.get(added.id).status == "CONCLUDED"


def test_nothing_is_left_of_a_worker(q: LocalQueue) -> None:
    """No thread."""
    before = set(threading.enumerate())
    worker = Worker(q.address)

    @worker.job("sync")
    def sync(_job: Job, _context: Context) -> None:
        pass

    @worker.job("async")
    async def awaited(_job: Job, _context: Context) -> None:
        pass

    q.enqueue_many([{"type": "sync"}, {"type": "async"}])
    with running(worker):
        eventually(lambda: q.stats().jobs["CONCLUDED"] == 2)
    eventually(lambda: {thread.name for thread in set(threading.enumerate()) - before} <= {"asyncio_0"})


def test_a_node_that_refuses_ends_it(q: LocalQueue) -> None:
    """With the error: it would refuse for ever."""
    worker = Worker(q.address, queues=["/"])
    worker.job()(lambda _job, _context: None)
    with pytest.raises(Refused, match="/queues"):
        worker.run()


# -- several processes -----------------------------------------------------------------------------


def test_processes_share_the_work_and_are_started_again(q: LocalQueue, start_command: StartCommand) -> None:
    """One that is killed in the middle of a job is replaced; the job comes back when its lease ends."""
    worker = start(start_command, "several", q)
    crashed = q.enqueue(type="crash")
    eventually(lambda: q.get(crashed.id).result == "survived")
    eventually(lambda: len(worker.processes()) == 3)
    pids = set()

    def both() -> bool:
        added = q.enqueue(type="who")
        pids.add(q.wait(added.id, 30).result)
        return len(pids) == 2

    eventually(both)
    assert pids == {process.pid for process in worker.processes()} - {worker.pid}
    worker.send_signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert not worker.processes()


def test_processes_die_with_the_one_that_started_them(q: LocalQueue, start_command: StartCommand) -> None:
    """However it dies."""
    worker = start(start_command, "several", q)
    eventually(lambda: len(worker.processes()) == 3)
    worker.kill()


def test_a_second_signal_ends_all_processes_at_once(q: LocalQueue, start_command: StartCommand) -> None:
    """Also those that would not listen; Ctrl-C, which reaches all of them, counts once."""
    q.enqueue_many([{"type": "deaf"}, {"type": "deaf"}])
    worker = start(start_command, "several", q)
    eventually(lambda: worker.log.count("begun") == 2)
    worker.send_signal_to_group(signal.SIGINT)
    eventually(lambda: "worker_processes_stopping" in worker.log)
    assert len(worker.processes()) == 3
    worker.send_signal(signal.SIGINT)
    assert worker.wait() == 128 + signal.SIGINT
    worker.wait_gone()


def test_a_process_that_ends_with_an_error_ends_all(q: LocalQueue, start_command: StartCommand) -> None:
    """It would again."""
    worker = start(start_command, "refused", q)
    assert worker.wait() == 1
    assert "/queues" in worker.log
    assert not worker.processes()
