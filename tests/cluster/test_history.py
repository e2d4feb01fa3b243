"""Real processes under kill -9, SIGSTOP and cut links, judged by the checkers of the simulator.

`FAULTS_SECONDS` is how long they bear it (`make faults`: 60), `FAULTS_SEED` which faults, one after
the other. Without root there are no links to cut, and the run does without.
"""

from __future__ import annotations

import os
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
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
from tests.cluster.client import Unreachable
from tests.cluster.fixtures import StartCluster
from tests.cluster.harness import Cluster, Node
from tests.cluster.history import Clients, told
from tests.cluster.network import Network, NoNetwork
from tests.support import eventually

pytestmark = pytest.mark.cluster

SECONDS: Final = float(os.environ.get("FAULTS_SECONDS", "12"))
FAULT_S: Final = (0.3, 2.5)
"""How long one lasts: from less than an election takes to more than a leader goes on without a majority."""
CALM_S: Final = (0.1, 1.0)
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
        story = _trouble(cluster, network, chance, time.monotonic() + SECONDS)
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


# -- faults --------------------------------------------------------------------------------------

Fault = Callable[[Node], AbstractContextManager[None]]


@contextmanager
def _killed(node: Node) -> Iterator[None]:
    node.kill()
    yield
    node.start()


@contextmanager
def _stopped(node: Node) -> Iterator[None]:
    node.pause()
    yield
    node.resume()


def _faults(cluster: Cluster, network: Network | None) -> dict[str, Fault]:
    """Everything that can happen to a node, by name."""
    faults: dict[str, Fault] = {"kill -9": _killed, "SIGSTOP": _stopped}
    if network is None:
        return faults
    sent = {node.name: network.links_from(number) for number, node in enumerate(cluster.nodes)}
    received = {name: [(other, number) for number, other in links] for name, links in sent.items()}
    return faults | {
        "not heard": lambda node: network.losing(sent[node.name]),
        "deaf": lambda node: network.losing(received[node.name]),
        "cut off": lambda node: network.losing(sent[node.name] + received[node.name]),
        "cut from one": lambda node: network.losing(sent[node.name][:1] + received[node.name][:1]),
    }


def _trouble(cluster: Cluster, network: Network | None, chance: random.Random, until_s: float) -> list[str]:
    """One fault after the other, now and then two at a time, all kinds in turn; returns the story, in words."""
    faults = _faults(cluster, network)
    deck: list[str] = []
    story: list[str] = []
    nobody_comes = threading.Event()
    while time.monotonic() < until_s:
        with ExitStack() as present:
            for node in _victims(cluster, chance):
                deck = deck or chance.sample(sorted(faults), len(faults))
                kind = deck.pop()
                story.append(f"{time.monotonic():.3f} {node.name}: {kind}")
                present.enter_context(faults[kind](node))
            nobody_comes.wait(chance.uniform(*FAULT_S))
        nobody_comes.wait(chance.uniform(*CALM_S))
    return story


def _victims(cluster: Cluster, chance: random.Random) -> list[Node]:
    """One node, seldom two; half of the time the leader is among them, if one is known."""
    nodes = chance.sample(cluster.nodes, len(cluster.nodes))
    if chance.random() < 0.5:
        leader = _leader_of(nodes)
        nodes.sort(key=lambda node: node.settings["raft_addr"] != leader)
    return nodes[: chance.choice((1, 1, 1, 2))]


def _leader_of(nodes: list[Node]) -> str | None:
    for node in nodes:
        try:
            answer = node.ask("GET", "/cluster")
        except Unreachable:
            continue
        if answer.status == 200:
            leader: str | None = answer.body["leader"]
            return leader
    return None


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
