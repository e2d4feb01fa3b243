"""The processes of a node: who may die, who is replaced, and that nobody is left behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.cluster.client import InFlight, NoAnswer
from tests.cluster.fixtures import StartNode
from tests.support import eventually

pytestmark = pytest.mark.cluster


def test_all_processes_of_a_node_are_in_its_process_group(start_node: StartNode) -> None:
    """Supervisor, replica, web master and two workers: whoever signals the group reaches all."""
    node = start_node(workers=2)
    eventually(lambda: len(node.worker_pids) == 2)

    processes = node.processes()

    assert {process.pid for process in processes} == {node.pid, node.replica_pid, node.web_pid, *node.worker_pids}
    assert {process.group for process in processes} == {node.pid}


def test_a_killed_supervisor_leaves_nobody_behind(start_node: StartNode) -> None:
    """Kill -9 of the supervisor with a request under way: every process of the node dies of it."""
    node = start_node(workers=2)
    waiting = node.send_waiting({"wait": 60})
    eventually(lambda: len(node.worker_pids) == 2)

    node.kill()

    assert node.processes() == []
    assert _promises_nothing(waiting)


def test_a_killed_supervisor_that_stood_still_leaves_nobody_behind(start_node: StartNode) -> None:
    """The same for a node of which every process is stopped: SIGKILL reaches those too."""
    node = start_node()

    node.pause()
    node.kill()

    assert node.processes() == []


def test_a_killed_node_leaves_no_file_behind(start_node: StartNode, tmp_path: Path) -> None:
    """Nothing in the directory for temporary files, whose name may be longer than a unix socket's may be."""
    temporary = tmp_path / ("long" * 30)
    temporary.mkdir()
    node = start_node(workers=2, variables={"TMPDIR": str(temporary)})
    assert node.call("PUT", "/jobs/enqueue").status == 201

    node.kill()

    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("who", ["replica", "web"])
def test_a_replica_or_web_master_that_dies_takes_the_node_down(start_node: StartNode, who: str) -> None:
    """A node without one of its two parts is no node: it ends by itself, with an exit code that says so."""
    node = start_node()

    os.kill(node.replica_pid if who == "replica" else node.web_pid, signal.SIGKILL)

    assert node.wait() == 1
    node.wait_gone()
    assert f"node_failed process={who}" in node.log
    assert "Traceback" not in node.log


def test_a_web_worker_that_dies_is_replaced_and_the_queue_knows_every_job(start_node: StartNode) -> None:
    """Kill -9 of the only web worker: another one takes over, with all jobs, leases and conclusions."""
    node = start_node(workers=1)
    ids = node.call("PUT", "/jobs/enqueue", [{"payload": number} for number in range(50)]).body["ids"]
    held = node.call("POST", "/jobs/dequeue").body
    node.call("POST", "/jobs/dequeue")
    node.call("POST", "/jobs/2/conclude")
    before = [node.call("GET", f"/jobs/{job_id}").data for job_id in ids]
    (worker,) = node.worker_pids

    os.kill(worker, signal.SIGKILL)

    eventually(lambda: worker not in (pids := node.worker_pids) and len(pids) == 1)
    assert [node.call("GET", f"/jobs/{job_id}").data for job_id in ids] == before
    assert node.call("POST", "/jobs/1/conclude", {"lease_token": held["lease_token"]}).status == 200
    assert node.call("PUT", "/jobs/enqueue").body == {"id": 51}


def test_a_worker_that_dies_takes_no_job_for_the_consumers_that_waited_on_it(start_node: StartNode) -> None:
    """A dequeue that waited on a killed worker gets none: the next job is there for another consumer."""
    node = start_node(workers=1)
    waiting = node.send_waiting({"wait": 60})
    (worker,) = node.worker_pids

    os.kill(worker, signal.SIGKILL)
    with pytest.raises(NoAnswer):
        waiting.answer()
    eventually(lambda: worker not in (pids := node.worker_pids) and len(pids) == 1)

    job_id = node.call("PUT", "/jobs/enqueue").body["id"]
    handed = node.call("POST", "/jobs/dequeue")
    assert (handed.status, handed.body["id"], handed.body["attempt"]) == (200, job_id, 1)


def _promises_nothing(request: InFlight) -> bool:
    """Whether it got no answer, or the answer that its outcome is unknown, by whoever died last."""
    try:
        return request.answer().is_unknown
    except NoAnswer:
        return True
