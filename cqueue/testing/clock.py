"""A clock that runs with the machine's, ahead of it by as much as it was told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cqueue.replication.clock import SystemClock


class MovableClock(SystemClock):
    """See `Clock`. ahead_s: by how much."""

    ahead_s = 0.0

    def monotonic_s(self) -> float:
        """See `Clock`."""
        return super().monotonic_s() + self.ahead_s

    def wall_ms(self) -> int:
        """See `Clock`."""
        return super().wall_ms() + int(self.ahead_s * 1000)

    def now(self) -> datetime:
        """The time that people share, in UTC."""
        return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=self.wall_ms())
