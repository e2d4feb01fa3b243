"""Time and chance of a simulation: one clock, one queue of events, one source of randomness."""

from __future__ import annotations

import random
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Final

START_S: Final = 1_000.0
START_WALL_MS: Final = 1_700_000_000_000


class World:
    """Runs events in the order of their time, then of their making.

    now_s: simulated monotonic seconds. story: (now_s, line), what a failing seed prints.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - it has to be repeatable
        self.now_s = START_S
        self.story: list[tuple[float, str]] = []
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def after(self, delay_s: float, event: Callable[..., None], *args: Any) -> None:
        """Let `event(*args)` happen `delay_s` from now."""
        self._count += 1
        heappush(self._events, (self.now_s + delay_s, self._count, event, args))

    def run_until(self, end_s: float) -> None:
        """Let everything happen that is due by `end_s`."""
        events = self._events
        while events and events[0][0] <= end_s:
            self.now_s, _, event, args = heappop(events)
            event(*args)
        self.now_s = end_s

    def tell(self, line: str) -> None:
        """Add a line to the story."""
        self.story.append((self.now_s - START_S, line))

    def expo(self, mean_s: float) -> float:
        """A random time with the given mean."""
        return self.random.expovariate(1 / mean_s)


class NodeClock:
    """A node's clock: the world's time, with a wall clock of its own that may be off and may step."""

    def __init__(self, world: World, skew_ms: int) -> None:
        self._world = world
        self.skew_ms = skew_ms

    def monotonic_s(self) -> float:
        """See `cqueue.replication.clock.Clock`."""
        return self._world.now_s

    def wall_ms(self) -> int:
        """See `cqueue.replication.clock.Clock`."""
        return START_WALL_MS + int((self._world.now_s - START_S) * 1000) + self.skew_ms
