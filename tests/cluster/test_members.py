"""Nodes come and go under load: each is added, removed or restarted, and no client loses more than one try."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner, Result

from cqueue.cli import main
from tests.cluster.client import Answer, Unreachable
from tests.cluster.fixtures import StartCluster, StartNode
from tests.cluster.harness import HOST, Cluster, Node, Ports
from tests.cluster.load import told_by_all
from tests.support import eventually

pytestmark = pytest.mark.cluster

WITHIN_S: Final = 60
CLIENTS: Final = 4


class Stubborn:
    """Clients that enqueue, and send again, once and under the same key, what was not done.

    A second try goes to another node, after what `Retry-After` says. nodes: those they may ask, which
    may change meanwhile. written: {payload: id}. failed: what a second try did not cure.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = list(nodes)
        self.written: dict[str, int] = {}
        self.failed: list[str] = []
        self.retries = 0
        self._stopped = threading.Event()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Let them work meanwhile."""
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(self._work, number) for number in range(CLIENTS)]
            try:
                yield
                self.wait_progress(20)
            finally:
                self._stopped.set()
            for client in clients:
                client.result()

    def wait_progress(self, count: int) -> None:
        """Wait until so many more jobs are written."""
        before = len(self.written)
        eventually(lambda: len(self.written) >= before + count or self.failed, within_s=WITHIN_S)

    def _work(self, client: int) -> None:
        number = client
        while not self._stopped.wait(0.01):
            number += CLIENTS
            payload = f"job {number}"
            first = self.nodes[number // CLIENTS % len(self.nodes)]
            answer = self._try(first, payload)
            if answer is None or answer.status >= 500:
                self.retries += 1
                time.sleep(0.0 if answer is None else float(answer.headers.get("retry-after", 0)))
                other = next(node for node in self.nodes if node is not first)
                tried, answer = answer, self._try(other, payload)
                if answer is None or answer.status not in {200, 201}:
                    self.failed.append(f"{payload}: {first} said {tried}, then {other} said {answer}")
                    continue
            assert answer.status in {200, 201}, answer
            self.written[payload] = answer.body["id"]

    @staticmethod
    def _try(node: Node, payload: str) -> Answer | None:
        try:
            return node.ask("PUT", "/jobs/enqueue", {"payload": payload}, {"Idempotency-Key": f'"{payload}"'})
        except Unreachable:
            return None

    def check(self, nodes: Sequence[Node]) -> None:
        """Nothing failed twice, and every node tells of each written job, once."""
        assert self.failed == []
        told = told_by_all(nodes)
        assert {job["payload"]: job_id for job_id, job in told.items()} == self.written
        assert len(told) == len(self.written)


def given_another_node(start_node: StartNode, cluster: Cluster, ports: Ports, **settings: str | int) -> Node:
    """A new node that knows the members, and is none of them yet."""
    members = ",".join(str(node.settings["raft_addr"]) for node in cluster.nodes)
    return start_node(
        wait=False,
        variables=cluster.nodes[0]._variables,
        raft_addr=f"{HOST}:{ports.reserve()}",
        peers=members,
        **settings,
    )


def id_of(node: Node) -> str:
    """Its name among the members."""
    return str(node.settings["raft_addr"])


def members_of(node: Node) -> set[str]:
    """Who belongs to the cluster, as this node sees it."""
    return {member["id"] for member in node.status()["members"]}


def cqueue(*arguments: str) -> Result:
    """Run the command line."""
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


def url_of(node: Node) -> str:
    """Where to tell it something."""
    return f"http://{node.host}:{node.port}"


def why_not_ready(node: Node) -> str:
    """What it says of itself; "" where it is ready."""
    answer = node.ask("GET", "/readyz")
    return "" if answer.status == 200 else str(answer.body["detail"])


@pytest.mark.parametrize("durable", [False, True], ids=["memory", "data directory"])
def test_a_rolling_restart_costs_no_request_more_than_one_try(start_cluster: StartCluster, *, durable: bool) -> None:
    """Each node in turn is told to stop and started again, the leader too; a second try cures whatever failed."""
    cluster = start_cluster(durable=durable)
    load = Stubborn(cluster.nodes)

    with load.working():
        for node in cluster.nodes:
            load.wait_progress(10)
            assert node.stop() == 0
            load.wait_progress(10)
            node.start_ready()

    load.check(cluster.nodes)


@pytest.mark.parametrize("durable", [False, True], ids=["memory", "data directory"])
def test_a_node_is_replaced_under_load(
    start_cluster: StartCluster, start_node: StartNode, ports: Ports, tmp_path: Path, *, durable: bool
) -> None:
    """A fourth node is added and the leader removed: it hands over, says why it is not ready, and nothing is lost."""
    cluster = start_cluster(durable=durable)
    data_dir = {"data_dir": str(tmp_path / "node4")} if durable else {}
    fourth = given_another_node(start_node, cluster, ports, **data_dir)
    load = Stubborn(cluster.nodes)

    with load.working():
        load.wait_progress(20)
        follower = cluster.others(cluster.leader())[0]
        added = follower.ask("POST", "/cluster/members", {"id": id_of(fourth)})
        assert (added.status, len(added.body["members"])) == (200, 4), added
        fourth.wait_ready()
        load.nodes.append(fourth)
        load.wait_progress(20)
        leader = cluster.leader()
        removed = leader.ask("DELETE", f"/cluster/members/{id_of(leader)}")
        assert (removed.status, id_of(leader) in removed.body["members"]) == (200, False), removed
        assert removed.body["leader"] != id_of(leader)
        load.wait_progress(20)
        load.nodes.remove(leader)

    remaining = [*cluster.others(leader), fourth]
    for node in remaining:
        eventually(lambda node=node: members_of(node) == {id_of(each) for each in remaining}, within_s=WITHIN_S)
    load.check(remaining)
    assert "no member of the cluster" in why_not_ready(leader)
    assert leader.ask("PUT", "/jobs/enqueue").body["code"] == "not_ready"
    # It disturbs nobody: the term stays what it is, though it hears no leader any more.
    eventually(lambda: leader.status()["leader"] is None, within_s=WITHIN_S)
    assert remaining[0].status()["term"] == cluster.leader(remaining).status()["term"]


def test_a_removed_node_can_be_added_again(start_cluster: StartCluster) -> None:
    """In memory, without a restart in between: it has missed what happened, and gets it."""
    cluster = start_cluster()
    leader = cluster.leader()
    other, gone = cluster.others(leader)

    assert other.ask("DELETE", f"/cluster/members/{id_of(gone)}").status == 200
    eventually(lambda: "no member" in why_not_ready(gone), within_s=WITHIN_S)
    written = leader.call("PUT", "/jobs/enqueue", [{"payload": number} for number in range(50)]).body["ids"]
    assert leader.ask("POST", "/cluster/members", {"id": id_of(gone)}).status == 200

    gone.wait_ready()
    assert gone.ask("GET", f"/jobs/{written[-1]}?consistency=stale").body["payload"] == 49
    leader.kill()
    assert cluster.leader([other, gone]).call("PUT", "/jobs/enqueue").status == 201


def test_members_survive_a_restart_whatever_the_flags_say(
    start_cluster: StartCluster, start_node: StartNode, ports: Ports, tmp_path: Path
) -> None:
    """`--peers` is only the first configuration: after kill -9 of all, the log's is the one that counts."""
    cluster = start_cluster(durable=True)
    fourth = given_another_node(start_node, cluster, ports, data_dir=str(tmp_path / "node4"))
    first = cluster.nodes[0]
    assert first.ask("POST", "/cluster/members", {"id": id_of(fourth)}).status == 200
    assert first.ask("DELETE", f"/cluster/members/{id_of(first)}").status == 200
    remaining = [*cluster.nodes[1:], fourth]
    job_id = remaining[0].call("PUT", "/jobs/enqueue").body["id"]

    for node in (*remaining, first):
        node.kill()
    for node in remaining:
        node.start()
    for node in remaining:
        node.wait_ready()

    assert {frozenset(members_of(node)) for node in remaining} == {frozenset(map(id_of, remaining))}
    assert remaining[0].call("GET", f"/jobs/{job_id}").status == 200


