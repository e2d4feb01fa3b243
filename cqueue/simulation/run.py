"""One seed, from start to verdict."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final
from unittest.mock import patch

import pysyncobj.syncobj as pysyncobj_module

from cqueue import protocol
from cqueue.core import limits
from cqueue.simulation import checkers, unmended
from cqueue.simulation.choices import LEASES_MS, Choices
from cqueue.simulation.cluster import Cluster, Setup, SimNode
from cqueue.simulation.faults import KINDS, Faults
from cqueue.simulation.linearizability import Undecided
from cqueue.simulation.workload import Asked, Workload
from cqueue.simulation.world import START_S, World

SETTLE_S: Final = 15.0
"""After everything is mended: by then all nodes must agree and be ready."""
LOOK_S: Final = 0.05
LOOKS: Final = 20
"""So often it is looked at again, where something was just on its way."""
SEARCHED_S_MAX: Final = 6.0
"""A run this short is judged without the log, too: only the original verbs, leases that do not end."""
DURABLE_SHARE: Final = 0.6
COMPACT_BYTES: Final = (2_000, 20_000, 1 << 40)
TRAILING_ENTRIES: Final = (0, 20, 1_000)
LIMITS: Final = {"CHANGES_KEPT_MAX": 6, "LOOK_JOBS_MAX": 15, "ROOM_JOBS_MAX": 3, "SWEEP_JOBS_MAX": 3}
"""Small enough to be met in a run, and for the model to keep up."""
BOUNDS: Final = (60, 45_000)
"""Jobs and bytes: few enough to be met, too."""
OUTCOMES: Final = {
    protocol.RESULT: "is answered",
    protocol.UNAVAILABLE: "is answered that nothing was done",
    protocol.UNKNOWN: "is answered that its outcome is unknown",
}


@dataclass
class Verdict:
    """What one run showed. broken: what should not be, in words; story: (seconds, line).

    searched: its history was explained without the log, see `checkers.search`.
    """

    seed: int
    setup: Setup
    operations: int = 0
    acknowledged: int = 0
    entries: int = 0
    terms: int = 0
    snapshots: int = 0
    searched: bool = False
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
    setup = Setup(
        nodes,
        spares=1 if "members" in faults and nodes > 1 else 0,
        durable=chance.random() < DURABLE_SHARE,
        compact_bytes=chance.choice(COMPACT_BYTES),
        trailing_entries=chance.choice(TRAILING_ENTRIES),
        bounds=BOUNDS,
    )
    with simulated(without):
        cluster = Cluster(world, setup)
        trouble = Faults(world, cluster, faults)
        is_short = seconds <= SEARCHED_S_MAX
        choices = Choices(chance, LEASES_MS[-1:] if is_short else LEASES_MS, only_original=is_short)
        workload = Workload(world, cluster, choices)
        world.run_until(START_S + seconds)
        trouble.stop()
        world.run_until(START_S + seconds + 2.0)
        workload.stop()
        verdict = judge(seed, cluster, workload.history)
        if is_short:
            try:
                verdict.broken += checkers.search(workload.history, BOUNDS)
                verdict.searched = True
            except Undecided:
                pass
    return verdict


@contextmanager
def simulated(without: str | None) -> Iterator[None]:
    """What has to be so while a cluster is simulated: small limits, no logging, a mend taken away."""
    originals = pysyncobj_module.random, pysyncobj_module.monotonicTime
    logging.disable(logging.CRITICAL)
    try:
        with unmended.without(without), ExitStack() as small:
            for name, value in LIMITS.items():
                small.enter_context(patch.object(limits, name, value))
            yield
    finally:
        logging.disable(logging.NOTSET)
        pysyncobj_module.random, pysyncobj_module.monotonicTime = originals


def judge(seed: int, cluster: Cluster, history: list[Asked]) -> Verdict:
    """Let a cluster without faults settle, and say what its run showed."""
    world = cluster.world
    world.run_until(world.now_s + SETTLE_S)
    unsettled = _unsettled(cluster)
    for _ in range(LOOKS):
        if unsettled:  # a lease may end at this very moment
            world.run_until(world.now_s + LOOK_S)
            unsettled = _unsettled(cluster)
    verdict = Verdict(seed, cluster.setup)
    verdict.operations = len(history)
    verdict.acknowledged = sum(asked.outcome == protocol.RESULT for asked in history)
    verdict.entries, verdict.terms = len(cluster.log), len(cluster.leaders)
    verdict.snapshots = sum(node.disk.snapshot is not None for node in cluster.nodes.values())
    verdict.broken = cluster.broken + checkers.check(cluster.log, history) + unsettled
    verdict.story = _story(world, history, verdict.broken)
    return verdict


def _unsettled(cluster: Cluster) -> list[str]:
    """What is not as it should be once everything is mended: readiness, agreement, equal states and logs."""
    broken = []
    states = set()
    running = [node.consensus for node in cluster.nodes.values() if node.consensus is not None]
    if not running:
        return ["all nodes are down"]
    members = max(running, key=lambda consensus: (consensus.is_leader, consensus.raftCurrentTerm)).members
    nodes = [cluster.nodes[member] for member in members]
    for node in nodes:
        if node.replica is None:
            broken.append(f"{node.id} is down")
            continue
        reason = node.replica.status().not_ready
        if reason is not None:
            broken.append(f"{node.id} is not ready: {reason}")
        states.add((node.replica.index, node.replica.state()))
        if node.consensus is not None and node.consensus.members != members:
            broken.append(f"{node.id} takes {node.consensus.members} for the members, the leader {members}")
        if node.consensus is not None and node.consensus.level != min(member.reads for member in nodes):
            broken.append(f"{node.id} takes {node.consensus.level} for the level of {[m.reads for m in nodes]}")
    if len(states) > 1:
        broken.append(f"the nodes' states differ: at {sorted(index for index, _ in states)}")
    return broken + _differing_logs(nodes)


def _differing_logs(nodes: list[SimNode]) -> list[str]:
    """Where two logs have entries of different terms at one index."""
    broken = []
    logs = {
        node.id: {index: term for _, index, term in node.consensus._journal[:]}
        for node in nodes
        if node.consensus is not None
    }
    for a, b in combinations(logs, 2):
        differing = [index for index in logs[a].keys() & logs[b].keys() if logs[a][index] != logs[b][index]]
        if differing:
            broken.append(f"the logs of {a} and {b} differ: at {min(differing)}")
    return broken


def _story(world: World, history: list[Asked], broken: list[str]) -> list[tuple[float, str]]:
    """What happened, in order, with the operations that something broken is about."""
    words = {word for line in broken for word in line.split()}
    about = [asked for asked in history if str(asked.number) in words]
    lines = [
        (asked.asked_s, f"operation {asked.number}: {asked.node} is asked for {type(asked.what).__name__}")
        for asked in about
    ]
    outcomes = {
        protocol.RESULT: "is answered",
        protocol.UNAVAILABLE: "is told: not done",
        protocol.UNKNOWN: "is told: unknown",
    }
    lines += [
        (asked.answered_s, f"operation {asked.number} {outcomes[asked.outcome]}, as of index {asked.index}")
        for asked in about
        if asked.answered_s is not None and asked.outcome is not None
    ]
    return sorted([*world.story, *((at_s - START_S, line) for at_s, line in lines)], key=lambda told: told[0])
