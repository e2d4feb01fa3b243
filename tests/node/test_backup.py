"""A backup of a running queue, and nodes that start from it."""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cqueue.core import entry
from cqueue.core.machine import StateMachine
from cqueue.core.operations import Enqueue, NewJob
from cqueue.protocol import encode
from cqueue.replication import snapshots
from tests.cluster.client import Unreachable
from tests.cluster.fixtures import StartCluster, StartNode
from tests.cluster.harness import CQUEUE, HOST, START_S, Cluster, Node, Ports, environment
from tests.cluster.load import Load, told_by_all
from tests.support import eventually

pytestmark = pytest.mark.cluster


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `cqueue` to its end."""
    command = [*CQUEUE, *(str(argument) for argument in arguments)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=START_S)


def done(*arguments: str | Path) -> str:
    """What `cqueue` prints on stdout when it succeeds, as it must."""
    ended = run(*arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def url_of(node: Node) -> str:
    """Where the command line finds it."""
    return f"http://{HOST}:{node.port}"


def inspected(path: Path) -> dict[str, Any]:
    """What `cqueue inspect` says of a backup."""
    found: dict[str, Any] = json.loads(done("inspect", path, "--json"))
    return found


@pytest.mark.parametrize("durable", [True, False], ids=["durable", "in memory"])
def test_a_backup_under_load_restores_every_job_acknowledged_before_it(
    start_cluster: StartCluster, start_node: StartNode, tmp_path: Path, *, durable: bool
) -> None:
    """A single node starts from it with the same state to the byte, and goes on from there."""
    cluster = start_cluster(durable=durable)
    load = Load(cluster.nodes)
    with load.running():
        load.wait_progress(20, cluster.nodes)
        acknowledged = list(load.record.written)
        concluded = list(load.record.concluded)
        follower = cluster.others(cluster.leader())[0]
        done("backup", tmp_path / "b", "--node", url_of(follower))
        load.wait_progress(5, cluster.nodes)
    before = inspected(tmp_path / "b")

    done("restore", tmp_path / "b", "--data-dir", tmp_path / "restored")
    node = start_node(data_dir=str(tmp_path / "restored"))

    done("backup", tmp_path / "again", "--node", url_of(node))
    assert inspected(tmp_path / "again")["sha256"] == before["sha256"]
    assert before["jobs"] >= len(acknowledged)
    jobs = {job_id: node.call("GET", f"/jobs/{job_id}").body for job_id, _ in acknowledged}
    assert {job_id: job["payload"] for job_id, job in jobs.items()} == dict(acknowledged)
    assert {jobs[job_id]["status"] for job_id in concluded if job_id in jobs} <= {"CONCLUDED"}
    assert node.call("PUT", "/jobs/enqueue").body == {"id": before["next_id"]}
    node.kill()
    node.start_ready()
    assert node.call("GET", f"/jobs/{before['next_id']}").status == 200


@pytest.mark.parametrize("restored", [3, 2], ids=["every node", "a majority"])
def test_a_cluster_starts_from_a_backup(
    start_cluster: StartCluster, start_node: StartNode, tmp_path: Path, restored: int
) -> None:
    """Restored on a majority, it has the state; a node that was left out is filled by the others."""
    single = start_node()
    single.call("PUT", "/jobs/enqueue", [{"payload": number} for number in range(50)])
    single.call("POST", "/jobs/dequeue", {"count": 7})
    done("backup", tmp_path / "b", "--node", url_of(single))
    for number in range(1, restored + 1):
        done("restore", tmp_path / "b", "--data-dir", tmp_path / f"node{number}")

    cluster = start_cluster(durable=True)

    told = told_by_all(cluster.nodes)
    assert [job["payload"] for job in told.values()] == list(range(50))
    assert [job["lease_token"] for job in told.values() if job["status"] == "IN_PROGRESS"] == list(range(1, 8))
    assert cluster.nodes[2].call("PUT", "/jobs/enqueue").body == {"id": 51}
    for node in cluster.nodes:
        node.kill()
    cluster.start()
    cluster.wait_ready()
    assert cluster.nodes[0].call("GET", "/jobs/51").status == 200


def test_a_cluster_grows_from_one_restored_node(
    start_node: StartNode, ports: Ports, cleanup: ExitStack, tmp_path: Path
) -> None:
    """It is told that it is the whole cluster; the others, which are empty, are added and filled."""
    single = start_node()
    single.call("PUT", "/jobs/enqueue", [{"payload": number} for number in range(20)])
    done("backup", tmp_path / "b", "--node", url_of(single))
    done("restore", tmp_path / "b", "--data-dir", tmp_path / "node1")

    cluster = Cluster(ports, tmp_path, 3, durable=True, settings={})
    cleanup.callback(cluster.close)
    cluster.start()
    first, *others = cluster.nodes
    eventually(lambda: first.ask("GET", "/cluster").status == 200, within_s=START_S, ignoring=Unreachable)
    done("cluster", "bootstrap", "--force", "--yes", "--node", url_of(first))
    first.wait_ready()
    for other in others:
        done("cluster", "add", str(other.settings["raft_addr"]), "--node", url_of(first))
    cluster.wait_ready()

    assert [job["payload"] for job in told_by_all(cluster.nodes).values()] == list(range(20))
    assert verdict_of(others[0])[0] == 0


def test_a_node_without_a_majority_still_gives_its_own_state(start_cluster: StartCluster, tmp_path: Path) -> None:
    """With --stale; without it the command says that there is no leader, and leaves no file."""
    cluster = start_cluster(request_timeout_s=1)
    survivor = cluster.nodes[0]
    survivor.call("PUT", "/jobs/enqueue", [{}] * 3)
    for other in cluster.others(survivor):
        other.kill()
    eventually(lambda: survivor.status()["leader"] is None)

    refused = run("backup", tmp_path / "b", "--node", url_of(survivor))
    assert (refused.returncode, "no_leader" in refused.stderr) == (69, True)
    assert not (tmp_path / "b").exists()
    done("backup", tmp_path / "b", "--node", url_of(survivor), "--stale")
    assert inspected(tmp_path / "b")["jobs"] == 3


def test_a_backup_goes_to_stdout_too(start_node: StartNode, tmp_path: Path) -> None:
    """The same bytes as into a file."""
    node = start_node()
    node.call("PUT", "/jobs/enqueue", [{"payload": "x" * 1000}] * 500)
    done("backup", tmp_path / "b", "--node", url_of(node))
    command = [*CQUEUE, "backup", "-", "--node", url_of(node)]
    piped = subprocess.run(command, env=environment(), capture_output=True, check=True, timeout=START_S)
    assert piped.stdout == (tmp_path / "b").read_bytes()


def test_a_node_that_stops_leaves_nothing_of_a_backup(start_node: StartNode, tmp_path: Path) -> None:
    """Its data directory holds what it held before."""
    node = start_node(data_dir=str(tmp_path / "data"))
    node.call("PUT", "/jobs/enqueue", [{"payload": "x" * 1000}] * 500)
    names = {path.name for path in (tmp_path / "data").iterdir()}
    done("backup", tmp_path / "b", "--node", url_of(node))
    assert {path.name for path in (tmp_path / "data").iterdir()} == names


def test_a_read_waits_until_its_node_has_got_that_far(start_cluster: StartCluster) -> None:
    """A stale read with the index of a write sees the write, on whichever node."""
    cluster = start_cluster()
    for number in range(1, 31):
        written = cluster.nodes[number % 3].call("PUT", "/jobs/enqueue", {"payload": number})
        index = written.headers["x-cqueue-index"]
        for node in cluster.nodes:
            found = node.call("GET", f"/jobs/{number}?consistency=stale&min_index={index}")
            assert (found.status, found.body["payload"]) == (200, number)
            assert int(found.headers["x-cqueue-index"]) >= int(index)


def test_a_node_that_is_cut_off_says_that_it_is_not_that_far(start_cluster: StartCluster) -> None:
    """503 index_not_reached after the request's time, with Retry-After."""
    cluster = start_cluster(request_timeout_s=1)
    survivor = cluster.nodes[0]
    index = survivor.index()
    for other in cluster.others(survivor):
        other.kill()
    answer = survivor.ask("GET", f"/jobs/stats?consistency=stale&min_index={index + 1_000}")
    assert (answer.status, answer.body["code"]) == (503, "index_not_reached")
    assert "retry-after" in answer.headers


