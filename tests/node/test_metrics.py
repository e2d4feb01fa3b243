"""What a whole node counts: over its processes, their deaths, and its restarts."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.cluster.fixtures import StartNode
from tests.cluster.harness import Node
from tests.support import eventually
from tests.web.test_metrics import Shown, samples_of

pytestmark = pytest.mark.cluster

ENQUEUED = 'cqueue_http_requests_total{code="201",method="PUT",route="/jobs/enqueue"}'

OF_JOBS = '{queue="default",type="NOT_TIME_CRITICAL"}'


def shown_by(node: Node) -> Shown:
    """What a node shows now."""
    return samples_of(node.call("GET", "/metrics").data.decode())


def test_what_a_dead_worker_counted_is_not_lost(start_node: StartNode) -> None:
    """Counters go on; the worker in its place adds to them."""
    node = start_node()
    for _ in range(3):
        node.call("PUT", "/jobs/enqueue")
    assert shown_by(node)[ENQUEUED] == 3
    [worker] = node.worker_pids
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: node.worker_pids not in ([], [worker]))
    node.wait_ready()
    node.call("PUT", "/jobs/enqueue")
    assert shown_by(node)[ENQUEUED] == 4


def test_after_a_restart_the_queue_goes_on_and_the_node_begins_anew(start_node: StartNode, tmp_path: Path) -> None:
    """What is replayed from the journal is counted by the queue once and by the node not again."""
    node = start_node(data_dir=str(tmp_path / "data"))
    node.call("PUT", "/jobs/enqueue", [{}, {}])
    node.call("POST", "/jobs/dequeue")
    node.call("POST", "/jobs/1/conclude")
    before = shown_by(node)
    assert [before[f"cqueue_job_{name}_seconds_count{OF_JOBS}"] for name in ("wait", "run")] == [1, 1]
    assert before["cqueue_journal_sync_seconds_count"] > 0
    node.kill()
    node.start_ready()
    after = shown_by(node)
    of_queue = [name for name in before if name.startswith("cqueue_jobs")]
    assert {name: after[name] for name in of_queue} == {name: before[name] for name in of_queue}
    assert not [name for name in after if OF_JOBS in name]
    assert ENQUEUED not in after
