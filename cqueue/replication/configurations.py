"""Mends: which nodes a node takes for its cluster, and whom it therefore listens to.

A node acts by the newest configuration in its log, committed or not (Raft 4.1); before there is any,
by its settings. PySyncObj's own membership entries are pickled: they are never made and never taken.

Members tell each other their configuration when a link opens and when it changes. A node that lags
behind uses a newer one for nothing but to let the new members' links in: one of them may lead.
"""

from __future__ import annotations

from typing import Final

from cqueue import logs
from cqueue.protocol import Failure
from cqueue.replication import membership
from cqueue.replication.appends import Appends
from cqueue.replication.membership import MEMBERS, Configuration
from cqueue.replication.raft import Message, Peer

log = logs.of(__name__)

NOBODY: Final = Peer("nobody:0")


class Configurations(Appends):
    """The configuration in effect.

    level_max: what this node reads up to (cqueue.core.levels).
    first: the members according to the settings, while no log says otherwise. told: a newer
    configuration that another member has. linked: the nodes the transport has links to.
    """

    level_max: int
    _first: Configuration
    _told: Configuration | None
    _linked: set[Peer]

    def _begin_with(self, life: int, node_id: str, first: Configuration) -> set[Peer]:
        """Set everything here to how it is at a start; returns the other members."""
        self._life = self._journal.life(life)
        self._first = first
        self._configuration = self._journal.configuration or first
        self._told = None
        self._learners = set()
        self._linked = {Peer(member) for member in self._configuration.others(node_id)}
        return set(self._linked)

    @property
    def members(self) -> list[str]:
        """The members' ids, ascending, as far as this node knows."""
        return list(self._configuration.members)

    @property
    def is_single(self) -> bool:
        """Whether this node is alone and was never meant to be anything else."""
        return self.is_alone and not self._configuration.number

    def _follow_configuration(self) -> None:
        """Let the newest configuration in the log take effect (Raft 4.1)."""
        configuration = self._journal.configuration or self._first
        if configuration is self._configuration:
            return
        before, self._configuration = self._configuration.members, configuration
        if self._told is not None and self._told.number <= configuration.number:
            self._told = None
            self._link()
        if before == configuration.members:
            return
        log.info("members_changed", number=configuration.number, members=list(configuration.members))
        me = self._SyncObj__selfNode
        others = self._others()
        for peer in self._SyncObj__otherNodes - others - self._learners:
            self._SyncObj__raftMatchIndex.pop(peer, None)
        self._SyncObj__otherNodes = others
        for peer in others:
            self._expect(peer)
        self._link()
        if self._recovery is not None and configuration.members.get(me.id) == self._life:
            self._become_whole()
        for peer in self._SyncObj__connectedNodes:
            self._tell_configuration(peer)

    def _others(self) -> set[Peer]:
        """The other members, as PySyncObj counts on them.

        It takes this node for one of them in every majority. Where it is none, somebody who never
        answers takes that back.
        """
        others = {Peer(member) for member in self._configuration.others(self._SyncObj__selfNode.id)}
        return others if self.is_member else {*others, NOBODY}

    def _expect(self, peer: Peer) -> None:
        """Keep book of a node from now on, if this node does not yet."""
        self._SyncObj__raftNextIndex.setdefault(peer, self.last_index + 1)
        self._SyncObj__raftMatchIndex.setdefault(peer, 0)
        self._SyncObj__lastResponseTime.setdefault(peer, self._clock.monotonic_s())

    def _link(self) -> None:
        """Keep the transport's nodes in step."""
        me = self._SyncObj__selfNode
        told = () if self._told is None else self._told.others(me.id)
        wanted = (self._SyncObj__otherNodes | self._learners | {Peer(member) for member in told}) - {NOBODY}
        for peer in sorted(self._linked - wanted, key=lambda peer: str(peer.id)):
            self._SyncObj__transport.dropNode(peer)
            self._outgoing.pop(peer, None)
        for peer in sorted(wanted - self._linked, key=lambda peer: str(peer.id)):
            self._SyncObj__transport.addNode(peer)
        self._linked = wanted

    def _SyncObj__onNodeConnected(self, node: Peer) -> None:  # noqa: N802
        super()._SyncObj__onNodeConnected(node)
        self._tell_configuration(node)

    def _tell_configuration(self, peer: Peer) -> None:
        told = membership.encode(self._configuration)
        self._send(peer, "configuration", configuration=told, level=self.level_max)

    def _on_configuration(self, _node: Peer, message: Message) -> bool:
        told = membership.decode(message["configuration"])
        known = max(self._configuration.number, 0 if self._told is None else self._told.number)
        if told is not None and told.number > known:
            self._told = told
            self._link()
        return False

    def _SyncObj__onBecomeLeader(self) -> None:  # noqa: N802
        super()._SyncObj__onBecomeLeader()
        if not self.is_single:
            # So that the log says who belongs to the cluster, whatever the others' settings say. It comes
            # after the entry that opens the term, from which on the others are sent what they lack.
            held = self._configuration
            self._append_configuration(Configuration(max(1, held.number), held.members, held.level))

    def _append(self, command: bytes) -> int:
        index = self.last_index + 1
        self._journal.add(command, index, self.raftCurrentTerm)
        self._unsent_entries = True
        return index

    def _append_configuration(self, configuration: Configuration) -> int:
        index = self._append(MEMBERS + membership.encode(configuration))
        self._follow_configuration()
        return index

    # -- the way out ---------------------------------------------------------------------------

    def bootstrap(self, members: list[str]) -> Failure | None:
        """Let the cluster be `members`, this node among them, whatever others may have had; None: done.

        For a cluster whose majority is gone for good, or has lost its memory: what only they had is lost.
        """
        leader = self._SyncObj__raftLeader
        if leader is not None:
            return Failure("leader_known", f"{leader.id} leads this cluster: add and remove members instead")
        me = str(self._SyncObj__selfNode.id)
        if me not in members:
            return Failure("not_found", f"this node, {me}, is not among the members that there shall be")
        number = max(self._configuration.number, 0 if self._told is None else self._told.number) + 1
        forced = Configuration.of(number, members, self._configuration.level)
        self._journal.set_configuration(self.last_index, forced)
        self._told = None
        self._follow_configuration()
        if self._recovery is not None:
            self._become_whole()
        self._SyncObj__raftElectionDeadline = 0.0
        log.warning("cluster_forced", members=list(members), index=self.last_index)
        return None
