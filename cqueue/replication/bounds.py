"""How much the cluster takes in: where this node leads, what this node's settings say. It knows no job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cqueue import protocol
from cqueue.core import entry
from cqueue.core.operations import SetBounds

if TYPE_CHECKING:
    from cqueue.core.machine import StateMachine
    from cqueue.replication.consensus import Consensus

PROPOSE_AGAIN_S: Final = 1.0
"""Between two proposals: one may get lost on its way."""


class Bounds:
    """wanted: (jobs, bytes) that the cluster shall take in while this node leads."""

    def __init__(self, wanted: tuple[int, int]) -> None:
        self._wanted = wanted
        self._again_s = 0.0

    def keep(self, consensus: Consensus, machine: StateMachine, now_s: float) -> None:
        """Propose them where the log says something else."""
        if consensus.is_leader and machine.bounds != self._wanted and now_s >= self._again_s:
            self._again_s = now_s + PROPOSE_AGAIN_S
            consensus.propose(entry.encode(0, 0, 0, [protocol.encode(SetBounds(*self._wanted))]))
