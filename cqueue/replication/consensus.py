"""Raft, as PySyncObj 0.3.17 does it, mended where it could lose what it acknowledged.

`Consensus` knows entries as opaque bytes and hands them, once committed, to `on_apply` in order.
It decides nothing about jobs. The mends live in elections.py (votes), appends.py (the log between
nodes) and here (proposals, applying, compaction).

The loop drives it: `poll` (read the links), then `tick` (elect, commit, apply, append, send), then
`flush` (journal first, then every message that was held back until the journal had it).
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable
from typing import Any, Final

import pysyncobj
import pysyncobj.syncobj as pysyncobj_module
from pysyncobj import SyncObjConf

from cqueue.core import entry
from cqueue.core.levels import LEVEL
from cqueue.errors import Unusable
from cqueue.replication import membership
from cqueue.replication.changes import Changes
from cqueue.replication.clock import Clock, LeaderClock
from cqueue.replication.journal import Journal
from cqueue.replication.membership import MEMBERS, Configuration, Recovery
from cqueue.replication.poller import LoopPoller
from cqueue.replication.raft import NO_OP, PYSYNCOBJ_VERSION, REGULAR, ROLES, Message, Peer, Timing
from cqueue.replication.snapshots import Image, Snapshots

COMPACT_BYTES: Final = 64 * 1024 * 1024
"""A snapshot is made once the log holds this much that is not in one, and as much as the last one."""
COMPACT_STRETCH: Final = 4
"""A large snapshot puts the next one off, but to no more than so many times `COMPACT_BYTES`."""
TRAILING_ENTRIES: Final = 1_000
"""Entries kept behind a snapshot, for followers that are only a little late."""
_DROPPED_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of the log in one round, so that dropping much of it stalls nothing."""
_NEVER: Final = 1 << 60


