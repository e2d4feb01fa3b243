"""The loop's one place to wait.

PySyncObj polls at the end of every tick, behind the loop's back: what it read there would be acted
on only after the next wait. So its `poll` does nothing here, and the loop calls `wait`.
"""

from __future__ import annotations

from pysyncobj.poller import PollPoller


class LoopPoller(PollPoller):  # type: ignore[misc]
    """A `PollPoller` that only the loop can make wait."""

    def poll(self, timeout: float) -> None:
        """PySyncObj's call at the end of a tick: not now."""

    def wait(self, timeout_s: float) -> None:
        """Call back for every descriptor that is ready, waiting at most `timeout_s` for the first."""
        super().poll(timeout_s)
