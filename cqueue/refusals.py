"""Says who was turned away at a port, one line a host and interval, however often it comes.

Who can reach the port could otherwise fill the log's disk. The lines that were saved are counted,
and the count is said when the interval ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cqueue import logs

log = logs.of(__name__)

INTERVAL_S: Final = 10.0
HOSTS_MAX: Final = 20
"""Lines in one interval; who attacks from more hosts than that is counted only."""


class Refusals:
    """said: the hosts this interval has a line of. unsaid: refusals in it that got none.

    Args:
        what: is refused, such as "link".
        now_s: a clock that never goes back.
    """

    def __init__(self, what: str, now_s: Callable[[], float]) -> None:
        self._refused, self._left_out = f"{what}_refused", f"{what}s_refused_too"
        self._now_s = now_s
        self._said: set[str] = set()
        self._unsaid = 0
        self._until_s = float("-inf")

    def say(self, host: str, reason: str) -> None:
        """`host`, an address or a node's id, was refused."""
        self.tell()
        if host in self._said or len(self._said) >= HOSTS_MAX:
            self._unsaid += 1
            return
        self._said.add(host)
        log.warning(self._refused, host=host, reason=reason)

    def tell(self) -> None:
        """Begin the next interval if it is time, with the count of what the last one left out."""
        now_s = self._now_s()
        if now_s < self._until_s:
            return
        if self._unsaid:
            log.warning(self._left_out, count=self._unsaid, seconds=round(INTERVAL_S))
        self._said.clear()
        self._unsaid = 0
        self._until_s = now_s + INTERVAL_S
