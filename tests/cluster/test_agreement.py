"""Any node takes any call, and all of them are one queue."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from cqueue.core.jobs import STATUSES
from tests.cluster.fixtures import StartCluster
from tests.cluster.harness import Node
from tests.cluster.load import told_by_all

pytestmark = pytest.mark.cluster

SINGLE: Final = 60
BATCHES: Final = 5
BATCH: Final = 20


def test_three_clients_on_three_nodes_share_one_sequence_of_ids(start_cluster: StartCluster) -> None:
    """Singles and batches at once through every node: ids 1 to N, and all nodes tell the same of every job."""
    cluster = start_cluster()
    together = threading.Barrier(len(cluster.nodes))

    def write(node: Node) -> dict[int, object]:
        together.wait(timeout=30)
        written: dict[int, object] = {}
        for number in range(SINGLE):
            payload = {"by": node.name, "number": number}
            written[node.call("PUT", "/jobs/enqueue", {"payload": payload}).body["id"]] = payload
        for batch in range(BATCHES):
            payloads = [{"by": node.name, "batch": batch, "number": number} for number in range(BATCH)]
            ids = node.call("PUT", "/jobs/enqueue", [{"payload": payload} for payload in payloads]).body["ids"]
            written |= dict(zip(ids, payloads, strict=True))
        return written

    with ThreadPoolExecutor(len(cluster.nodes)) as pool:
        by_node = list(pool.map(write, cluster.nodes))

    ids = sorted(job_id for written in by_node for job_id in written)
    assert ids == list(range(1, len(cluster.nodes) * (SINGLE + BATCHES * BATCH) + 1))
    told = told_by_all(cluster.nodes)
    assert {job_id: job["payload"] for job_id, job in told.items()} == by_node[0] | by_node[1] | by_node[2]


def test_what_one_node_hands_out_another_concludes_and_a_third_tells(start_cluster: StartCluster) -> None:
    """The original API with each call to another node, followers included."""
    first, second, third = start_cluster().nodes

    assert first.call("PUT", "/jobs/enqueue", {"Type": "NOT_TIME_CRITICAL"}).body == {"id": 1}
    assert second.call("PUT", "/jobs/enqueue", {"Type": "TIME_CRITICAL"}).body == {"id": 2}
    handed = [node.call("POST", "/jobs/dequeue").body["id"] for node in (third, first)]
    assert handed == [2, 1]
    assert second.call("POST", "/jobs/dequeue").status == 204
    assert third.call("POST", "/jobs/conclude/2").status == 200
    assert first.call("POST", "/jobs/1/conclude").status == 200
    told = [node.call("GET", "/jobs/2").data for node in (first, second, third)]
    assert set(told) == {told[0]}
    assert third.call("GET", "/jobs/stats").body["jobs"] == dict.fromkeys(STATUSES, 0) | {"CONCLUDED": 2}


def test_a_consumer_waiting_on_one_node_gets_the_job_enqueued_on_another(start_cluster: StartCluster) -> None:
    """A dequeue that waits on a follower is answered by an enqueue on any other node."""
    cluster = start_cluster()
    leader = cluster.leader()
    follower, other = cluster.others(leader)

    waiting = follower.send("POST", "/jobs/dequeue", {"wait": 30})
    job_id = other.call("PUT", "/jobs/enqueue").body["id"]

    answer = waiting.answer()
    assert (answer.status, answer.body["id"]) == (200, job_id)


def test_every_node_tells_the_same_of_the_cluster(start_cluster: StartCluster) -> None:
    """Members, mode and leader are the same on all nodes, and one of them leads."""
    cluster = start_cluster()
    leader = cluster.leader()

    views = [node.status() for node in cluster.nodes]

    assert [view["node"] for view in views] == [node.settings["raft_addr"] for node in cluster.nodes]
    assert {view["leader"] for view in views} == {leader.settings["raft_addr"]}
    assert sorted(view["role"] for view in views) == ["follower", "follower", "leader"]
    assert {view["mode"] for view in views} == {"replicated-memory"}
    for view in views:
        states = {member["id"]: member["state"] for member in view["members"]}
        assert set(states) == {view["node"] for view in views}
        assert states[view["node"]] == "self"
