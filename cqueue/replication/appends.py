"""Mends: what a leader sends of its log, and what a follower does with it.

PySyncObj's own snapshot messages are never sent: they advance the commit index over a log that
does not match, wipe entries already acknowledged, and acknowledge snapshots that failed to load.
Here a snapshot goes piece by piece, each piece acknowledged, and is taken only where it brings the
follower further; nothing of it counts before it is whole, checked, kept and loaded (Raft 5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cqueue import logs
from cqueue.replication import membership, snapshots
from cqueue.replication.elections import Elections
from cqueue.replication.journal import Entry
from cqueue.replication.raft import Message, Peer
from cqueue.replication.snapshots import Image, Snapshots

log = logs.of(__name__)

APPEND_BYTES_MAX: Final = 1024 * 1024
"""One append message holds this much, or a single larger entry."""
WINDOW_BYTES_MAX: Final = 8 * 1024 * 1024
"""Entries on their way to one follower, sent and not acknowledged."""
PIECE_BYTES: Final = 512 * 1024
"""One piece of a snapshot."""
PIECE_AGAIN_S: Final = 0.5


@dataclass(slots=True)
class _Outgoing:
    """A snapshot on its way to a follower. offset: what it has of it. sent_s: when a piece went last."""

    image: Image
    offset: int = 0
    sent_s: float = float("-inf")


@dataclass(slots=True)
class _Incoming:
    """A snapshot on its way here."""

    index: int
    term: int
    bytes: int
    data: bytearray


class Appends(Elections):
    """Appends, their acknowledgements, and snapshots for followers the log no longer reaches.

    window_from: {follower: index from which entries count as on their way}.
    told_commit: {follower: commit index it was told of}. learners: nodes that get the log, too, and
    do not count. life: a number that no other memory of any node has.
    """

    _snapshots: Snapshots
    _on_install: Callable[[bytes], None]
    _snapshot_wanted: bool
    _unsent_entries: bool
    _untold_commit: bool
    _window_from: dict[Peer, int]
    _told_commit: dict[Peer, int]
    _outgoing: dict[Peer, _Outgoing]
    _incoming: _Incoming | None
    _learners: set[Peer]
    _life: int

    def _SyncObj__onBecomeLeader(self) -> None:  # noqa: N802
        self._window_from.clear()
        self._told_commit.clear()
        self._outgoing.clear()
        super()._SyncObj__onBecomeLeader()

    # -- leader: sending -----------------------------------------------------------------------

    def _SyncObj__sendAppendEntries(self) -> None:  # noqa: N802
        """Send each follower what it lacks, as far as its window goes; at least a heartbeat.

        Holes: PySyncObj sends all there is, however much is on its way already, splits what is
        larger than a message in a way that fails, and floods a follower while a snapshot is made.
        """
        self._SyncObj__newAppendEntriesTime = self._clock.monotonic_s() + self._timing.heartbeat_s
        for peer in self._SyncObj__otherNodes | self._learners:
            if peer not in self._SyncObj__connectedNodes:
                self._outgoing.pop(peer, None)
            elif self._SyncObj__raftNextIndex[peer] <= self._journal[0][1]:
                self._send_piece(peer)
            else:
                self._send_entries(peer)

    def _send_entries(self, peer: Peer) -> None:
        following = self._SyncObj__raftNextIndex
        while True:
            previous = self._journal.entry_at(following[peer] - 1)
            if previous is None:  # it claims more than there is: it will be told where the log ends
                following[peer] = self.last_index + 1
                previous = self._journal[-1]
            on_its_way = self._journal.bytes_between(self._window_from.setdefault(peer, previous[1]), previous[1])
            entries = self._journal.slice(following[peer], APPEND_BYTES_MAX) if on_its_way < WINDOW_BYTES_MAX else []
            self._send(
                peer,
                "append_entries",
                commit_index=self._SyncObj__raftCommitIndex,
                prevLogIdx=previous[1],
                prevLogTerm=previous[2],
                entries=entries,
            )
            self._told_commit[peer] = self._SyncObj__raftCommitIndex
            following[peer] += len(entries)
            if not entries or following[peer] > self.last_index:
                return

    def _send_piece(self, peer: Peer) -> None:
        """Send the next piece of a snapshot, or, where nothing is to be sent now, a sign of life."""
        image = self._snapshots.latest
        if image is None or image.index < self._journal[0][1]:
            self._snapshot_wanted = True
            self._send_snapshot_message(peer, Image(0, 0, 0), 0, b"")
            return
        outgoing = self._outgoing.get(peer)
        if outgoing is None or outgoing.image != image:
            outgoing = self._outgoing[peer] = _Outgoing(image)
        now_s = self._clock.monotonic_s()
        data = b""
        if now_s - outgoing.sent_s >= PIECE_AGAIN_S:
            outgoing.sent_s = now_s
            data = self._snapshots.read(outgoing.offset, PIECE_BYTES)
        self._send_snapshot_message(peer, image, outgoing.offset, data)

    def _send_snapshot_message(self, peer: Peer, image: Image, offset: int, data: bytes) -> None:
        self._send(
            peer,
            "install_snapshot",
            commit_index=self._SyncObj__raftCommitIndex,
            index=image.index,
            log_term=image.term,
            bytes=image.bytes,
            offset=offset,
            data=data,
        )

    def _send_committed(self) -> None:
        """Tell the followers what is committed, as soon as it is; nobody answers.

        Holes: they would learn it with the next heartbeat, and answer their clients then. An empty
        append would tell them too, but each would be acknowledged, which costs this node a round.
        """
        for peer in self._SyncObj__connectedNodes & (self._SyncObj__otherNodes | self._learners):
            index = min(self._SyncObj__raftCommitIndex, self._SyncObj__raftMatchIndex[peer])
            if index > self._told_commit.get(peer, 0):
                self._told_commit[peer] = index
                self._send(peer, "committed", index=index)

    # -- leader: acknowledgements --------------------------------------------------------------

    def _is_answer(self, node: Peer, message: Message) -> bool:
        """Whether a message answers this leader, in this term; if so, the node is alive (Raft 3.5).

        Hole: an acknowledgement carried no term, so one for another term's log counted.
        """
        if not self.is_leader or message.get("term") != self.raftCurrentTerm:
            return False
        if node not in self._SyncObj__otherNodes and node not in self._learners:
            return False
        self._SyncObj__lastResponseTime[node] = self._clock.monotonic_s()
        return True

    def _on_next_node_idx(self, node: Peer, message: Message) -> bool:
        """Count an acknowledgement.

        Hole: one for an earlier append set back what was sent since, so that all of it went again.
        """
        if self._is_answer(node, message):
            next_index = message["next_node_idx"]
            match, following = self._SyncObj__raftMatchIndex, self._SyncObj__raftNextIndex
            moved = message["reset"]
            if message["reset"]:
                following[node] = next_index
                self._window_from[node] = next_index - 1
            if message["success"]:
                moved = moved or next_index > self._window_from.get(node, 0) + 1
                if message["counts"]:
                    match[node] = max(match[node], next_index - 1)
                following[node] = max(following[node], next_index)
                self._window_from[node] = max(self._window_from.get(node, 0), next_index - 1)
                self._outgoing.pop(node, None)
                self._untold_commit = True
            if moved and following[node] <= self.last_index:
                self._unsent_entries = True
        return False

    def _on_snapshot_received(self, node: Peer, message: Message) -> bool:
        outgoing = self._outgoing.get(node)
        if not self._is_answer(node, message) or outgoing is None or outgoing.image.index != message["index"]:
            return False
        if message["offset"] != outgoing.offset:
            outgoing.offset, outgoing.sent_s = message["offset"], float("-inf")
            self._unsent_entries = True
        return False

    # -- follower: entries ---------------------------------------------------------------------

    def _on_append_entries(self, node: Peer, message: Message) -> bool:
        if self._is_outdated(node, message):
            return False
        self._note_leader()
        return not self._nothing_new(node, message)

    def _nothing_new(self, node: Peer, message: Message) -> bool:
        """Take known entries off an append; True where nothing is left and it is answered.

        Hole: PySyncObj cuts everything behind `prevLogIdx` and appends anew, so that an append
        that arrives late removes entries already acknowledged. Entries go only where a term
        conflicts (Raft 3.5, figure 3.1 step 3).
        """
        entries: list[Entry] = message["entries"]
        held = self._journal.entry_at(message["prevLogIdx"])
        if held is None:
            # It may lie before the log's base, where all is committed and therefore the same.
            known = max(0, min(self._journal[0][1] - message["prevLogIdx"], len(entries)))
            held = self._journal.entry_at(message["prevLogIdx"] + known) if known else None
            if held is None:
                return False
        elif held[2] != message["prevLogTerm"]:
            return False
        else:
            known = 0
        while known < len(entries):
            mine = self._journal.entry_at(entries[known][1])
            if mine is None or mine[2] != entries[known][2]:
                break
            held = mine
            known += 1
        _, index, term = held
        message.update(prevLogIdx=index, prevLogTerm=term, entries=entries[known:])
        if known < len(entries) or self.last_index == index:
            return False
        # The log goes on behind what the leader showed: acknowledge what it showed, no more.
        self._hear(node, message)
        self._SyncObj__sendNextNodeIdx(node, nextNodeIdx=index + 1, success=True)
        if self._SyncObj__raftCommitIndex < min(message["commit_index"], index):
            self._SyncObj__raftCommitIndex = min(message["commit_index"], index)
            self._journal.setRaftCommitIndex(self._SyncObj__raftCommitIndex)
        return True

    def _on_committed(self, node: Peer, message: Message) -> bool:
        """Take the leader's word for what is committed.

        It says so only of what this node acknowledged to it in this term, and what was acknowledged
        in a term does not change in it: the log needs no second look (Raft 3.5).
        """
        if message["term"] == self.raftCurrentTerm and node == self._SyncObj__raftLeader:
            self._SyncObj__leaderCommitIndex = message["index"]
            if message["index"] > self._SyncObj__raftCommitIndex:
                self._SyncObj__raftCommitIndex = min(message["index"], self.last_index)
                self._journal.setRaftCommitIndex(self._SyncObj__raftCommitIndex)
        return False

    def _SyncObj__sendNextNodeIdx(  # noqa: N802
        self,
        node: Peer,
        reset: bool = False,  # noqa: FBT001, FBT002 - PySyncObj's signature
        nextNodeIdx: int | None = None,  # noqa: N803
        success: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        """Answer an append, in the term it was made in.

        Holes: no term (see `_is_answer`); a follower whose log diverged is walked back one index
        per heartbeat, though its committed prefix is known to match (Raft 5.3); a node without
        its memory counts toward a majority before it has been brought up to date.
        """
        next_index = self.last_index + 1 if nextNodeIdx is None else nextNodeIdx
        if reset and not success:
            next_index = min(next_index, self._SyncObj__raftCommitIndex + 1)
        self._send(
            node,
            "next_node_idx",
            next_node_idx=next_index,
            reset=reset,
            success=success,
            counts=self._recovery is None,
            life=0 if self._recovery is None else self._life,
        )

    # -- follower: snapshots -------------------------------------------------------------------

    def _on_install_snapshot(self, node: Peer, message: Message) -> bool:
        if self._is_outdated(node, message):
            return False
        self._note_leader()
        self._hear(node, message)
        index, term, size = message["index"], message["log_term"], message["bytes"]
        if self._is_behind(index):
            # Holes: an old snapshot replaced newer state and took acknowledged entries with it.
            self._incoming = None
            self._SyncObj__sendNextNodeIdx(node, reset=True, nextNodeIdx=self._SyncObj__raftCommitIndex + 1)
            return False
        incoming = self._incoming
        if incoming is None or (incoming.index, incoming.term, incoming.bytes) != (index, term, size):
            incoming = self._incoming = _Incoming(index, term, size, bytearray())
        if message["offset"] == len(incoming.data):
            incoming.data += message["data"]
        if size and len(incoming.data) == size:
            self._incoming = None
            self._install(node, bytes(incoming.data))
        else:
            self._send(node, "snapshot_received", index=index, offset=len(incoming.data))
        return False

    def _is_behind(self, index: int) -> bool:
        """Whether a snapshot up to `index` holds nothing that is not committed here."""
        return 0 < index <= self._SyncObj__raftCommitIndex

    def _install(self, node: Peer, encoded: bytes) -> None:
        try:
            index, term, state = snapshots.decode(encoded)
        except snapshots.UnreadableImage as error:
            # Hole: a snapshot that did not load was acknowledged all the same.
            log.warning("snapshot_refused", error=str(error))
            return
        self._snapshots.install(encoded)
        self._SyncObj__raftLastApplied = index
        self._on_install(state)
        self._journal.start_over(index, term, membership.decode(snapshots.members_in(encoded)))
        self._SyncObj__raftCommitIndex = index
        self._journal.setRaftCommitIndex(index)
        log.info("snapshot_installed", index=index, bytes=len(encoded))
        self._SyncObj__sendNextNodeIdx(node, nextNodeIdx=index + 1, success=True)
