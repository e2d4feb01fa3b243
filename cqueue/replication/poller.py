"""The loop's one place to wait.

PySyncObj polls at the end of every tick, behind the loop's back: what it read there would be acted
on only after the next wait. So its `poll` does nothing here, and the loop calls `wait`.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Final

from pysyncobj.poller import POLL_EVENT_TYPE, Poller

Callback = Callable[[int, int], object]
"""Called with (descriptor, what it is ready for): READ, WRITE and ERROR of POLL_EVENT_TYPE, or-ed."""

_READ, _WRITE, _ERROR = POLL_EVENT_TYPE.READ, POLL_EVENT_TYPE.WRITE, POLL_EVENT_TYPE.ERROR
_FAILED: Final = select.POLLERR | select.POLLHUP


class LoopPoller(Poller):  # type: ignore[misc]
    """Does as PySyncObj's `PollPoller`, but only the loop can make it wait. woke_s: when it last did wake up."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._callbacks: dict[int, Callback] = {}
        self.woke_s = 0.0

    def subscribe(self, descr: int, callback: Callback, eventMask: int) -> None:  # noqa: N803 - PySyncObj's name
        """Call `callback` whenever `descr` is ready for what is in `eventMask`."""
        self._callbacks[descr] = callback
        self._poll.register(
            descr, (select.POLLIN if eventMask & _READ else 0) | (select.POLLOUT if eventMask & _WRITE else 0)
        )

    def unsubscribe(self, descr: int) -> None:
        """Call back for `descr` no more."""
        if self._callbacks.pop(descr, None) is not None:
            self._poll.unregister(descr)

    def poll(self, timeout: float) -> None:
        """PySyncObj's call at the end of a tick: not now."""

    def wait(self, timeout_s: float) -> None:
        """Call back for every descriptor that is ready, waiting at most `timeout_s` for the first."""
        ready = self._poll.poll(timeout_s * 1000)
        self.woke_s = time.monotonic()
        for descriptor, events in ready:
            callback = self._callbacks.get(descriptor)
            if callback is not None:  # an earlier one may have ended it
                callback(
                    descriptor,
                    (_READ if events & select.POLLIN else 0)
                    | (_WRITE if events & select.POLLOUT else 0)
                    | (_ERROR if events & _FAILED else 0),
                )
