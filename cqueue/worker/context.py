"""`Context`: what a handler may know and say while it runs; and its attempt, as the engine has it.

A context belongs to the handler's thread and to the engine's. What one of them writes, the other only reads.
"""

from __future__ import annotations

import threading
from asyncio import TimerHandle
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from cqueue.client.call import said
from cqueue.client.jobs import Settled
from cqueue.client.results import Job
from cqueue.worker.endings import Cancelled, Ending, text_of

NOTE_CHARS_MAX: Final = 1_024
"""Source: docs/protocol.md#limits."""
PERCENT_MAX: Final = 100

Reason = Literal["cancelled", "lease_lost", "timed_out", "stopping"]
"""Why a handler is to stop: somebody cancelled the job, it is no longer ours, its time ran out, the worker stops."""


class Context:
    """What a handler is given beside its job.

    cancelled: set as soon as the handler is to stop, whatever the reason. reason: why; None until then.
    """

    __slots__ = ("_tell", "cancelled", "reason", "unsaid")

    def __init__(self, tell: Callable[[], None]) -> None:
        self.cancelled = threading.Event()
        self.reason: Reason | None = None
        self.unsaid: Mapping[str, Any] | None = None
        self._tell = tell

    @property
    def lease_lost(self) -> bool:
        """Whether somebody else may hold the job by now: what the handler returns is not sent any more."""
        return self.reason == "lease_lost"

    def check(self) -> None:
        """Stop here if the handler is to stop.

        Raises:
            Cancelled: it is.
        """
        if self.cancelled.is_set():
            raise Cancelled(self.reason)

    def progress(self, percent: int | None = None, note: str | None = None) -> None:
        """Say how far the job is. It does not wait for the queue; what was not sent yet is replaced.

        percent: 0 to 100. note: up to 1,024 characters.

        Raises:
            Cancelled: the handler is to stop.
            ValueError: an argument is out of range.
        """
        self.check()
        if percent is not None and (type(percent) is not int or not 0 <= percent <= PERCENT_MAX):
            raise ValueError(f"percent: expected a whole number from 0 to {PERCENT_MAX}")
        if note is not None and len(note) > NOTE_CHARS_MAX:
            raise ValueError(f"note: expected at most {NOTE_CHARS_MAX} characters")
        self.unsaid = said({"percent": percent, "note": None if note is None else text_of(note)})
        self._tell()

    def stop(self, reason: Reason) -> bool:
        """Tell the handler to stop; whether that is new to it. Only the first reason counts, but for the last one."""
        is_new = self.reason is None
        if is_new or reason == "lease_lost":
            self.reason = reason
            self.cancelled.set()
        return is_new


Handler = Callable[[Job, Context], Any]
"""What runs a job; `async def` too."""
Around = Callable[[Job, Context], AbstractContextManager[Any]]
"""A middleware: entered before the handler, left after it, with what it raised."""
Middleware = Around | Callable[[Job, Context], Iterator[Any]]
"""The same, or a generator function with one `yield`, where the handler runs."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A handler, and how long it may take; None: as long as it likes."""

    handler: Handler
    is_async: bool
    timeout_s: float | None


class Attempt:
    """A job that was handed out to this worker.

    taken_s: when its lease last began, on the loop's clock. ending: what is to be said of it, once that is
    clear. is_told: that is on its way to the queue. timer: when its time runs out.
    """

    __slots__ = ("context", "ending", "entry", "is_told", "job", "taken_s", "timer")

    def __init__(self, job: Job, entry: Entry, taken_s: float, tell: Callable[[Attempt], None]) -> None:
        self.job = job
        self.entry = entry
        self.taken_s = taken_s
        self.ending: Ending | None = None
        self.is_told = False
        self.timer: TimerHandle | None = None
        self.context = Context(lambda: tell(self))

    def line(self, fields: Mapping[str, Any]) -> Settled:
        """Its part of a request about many jobs."""
        return cast("Settled", {"id": self.job.id, "lease_token": self.job.lease_token, **fields})
