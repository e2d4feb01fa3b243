"""The simulated cluster: real replicas, started, driven, crashed and started again.

`Cluster.log` is what the cluster as a whole decided: for each index the one entry ever applied
there. It is collected from every apply of every life of every node, and two that differ are the
first thing a checker hears of.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import pysyncobj.syncobj as pysyncobj_module
from msgspec import Struct

from cqueue.replication import loop
from cqueue.replication.consensus import Consensus
from cqueue.replication.journal import Journal
from cqueue.replication.raft import Timing
from cqueue.replication.replica import Replica
from cqueue.simulation.disk import Crashed, Disk, SimSnapshots
from cqueue.simulation.network import Network, SimTransport
from cqueue.simulation.world import NodeClock, World

REQUEST_TIMEOUT_S: Final = 5.0
ROUND_S_MIN, ROUND_S_MAX = 0.0002, 0.003
"""From news to the round that acts on it."""
SKEW_MS_MAX: Final = 60_000


class Setup(Struct, frozen=True):
    """What kind of cluster a seed gets. durable: nodes keep a journal; else memory only."""

    nodes: int
    durable: bool
    compact_bytes: int


class SimNode:
    """One node: its disk and clock stay, its replica lives from start to crash.

    lives: how often it was started. replica: None while it is down. paused_until_s: it does nothing.
    """

    def __init__(self, node_id: str, clock: NodeClock) -> None:
        self.id = node_id
        self.clock = clock
        self.disk = Disk()
        self.lives = 0
        self.paused_until_s = 0.0
        self.replica: Replica | None = None
        self.consensus: Consensus | None = None
        self.round_at_s = float("inf")


class Cluster:
    """All nodes and their network.

    log: {index: entry}. applied_by: {index: node and life that told first}. leaders: {term: node}.
    broken: what should never be, in words. dead_requests: called when a node takes its requests along.
    """

    def __init__(self, world: World, setup: Setup) -> None:
        self.world = world
        self.setup = setup
        self.ids = [f"n{number}:1" for number in range(1, setup.nodes + 1)]
        self.network = Network(world, self.ids, self.wake)
        skew = partial(world.random.randint, -SKEW_MS_MAX, SKEW_MS_MAX)
        self.nodes = {node_id: SimNode(node_id, NodeClock(world, skew())) for node_id in self.ids}
        self.log: dict[int, bytes] = {}
        self.applied_by: dict[int, str] = {}
        self.leaders: dict[int, str] = {}
        self.broken: list[str] = []
        self.on_crash: Callable[[str], None] = lambda _node_id: None
        pysyncobj_module.random = world.random
        for node_id in self.ids:
            self.start(node_id)

    # -- lives ---------------------------------------------------------------------------------

    def start(self, node_id: str) -> None:
        """Start a node from what its disk has."""
        node = self.nodes[node_id]
        if node.replica is not None:
            return
        node.lives += 1
        replica = Replica(
            session=self.world.random.getrandbits(63) | 1,
            clock=node.clock,
            mode="durable" if self.setup.durable else "replicated-memory",
            request_timeout_s=REQUEST_TIMEOUT_S,
        )
        kept = SimSnapshots(node.disk, self.world)
        restored = kept.load()
        if restored is not None:
            replica.restore(restored[2])
        node.consensus = Consensus(
            node_id,
            [other for other in self.ids if other != node_id],
            journal=Journal(node.disk),
            snapshots=kept,
            timing=Timing(),
            clock=node.clock,
            transport=partial(SimTransport, network=self.network),
            on_apply=partial(self._on_apply, node),
            on_install=replica.restore,
            state=replica.state,
            restored=kept.latest,
            compact_bytes=self.setup.compact_bytes,
        )
        replica.attach(node.consensus)
        node.replica = replica
        self.world.tell(f"{node_id} starts, life {node.lives}, applied {replica.index}")
        self.network.up(node_id)
        self.wake(node_id)

    def crash(self, node_id: str, *, wipe: bool) -> None:
        """End a node without a word; with `wipe` its disk is lost too."""
        node = self.nodes[node_id]
        if node.replica is None:
            return
        self.world.tell(f"{node_id} crashes{' and loses its disk' if wipe else ''}")
        node.replica = node.consensus = None
        node.round_at_s = float("inf")
        node.disk.crash()
        if wipe:
            node.disk.wipe()
        self.network.down(node_id)
        self.on_crash(node_id)

    def is_up(self, node_id: str) -> bool:
        """Whether the node runs and is not paused."""
        node = self.nodes[node_id]
        return node.replica is not None and node.paused_until_s <= self.world.now_s

    def everyone_is_whole(self) -> bool:
        """Whether all nodes run and none is still getting its memory back."""
        return all(node.consensus is not None and not node.consensus.recovering for node in self.nodes.values())

    # -- rounds --------------------------------------------------------------------------------

    def wake(self, node_id: str) -> None:
        """Something happened at a node: it has a round soon."""
        self._round_in(self.nodes[node_id], self.world.random.uniform(ROUND_S_MIN, ROUND_S_MAX))

    def _round_in(self, node: SimNode, delay_s: float) -> None:
        due_s = max(self.world.now_s + delay_s, node.paused_until_s)
        if node.replica is not None and due_s < node.round_at_s:
            node.round_at_s = due_s
            self.world.after(due_s - self.world.now_s, self._round, node, node.lives, due_s)

    def _round(self, node: SimNode, life: int, due_s: float) -> None:
        if node.lives != life or node.round_at_s != due_s or node.replica is None or node.consensus is None:
            return
        node.round_at_s = float("inf")
        if node.paused_until_s > self.world.now_s:
            self._round_in(node, 0.0)
            return
        try:
            loop.turn(node.consensus, node.replica)
        except Crashed:
            self.crash(node.id, wipe=False)
            return
        if node.consensus.is_leader:
            self._note_leader(node)
        wait_s = min(node.consensus.wait_s_max(), node.replica.wait_s_max())
        self._round_in(node, max(wait_s, ROUND_S_MIN) + self.world.random.uniform(0, ROUND_S_MAX))

    # -- what must be --------------------------------------------------------------------------

    def _note_leader(self, node: SimNode) -> None:
        consensus = node.consensus
        if consensus is None:
            return
        term = consensus.raftCurrentTerm
        who = f"{node.id} in life {node.lives}"
        known = self.leaders.get(term)
        if known == who:
            return
        self.leaders[term] = who
        self.world.tell(f"{node.id} leads term {term}")
        if known is not None:
            self.broken.append(f"term {term} has two leaders: {known} and {who}")

    def _on_apply(self, node: SimNode, index: int, data: bytes) -> None:
        known = self.log.setdefault(index, data)
        first = self.applied_by.setdefault(index, f"{node.id} in life {node.lives}")
        if known != data:
            self.broken.append(
                f"index {index} was applied differently by {node.id} in life {node.lives} than by {first}"
            )
        if node.replica is not None:
            node.replica.on_apply(index, data)
