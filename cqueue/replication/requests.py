"""One thing asked of a replica, on its way to its one answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Reply = Callable[[int, int, bytes], None]
"""Called once with (outcome, log index, body), see cqueue.protocol."""


@dataclass(slots=True, eq=False)
class Request:
    """One thing asked of this replica. `deadline_s` and `wait_until_s` are monotonic seconds.

    number: order of arrival. proposed: it is in a batch on its way. parked: it waits for a job.
    woken: it waited, and is trying again. empty_index: where the log said that there is no job.
    """

    kind: int
    body: bytes
    reply: Reply
    number: int
    deadline_s: float
    wait_until_s: float = 0.0
    done: bool = False
    proposed: bool = False
    parked: bool = False
    woken: bool = False
    empty_index: int = 0

    def answer(self, outcome: int, index: int, body: bytes) -> None:
        """Give the one answer; later ones are dropped."""
        if not self.done:
            self.done = True
            self.body = b""
            self.reply(outcome, index, body)

    def __lt__(self, other: Request) -> bool:
        return self.number < other.number
