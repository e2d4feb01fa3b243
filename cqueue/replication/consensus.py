"""Raft, as PySyncObj 0.3.17 does it, mended where it could lose what it acknowledged.

`Consensus` subclasses `SyncObj` and overrides its (name-mangled) methods; it knows entries as
opaque bytes and hands them, once committed, to `on_apply` in order. It decides nothing about jobs.
Each mend says which hole it closes; DESIGN.md beside this file has the table. "Raft" is the
dissertation (Ongaro 2014).

The loop drives it: `poll` (read the links), then `tick` (elect, commit, apply, append, send), then
`flush` (journal first, then every message that was held back until the journal had it).
"""

from __future__ import annotations

import logging
import queue
import zlib
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

import pysyncobj
import pysyncobj.syncobj as pysyncobj_module
from msgspec import Struct
from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.node import TCPNode

from cqueue.core import entry
from cqueue.errors import Unusable
from cqueue.replication.clock import Clock, LeaderClock
from cqueue.replication.journal import Entry, Journal
from cqueue.replication.membership import Recovery

log = logging.getLogger(__name__)

PYSYNCOBJ_VERSION: Final = "0.3.17"
"""The one version these mends were written against; a test holds the installed one to it."""

FOLLOWER, CANDIDATE, LEADER = 0, 1, 2
ROLES: Final = ("follower", "candidate", "leader")

_REGULAR, _NO_OP = b"\x00", b"\x01"
_SENT_BYTES_MIN: Final = 4 * 1024 * 1024
"""PySyncObj splits a message with one entry above this, and splits it wrongly: stay below."""


class Timing(Struct, frozen=True):
    """Raft's periods, in seconds. A leader that hears no majority for `fallback_s` steps down."""

    election_s_min: float = 0.5
    election_s_max: float = 1.0
    heartbeat_s: float = 0.1
    connect_retry_s: float = 0.5

    @property
    def fallback_s(self) -> float:
        """Half way through an election time-out: before the others can have a new leader for long."""
        return self.election_s_max


class Transport(Protocol):
    """What the loop needs beyond PySyncObj's `Transport`: messages held until they may leave."""

    def flush(self) -> None:
        """Send what was held."""
        ...