# -- comparing -------------------------------------------------------------------------------------


def verdict_of(node: Node, *options: str) -> tuple[int, dict[str, Any]]:
    """Exit code and answer of `cqueue cluster verify`."""
    ended = run("cluster", "verify", "--json", "--node", url_of(node), *options)
    return ended.returncode, json.loads(ended.stdout)


def test_nodes_under_load_hold_the_same_state(start_cluster: StartCluster) -> None:
    """At one index, whichever node is asked, also when all are asked at once; the load goes on."""
    cluster = start_cluster()
    load = Load(cluster.nodes)
    with load.running():
        load.wait_progress(10, cluster.nodes)
        for node in cluster.nodes:
            code, verdict = verdict_of(node)
            assert (code, verdict["result"]) == (0, "equal"), verdict
            assert len({member["digest"] for member in verdict["members"]}) == 1
            assert [member["state"] for member in verdict["members"]] == ["equal"] * 3
        load.wait_progress(5, cluster.nodes)
    load.record.check(cluster.nodes)


def test_a_node_that_is_down_is_named(start_cluster: StartCluster) -> None:
    """Exit code 69: what was told is equal, but it is not everything."""
    cluster = start_cluster()
    leader = cluster.leader()
    down, asked = cluster.others(leader)
    down.kill()

    code, verdict = verdict_of(asked, "--wait", "3")

    assert (code, verdict["result"]) == (69, "incomplete")
    states = {member["id"]: member["state"] for member in verdict["members"]}
    assert states == {
        **{node.settings["raft_addr"]: "equal" for node in (leader, asked)},
        down.settings["raft_addr"]: "silent",
    }


def test_a_node_whose_state_differs_is_named(start_cluster: StartCluster, tmp_path: Path) -> None:
    """Exit code 1. One node of three was given another payload in a backup that is otherwise the same."""
    for number, payload in enumerate((b'"right"', b'"right"', b'"wrong"'), 1):
        machine = StateMachine()
        machine.apply(5, entry.encode(1, 1, 1, [encode(Enqueue([NewJob("A", payload)]))]))
        (tmp_path / "b").write_bytes(snapshots.encode(5, 1, machine.snapshot()))
        done("restore", tmp_path / "b", "--data-dir", tmp_path / f"node{number}")
    cluster = start_cluster(durable=True)

    code, verdict = verdict_of(cluster.nodes[2])

    assert (code, verdict["result"]) == (1, "differ")
    wrong = [member["id"] for member in verdict["members"] if member["state"] == "differs"]
    assert wrong == [cluster.nodes[2].settings["raft_addr"]]
    told = run("cluster", "verify", "--node", url_of(cluster.nodes[0]))
    assert told.returncode == 1
    assert "DIFFERS" in told.stdout
