"""How fast a queue hands out: a token bucket in log time, exact in whole numbers.

Every node reckons with the time that is in the log, so all of them come to the same, and whoever
leads next goes on with the same bucket.

Source: the token bucket of RFC 2697, 2.1, with one bucket, which is full at first.
"""

from __future__ import annotations

from typing import Final

PARTS: Final = 1_000_000
"""Of one job. At a rate of n jobs in 1,000 s each ms of log time brings n parts."""


class Pace:
    """parts: what is in the bucket as of `at_ms`. Use `Pace.full` to make one.

    Args:
        rate_milli: jobs in 1,000 s, at least 1.
        burst: jobs at once, after a pause; 0: those of one second, at least one.
    """

    __slots__ = ("_capacity", "_rate_milli", "at_ms", "parts")

    def __init__(self, rate_milli: int, burst: int, parts: int, at_ms: int) -> None:
        self._rate_milli = rate_milli
        self._capacity = (burst or max(1, rate_milli // 1_000)) * PARTS
        self.parts = min(parts, self._capacity)
        self.at_ms = at_ms

    @classmethod
    def full(cls, rate_milli: int, burst: int, now_ms: int) -> Pace:
        """One that has not handed out anything yet."""
        pace = cls(rate_milli, burst, 0, now_ms)
        pace.parts = pace._capacity
        return pace

    def changed(self, rate_milli: int, burst: int, now_ms: int) -> Pace:
        """The same with other settings from now on: what is in the bucket stays, as far as it fits."""
        return Pace(rate_milli, burst, self._parts_at(now_ms), now_ms)

    def room(self, now_ms: int) -> int:
        """How many jobs may be handed out now."""
        return self._parts_at(now_ms) // PARTS

    def spend(self, count: int, now_ms: int) -> None:
        """So many were, which there was room for; 0 only brings it up to date."""
        self.parts = self._parts_at(now_ms) - count * PARTS
        self.at_ms = now_ms

    def next_ms(self) -> int:
        """When there is room for one, if nothing more is handed out; 0: there is, as of `at_ms`."""
        missing = PARTS - self.parts
        return self.at_ms + -(-missing // self._rate_milli) if missing > 0 else 0

    def _parts_at(self, now_ms: int) -> int:
        return min(self.parts + (now_ms - self.at_ms) * self._rate_milli, self._capacity)