class Peer(TCPNode):  # type: ignore[misc]
    """A node's name. Its hash is the same in every process, so that sets iterate alike everywhere."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self._hash = zlib.crc32(address.encode())

    def __hash__(self) -> int:
        return self._hash


class Consensus(SyncObj):  # type: ignore[misc]
    """One member of the Raft group.

    Args:
        node_id: this node's host:port; peers: the others'.
        journal: the log, with what was kept of it.
        on_apply: called with (index, entry bytes) for each committed entry, in order, once.
        transport_class: made with (self, own node, other nodes), see `Transport`.
    """

    # What the mends use of SyncObj's private state, with its types.
    _SyncObj__commandsQueue: Any
    _SyncObj__lastResponseTime: dict[Peer, float]
    _SyncObj__leaderCommitIndex: int | None
    _SyncObj__newAppendEntriesTime: float
    _SyncObj__noopIDx: int
    _SyncObj__otherNodes: set[Peer]
    _SyncObj__raftCommitIndex: int
    _SyncObj__raftElectionDeadline: float
    _SyncObj__raftLastApplied: int
    _SyncObj__raftMatchIndex: dict[Peer, int]
    _SyncObj__raftNextIndex: dict[Peer, int]
    _SyncObj__raftLeader: Peer | None
    _SyncObj__raftState: int
    _SyncObj__selfNode: Peer
    _SyncObj__transferInProgress: bool
    _SyncObj__transport: Any

    def __init__(
        self,
        node_id: str,
        peers: Iterable[str],
        *,
        journal: Journal,
        timing: Timing,
        clock: Clock,
        transport_class: Callable[..., Any],
        on_apply: Callable[[int, bytes], None],
        password: str | None = None,
        entry_bytes_max: int = _SENT_BYTES_MIN,
    ) -> None:
        if pysyncobj.version.VERSION != PYSYNCOBJ_VERSION:
            raise Unusable(f"PySyncObj {pysyncobj.version.VERSION} is installed; cqueue needs {PYSYNCOBJ_VERSION}")
        self._journal = journal
        self._timing = timing
        self._clock = clock
        self._on_apply = on_apply
        self._leader_clock = LeaderClock(clock)
        self._heard_leader_s = float("-inf")
        self._has_voted = not journal.was_empty
        self._voters: set[str] = set()
        self._pre_votes: set[str] | None = None
        self._pre_vote_round = 0
        self._unsent_news = False
        self._leaving = False
        self._transfer_again_s = float("-inf")
        self._recovery: Recovery | None = None
        self._checks: dict[str, Callable[[Peer, dict[str, Any]], bool]] = {
            "append_entries": self._on_append_entries,
            "next_node_idx": self._on_next_node_idx,
            "pre_vote": self._on_pre_vote,
            "pre_vote_granted": self._on_pre_vote_granted,
            "recovery_answer": self._on_recovery_answer,
            "recovery_query": self._on_recovery_query,
            "request_vote": self._on_request_vote,
            "response_vote": self._on_response_vote,
            "timeout_now": self._on_timeout_now,
        }
        conf = SyncObjConf(
            autoTick=False,
            password=password,
            bindAddress=node_id,
            maxBindRetries=1,
            raftMinTimeout=timing.election_s_min,
            raftMaxTimeout=timing.election_s_max,
            appendEntriesPeriod=timing.heartbeat_s,
            leaderFallbackTimeout=timing.fallback_s,
            connectionTimeout=max(3.5, timing.election_s_max * 2),
            connectionRetryTime=timing.connect_retry_s,
            appendEntriesUseBatch=True,
            appendEntriesBatchSizeBytes=max(_SENT_BYTES_MIN, 4 * entry_bytes_max),
            commandsWaitLeader=False,
            logCompactionMinEntries=1 << 60,
            logCompactionMinTime=1 << 60,
        )
        with _journal_given(journal):
            super().__init__(
                Peer(node_id), [Peer(peer) for peer in peers], conf, nodeClass=Peer, transportClass=transport_class
            )
        if self.is_alone:
            self._SyncObj__raftElectionDeadline = 0.0
        elif journal.was_empty:
            self._recovery = Recovery(self._SyncObj__otherNodes)

    # -- what others may ask -------------------------------------------------------------------

    @property
    def node_id(self) -> str:
        """This node's host:port."""
        return str(self._SyncObj__selfNode.id)

    @property
    def peer_states(self) -> list[tuple[str, bool]]:
        """The other members and whether there is a link to each, by id."""
        return sorted((node.id, self.isNodeConnected(node)) for node in self._SyncObj__otherNodes)

    @property
    def role(self) -> str:
        """follower, candidate or leader."""
        return ROLES[self._SyncObj__raftState]

    @property
    def is_leader(self) -> bool:
        """Whether this node takes itself for the leader; only a commit proves it."""
        return bool(self._SyncObj__raftState == LEADER)

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
    def is_alone(self) -> bool:
        """Whether this node is the whole cluster."""
        return not self._SyncObj__otherNodes

    @property
    def has_unapplied(self) -> bool:
        """Whether the log holds entries that are not applied here yet."""
        return bool(self._SyncObj__raftLastApplied < self._journal[-1][1])

    @property
    def is_current(self) -> bool:
        """Whether a leader is known and what it was known to have committed is applied here.

        A leader counts as current once the entry it opened its term with is applied: before that
        it may not know of everything its predecessor acknowledged (Raft 6.4).
        """
        if self._recovery is not None or self.leader_id is None:
            return False
        if self.is_leader:
            return bool(self._SyncObj__raftLastApplied >= self._SyncObj__noopIDx)
        known = self._SyncObj__leaderCommitIndex
        return known is not None and bool(self._SyncObj__raftLastApplied >= known)

    @property
    def recovering(self) -> bool:
        """Whether this node came back without its memory and must not vote yet."""
        return self._recovery is not None

    def now_ms(self) -> int:
        """The time the leader stamps, in ms since the Unix epoch."""
        return self._leader_clock.now_ms()

    # -- what the loop does --------------------------------------------------------------------

    def propose(self, data: bytes) -> None:
        """Put an entry on its way: into the log where this node leads, else to the leader.

        There is no callback. The proposer recognises its entry when it is applied, and proposes
        it again when that takes too long: an entry may get lost here, and may come twice.
        """
        command = _REGULAR + data
        if self.is_leader:
            self._applyCommand(command, None)
        elif self._SyncObj__raftLeader is not None:
            self._SyncObj__transport.send(self._SyncObj__raftLeader, {"type": "apply_command", "command": command})

    def poll(self, timeout_s: float) -> None:
        """Read and handle what has arrived, waiting for it at most `timeout_s`."""
        self._poller.poll(timeout_s)

    def tick(self) -> None:
        """Elect, commit, apply, append and send, as far as each is due."""
        if self._recovery is not None:
            self._recover()
        self._pre_vote()
        self.doTick(0)

    def flush(self) -> None:
        """Make the round's changes last, then let the messages go that depend on them (Raft 3.8)."""
        self._journal.commit()
        self._SyncObj__transport.flush()

    def wait_s_max(self) -> float:
        """How long the loop may wait for news before the next tick is due."""
        if self.is_alone and (self.has_unapplied or not self.is_leader):
            return 0.0 if self.has_unapplied else 0.01
        due_s = self._SyncObj__newAppendEntriesTime if self.is_leader else self._SyncObj__raftElectionDeadline
        return min(max(due_s - self._clock.monotonic_s(), 0.001), self._timing.heartbeat_s)

    def leave(self) -> bool:
        """Stop taking proposals and hand leadership over; True once another node leads.

        Called once a round at shutdown, until it says True or patience ends.
        """
        self._leaving = True
        if self.is_alone or not self.is_leader:
            return True
        if self._clock.monotonic_s() >= self._transfer_again_s:
            self._transfer_again_s = self._clock.monotonic_s() + self._timing.heartbeat_s
            self.transferLeadership()
        return False

    # -- proposals -----------------------------------------------------------------------------

    def _checkCommandsToApply(self) -> None:  # noqa: N802 - PySyncObj's name
        """Append what was proposed, stamped with the leader's time, and send it once.

        PySyncObj sends a message per command, or waits a heartbeat. A command that reaches a node
        that does not lead is dropped: whoever proposed it will notice and propose it again.
        """
        take = self._SyncObj__commandsQueue.get_nowait
        leads = self.is_leader and not self._leaving
        while True:
            try:
                command, _ = take()
            except queue.Empty:
                break
            if leads:
                data = entry.stamp(command[1:], self._leader_clock.now_ms())
                self._journal.add(_REGULAR + data, self._journal[-1][1] + 1, self._SyncObj__raftCurrentTerm)
                self._unsent_news = True
        if self._unsent_news and self.is_leader and self._SyncObj__otherNodes:
            self._SyncObj__sendAppendEntries()
        self._unsent_news = False

    # -- apply ---------------------------------------------------------------------------------

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
            if command[:1] == _REGULAR:
                self._on_apply(index, command[1:])
            elif command[:1] != _NO_OP:
                raise entry.UnreadableEntry(f"log entry {index} has kind {command[0]}")
        if self._SyncObj__raftLastApplied != applied:
            # Followers apply, and answer their clients, when they learn that it is committed:
            # tell them now instead of with the next heartbeat.
            self._unsent_news = True
        return False

    # -- messages ------------------------------------------------------------------------------

    def _SyncObj__onMessageReceived(self, node: Peer, message: dict[str, Any]) -> None:  # noqa: N802
        """Let PySyncObj have the message, unless ours have dealt with it or must not let it pass."""
        ours = self._checks.get(message["type"])
        if ours is None or ours(node, message):
            super()._SyncObj__onMessageReceived(node, message)

    def _on_append_entries(self, node: Peer, message: dict[str, Any]) -> bool:
        if message["term"] < self.raftCurrentTerm:
            return False
        self._heard_leader_s = self._clock.monotonic_s()
        self._pre_votes = None
        return not self._nothing_new(node, message)

    def _on_request_vote(self, _node: Peer, message: dict[str, Any]) -> bool:
        if self._recovery is None:
            return True
        # Hole: a node that lost its memory may have voted in this term before (Raft 3.8).
        if message["term"] > self.raftCurrentTerm:
            self._SyncObj__setCurrentTerm(message["term"], None)
        return False

    def _on_response_vote(self, node: Peer, message: dict[str, Any]) -> bool:
        # Hole: PySyncObj counts every vote message, of anyone, as one more vote (Raft 3.4).
        counts = message["term"] == self.raftCurrentTerm and node in self._SyncObj__otherNodes
        if not counts or node.id in self._voters:
            return False
        self._voters.add(node.id)
        return True

    def _on_next_node_idx(self, node: Peer, message: dict[str, Any]) -> bool:
        """Count an acknowledgement, in the term it was given in (Raft 3.5).

        Holes: it carried no term, so one for another term's log counted; and one for an earlier
        append set back what was sent since, so that everything on its way was sent again.
        """
        if self.is_leader and message.get("term") == self.raftCurrentTerm and node in self._SyncObj__otherNodes:
            next_index = message["next_node_idx"]
            if message["reset"]:
                self._SyncObj__raftNextIndex[node] = next_index
            if message["success"]:
                match, following = self._SyncObj__raftMatchIndex, self._SyncObj__raftNextIndex
                match[node] = max(match[node], next_index - 1)
                following[node] = max(following[node], next_index)
            self._SyncObj__lastResponseTime[node] = self._clock.monotonic_s()
        return False

    def _on_timeout_now(self, _node: Peer, _message: dict[str, Any]) -> bool:
        return self._recovery is None

    def _SyncObj__sendNextNodeIdx(  # noqa: N802
        self,
        node: Peer,
        reset: bool = False,  # noqa: FBT001, FBT002 - PySyncObj's signature
        nextNodeIdx: int | None = None,  # noqa: N803
        success: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        """Answer an append, in the term it was made in.

        Holes: no term (see above); a follower whose log diverged is walked back one index per
        heartbeat, though its committed prefix is known to match (Raft 5.3); a node without its
        memory counts toward a majority before it has been brought up to date.
        """
        next_index = self._journal[-1][1] + 1 if nextNodeIdx is None else nextNodeIdx
        if reset and not success:
            next_index = min(next_index, self._SyncObj__raftCommitIndex + 1)
        success = success and self._recovery is None
        self._SyncObj__transport.send(
            node,
            {
                "type": "next_node_idx",
                "next_node_idx": next_index,
                "reset": reset,
                "success": success,
                "term": self.raftCurrentTerm,
            },
        )

    def _nothing_new(self, node: Peer, message: dict[str, Any]) -> bool:
        """Take known entries off an append; True where nothing is left and it is answered.

        Hole: PySyncObj cuts everything behind `prevLogIdx` and appends anew, so that an append
        that arrives late removes entries already acknowledged. Entries go only where a term
        conflicts (Raft 3.5, figure 3.1 step 3).
        """
        entries: list[Entry] = message.get("entries") or []
        previous = message.get("prevLogIdx")
        if previous is None:
            return False
        held = self._journal.entry_at(previous)
        if held is None or held[2] != message["prevLogTerm"]:
            return False
        known = 0
        while known < len(entries):
            mine = self._journal.entry_at(entries[known][1])
            if mine is None or mine[2] != entries[known][2]:
                break
            known += 1
        _, last_index, last_term = entries[known - 1] if known else held
        message.update(prevLogIdx=last_index, prevLogTerm=last_term, entries=entries[known:])
        if known < len(entries) or self._journal[-1][1] == last_index:
            return False
        # The log goes on behind what the leader showed: acknowledge only what it showed, and take
        # the rest of the message (term, leader, commit index) without its position.
        commit_index = message["commit_index"]
        bare = {
            "type": "append_entries",
            "term": message["term"],
            "commit_index": min(commit_index, self._SyncObj__raftCommitIndex),
        }
        super()._SyncObj__onMessageReceived(node, bare)
        self._SyncObj__leaderCommitIndex = commit_index
        self._SyncObj__sendNextNodeIdx(node, nextNodeIdx=last_index + 1, success=True)
        if self._SyncObj__raftCommitIndex < min(commit_index, last_index):
            self._SyncObj__raftCommitIndex = min(commit_index, last_index)
            self._journal.setRaftCommitIndex(self._SyncObj__raftCommitIndex)
        return True

    # -- elections -----------------------------------------------------------------------------

    def _pre_vote(self) -> None:
        """Ask before an election whether it could be won (Raft 9.6).

        Hole: without it a node that comes back from a partition, or was stalled, carries a higher
        term into a healthy cluster and deposes its leader.
        """
        if (
            self.is_leader
            or not self._SyncObj__otherNodes
            or self._SyncObj__transferInProgress
            or self._SyncObj__raftElectionDeadline >= self._clock.monotonic_s()
        ):
            return
        if self._pre_votes is not None and self._is_majority(len(self._pre_votes) + 1):
            self._pre_votes = None
            return  # the deadline is over: SyncObj starts the election now
        self._SyncObj__raftElectionDeadline = self._clock.monotonic_s() + self._SyncObj__generateRaftTimeout()
        if self._SyncObj__raftLeader is not None:
            self._SyncObj__raftLeader = None
            log.info("leader_lost term=%d", self.raftCurrentTerm)
        if self._recovery is not None:
            return
        self._pre_votes = set()
        self._pre_vote_round += 1
        for peer in self._SyncObj__otherNodes:
            self._SyncObj__transport.send(
                peer,
                {
                    "type": "pre_vote",
                    "round": self._pre_vote_round,
                    "last_log_index": self._journal[-1][1],
                    "last_log_term": self._journal[-1][2],
                },
            )

    def _on_pre_vote(self, node: Peer, message: dict[str, Any]) -> bool:
        _, last_index, last_term = self._journal[-1]
        up_to_date = (message["last_log_term"], message["last_log_index"]) >= (last_term, last_index)
        if up_to_date and self._recovery is None and not self._hears_leader():
            granted = {"type": "pre_vote_granted", "round": message["round"], "term": self.raftCurrentTerm}
            self._SyncObj__transport.send(node, granted)
        return False

    def _on_pre_vote_granted(self, node: Peer, message: dict[str, Any]) -> bool:
        is_awaited = self._pre_votes is not None and message["round"] == self._pre_vote_round
        if is_awaited and self._pre_votes is not None and node in self._SyncObj__otherNodes:
            if message["term"] > self.raftCurrentTerm:
                # PySyncObj refuses an old term without a word: take the newer one over beforehand.
                self._SyncObj__setCurrentTerm(message["term"], None)
            self._pre_votes.add(node.id)
            if self._is_majority(len(self._pre_votes) + 1):
                self._SyncObj__raftElectionDeadline = 0.0
        return False

    def _hears_leader(self) -> bool:
        """Whether this node has good reason to believe in the present leader, perhaps itself."""
        since_s = self._clock.monotonic_s() - self._timing.election_s_min
        if self.is_leader:
            heard = sum(self._SyncObj__lastResponseTime.get(peer, 0) > since_s for peer in self._SyncObj__otherNodes)
            return self._is_majority(heard + 1)
        return self._heard_leader_s > since_s

    def _SyncObj__setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:  # noqa: N802, N803
        if term != self.raftCurrentTerm:
            self._voters.clear()
        self._has_voted = self._has_voted or votedForNodeId is not None
        super()._SyncObj__setCurrentTerm(term, votedForNodeId)

    def _is_majority(self, count: int) -> bool:
        return count > (len(self._SyncObj__otherNodes) + 1) / 2

    def _SyncObj__onBecomeLeader(self) -> None:  # noqa: N802
        self._leader_clock.anchor()
        super()._SyncObj__onBecomeLeader()
        log.info("leader_elected node=%s term=%d", self.node_id, self.raftCurrentTerm)

    # -- nodes that came back without their memory ---------------------------------------------

    def _recover(self) -> None:
        recovery = self._recovery
        if recovery is None:
            return
        if recovery.is_over(self.raftCurrentTerm, self._journal[-1][1]):
            self._recovery = None
            log.info(
                "recovery_ended node=%s term=%d index=%d", self.node_id, self.raftCurrentTerm, self._journal[-1][1]
            )
        elif recovery.ask_again(self._clock.monotonic_s()):
            for peer in self._SyncObj__otherNodes:
                self._SyncObj__transport.send(peer, {"type": "recovery_query", "round": recovery.round})

    def _on_recovery_answer(self, node: Peer, message: dict[str, Any]) -> bool:
        if self._recovery is not None:
            self._recovery.answered(node.id, message)
        return False

    def _on_recovery_query(self, node: Peer, message: dict[str, Any]) -> bool:
        last_index = self._journal[-1][1]
        self._SyncObj__transport.send(
            node,
            {
                "type": "recovery_answer",
                "round": message["round"],
                "recovering": self._recovery is not None,
                "is_empty": last_index == 1 and not self._has_voted,
                "term": self.raftCurrentTerm,
                "last_index": last_index,
                "leads": self.is_leader,
            },
        )
        return False


class _journal_given:  # noqa: N801 - reads as a clause
    """Makes `SyncObj.__init__` take our journal; it offers no argument for one."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._original = pysyncobj_module.createJournal

    def __enter__(self) -> None:
        pysyncobj_module.createJournal = lambda _file=None: self._journal

    def __exit__(self, *exc: object) -> None:
        pysyncobj_module.createJournal = self._original