def test_a_second_change_is_refused_while_one_is_open(start_cluster: StartCluster, ports: Ports) -> None:
    """409 change_in_progress with Retry-After; the first, which cannot succeed, leaves nothing half done."""
    cluster = start_cluster()
    before = members_of(cluster.nodes[0])
    nobody = f"{HOST}:{ports.reserve()}"

    first = cluster.nodes[0].send("POST", "/cluster/members", {"id": nobody, "wait": 3})
    leader = cluster.leader()
    eventually(lambda: leader.status()["change"] == {"verb": "add", "node": nobody, "phase": "catching up"})
    second = cluster.nodes[1].ask("DELETE", f"/cluster/members/{id_of(cluster.nodes[2])}")

    assert (second.status, second.body["code"]) == (409, "change_in_progress")
    assert second.headers["retry-after"] == "1"
    refused = first.answer()
    assert (refused.status, refused.body["code"]) == (409, "not_caught_up")
    assert nobody in refused.body["detail"]
    for node in cluster.nodes:
        assert (members_of(node), node.status()["change"]) == (before, None)
    assert cluster.nodes[2].call("PUT", "/jobs/enqueue").status == 201


def test_leadership_moves_where_it_is_told_to(start_cluster: StartCluster) -> None:
    """To the member that is named, or to any other; to one that is none it does not."""
    cluster = start_cluster()
    leader = cluster.leader()
    to, asked = cluster.others(leader)

    moved = asked.ask("POST", "/cluster/transfer", {"to": id_of(to)})
    assert (moved.status, moved.body["leader"]) == (200, id_of(to))
    assert cluster.leader() is to
    moved = asked.ask("POST", "/cluster/transfer")
    assert (moved.status, moved.body["leader"] == id_of(to)) == (200, False)
    nowhere = asked.ask("POST", "/cluster/transfer", {"to": "127.0.0.1:1"})
    assert (nowhere.status, nowhere.body["code"]) == (404, "not_found")


