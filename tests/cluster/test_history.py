"""Real processes under kill -9, SIGSTOP and cut links, judged by the checkers of the simulator.

`FAULTS_SECONDS` is how long they bear it (`make faults`: 60), `FAULTS_SEED` which faults, one after
the other. Without root there are no links to cut, and the run does without.
"""

from __future__ import annotations

import os
import random
import secrets
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from cqueue import protocol
from cqueue.core.operations import Enqueue
from cqueue.replication.clock import SystemClock
from cqueue.replication.raft import REGULAR
from cqueue.replication.sqlite_store import SqliteStore
from cqueue.simulation import checkers
from cqueue.simulation.workload import Asked
from tests.cluster.fixtures import StartCluster
from tests.cluster.harness import Cluster, Node
from tests.cluster.history import Clients, told
from tests.cluster.network import Network, NoNetwork
from tests.cluster.trouble import faults_of, some_nodes, trouble
from tests.support import eventually

pytestmark = pytest.mark.cluster

SECONDS: Final = float(os.environ.get("FAULTS_SECONDS", "12"))
SETTLED_S: Final = 60


@pytest.fixture
def network(cleanup: ExitStack) -> Network | None:
    """Links to cut, where that is possible."""
    try:
        network = Network(3)
    except NoNetwork:
        return None
    cleanup.callback(network.close)
    return network


@pytest.mark.timeout(SECONDS + 240)
def test_real_nodes_under_faults_break_no_promise(start_cluster: StartCluster, network: Network | None) -> None:
    """Every answer is what the log says, nothing acknowledged is lost, nothing is done twice, no read is stale."""
    seed = int(os.environ.get("FAULTS_SEED", secrets.randbelow(1_000_000)))
    chance = random.Random(seed)  # noqa: S311 - it has to be repeatable
    cluster = start_cluster(durable=True, network=network, request_timeout_s=2)
    clients = Clients([(node.host, node.port) for node in cluster.nodes], random.Random(seed))  # noqa: S311

    with clients.running():
        story = trouble(
            faults_of(cluster.nodes, network),
            lambda: some_nodes(cluster.nodes, chance),
            chance,
            time.monotonic() + SECONDS,
        )
        cluster.wait_ready()
    log = _log(cluster)

    answered = sum(asked.outcome == protocol.RESULT for asked in clients.history)
    summary = f"{len(clients.history)} requests, {answered} answered, {len(log)} entries"
    print(f"FAULTS_SEED={seed}", *story, summary, sep="\n")  # noqa: T201 - pytest shows it with a failure
    assert clients.surprises == []
    assert checkers.check(log, clients.history, told) == []
    assert _is_missed(log, clients.history), "the checkers see nothing"


def test_a_leader_that_is_not_heard_is_replaced(start_cluster: StartCluster, network: Network | None) -> None:
    """It hears the others, but what it sends is lost: another leads, and it follows when it is heard again."""
    if network is None:
        pytest.skip("cutting links takes root and iproute2")
    cluster = start_cluster(network=network)
    old = cluster.leader()

    with network.losing(network.links_from(cluster.nodes.index(old))):
        new = cluster.leader(cluster.others(old))
        assert new.call("PUT", "/jobs/enqueue", {"payload": "meanwhile"}).status == 201

    old.wait_ready()
    assert old.call("GET", "/jobs/1").body["payload"] == "meanwhile"


def _is_missed(log: dict[int, bytes], history: list[Asked]) -> bool:
    """Whether the checkers find fault with a log that has lost an acknowledged job."""
    index = next(
        asked.index for asked in history if isinstance(asked.what, Enqueue) and asked.outcome == protocol.RESULT
    )
    return checkers.check({other: data for other, data in log.items() if other != index}, history, told) != []


# -- the log -------------------------------------------------------------------------------------


def _log(cluster: Cluster) -> dict[int, bytes]:
    """What all nodes have committed, out of their journals, after they were brought to rest."""

    def indexes() -> set[int]:
        return {node.index() for node in cluster.nodes}

    eventually(lambda: len(indexes()) == 1, within_s=SETTLED_S)
    last = min(indexes())
    for node in cluster.nodes:
        node.stop()
    first, *others = [_journal(node, last) for node in cluster.nodes]
    for other in others:
        assert other == first, "two journals differ"
    return first


def _journal(node: Node, last: int) -> dict[int, bytes]:
    store = SqliteStore(Path(str(node.settings["data_dir"])), str(node.settings["raft_addr"]), "never", SystemClock())
    try:
        kept = store.load().entries
    finally:
        store.close()
    return {index: command[1:] for command, index, _ in kept if index <= last and command[:1] == REGULAR}
