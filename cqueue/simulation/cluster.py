"""The simulated cluster: real replicas, started, driven, crashed and started again.

`Cluster.log` is what the cluster as a whole decided: for each index the one entry ever applied
there. It is collected from every apply of every life of every node, and two that differ are the
first thing a checker hears of. Beside it the cluster watches what only it can see: who leads which
term, what every log holds of an index and a term, and the state's bytes at the same index.
"""

from __future__ import annotations

from functools import partial
from traceback import format_exc
from typing import Final
from zlib import crc32

import pysyncobj.syncobj as pysyncobj_module
from msgspec import Struct

from cqueue.core import limits
from cqueue.core.entry import UnreadableEntry
from cqueue.core.feed import Wanted
from cqueue.core.levels import LEVEL
from cqueue.errors import Unusable
from cqueue.protocol import ADD, encode
from cqueue.replication import loop, membership
from cqueue.replication.consensus import TRAILING_ENTRIES, Consensus
from cqueue.replication.journal import Entry, Journal
from cqueue.replication.membership import MEMBERS
from cqueue.replication.raft import NO_OP, Timing
from cqueue.replication.replica import Replica
from cqueue.simulation.disk import Crashed, Disk, SimSnapshots
from cqueue.simulation.network import Network, SimTransport
from cqueue.simulation.work import Inline
from cqueue.simulation.world import NodeClock, World

REQUEST_TIMEOUT_S: Final = 5.0
ROUND_S_MIN, ROUND_S_MAX = 0.0002, 0.003
"""From news to the round that acts on it."""
SKEW_MS_MAX: Final = 60_000
EVENTS_MAX: Final = 100
LEVEL_SIMULATED: Final = LEVEL + 1
"""What a newer version reads; it is no different otherwise."""
OPERATOR_S: Final = 0.5
"""Until somebody has installed another version."""
STATES_EVERY: Final = 50
"""States are compared at every index this divides."""


class Setup(Struct, frozen=True):
    """What kind of cluster it is. durable: nodes keep a journal; else memory only.

    spares: nodes that run and are no members at first. bounds: jobs and bytes it takes in.
    level_max: what the nodes read up to at first (cqueue.core.levels).
    """

    nodes: int
    spares: int = 0
    durable: bool = True
    compact_bytes: int = 1 << 40
    trailing_entries: int = TRAILING_ENTRIES
    bounds: tuple[int, int] = limits.JOBS_MAX_DEFAULT, limits.BYTES_MAX_DEFAULT
    level_max: int = LEVEL


class SimNode:
    """One node: its disk and clock stay, its replica lives from start to crash.

    lives: how often it was started. replica: None while it is down. paused_until_s: it does nothing.
    fails_to_apply: the next entry ends it in the middle of things.
    stop_by_s: it was told to stop, and does once it has handed over, or then; None: it was not.
    level_max: what the version reads that is installed there, from its next start on.
    """

    def __init__(self, node_id: str, clock: NodeClock, level_max: int) -> None:
        self.id = node_id
        self.clock = clock
        self.level_max = level_max
        self.disk = Disk()
        self.lives = 0
        self.paused_until_s = 0.0
        self.fails_to_apply = False
        self.stop_by_s: float | None = None
        self.replica: Replica | None = None
        self.consensus: Consensus | None = None
        self.round_at_s = float("inf")

    @property
    def reads(self) -> int:
        """What it reads up to: the version that runs there, or will."""
        return self.level_max if self.consensus is None else self.consensus.level_max