def test_a_change_that_could_not_be_committed_is_refused(start_cluster: StartCluster) -> None:
    """With one of three dead, removing another would leave one of two: it is refused, removing the dead one is not."""
    cluster = start_cluster(durable=True)
    leader = cluster.leader()
    dead, other = cluster.others(leader)
    dead.kill()

    def refused() -> Answer | None:
        answer = other.ask("DELETE", f"/cluster/members/{id_of(other)}")
        return answer if answer.body["code"] == "no_majority" else None

    answer = eventually(refused, within_s=WITHIN_S)
    assert answer is not None
    assert id_of(dead) in answer.body["detail"]
    assert other.ask("DELETE", f"/cluster/members/{id_of(dead)}").status == 200
    assert leader.call("PUT", "/jobs/enqueue").status == 201


def test_the_command_line_adds_moves_and_removes(
    start_cluster: StartCluster, start_node: StartNode, ports: Ports
) -> None:
    """`cqueue cluster`: words for people, JSON for machines, and exit codes."""
    cluster = start_cluster()
    fourth = given_another_node(start_node, cluster, ports)
    node = ("--node", url_of(cluster.nodes[0]))

    assert cqueue("cluster", "add", id_of(fourth), *node).exit_code == 0
    fourth.wait_ready()
    told = cqueue("cluster", "status", *node, "--json")
    assert {member["id"] for member in json.loads(told.stdout)["members"]} == set(map(id_of, [*cluster.nodes, fourth]))
    moved = cqueue("cluster", "transfer", id_of(fourth), "--node", url_of(fourth), "--json")
    assert json.loads(moved.stdout)["leader"] == id_of(fourth)
    removed = cqueue("cluster", "remove", id_of(fourth), *node)
    assert (removed.exit_code, removed.stderr.startswith(f"{id_of(fourth)} is no member")) == (0, True)
    again = cqueue("cluster", "remove", id_of(fourth), *node)
    assert (again.exit_code, "(not_found)" in again.stderr) == (1, True)
    assert f"{id_of(cluster.nodes[1])}  " in cqueue("cluster", "status", *node).stdout


