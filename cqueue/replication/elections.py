"""Mends: who may vote for whom, and when an election is worth starting."""

from __future__ import annotations

from typing import Any

from cqueue import logs
from cqueue.replication.clock import LeaderClock
from cqueue.replication.membership import Configuration, Recovery
from cqueue.replication.raft import FOLLOWER, Message, Peer, Raft

log = logs.of(__name__)


class Elections(Raft):
    """Counted votes, pre-votes, and nodes that came back without their memory.

    heard_leader_s: when a leader was last heard. voters: who voted for this node in this term.
    pre_votes: who would, in this round; None: nobody was asked. recovery: None for a full member.
    configuration: the one in effect.
    """

    _leader_clock: LeaderClock
    _has_voted: bool
    _heard_leader_s: float
    _voters: set[str]
    _pre_votes: set[str] | None
    _pre_vote_round: int
    _recovery: Recovery | None
    _configuration: Configuration

    @property
    def is_member(self) -> bool:
        """Whether this node belongs to the cluster, as far as it knows."""
        return self._SyncObj__selfNode.id in self._configuration.members

    @property
    def _may_lead(self) -> bool:
        """Whether this node may stand for election.

        One whose removal is in its log and not committed still may: the others may need it to commit
        that, since they do not vote for anyone with less in the log (Raft 4.2.2).
        """
        committed = self._journal.configuration_at(self._SyncObj__raftCommitIndex)
        is_needed = committed is not None and self._SyncObj__selfNode.id in committed.members
        return self._recovery is None and (self.is_member or is_needed)

    @property
    def recovering(self) -> bool:
        """Whether this node came back without its memory and must not vote yet."""
        return self._recovery is not None

    # -- votes ---------------------------------------------------------------------------------

    def _on_request_vote(self, _node: Peer, message: Message) -> bool:
        if self._recovery is None:
            return True
        # Hole: a node that lost its memory may have voted in this term before (Raft 3.8).
        if message["term"] > self.raftCurrentTerm:
            self._SyncObj__setCurrentTerm(message["term"], None)
        return False

    def _on_response_vote(self, node: Peer, message: Message) -> bool:
        # Hole: PySyncObj counts every vote message, of anyone, as one more vote (Raft 3.4).
        counts = message["term"] == self.raftCurrentTerm and node in self._SyncObj__otherNodes
        if not counts or node.id in self._voters:
            return False
        self._voters.add(node.id)
        return True

    def _on_timeout_now(self, _node: Peer, _message: Message) -> bool:
        return self._recovery is None and self.is_member

    def _SyncObj__setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:  # noqa: N802, N803
        if term != self.raftCurrentTerm:
            self._voters.clear()
        self._has_voted = self._has_voted or votedForNodeId is not None
        super()._SyncObj__setCurrentTerm(term, votedForNodeId)

    def _SyncObj__onBecomeLeader(self) -> None:  # noqa: N802
        self._leader_clock.anchor()
        super()._SyncObj__onBecomeLeader()
        log.info("leader_elected", node=self._SyncObj__selfNode.id, term=self.raftCurrentTerm)

    # -- pre-votes -----------------------------------------------------------------------------

    def _pre_vote(self) -> None:
        """Ask before an election whether it could be won (Raft 9.6).

        Hole: without it a node that comes back from a partition, or was stalled, carries a higher
        term into a healthy cluster and deposes its leader.
        """
        if (
            self.is_leader
            or self.is_alone
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
            silent_s = self._clock.monotonic_s() - self._heard_leader_s
            log.info("leader_lost", term=self.raftCurrentTerm, silent_s=round(silent_s, 2))
        if not self._may_lead:
            return
        self._pre_votes = set()
        self._pre_vote_round += 1
        _, last_index, last_term = self._journal[-1]
        for peer in self._SyncObj__otherNodes:
            self._send(peer, "pre_vote", round=self._pre_vote_round, last_log_index=last_index, last_log_term=last_term)

    def _on_pre_vote(self, node: Peer, message: Message) -> bool:
        _, last_index, last_term = self._journal[-1]
        up_to_date = (message["last_log_term"], message["last_log_index"]) >= (last_term, last_index)
        if up_to_date and self._recovery is None and not self._hears_leader():
            self._send(node, "pre_vote_granted", round=message["round"])
        return False

    def _on_pre_vote_granted(self, node: Peer, message: Message) -> bool:
        if self._pre_votes is None or message["round"] != self._pre_vote_round or node not in self._SyncObj__otherNodes:
            return False
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

    def _hear(self, node: Peer, message: Message) -> None:
        """Take a leader's word for its term and its leadership, and nothing for the log (Raft 3.3)."""
        known = self._SyncObj__leaderCommitIndex
        bare = {"type": "append_entries", "term": message["term"], "commit_index": self._SyncObj__raftCommitIndex}
        super()._SyncObj__onMessageReceived(node, bare)
        self._SyncObj__leaderCommitIndex = message.get("commit_index", known)

    def _is_outdated(self, node: Peer, message: Message) -> bool:
        """Whether a leader speaks from a term that is over; if so it is told (Raft 3.3).

        Hole: PySyncObj says nothing, and a node that reached a newer term in vain, and is refused
        pre-votes because the leader is healthy, would never follow it again.
        """
        outdated = bool(message["term"] < self.raftCurrentTerm)
        if outdated:
            self._send(node, "newer_term")
        return outdated

    def _on_newer_term(self, _node: Peer, message: Message) -> bool:
        if message["term"] > self.raftCurrentTerm:
            self._SyncObj__setCurrentTerm(message["term"], None)
            self._SyncObj__setState(FOLLOWER)
            self._SyncObj__raftLeader = None
        return False

    def _note_leader(self) -> None:
        self._heard_leader_s = self._clock.monotonic_s()
        self._pre_votes = None

    # -- coming back without memory ------------------------------------------------------------

    def _recover(self) -> None:
        recovery = self._recovery
        if recovery is None:
            return
        me = self._SyncObj__selfNode.id
        if recovery.is_over(me, self._configuration.others(me), self.raftCurrentTerm, self.last_index):
            self._become_whole()
        elif recovery.ask_again(self._clock.monotonic_s()):
            for peer in self._SyncObj__connectedNodes:
                self._send(peer, "recovery_query", round=recovery.round)

    def _become_whole(self) -> None:
        self._recovery = None
        self._journal.set_whole()
        log.info("recovery_ended", term=self.raftCurrentTerm, index=self.last_index)

    def _on_recovery_query(self, node: Peer, message: Message) -> bool:
        self._send(
            node,
            "recovery_answer",
            round=message["round"],
            recovering=self.recovering,
            is_empty=self.last_index == 1 and not self._has_voted,
            last_index=self.last_index,
            # A configuration that may not stay says nothing about who has to be asked.
            leads=self.is_leader and not self._has_open_configuration(),
            members=list(self._configuration.members),
        )
        return False

    def _has_open_configuration(self) -> bool:
        """Whether the configuration in effect is another one than the last that was committed."""
        committed = self._journal.configuration_at(self._SyncObj__raftCommitIndex)
        return self._configuration.number > (1 if committed is None else committed.number)

    def _on_recovery_answer(self, node: Peer, message: dict[str, Any]) -> bool:
        if self._recovery is not None:
            self._recovery.answered(node.id, message)
        return False
