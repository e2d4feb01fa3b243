"""What this life of the node has proposed and not seen applied yet: numbered batches, each one log entry.

A batch is proposed again until it is seen: PySyncObj's own answers are not asked. That is safe, since
the log takes each number of a session once (cqueue.core.sessions). It knows who waits for a batch,
and nothing of what they wait for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cqueue.core import entry
from cqueue.core.machine import Applied
from cqueue.core.sessions import Sessions
from cqueue.replication.consensus import Consensus
from cqueue.replication.requests import Request

BATCHES_IN_FLIGHT_MAX: Final = 4
PROPOSE_AGAIN_S: Final = 1.0


@dataclass(slots=True)
class Batch:
    """One numbered proposal of this session and who waits for it.

    operations: in entry order. begun_s, proposed_s: when it was first proposed, and when last.
    """

    number: int
    data: bytes
    operations: list[Request]
    queries: list[Request]
    epoch: tuple[int, str | None]
    begun_s: float
    proposed_s: float
    proposals: int = 1


class Batches:
    """open: {number: Batch} on their way, by number.

    Args:
        session: random, for this life of the node alone.
    """

    def __init__(self, session: int) -> None:
        self._session = session
        self._open: dict[int, Batch] = {}
        self._number = 0
        self._consensus: Consensus

    def attach(self, consensus: Consensus) -> None:
        """Give it what it proposes to."""
        self._consensus = consensus

    def __bool__(self) -> bool:
        """Whether something is on its way."""
        return bool(self._open)

    def have_room(self, sessions: Sessions) -> bool:
        """Whether one more may be on its way; until the log knows the session, there is one at a time."""
        return len(self._open) < (BATCHES_IN_FLIGHT_MAX if self._session in sessions else 1)

    def propose(self, operations: list[Request], queries: list[Request], now_s: float) -> None:
        """Put a batch on its way; queries are a reason to commit, and are no part of the entry."""
        self._number = number = self._number + 1
        bodies = [request.body for request in operations]
        data = entry.encode(self._session, number, min(self._open, default=number), bodies)
        self._open[number] = Batch(number, data, operations, queries, self._consensus.epoch, now_s, now_s)
        self._consensus.propose(data)

    def propose_again(self, now_s: float) -> None:
        """Propose again what may have got lost: with the leader it went to, or on the way."""
        epoch = self._consensus.epoch
        if epoch[1] is None:
            return
        for batch in self._open.values():
            if batch.epoch != epoch or now_s - batch.proposed_s >= PROPOSE_AGAIN_S * batch.proposals:
                batch.proposals = 1 if batch.epoch != epoch else batch.proposals + 1
                batch.epoch, batch.proposed_s = epoch, now_s
                self._consensus.propose(batch.data)

    def take(self, applied: Applied) -> Batch | None:
        """The batch that was just applied, if it is one of these."""
        return self._open.pop(applied.number, None) if applied.session == self._session else None

    def take_out_of_sight(self, sessions: Sessions) -> list[Batch]:
        """Those that were applied while this node was not looking: a snapshot says so."""
        return [self._open.pop(number) for number in list(self._open) if sessions.was_applied(self._session, number)]