class Consensus(Changes):
    """One member of the Raft group.

    Args:
        node_id: this node's host:port. peers: the others', as long as no log says who they are.
        life: a number that no other start of any node has; a node that has a disk keeps its first one.
        journal: the log, with what was kept of it.
        snapshots: where snapshots are kept.
        on_apply: called with (index, entry bytes) for each committed entry, in order, once.
        on_install: called with a state that takes the place of the present one.
        state: encodes the present state; called in a forked child.
        transport: made with (this object, own node, other nodes), see `HoldingTransport`.
        restored: the snapshot the present state was restored from, if any.
        level_max: what this node reads up to (cqueue.core.levels).

    Raises:
        Unusable: another PySyncObj is installed.
        UnreadableEntry: the members have agreed on more than this node reads.
    """

    def __init__(
        self,
        node_id: str,
        peers: Iterable[str],
        *,
        life: int,
        journal: Journal,
        snapshots: Snapshots,
        timing: Timing,
        clock: Clock,
        transport: Callable[[Any, Any, set[Any]], Any],
        on_apply: Callable[[int, bytes], None],
        on_install: Callable[[bytes], None],
        state: Callable[[], bytes],
        restored: Image | None = None,
        level_max: int = LEVEL,
        compact_bytes: int = COMPACT_BYTES,
        trailing_entries: int = TRAILING_ENTRIES,
    ) -> None:
        if pysyncobj.version.VERSION != PYSYNCOBJ_VERSION:
            raise Unusable(f"PySyncObj {pysyncobj.version.VERSION} is installed; cqueue needs {PYSYNCOBJ_VERSION}")
        self.level_max = level_max
        self._journal = journal
        self._snapshots = snapshots
        self._timing = timing
        self._clock = clock
        self._on_apply = on_apply
        self._on_install = on_install
        self._state = state
        self._compact_bytes = compact_bytes
        self._trailing_entries = trailing_entries
        self._leader_clock = LeaderClock(clock)
        self._has_voted = not journal.was_empty
        self._heard_leader_s = float("-inf")
        self._voters = set()
        self._pre_votes = None
        self._pre_vote_round = 0
        self._unsent_entries = False
        self._untold_commit = False
        self._window_from = {}
        self._told_commit = {}
        self._outgoing = {}
        self._incoming = None
        self._snapshot_wanted = False
        self._snapshot_index = 0 if restored is None else restored.index
        self._drop_before = 0
        self._recovery = None
        # A message of a kind in this table goes to its method; what that returns says whether
        # PySyncObj gets to see it too.
        self._checks: dict[str, Callable[[Peer, Message], bool]] = {
            "append_entries": self._on_append_entries,
            "committed": self._on_committed,
            "configuration": self._on_configuration,
            "install_snapshot": self._on_install_snapshot,
            "newer_term": self._on_newer_term,
            "next_node_idx": self._on_next_node_idx,
            "pre_vote": self._on_pre_vote,
            "pre_vote_granted": self._on_pre_vote_granted,
            "recovery_answer": self._on_recovery_answer,
            "recovery_query": self._on_recovery_query,
            "request_vote": self._on_request_vote,
            "response_vote": self._on_response_vote,
            "snapshot_received": self._on_snapshot_received,
            "timeout_now": self._on_timeout_now,
        }
        journal.reconcile(restored)
        others = self._begin_with(life, node_id, Configuration.of(0, {node_id, *peers}))
        conf = SyncObjConf(
            autoTick=False,
            raftMinTimeout=timing.election_s_min,
            raftMaxTimeout=timing.election_s_max,
            appendEntriesPeriod=timing.heartbeat_s,
            leaderFallbackTimeout=timing.fallback_s,
            connectionTimeout=_NEVER,
            appendEntriesUseBatch=True,
            commandsWaitLeader=False,
            logCompactionMinEntries=_NEVER,
            logCompactionMinTime=_NEVER,
        )
        # PySyncObj reads the kernel's raw clock, which drifts from the one everybody else reads.
        pysyncobj_module.monotonicTime = clock.monotonic_s
        with _Given(journal):
            super().__init__(Peer(node_id), others, conf, nodeClass=Peer, transportClass=transport)
        if restored is not None:
            self._SyncObj__raftLastApplied = restored.index
            self._SyncObj__raftCommitIndex = max(self._SyncObj__raftCommitIndex, restored.index)
        self._SyncObj__otherNodes = self._others()
        if self.is_alone:
            self._SyncObj__raftElectionDeadline = 0.0
        elif not journal.is_whole:
            self._recovery = Recovery()

    # -- what others may ask -------------------------------------------------------------------

    @property
    def node_id(self) -> str:
        """This node's host:port."""
        return str(self._SyncObj__selfNode.id)

    @property
    def peer_states(self) -> list[tuple[str, bool]]:
        """The other members and whether there is a link to each, by id."""
        return [(member, self.isNodeConnected(Peer(member))) for member in self._configuration.others(self.node_id)]

    @property
    def role(self) -> str:
        """follower, candidate or leader."""
        return ROLES[self._SyncObj__raftState]

    @property
    def leader_id(self) -> str | None:
        """The leader this node knows of, perhaps itself."""
        leader = self._SyncObj__raftLeader
        return None if leader is None else str(leader.id)

    @property
    def epoch(self) -> tuple[int, str | None]:
        """Changes whenever what was proposed before may have been lost on its way."""
        return self.raftCurrentTerm, self.leader_id

    @property
    def applied_index(self) -> int:
        """Index of the last entry whose effect is in the state."""
        return self._SyncObj__raftLastApplied

    @property
    def applied_term(self) -> int:
        """Its term; the log keeps an entry at least until a later one is applied."""
        held = self._journal.entry_at(self.applied_index)
        return 0 if held is None else held[2]

    @property
    def has_unapplied(self) -> bool:
        """Whether the log holds entries that are not applied here yet."""
        return self._SyncObj__raftLastApplied < self.last_index

    @property
    def is_current(self) -> bool:
        """Whether a leader is known and what it was known to have committed is applied here.

        A leader counts as current once the entry it opened its term with is applied: before that
        it may not know of everything its predecessor acknowledged (Raft 6.4).
        """
        if self.recovering or self.leader_id is None:
            return False
        if self.is_leader:
            return self._SyncObj__raftLastApplied >= self._SyncObj__noopIDx
        known = self._SyncObj__leaderCommitIndex
        return known is not None and self._SyncObj__raftLastApplied >= known

    def now_ms(self) -> int:
        """The time the leader stamps, in ms since the Unix epoch."""
        return self._leader_clock.now_ms()

    # -- what others may say to their like on the other nodes ------------------------------------

    def listen(self, kind: str, hear: Callable[[str, Message], None]) -> None:
        """Have messages of a kind that is none of Raft's go to `hear`, as (node id, message)."""

        def check(node: Peer, message: Message) -> bool:
            hear(str(node.id), message)
            return False

        self._checks[kind] = check

    def tell(self, node_id: str, kind: str, /, **fields: Any) -> None:
        """Send a message to one node; it may get lost."""
        self._send(Peer(node_id), kind, **fields)

    # -- what the loop does --------------------------------------------------------------------

    def propose(self, data: bytes) -> None:
        """Put an entry on its way: into the log where this node leads, else to the leader.

        There is no callback. The proposer recognises its entry when it is applied, and proposes
        it again when that takes too long: an entry may get lost here, and may come twice.
        """
        command = REGULAR + data
        if self.is_leader:
            self._applyCommand(command, None)
        elif self._SyncObj__raftLeader is not None:
            self._send(self._SyncObj__raftLeader, "apply_command", command=command)

    def poll(self, timeout_s: float) -> None:
        """Read and handle what has arrived, waiting for it at most `timeout_s`."""
        self._poller.wait(timeout_s)

    def tick(self) -> None:
        """Elect, commit, apply, append and send, as far as each is due."""
        self._recover()
        self._pre_vote()
        self._advance_change()
        self.doTick(0)
        if self.is_alone and self.is_leader:
            self._apply_at_once()

    def flush(self) -> None:
        """Make the round's changes last, then let the messages go that depend on them (Raft 3.8)."""
        self._journal.commit()
        self._SyncObj__transport.flush()

    def wait_s_max(self) -> float:
        """How long the loop may wait for news before the next tick is due."""
        if self.is_alone and self.has_unapplied:
            return 0.0
        due_s = self._SyncObj__newAppendEntriesTime if self.is_leader else self._SyncObj__raftElectionDeadline
        return min(max(due_s - self._clock.monotonic_s(), 0.001), self._timing.heartbeat_s)

    def _apply_at_once(self) -> None:
        """Where nobody else has to agree: commit and apply what was appended in this round, not in the next one.

        It lasts when the round is flushed, before anybody is answered. All of it is of this term: what this node
        found in its log was committed under the no-op that its term begins with (Raft 5.4.2).
        """
        last = self.last_index
        if self._SyncObj__raftCommitIndex < last and self._journal[-1][2] == self.raftCurrentTerm:
            self._SyncObj__raftCommitIndex = last
            self._journal.setRaftCommitIndex(last)
            self._SyncObj__applyLogEntries()

    # -- mends ---------------------------------------------------------------------------------

    def _SyncObj__onMessageReceived(self, node: Peer, message: Message) -> None:  # noqa: N802
        check = self._checks.get(message["type"])
        if check is None or check(node, message):
            super()._SyncObj__onMessageReceived(node, message)
        self._follow_configuration()

    def _checkCommandsToApply(self) -> None:  # noqa: N802 - PySyncObj's name
        """Append what was proposed, stamped with the leader's time, and send it once.

        PySyncObj sends a message per command, or waits a heartbeat. A command that reaches a node
        that does not lead is dropped: whoever proposed it will notice and propose it again.
        """
        take = self._SyncObj__commandsQueue.get_nowait
        leads = self.is_leader and not self._is_handing_over
        while True:
            try:
                command, _ = take()
            except queue.Empty:
                break
            if leads:
                data = entry.stamp(command[1:], self._leader_clock.now_ms())
                self._journal.add(REGULAR + data, self.last_index + 1, self.raftCurrentTerm)
                self._unsent_entries = True
        if self.is_leader:
            if self._unsent_entries:
                self._SyncObj__sendAppendEntries()
            elif self._untold_commit:
                self._send_committed()
        self._unsent_entries = self._untold_commit = False

    def _SyncObj__applyLogEntries(self) -> bool:  # noqa: N802
        """Apply committed entries, each exactly once.

        Hole: PySyncObj runs a command that raises again on every tick, for ever, on every node,
        and applies an entry twice when a callback raises. Here the index moves first; what
        `on_apply` raises is a fault of this node and ends its process.
        """
        applied = self._SyncObj__raftLastApplied
        while self._SyncObj__raftLastApplied < self._SyncObj__raftCommitIndex:
            held = self._journal.entry_at(self._SyncObj__raftLastApplied + 1)
            if held is None:
                break
            command, index, _ = held
            self._SyncObj__raftLastApplied = index
            if command[:1] == REGULAR:
                self._on_apply(index, command[1:])
            elif command[:1] not in {NO_OP, MEMBERS}:
                raise entry.UnreadableEntry(f"log entry {index} has kind {command[0]}")
        if self._SyncObj__raftLastApplied != applied:
            self._untold_commit = True
        return False

    def _SyncObj__tryLogCompaction(self) -> None:  # noqa: N802
        """Make a snapshot when the log has grown enough, and drop what is in one, a little a round.

        Holes: PySyncObj cuts a log that was replaced while the snapshot was made, discards history
        where no file was given, and rewrites its journal in place (Raft 5.1).
        """
        image = self._snapshots.finished()
        if image is not None:
            self._snapshot_index, self._snapshot_wanted = image.index, False
            self._drop_before = image.index - self._trailing_entries
            return  # this round had its work: what is in it is dropped from the next one on
        applied = self._SyncObj__raftLastApplied
        grown = self._journal.bytes_between(self._snapshot_index, applied) >= self._compact_at_bytes()
        if (grown or self._snapshot_wanted) and applied > self._snapshot_index:
            held = self._journal.entry_at(applied)
            if held is not None:
                members = membership.encode(self._journal.configuration_at(applied))
                self._snapshots.begin(applied, held[2], self._state, members)
        base = self._journal[0][1]
        if base < self._drop_before:
            count = len(self._journal.slice(base, _DROPPED_BYTES_MAX))
            self._journal.deleteEntriesTo(min(count, self._drop_before - base))

    def _compact_at_bytes(self) -> int:
        """How large the log gets before the next snapshot, whose cost is the size of the state (Raft 5.1.2)."""
        latest = self._snapshots.latest
        kept_bytes = 0 if latest is None else latest.bytes
        return min(max(self._compact_bytes, kept_bytes), COMPACT_STRETCH * self._compact_bytes)


class _Given:
    """Makes `SyncObj.__init__` take our journal and poller; it offers no arguments for them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._originals = pysyncobj_module.createJournal, pysyncobj_module.createPoller

    def __enter__(self) -> None:
        pysyncobj_module.createJournal = lambda _file: self._journal
        pysyncobj_module.createPoller = lambda _kind: LoopPoller()

    def __exit__(self, *exc: object) -> None:
        pysyncobj_module.createJournal, pysyncobj_module.createPoller = self._originals
