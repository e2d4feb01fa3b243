"""One seed, from start to verdict."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Final

import pysyncobj.syncobj as pysyncobj_module

from cqueue.simulation import checkers, unmended
from cqueue.simulation.cluster import Cluster, Setup
from cqueue.simulation.faults import KINDS, Faults
from cqueue.simulation.workload import Workload
from cqueue.simulation.world import START_S, World

SETTLE_S: Final = 15.0
"""After everything is mended: by then all nodes must agree and be ready."""
LOOK_S: Final = 0.05
LOOKS: Final = 20
"""So often it is looked at again, where something was just on its way."""


@dataclass
class Verdict:
    """What one seed showed. broken: what should not be, in words; story: (seconds, line)."""

    seed: int
    setup: Setup
    operations: int = 0
    acknowledged: int = 0
    entries: int = 0
    terms: int = 0
    snapshots: int = 0
    broken: list[str] = field(default_factory=list)
    story: list[tuple[float, str]] = field(default_factory=list)


def run(
    seed: int, *, nodes: int = 3, seconds: float = 20.0, faults: frozenset[str] = KINDS, without: str | None = None
) -> Verdict:
    """Simulate `seconds` of a cluster of `nodes` under `faults`, then let it settle, then judge.

    Args:
        seed: decides everything that happens.
        nodes: 1 to 9.
        seconds: simulated.
        faults: names of `cqueue.simulation.faults.KINDS`.
        without: a mend to take away, see `cqueue.simulation.unmended`.
    """
    world = World(seed)
    chance = world.random
    setup = Setup(nodes, durable=chance.random() < 0.6, compact_bytes=chance.choice((2_000, 20_000, 1 << 40)))  # noqa: PLR2004
    originals = pysyncobj_module.random, pysyncobj_module.monotonicTime
    logging.disable(logging.CRITICAL)
    try:
        with unmended.without(without):
            cluster = Cluster(world, setup)
            trouble = Faults(world, cluster, faults)
            workload = Workload(world, cluster)
            world.run_until(START_S + seconds)
            trouble.stop()
            world.run_until(START_S + seconds + 2.0)
            workload.stop()
            world.run_until(START_S + seconds + SETTLE_S)
            unsettled = _unsettled(cluster)
            for _ in range(LOOKS):
                if unsettled:  # a lease may end at this very moment
                    world.run_until(world.now_s + LOOK_S)
                    unsettled = _unsettled(cluster)
    finally:
        logging.disable(logging.NOTSET)
        pysyncobj_module.random, pysyncobj_module.monotonicTime = originals
    verdict = Verdict(seed, setup, story=world.story)
    verdict.operations = len(workload.history)
    verdict.acknowledged = sum(asked.outcome == 0 for asked in workload.history)
    verdict.entries, verdict.terms = len(cluster.log), len(cluster.leaders)
    verdict.snapshots = sum(node.disk.snapshot is not None for node in cluster.nodes.values())
    verdict.broken = cluster.broken + checkers.check(cluster.log, workload.history) + unsettled
    return verdict


def _unsettled(cluster: Cluster) -> list[str]:
    """What is not as it should be once everything is mended: readiness, agreement, equal states."""
    broken = []
    states = set()
    for node in cluster.nodes.values():
        if node.replica is None:
            broken.append(f"{node.id} is down")
            continue
        reason = node.replica.status().not_ready
        if reason is not None:
            broken.append(f"{node.id} is not ready: {reason}")
        states.add((node.replica.index, node.replica.state()))
    if len(states) > 1:
        broken.append(f"the nodes' states differ: at {sorted(index for index, _ in states)}")
    return broken