@pytest.mark.parametrize("how", ["the running node", "its data directory"])
def test_the_last_node_of_a_lost_cluster_goes_on_with_what_it_has(
    start_cluster: StartCluster, tmp_path: Path, how: str
) -> None:
    """`cqueue cluster bootstrap --force`, then an emptied node is added again."""
    cluster = start_cluster(durable=True)
    last, lost, _ = cluster.nodes
    job_id = last.call("PUT", "/jobs/enqueue", {"payload": "kept"}).body["id"]
    eventually(lambda: last.ask("GET", f"/jobs/{job_id}?consistency=stale").status == 200)
    for node in cluster.others(last):
        node.kill()
    eventually(lambda: last.status()["leader"] is None, within_s=WITHIN_S)

    if how == "the running node":
        assert cqueue("cluster", "status", "--node", url_of(last)).exit_code == 69
        done = cqueue("cluster", "bootstrap", "--force", "--yes", "--node", url_of(last))
    else:
        data_dir = str(last.settings["data_dir"])
        assert cqueue("cluster", "bootstrap", "--force", "--yes", "--data-dir", data_dir).exit_code == 4
        last.stop()
        done = cqueue("cluster", "bootstrap", "--force", "--yes", "--data-dir", data_dir)
        last.start()
    assert done.exit_code == 0, done.output
    assert "is lost" in done.stderr

    last.wait_ready()
    assert members_of(last) == {id_of(last)}
    assert last.call("GET", f"/jobs/{job_id}").body["payload"] == "kept"
    for path in Path(str(lost.settings["data_dir"])).iterdir():
        path.unlink()
    lost.start()
    added = last.ask("POST", "/cluster/members", {"id": id_of(lost)})
    assert (added.status, set(added.body["members"])) == (200, {id_of(last), id_of(lost)}), added
    lost.wait_ready()
    assert lost.ask("GET", f"/jobs/{job_id}?consistency=stale").body["payload"] == "kept"


def test_a_cluster_that_lost_its_memory_is_begun_anew_by_an_operator(start_cluster: StartCluster) -> None:
    """Two of three in memory come back empty, the third never: one is told to begin, the other is added to it."""
    cluster = start_cluster()
    first, second, gone = cluster.nodes
    for node in cluster.nodes:
        node.kill()
    for node in (first, second):
        node.start()
    eventually(lambda: "without its memory" in why_not_ready(first), within_s=WITHIN_S, ignoring=Unreachable)
    assert first.ask("POST", "/cluster/bootstrap", {"force": False}).status == 422

    begun = cqueue("cluster", "bootstrap", "--force", "--yes", "--node", url_of(first))

    assert begun.exit_code == 0, begun.output
    first.wait_ready()
    assert first.ask("POST", "/cluster/members", {"id": id_of(second)}).status == 200
    second.wait_ready()
    assert second.call("PUT", "/jobs/enqueue").body == {"id": 1}
    refused = second.ask("POST", "/cluster/bootstrap", {"force": True})
    assert (refused.status, refused.body["code"]) == (409, "leader_known")
    assert id_of(gone) not in members_of(second)


def test_a_single_node_is_no_cluster(start_node: StartNode) -> None:
    """Its members cannot be changed: it was started without --peers."""
    node = start_node()
    for answer in (
        node.ask("POST", "/cluster/members", {"id": "127.0.0.1:1"}),
        node.ask("POST", "/cluster/transfer"),
        node.ask("POST", "/cluster/bootstrap", {"force": True}),
    ):
        assert (answer.status, answer.body["code"]) == (409, "no_cluster")
