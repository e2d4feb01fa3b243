"""Mends, switched off: what each is worth.

A name here takes one mend away while a seed or a scenario runs (`--without NAME`): what stands in
its place does what PySyncObj does, or what is easily written instead. A simulator that finds nothing
wrong without a mend says nothing about it; tests/simulation holds, for each, what breaks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from cqueue.core.sessions import Sessions
from cqueue.replication import appends, loop, membership, snapshots
from cqueue.replication.appends import Appends
from cqueue.replication.consensus import Consensus
from cqueue.replication.elections import Elections
from cqueue.replication.journal import Journal
from cqueue.replication.membership import Recovery
from cqueue.replication.raft import REGULAR, Raft, Timing
from cqueue.simulation.cluster import Cluster

_NEVER: Final = 1 << 60
_count_acknowledgement = Appends._on_next_node_idx
_compact = Consensus._SyncObj__tryLogCompaction
_install = Appends._install
_start_over = Journal.start_over
_reconcile = Journal.reconcile

# -- votes and leaders -------------------------------------------------------------------------


def _say_nothing_of_a_newer_term(self: Any, _node: Any, message: Any) -> bool:
    return bool(message["term"] < self.raftCurrentTerm)


# -- the log between nodes ---------------------------------------------------------------------


def _answer_of_any_term(self: Any, node: Any, message: Any) -> bool:
    counts = self.is_leader and node in self._SyncObj__otherNodes
    if counts:
        self._SyncObj__lastResponseTime[node] = self._clock.monotonic_s()
    return bool(counts and message is not None)


def _set_back_what_was_sent(self: Any, node: Any, message: Any) -> bool:
    answer = _count_acknowledgement(self, node, message)
    if message["success"] and node in self._SyncObj__raftNextIndex:
        self._SyncObj__raftNextIndex[node] = message["next_node_idx"]
    return answer


def _ask_for_one_entry_further_back(
    self: Any,
    node: Any,
    reset: bool = False,  # noqa: FBT001, FBT002 - PySyncObj's signature
    nextNodeIdx: int | None = None,  # noqa: N803
    success: bool = False,  # noqa: FBT001, FBT002
) -> None:
    following = self.last_index + 1 if nextNodeIdx is None else nextNodeIdx
    counts = self._recovery is None
    self._send(node, "next_node_idx", next_node_idx=following, reset=reset, success=success, counts=counts)


# -- snapshots ---------------------------------------------------------------------------------


def _commit_with_every_piece(self: Any, node: Any, message: Any) -> None:
    bare = {"type": "append_entries", "term": message["term"], "commit_index": message["commit_index"]}
    Raft._SyncObj__onMessageReceived(self, node, bare)


def _acknowledge_what_did_not_load(self: Any, node: Any, encoded: bytes) -> None:
    try:
        snapshots.decode(encoded)
    except snapshots.UnreadableImage:
        self._SyncObj__sendNextNodeIdx(node, success=True)
    else:
        _install(self, node, encoded)


def _start_over_with_nothing(self: Any, index: int, term: int, configuration: Any = None) -> None:
    self.clear()
    _start_over(self, index, term, configuration)


def _keep_no_journal_before_a_snapshot(self: Any, restored: Any) -> None:
    if restored is not None and self[0][1] < restored.index:
        _start_over_with_nothing(self, restored.index, restored.term, membership.decode(restored.members))
    _reconcile(self, restored)


def _drop_before_it_is_made(self: Any) -> None:
    _compact(self)
    applied = self._SyncObj__raftLastApplied
    if self._journal.bytes_between(self._snapshot_index, applied) >= self._compact_bytes:
        self._drop_before = applied


# -- rounds ------------------------------------------------------------------------------------


def _flush_before_commit(self: Any) -> None:
    self._SyncObj__transport.flush()
    self._journal.commit()


def _doubt_before_reading(self: Any, node: Any) -> None:
    loop.turn(node.consensus, node.replica)
    self.network.read(node.id)
    self.wake(node.id)


def _apply_until_it_works(self: Any) -> bool:
    while self._SyncObj__raftLastApplied < self._SyncObj__raftCommitIndex:
        command, index, _ = self._journal.entry_at(self._SyncObj__raftLastApplied + 1)
        if command[:1] == REGULAR:
            try:
                self._on_apply(index, command[1:])
            except Exception:  # noqa: BLE001 - that is what it is about
                return False
        self._SyncObj__raftLastApplied = index
        self._untold_commit = True
    return False


def _always(answer: object) -> Callable[..., object]:
    return lambda *_args, **_fields: answer


def _stays(answer: object) -> property:
    return property(_always(answer), lambda _self, _value: None)


_OFF: Final[dict[str, tuple[Any, str, Any]]] = {
    "acknowledged-goes-forward": (Appends, "_on_next_node_idx", _set_back_what_was_sent),
    "answers-in-their-term": (Appends, "_is_answer", _answer_of_any_term),
    "append-at-once": (Consensus, "_unsent_entries", _stays(False)),
    "asked-from-commit": (Appends, "_SyncObj__sendNextNodeIdx", _ask_for_one_entry_further_back),
    "committed-told-at-once": (Consensus, "_untold_commit", _stays(False)),
    "dropped-when-finished": (Consensus, "_SyncObj__tryLogCompaction", _drop_before_it_is_made),
    "ends-where-it-fails": (Consensus, "_SyncObj__applyLogEntries", _apply_until_it_works),
    "exactly-once": (Sessions, "accept", _always(True)),
    "handed-over": (Consensus, "leave", _always(True)),
    "journal-before-word": (Consensus, "flush", _flush_before_commit),
    "kept-at-restart": (Journal, "reconcile", _keep_no_journal_before_a_snapshot),
    "known-entries-stay": (Appends, "_nothing_new", _always(False)),
    "loaded-before-acknowledged": (Appends, "_install", _acknowledge_what_did_not_load),
    "memory-before-vote": (Recovery, "is_over", _always(True)),
    "newer-state-stays": (Appends, "_is_behind", _always(False)),
    "newer-term-told": (Elections, "_is_outdated", _say_nothing_of_a_newer_term),
    "one-vote-each": (Elections, "_on_response_vote", _always(True)),
    "piece-by-piece": (appends, "PIECE_AGAIN_S", 0.0),
    "pre-vote": (Elections, "_pre_vote", _always(None)),
    "prompt-step-down": (Timing, "fallback_s", _stays(30.0)),
    "read-before-doubt": (Cluster, "_read_and_turn", _doubt_before_reading),
    "tail-behind-snapshot": (Journal, "start_over", _start_over_with_nothing),
    "whole-before-count": (Elections, "_hear", _commit_with_every_piece),
    "whole-is-kept": (Journal, "is_whole", property(lambda self: len(self) > 0, lambda _self, _value: None)),
    "window": (appends, "WINDOW_BYTES_MAX", _NEVER),
}

MENDS: Final = tuple(_OFF)


@contextmanager
def without(name: str | None) -> Iterator[None]:
    """Take the mend `name` away for a while; None takes none."""
    if name is None:
        yield
        return
    owner, attribute, replacement = _OFF[name]
    with patch.object(owner, attribute, replacement, create=attribute not in vars(owner)):
        yield
