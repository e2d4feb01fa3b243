"""Do all nodes hold the same state? Asked of all of them at one index of the log.

The node that is asked proposes a *mark*: a tick with a number. Each node that applies it forks a
child that computes the SHA-256 of the state's encoded form (`StateMachine.snapshot`) as it is right
after it. The node that was asked asks the others for it until they tell, compares and answers.
States that are equal have equal bytes, so two digests that differ mean that a node computed
something else from the same log.

A node that got past the mark by a snapshot, is away, or is at another digest when the mark comes
has no digest to tell; it is named as such.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final

from cqueue import logs, protocol
from cqueue.core import entry
from cqueue.core.machine import Applied
from cqueue.protocol import Failure, MemberDigest, Verdict
from cqueue.replication.children import Failed, Start, Work
from cqueue.replication.clock import Clock
from cqueue.replication.consensus import Consensus
from cqueue.replication.requests import Request

log = logs.of(__name__)

MARK_AGAIN_S: Final = 1.0
"""A mark that is not applied after so long is proposed again: it may have got lost."""
ASK_AGAIN_S: Final = 0.1
WANTED: Final = "digest_wanted"
"""The kind of message that asks for a digest, by the number of its mark."""
TOLD: Final = "digest"
"""The answer: number, index, digest (empty: there will be none)."""
_KEPT_MAX: Final = 16
"""Digests a node keeps for those who ask; older ones nobody waits for any more."""


class _Comparison:
    """One that was asked for here. told: {node id: (index, digest)}; index: of the mark, 0 until it is applied."""

    def __init__(self, request: Request, number: int, until_s: float) -> None:
        self.request = request
        self.number = number
        self.until_s = until_s
        self.proposed_s = self.asked_s = float("-inf")
        self.index = 0
        self.told: dict[str, tuple[int, bytes]] = {}


class Digests:
    """One node's part in comparisons, its own and others'; see `Errand`.

    kept: {number: (index, digest)} of this node, oldest first.

    Args:
        first: the number of the first mark; one that no other node uses, so that theirs are not taken for it.
        clock: the node's.
        state: encodes the present state.
        start: starts what computes a digest.
    """

    def __init__(self, first: int, clock: Clock, state: Callable[[], bytes], start: Start) -> None:
        self._number = first
        self._clock = clock
        self._state = state
        self._start = start
        self._consensus: Consensus
        self._comparison: _Comparison | None = None
        self._work: Work | None = None
        self._work_for = (0, 0)
        self._kept: dict[int, tuple[int, bytes]] = {}

    def attach(self, consensus: Consensus) -> None:
        """Give it the consensus that marks go through."""
        self._consensus = consensus
        consensus.listen(WANTED, self._on_wanted)
        consensus.listen(TOLD, self._on_told)

    # -- asking --------------------------------------------------------------------------------

    def take(self, request: Request, index: int, wait_ms: int) -> None:
        """See `Errand`."""
        if self._comparison is not None:
            busy = Failure("busy", "this node is comparing digests already", 1)
            request.answer(protocol.UNAVAILABLE, index, protocol.encode(busy))
            return
        self._number += 1
        self._comparison = _Comparison(request, self._number, self._clock.monotonic_s() + wait_ms / 1000)

    def advance(self, index: int, now_s: float) -> None:
        """See `Errand`."""
        self._look_after_work()
        comparison = self._comparison
        if comparison is None:
            return
        me = self._consensus.node_id
        if comparison.number in self._kept:
            comparison.told[me] = self._kept[comparison.number]
        silent = [node_id for node_id in self._consensus.members if node_id not in comparison.told]
        if comparison.request.done or comparison.until_s <= now_s or not silent:
            self._comparison = None
            self._answer(comparison, index)
        elif not comparison.index:
            if now_s - comparison.proposed_s >= MARK_AGAIN_S:
                comparison.proposed_s = now_s
                self._consensus.propose(entry.encode(0, comparison.number, 0, []))
        elif now_s - comparison.asked_s >= ASK_AGAIN_S:
            comparison.asked_s = now_s
            for node_id in silent:
                if node_id != me:
                    self._consensus.tell(node_id, WANTED, number=comparison.number)

    def stop(self, request: Request, index: int) -> None:  # noqa: ARG002 - the interface's
        """See `Errand`."""
        if self._comparison is not None and self._comparison.request is request:
            self._comparison.until_s = float("-inf")

    def _answer(self, comparison: _Comparison, index: int) -> None:
        if comparison.index:
            verdict = judge(comparison.index, self._consensus.members, comparison.told)
            comparison.request.answer(protocol.RESULT, index, protocol.encode(verdict))
        else:
            nothing = Failure("no_leader", "the mark to compare at did not get into the log in time", 1)
            comparison.request.answer(protocol.UNAVAILABLE, index, protocol.encode(nothing))

    def _on_told(self, node_id: str, message: dict[str, Any]) -> None:
        comparison = self._comparison
        if comparison is not None and message["number"] == comparison.number:
            comparison.told[node_id] = message["index"], message["digest"]

    # -- answering -----------------------------------------------------------------------------

    def moved(self, index: int, applied: Applied) -> None:
        """See `Errand`."""
        if applied.session or not applied.number:
            return
        number = applied.number
        if self._consensus.leader_id is None or number in self._kept or number == self._work_for[0]:
            # At a start the journal is applied again before there is a leader: those marks are long
            # answered. And one that was proposed twice counts where it came first.
            return
        if self._comparison is not None and number == self._comparison.number:
            self._comparison.index = self._comparison.index or index
        if self._work is not None:
            self._keep(number, index, b"")
            return
        self._work_for = number, index
        try:
            self._work = self._start(lambda: sha256(self._state()).digest())
        except Failed as error:
            self._give_up(error)

    def _look_after_work(self) -> None:
        if self._work is None:
            return
        try:
            digest = self._work.found()
        except Failed as error:
            self._give_up(error)
            return
        if digest is not None:
            self._work = None
            self._keep(*self._work_for, digest)

    def _give_up(self, error: Failed) -> None:
        self._work = None
        log.error("digest_failed", index=self._work_for[1], why=str(error))
        self._keep(*self._work_for, b"")

    def _keep(self, number: int, index: int, digest: bytes) -> None:
        self._kept[number] = index, digest
        if len(self._kept) > _KEPT_MAX:
            del self._kept[next(iter(self._kept))]

    def _on_wanted(self, node_id: str, message: dict[str, Any]) -> None:
        kept = self._kept.get(message["number"])
        if kept is not None:
            self._consensus.tell(node_id, TOLD, number=message["number"], index=kept[0], digest=kept[1])


def judge(index: int, members: list[str], told: dict[str, tuple[int, bytes]]) -> Verdict:
    """What the digests of `members` at `index` say.

    Where they differ, those that differ from what a majority of the members has are named; without
    such a majority nobody can tell, and all are.
    """
    digests = {node_id: told[node_id][1] for node_id in members if node_id in told and told[node_id][0] == index}
    known = Counter(digest for digest in digests.values() if digest)
    most, count = known.most_common(1)[0] if known else (b"", 0)
    right = most if len(known) == 1 or count > len(members) / 2 else b""
    states = {
        node_id: "silent"
        if node_id not in digests
        else "busy"
        if not digests[node_id]
        else "equal"
        if digests[node_id] == right
        else "differs"
        for node_id in members
    }
    result = "differ" if len(known) > 1 else "equal" if known.total() == len(members) else "incomplete"
    return Verdict(
        index, result, [MemberDigest(node_id, states[node_id], digests.get(node_id, b"").hex()) for node_id in members]
    )