class Cluster:
    """All nodes and their network.

    log: {index: entry}. applied_by: {index: node and life that told first}. leaders: {term: node}.
    written: {(index, term): command}. states: {index: checksum of the state right after it}.
    broken: what should never be, in words.
    """

    def __init__(self, world: World, setup: Setup) -> None:
        self.world = world
        self.setup = setup
        self.ids = [f"n{number}:1" for number in range(1, setup.nodes + setup.spares + 1)]
        self.first_ids = self.ids[: setup.nodes]
        self.network = Network(world, self.ids, self.wake)
        skew = partial(world.random.randint, -SKEW_MS_MAX, SKEW_MS_MAX)
        self.nodes = {node_id: SimNode(node_id, NodeClock(world, skew()), setup.level_max) for node_id in self.ids}
        self.log: dict[int, bytes] = {}
        self.applied_by: dict[int, str] = {}
        self.leaders: dict[int, str] = {}
        self.written: dict[tuple[int, int], bytes] = {}
        self.states: dict[int, int] = {}
        self.told: dict[int, int] = {}
        self.broken: list[str] = []
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
        node.stop_by_s = None
        node.disk.on_append = self._on_append
        session = self.world.random.getrandbits(63) | 1
        replica = Replica(
            session=session,
            clock=node.clock,
            mode="durable" if self.setup.durable else "replicated-memory",
            request_timeout_s=REQUEST_TIMEOUT_S,
            bounds=self.setup.bounds,
            events_max=EVENTS_MAX,
            start=Inline,
        )
        kept = SimSnapshots(node.disk, self.world)
        restored = kept.load()
        if restored is not None:
            replica.restore(restored[2])
        try:
            node.consensus = Consensus(
                node_id,
                [other for other in self.first_ids if other != node_id],
                life=session,
                journal=Journal(node.disk),
                snapshots=kept,
                timing=Timing(),
                clock=node.clock,
                transport=partial(SimTransport, network=self.network, disk=node.disk),
                on_apply=partial(self._on_apply, node),
                on_install=replica.restore,
                state=replica.state,
                restored=kept.latest,
                level_max=node.level_max,
                compact_bytes=self.setup.compact_bytes,
                trailing_entries=self.setup.trailing_entries,
            )
        except Unusable as error:
            self.broken.append(f"{node_id} cannot start any more: {error.detail}")
            return
        except UnreadableEntry as error:
            self._install_newer(node, error)
            return
        replica.attach(node.consensus)
        node.replica = replica
        self.world.tell(f"{node_id} starts, life {node.lives}, applied {replica.index}")
        self.network.up(node_id)
        self.wake(node_id)

    def _install_newer(self, node: SimNode, why: UnreadableEntry) -> None:
        """A node that is no member stops where its version is too old; an operator starts a newer one."""
        self.world.tell(f"{node.id} stops: {why}")
        if node.level_max >= LEVEL_SIMULATED:
            self.broken.append(f"{node.id} stopped though its version is the newest: {why}")
        if node.replica is not None:
            self._end(node, wipe=False)
        node.level_max = LEVEL_SIMULATED
        self.world.after(OPERATOR_S, self.start, node.id)

    def crash(self, node_id: str, *, wipe: bool) -> None:
        """End a node without a word; with `wipe` its disk is lost too."""
        node = self.nodes[node_id]
        if node.replica is None:
            return
        self.world.tell(f"{node_id} crashes{' and loses its disk' if wipe else ''}")
        self._end(node, wipe=wipe)

    def leave(self, node_id: str) -> None:
        """Tell a node to stop in order: it answers what is on its way and hands leadership over."""
        node = self.nodes[node_id]
        if node.replica is not None:
            self.world.tell(f"{node_id} is told to stop")
            node.stop_by_s = self.world.now_s + loop.LEAVE_S_MAX
            node.replica.drain()
            self.wake(node_id)

    def _end(self, node: SimNode, *, wipe: bool) -> None:
        node.replica = node.consensus = None
        node.round_at_s = float("inf")
        node.disk.crash()
        if wipe or not self.setup.durable:
            node.disk.wipe()
        self.network.down(node.id)

    def is_up(self, node_id: str) -> bool:
        """Whether the node runs and is not paused."""
        node = self.nodes[node_id]
        return node.replica is not None and node.paused_until_s <= self.world.now_s

    def members(self) -> list[str]:
        """Every node that is a member according to the log of any node that runs, by id."""
        logs = [node.consensus._journal for node in self.nodes.values() if node.consensus is not None]
        return sorted({m for log in logs if log.configuration for m in log.configuration.members}) or self.first_ids

    def members_min(self) -> int:
        """How many members there are according to the one of them that runs and knows of fewest."""
        running = [consensus for member in self.members() if (consensus := self.nodes[member].consensus) is not None]
        return min((len(consensus.members) for consensus in running), default=0)

    def may_forget(self, node_id: str) -> bool:
        """Whether the cluster bears that this node loses its memory: all others have theirs, and go on."""
        members = [self.nodes[member] for member in self.members()]
        changes = [node.consensus.change for node in members if node.consensus is not None and node.consensus.change]
        joining = [self.nodes[change.node] for change in changes if change.verb == ADD and change.node is not None]
        if self.nodes[node_id] not in members + joining:
            return True
        return (
            len(members) > 2  # noqa: PLR2004 - one of two is no minority
            # A node that is being added counts for the majority before it can vote, if it fails right away.
            and not joining
            and all(
                node.consensus is not None and node.stop_by_s is None and not node.consensus.recovering
                for node in members
            )
        )

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
            self._read_and_turn(node)
        except Crashed:
            self.crash(node.id, wipe=False)
            return
        except UnreadableEntry as error:
            self._install_newer(node, error)
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the node's process ends by it
            self.broken.append(f"{node.id} ended by {error!r}")
            self.world.tell(format_exc())
            self.crash(node.id, wipe=False)
            return
        if node.consensus.is_leader:
            self._note_leader(node)
        if self._has_left(node):
            self.world.tell(f"{node.id} stops")
            self._end(node, wipe=False)
            return
        node.paused_until_s = max(node.paused_until_s, self.world.now_s + node.disk.rest())
        wait_s = min(node.consensus.wait_s_max(), node.replica.wait_s_max())
        self._round_in(node, max(wait_s, ROUND_S_MIN) + self.world.random.uniform(0, ROUND_S_MAX))

    def _has_left(self, node: SimNode) -> bool:
        if node.stop_by_s is None or node.replica is None or node.consensus is None:
            return False
        return node.stop_by_s <= self.world.now_s or (node.replica.is_idle and node.consensus.leave())

    def _read_and_turn(self, node: SimNode) -> None:
        """A node's round, in the order of `cqueue.replication.loop`."""
        if node.consensus is not None and node.replica is not None:
            self.network.read(node.id)
            loop.turn(node.consensus, node.replica)

    # -- what must be --------------------------------------------------------------------------

    def _on_append(self, entry: Entry) -> None:
        """Two logs that hold an entry of one index and term hold the same (Raft figure 3.2, log matching)."""
        command, index, term = entry
        # A no-op may only stand for an entry that is in a snapshot.
        if command != NO_OP and self.written.setdefault((index, term), command) != command:
            self.broken.append(f"index {index} of term {term} was written twice, with different entries")
        if command[:1] == MEMBERS and (held := membership.decode(command[1:])) is not None:
            behind = [member for member in held.members if self.nodes[member].reads < held.level]
            if behind:
                self.broken.append(f"index {index} of term {term} asks for level {held.level}: too much for {behind}")

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
            if node.fails_to_apply:
                node.fails_to_apply = False
                raise Crashed
            feed = node.replica.machine.feed
            if feed is not None:
                told = crc32(encode(feed.look(Wanted(), (index, 0))))
                if self.told.setdefault(index, told) != told:
                    self.broken.append(f"what {node.id} in life {node.lives} tells of index {index} differs")
            if index % STATES_EVERY == 0:
                state = crc32(node.replica.state())
                if self.states.setdefault(index, state) != state:
                    self.broken.append(f"the state of {node.id} in life {node.lives} at index {index} differs")
