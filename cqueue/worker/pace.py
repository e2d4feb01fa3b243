"""How many jobs to hold beside those that run, so that fast ones are not waited for and slow ones not hoarded."""

from __future__ import annotations

from typing import Final

WINDOW_S: Final = 0.05
"""At least so long is looked back."""
AHEAD_S: Final = 0.25
"""So much work is held."""
AHEAD_JOBS_MAX: Final = 1_000


class Pace:
    """What ended lately. It is told the time, in seconds on a clock that never goes back."""

    def __init__(self, now_s: float) -> None:
        self._since_s, self._ended, self._per_s = now_s, 0, 0.0

    def ended(self, jobs: int) -> None:
        """So many more."""
        self._ended += jobs

    def ahead(self, now_s: float) -> int:
        """As many as ended in the time that is held, at the pace of the last window."""
        elapsed_s = now_s - self._since_s
        if elapsed_s >= WINDOW_S:
            self._per_s = self._ended / elapsed_s
            self._since_s, self._ended = now_s, 0
        return min(int(self._per_s * AHEAD_S), AHEAD_JOBS_MAX)
