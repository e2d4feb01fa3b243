"""What goes wrong in a simulation, and when.

Every kind of fault has a name, so that one can be left out to see what it is worth. At most a
minority of nodes loses its memory at a time, and only when every other is whole: that is what
replication promises to survive. Crashes that keep the disk may hit all nodes at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cqueue.simulation.cluster import Cluster
from cqueue.simulation.world import World

MEAN_S: Final = 0.5
"""Between two faults."""
SLOW_S: Final = (0.0, 0.05, 0.3, 1.0)


class Faults:
    """Lets faults happen until `stop`, then mends everything."""

    def __init__(self, world: World, cluster: Cluster, kinds: frozenset[str]) -> None:
        self._world = world
        self._cluster = cluster
        self._kinds = [self._KINDS[kind] for kind in sorted(kinds)]
        self._stopped = False
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
        a, b = self._two()
        self._world.tell(f"the connection of {a} and {b} breaks")
        self._cluster.network.disconnect(a, b)

    def _slow(self) -> None:
        a, b = self._two()
        self._cluster.network.slow[a, b] = self._world.random.choice(SLOW_S)

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
        if self._cluster.everyone_is_whole():
            node_id = self._world.random.choice(self._cluster.ids)
            self._cluster.crash(node_id, wipe=True)
            self._world.after(self._world.expo(1.0), self._start, node_id)

    def _start(self, node_id: str) -> None:
        self._cluster.nodes[node_id].disk.crash_at_commit = None
        self._cluster.start(node_id)

    _KINDS: Final[dict[str, Callable[[Faults], None]]] = {
        "crash": _crash,
        "one-way": _one_way,
        "partition": _partition,
        "pause": _pause,
        "reset": _reset,
        "slow": _slow,
        "step": _step,
        "wipe": _wipe,
    }


KINDS: Final = frozenset(Faults._KINDS)
