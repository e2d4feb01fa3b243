"""Nodes are killed and stopped under load; what was acknowledged stays, and nothing is told from a stale past."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, Final

import pytest

from tests.cluster.client import Answer
from tests.cluster.fixtures import StartCluster
from tests.cluster.load import Load, told_by_all
from tests.support import eventually

pytestmark = pytest.mark.cluster

FAILOVER_S: Final = 60
"""Far above what an election takes, as the machine may be busy with something else."""
PAUSE_S: Final = 5
"""Longer than an election, and than the silence after which a link is given up."""


@pytest.mark.parametrize("durable", [False, True], ids=["memory", "data directory"])
def test_a_killed_leader_takes_nothing_acknowledged_with_it(start_cluster: StartCluster, *, durable: bool) -> None:
    """Kill -9 of the leader under load: both others go on, nothing is lost or handed out twice, it catches up."""
    cluster = start_cluster(durable=durable)
    leader = cluster.leader()
    survivors = cluster.others(leader)
    load = Load(cluster.nodes)

    with load.running():
        load.wait_progress(10, cluster.nodes)
        known = load.last_id()
        leader.kill()
        written = len(load.record.written)
        load.wait_progress(20, survivors)
        since = [job_id for job_id, _ in load.record.written[written:]]
        leader.start_ready()
        load.wait_progress(5, cluster.nodes)

    assert max(since) > known
    load.record.check(cluster.nodes)


def test_a_leader_that_stood_still_never_tells_the_past(start_cluster: StartCluster) -> None:
    """SIGSTOP of the leader, a new one, SIGCONT: what waited at it is answered with the truth or an error."""
    cluster = start_cluster()
    old = cluster.leader()
    rest = cluster.others(old)
    before = old.status()["term"]
    job_id = old.call("PUT", "/jobs/enqueue", {"payload": "before"}).body["id"]
    token = old.call("POST", "/jobs/dequeue").body["lease_token"]

    old.pause()
    new = cluster.leader(rest)
    assert new.call("POST", f"/jobs/{job_id}/conclude", {"lease_token": token}).status == 200
    # The time goes by in here: nobody enqueues.
    assert new.call("POST", "/jobs/dequeue", {"wait": PAUSE_S}).status == 204
    looks = [old.send("GET", f"/jobs/{job_id}") for _ in range(5)]
    counts = [old.send("GET", "/jobs/stats") for _ in range(5)]
    writes = {
        f"write {number}": old.send("PUT", "/jobs/enqueue", {"payload": f"write {number}"}) for number in range(5)
    }
    old.resume()

    for look in looks:
        _is_error_or(look.answer(), lambda body: body["status"] == "CONCLUDED")
    for count in counts:
        _is_error_or(count.answer(), lambda body: body["jobs"]["CONCLUDED"] == 1)
    answers = {payload: write.answer() for payload, write in writes.items()}
    eventually(lambda: old.status()["role"] == "follower" and old.status()["term"] > before, within_s=FAILOVER_S)

    def told_the_truth() -> bool:
        _is_error_or(old.ask("GET", f"/jobs/{job_id}"), lambda body: body["status"] == "CONCLUDED")
        return old.is_ready()

    eventually(told_the_truth, within_s=FAILOVER_S)
    assert old.call("PUT", "/jobs/enqueue", {"payload": "after"}).status == 201
    told = {job["payload"]: job["id"] for job in told_by_all(cluster.nodes).values()}
    assert len(told) == 2 + sum(payload in told for payload in answers)
    for payload, answer in answers.items():
        if answer.status == 201:
            assert told[payload] == answer.body["id"]
        elif answer.did_nothing:
            assert payload not in told
        else:
            assert answer.is_unknown, answer


def test_a_leader_that_stood_still_under_load_costs_nothing_acknowledged(start_cluster: StartCluster) -> None:
    """SIGSTOP and SIGCONT with clients on every node: each of them gets on again and no promise is broken."""
    cluster = start_cluster()
    old = cluster.leader()
    load = Load(cluster.nodes)

    with load.running():
        load.wait_progress(10, cluster.nodes)
        old.pause()
        load.wait_progress(20, cluster.others(old))
        old.resume()
        load.wait_progress(20, cluster.nodes)

    load.record.check(cluster.nodes)


def test_a_killed_follower_comes_back_to_all_there_is(start_cluster: StartCluster) -> None:
    """A follower without a data directory is brought up to date before it says that it is ready."""
    cluster = start_cluster()
    leader = cluster.leader()
    follower, _ = cluster.others(leader)
    first = leader.call("PUT", "/jobs/enqueue", [{"payload": number} for number in range(500)]).body["ids"]

    follower.kill()
    second = leader.call("PUT", "/jobs/enqueue", [{"payload": number} for number in range(500, 510)]).body["ids"]
    follower.start_ready()

    last = follower.ask("GET", f"/jobs/{second[-1]}?consistency=stale")
    assert (last.status, last.body["payload"]) == (200, 509)
    assert first + second == list(range(1, 511))
    assert follower.call("PUT", "/jobs/enqueue").body == {"id": 511}


def test_without_a_majority_a_node_says_so_and_tells_only_what_is_asked_for_as_stale(
    start_cluster: StartCluster,
) -> None:
    """The last node of three refuses writes and reads with 503 or 504 and shows its own state on request."""
    cluster = start_cluster(request_timeout_s=2)
    last = cluster.leader()
    job_id = last.call("PUT", "/jobs/enqueue").body["id"]

    for other in cluster.others(last):
        other.kill()
    eventually(lambda: not last.is_ready(), within_s=FAILOVER_S)

    ready, read, write = (
        last.ask("GET", "/readyz"),
        last.ask("GET", f"/jobs/{job_id}"),
        last.ask("PUT", "/jobs/enqueue"),
    )
    assert (ready.status, ready.body["code"]) == (503, "not_ready")
    assert (read.status, read.body["code"]) == (503, "no_leader")
    assert "retry-after" in read.headers
    assert write.body["code"] in {"no_leader", "outcome_unknown"}
    assert last.ask("GET", f"/jobs/{job_id}?consistency=stale").status == 200


@pytest.mark.parametrize("fsync", ["always", "never"])
def test_killing_all_nodes_at_once_loses_nothing_acknowledged(start_cluster: StartCluster, fsync: str) -> None:
    """Kill -9 of all three with data directories: every job, lease and conclusion is there again, ids go on."""
    cluster = start_cluster(durable=True, fsync=fsync)
    load = Load(cluster.nodes)

    with load.running():
        load.wait_progress(20, cluster.nodes)
        for node in cluster.nodes:
            node.send_signal(signal.SIGKILL)
    for node in cluster.nodes:
        node.wait()
        node.wait_gone()
    cluster.start()
    cluster.wait_ready()

    told = load.record.check(cluster.nodes)
    assert cluster.nodes[0].call("PUT", "/jobs/enqueue").body == {"id": max(told) + 1}


def test_a_leader_told_to_stop_hands_over_and_costs_nothing(start_cluster: StartCluster) -> None:
    """SIGTERM of the leader under load: it ends with 0, another one leads, no promise is broken."""
    cluster = start_cluster()
    leader = cluster.leader()
    rest = cluster.others(leader)
    load = Load(cluster.nodes)

    with load.running():
        load.wait_progress(10, cluster.nodes)
        assert leader.stop() == 0
        load.wait_progress(10, rest)

    assert cluster.leader(rest) in rest
    load.record.check(rest)


def _is_error_or(answer: Answer, is_true: Callable[[Any], bool]) -> None:
    """The answer promises nothing, or its body is the truth."""
    if not answer.did_nothing:
        assert answer.status == 200, answer
        assert is_true(answer.body), answer
