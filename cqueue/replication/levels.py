"""Mend: versions that differ run in one cluster, and nobody has to read what he cannot.

The level that all members read stands in their configuration (cqueue.replication.membership), so it is in the log,
in snapshots, and with whoever comes back. The leader raises it once every member is linked and has
said that it reads more. It is never lowered: a node that reads less than its log says stops, and one
that would be added is refused. PySyncObj has a vote on a code version of its own, which is pickled
and not used.

Nothing that is logged asks for more than the first level yet. The first operation that does has to be refused
where workers ask for it (cqueue.replication.inbox) until `level` is reached; it cannot be undone in the log.
"""

from __future__ import annotations

from cqueue import logs
from cqueue.core.entry import UnreadableEntry
from cqueue.replication.configurations import Configurations
from cqueue.replication.membership import Configuration
from cqueue.replication.raft import Message, Peer

log = logs.of(__name__)


class Levels(Configurations):
    """What the members read.

    levels: {a peer that is linked: what it reads up to}.
    """

    _levels: dict[Peer, int]

    @property
    def level(self) -> int:
        """What may be logged: the members have agreed on it for good, or this node is alone for good."""
        if self.is_single:
            return self.level_max
        held = self._journal.configuration_at(self._SyncObj__raftCommitIndex)
        return self._first.level if held is None else held.level

    def _begin_with(self, life: int, node_id: str, first: Configuration) -> set[Peer]:
        self._levels = {}
        others = super()._begin_with(life, node_id, first)
        self._check_level()
        return others

    def _follow_configuration(self) -> None:
        super()._follow_configuration()
        self._check_level()

    def _check_level(self) -> None:
        level = self._configuration.level
        if level > self.level_max:
            raise UnreadableEntry(
                f"the members have agreed on level {level}, and this version reads up to {self.level_max}: "
                "start the version that the others run"
            )

    def _on_configuration(self, node: Peer, message: Message) -> bool:
        self._levels[node] = message["level"]
        return super()._on_configuration(node, message)

    def _SyncObj__onNodeDisconnected(self, node: Peer) -> None:  # noqa: N802 - PySyncObj's name
        # It may come back as another version.
        self._levels.pop(node, None)
        super()._SyncObj__onNodeDisconnected(node)

    def _raise_level(self) -> None:
        """Agree on what all members read, where this node leads and no other change is under way."""
        if self.level_max == self._configuration.level:
            return
        level = min([self.level_max, *(self._levels.get(peer, 0) for peer in self._SyncObj__otherNodes)])
        if level > self._configuration.level:
            self._append_configuration(self._configuration.at(level))
            log.info("level_raised", to=level)

    def _why_not_read(self, peer: Peer) -> str | None:
        """Why a node cannot be a member; None where it can, or has not said yet what it reads."""
        level = self._configuration.level
        reads = self._levels.get(peer, level)
        if reads >= level:
            return None
        return (
            f"the version on {peer.id} reads up to level {reads}, and the members have agreed on {level}: "
            "install theirs; it was not added"
        )
