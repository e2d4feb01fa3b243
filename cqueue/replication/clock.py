"""Time, for those who may know it: the replica's timers, and the leader's stamp on each log entry.

Nothing else in a node asks what time it is; a simulator or a test passes a `Clock` of its own.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two times: one that only grows, for timers; one that people share, for stamps."""

    def monotonic_s(self) -> float:
        """Seconds since some fixed point; never runs backwards."""
        ...

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch; may be set, even backwards."""
        ...


class SystemClock:
    """The machine's clock."""

    def monotonic_s(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    def wall_ms(self) -> int:
        """See `Clock`."""
        return time.time_ns() // 1_000_000


class LeaderClock:
    """The time a leader stamps: wall time at its election plus the monotonic time since.

    A step of the system clock while it leads therefore expires nothing.
    """

    __slots__ = ("_clock", "_offset_ms")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_ms = 0
        self.anchor()

    def anchor(self) -> None:
        """Take the wall time anew: this node was just elected."""
        self._offset_ms = self._clock.wall_ms() - int(self._clock.monotonic_s() * 1000)

    def now_ms(self) -> int:
        """The leader's time in ms since the Unix epoch."""
        return self._offset_ms + int(self._clock.monotonic_s() * 1000)
