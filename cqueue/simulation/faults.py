"""What goes wrong in a simulation, and when.

Every kind of fault has a name, so that one can be left out to see what it is worth. At most a
minority of nodes loses its memory at a time, and only when every other is whole: that is what
replication promises to survive. Crashes that keep the disk may hit all nodes at once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from cqueue import protocol
from cqueue.protocol import ADD, REMOVE, TRANSFER, Order
from cqueue.replication import loop
from cqueue.simulation.cluster import LEVEL_SIMULATED, Cluster
from cqueue.simulation.world import World

OF_LINKS: Final = frozenset({"members", "one-way", "partition", "reset", "slow"})
"""They need two nodes."""
MEAN_S: Final = 0.5
"""Between two faults."""
SLOW_S: Final = (0.0, 0.05, 0.3, 1.0)
ORDERS: Final = 3
"""In a row, each without waiting for the one before."""
MEMBERS_MIN: Final = 3
"""With fewer, no node may lose its memory."""
REMOVAL_S_MAX: Final = 10.0
"""Until a removal nobody heard the end of has ended: of two at a time the second could leave too few members."""
ORDER_WAIT_MS: Final = 4_000
"""How long a new node may take to catch up."""
COMMIT_S: Final = (0.002, 0.03, 0.2)


class Faults:
    """Lets faults happen until `stop`, then mends everything."""

    def __init__(self, world: World, cluster: Cluster, kinds: frozenset[str]) -> None:
        self._world = world
        self._cluster = cluster
        possible = kinds if len(cluster.ids) > 1 else kinds - OF_LINKS
        self._kinds = [self._KINDS[kind] for kind in sorted(possible)]
        self._stopped = False
        self._removing_until_s = 0.0
        if self._kinds:
            world.after(2.0, self._happen)

    def _happen(self) -> None:
        if self._stopped:
            return
        self._world.after(self._world.expo(MEAN_S), self._happen)
        self._world.random.choice(self._kinds)(self)

    def stop(self) -> None:
        """Mend everything: all nodes run, all links work."""
        self._stopped = True
        self._world.tell("everything is mended")
        for node in self._cluster.nodes.values():
            node.paused_until_s = 0.0
            node.disk.crash_at_commit = None
            node.disk.commit_s = 0.0
            self._cluster.start(node.id)
            self._cluster.wake(node.id)
        self._cluster.network.heal_all()

    def _two(self) -> tuple[str, str]:
        a, b = self._world.random.sample(self._cluster.ids, 2)
        return a, b

    def _partition(self) -> None:
        ids = self._cluster.ids
        side = set(self._world.random.sample(ids, self._world.random.randint(1, len(ids) - 1)))
        self._world.tell(f"partition: {sorted(side)} from the others")
        for a in ids:
            for b in ids:
                if a != b and (a in side) != (b in side):
                    self._cluster.network.stall(a, b)
        self._world.after(self._world.expo(2.0), self._heal_all)

    def _heal_all(self) -> None:
        self._world.tell("the network is whole again")
        self._cluster.network.heal_all()

    def _one_way(self) -> None:
        a, b = self._two()
        self._world.tell(f"nothing from {a} reaches {b}")
        self._cluster.network.stall(a, b)
        self._world.after(min(3.4, self._world.expo(1.5)), self._cluster.network.heal, a, b)

    def _reset(self) -> None:
        """A connection breaks: at both ends at once, or at one that the other learns of later."""
        a, b = self._two()
        self._world.tell(f"the connection of {a} and {b} breaks")
        if self._world.random.random() < 0.5:  # noqa: PLR2004
            self._cluster.network.disconnect(a, b)
        else:
            self._cluster.network.hang_up(a, b)

    def _slow(self) -> None:
        a, b = self._two()
        self._cluster.network.slow[a, b] = self._world.random.choice(SLOW_S)

    def _slow_disk(self) -> None:
        """A node's commits take their time for a while, and the node waits for each."""
        disk = self._cluster.nodes[self._world.random.choice(self._cluster.ids)].disk
        disk.commit_s = self._world.random.choice(COMMIT_S)
        self._world.after(self._world.expo(2.0), setattr, disk, "commit_s", 0.0)

    def _pause(self) -> None:
        node = self._cluster.nodes[self._world.random.choice(self._cluster.ids)]
        pause_s = self._world.expo(0.8)
        self._world.tell(f"{node.id} is paused for {pause_s:.2f} s")
        node.paused_until_s = self._world.now_s + pause_s

    def _step(self) -> None:
        node = self._cluster.nodes[self._world.random.choice(self._cluster.ids)]
        node.clock.skew_ms += self._world.random.randint(-30_000, 30_000)
        self._world.tell(f"{node.id} has its wall clock set")

    def _crash(self) -> None:
        """One node, or with a disk now and then all of them."""
        cluster = self._cluster
        if not cluster.setup.durable:
            self._wipe()
            return
        victims = cluster.ids if self._world.random.random() < 0.1 else [self._world.random.choice(cluster.ids)]  # noqa: PLR2004
        for node_id in victims:
            if self._world.random.random() < 0.5:  # noqa: PLR2004
                cluster.nodes[node_id].disk.crash_at_commit = self._world.random.choice(("before", "after"))
            else:
                cluster.crash(node_id, wipe=False)
            self._world.after(self._world.expo(1.0), self._start, node_id)

    def _wipe(self) -> None:
        """One node, which loses everything it knew."""
        node_id = self._world.random.choice(self._cluster.ids)
        if self._cluster.may_forget(node_id):
            self._cluster.crash(node_id, wipe=True)
            self._world.after(self._world.expo(1.0), self._start, node_id)

    def _leave(self) -> None:
        """One node stops in order, and comes back: a step of a rolling restart."""
        node_id = self._world.random.choice(self._cluster.ids)
        if self._cluster.setup.durable or self._cluster.may_forget(node_id):
            self._cluster.leave(node_id)
            self._world.after(loop.LEAVE_S_MAX + self._world.expo(0.5), self._start, node_id)

    def _upgrade(self) -> None:
        """A newer version is installed on one node, which stops in order for it: a step of a rolling upgrade."""
        node = self._cluster.nodes[self._world.random.choice(self._cluster.ids)]
        if node.level_max < LEVEL_SIMULATED and (self._cluster.setup.durable or self._cluster.may_forget(node.id)):
            self._world.tell(f"{node.id} has a newer version from its next start on")
            self._cluster.leave(node.id)
            node.level_max = LEVEL_SIMULATED
            self._world.after(loop.LEAVE_S_MAX + self._world.expo(0.5), self._start, node.id)

    def _members(self) -> None:
        """An operator gives a few orders, whatever else goes wrong."""
        for _ in range(ORDERS):
            self._world.after(self._world.expo(0.7), self._order)

    def _order(self) -> None:
        """Add or remove a node, or move leadership, through any node."""
        cluster, chance = self._cluster, self._world.random
        members = cluster.members()
        may_remove = cluster.members_min() > MEMBERS_MIN and self._world.now_s > self._removing_until_s
        through, verb = cluster.nodes[chance.choice(cluster.ids)], chance.choice((ADD, ADD, REMOVE, TRANSFER))
        candidates = {
            ADD: [node_id for node_id in cluster.ids if node_id not in members],
            REMOVE: members if may_remove else [],
            TRANSFER: members,
        }[verb]
        if self._stopped or through.replica is None or not candidates:
            return
        order = Order(verb, chance.choice(candidates), ORDER_WAIT_MS)
        if verb == REMOVE:
            self._removing_until_s = self._world.now_s + REMOVAL_S_MAX
        self._world.tell(f"{through.id} is told to {verb} {order.node}")
        through.replica.submit(protocol.ORDER, protocol.encode(order), 0, partial(self._ordered, order))
        cluster.wake(through.id)

    def _ordered(self, order: Order, outcome: int, _index: int, body: bytes) -> None:
        said = "done" if outcome == protocol.RESULT else protocol.decode_failure(body).detail
        self._world.tell(f"to {order.verb} {order.node}: {said}")
        if order.verb == REMOVE and outcome != protocol.UNKNOWN:
            self._removing_until_s = self._world.now_s

    def _start(self, node_id: str) -> None:
        node = self._cluster.nodes[node_id]
        node.disk.crash_at_commit = None
        if node.replica is not None and node.stop_by_s is not None:
            self._world.after(0.1, self._start, node_id)  # it was paused, and has not stopped yet
        self._cluster.start(node_id)

    _KINDS: Final[dict[str, Callable[[Faults], None]]] = {
        "crash": _crash,
        "leave": _leave,
        "members": _members,
        "one-way": _one_way,
        "partition": _partition,
        "pause": _pause,
        "reset": _reset,
        "slow": _slow,
        "slow-disk": _slow_disk,
        "step": _step,
        "upgrade": _upgrade,
        "wipe": _wipe,
    }


KINDS: Final = frozenset(Faults._KINDS)
