"""Where handlers run: `ThreadLane` for those that block, `LoopLane` for those that await.

A lane is given attempts, runs so many at a time, and reports each when it is over. It knows no queue. What it
is asked to stop it can only ask in turn: a thread goes on until its handler looks.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Protocol

from cqueue.worker import handling
from cqueue.worker.context import Around, Attempt
from cqueue.worker.endings import RELEASED, Ending

Began = Callable[[Attempt], None]
Ended = Callable[[Attempt, Ending], None]
"""Called in the lane's threads."""


class Lane(Protocol):
    """What both are."""

    def put(self, attempts: Iterable[Attempt]) -> None:
        """Run these, in this order, as soon as there is room."""

    def take_back(self) -> list[Attempt]:
        """Those that have not begun; they are not reported."""

    def interrupt(self, attempt: Attempt) -> None:
        """Have a handler stop that does not look at its context, which says so by now; where that is possible."""

    def close(self) -> None:
        """Begin nothing more. Handlers that do not end are left to themselves."""


class ThreadLane:
    """Runs each handler in one of `size` threads."""

    def __init__(self, size: int, middleware: Sequence[Around], began: Began, ended: Ended) -> None:
        self._middleware, self._began, self._ended = middleware, began, ended
        self._waiting: SimpleQueue[Attempt | None] = SimpleQueue()
        # Not to be waited for at exit: a handler may never end.
        self._threads = [
            threading.Thread(target=self._run, name=f"cqueue-handler-{number}", daemon=True)
            for number in range(1, size + 1)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, attempts: Iterable[Attempt]) -> None:
        """See `Lane`."""
        for attempt in attempts:
            self._waiting.put(attempt)

    def take_back(self) -> list[Attempt]:
        """See `Lane`."""
        taken: list[Attempt] = []
        while True:
            try:
                attempt = self._waiting.get_nowait()
            except Empty:
                return taken
            if attempt is not None:
                taken.append(attempt)

    def interrupt(self, attempt: Attempt) -> None:
        """See `Lane`. Nothing interrupts a thread."""

    def close(self) -> None:
        """See `Lane`."""
        for _ in self._threads:
            self._waiting.put(None)

    def _run(self) -> None:
        while (attempt := self._waiting.get()) is not None:
            if attempt.context.reason is not None:
                self._ended(attempt, RELEASED)
                continue
            self._began(attempt)
            self._ended(attempt, handling.run(attempt, self._middleware))


class LoopLane:
    """Runs each handler as one of `size` tasks of an event loop in a thread of its own.

    It is not the engine's loop: a handler that blocks by mistake must not keep leases from being extended.
    """

    def __init__(self, size: int, middleware: Sequence[Around], began: Began, ended: Ended) -> None:
        self._room, self._middleware, self._began, self._ended = size, middleware, began, ended
        self._waiting: deque[Attempt] = deque()
        self._tasks: dict[Attempt, asyncio.Task[Ending]] = {}
        self._closing = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="cqueue-handlers", daemon=True)
        self._thread.start()

    def put(self, attempts: Iterable[Attempt]) -> None:
        """See `Lane`."""
        self._waiting.extend(attempts)
        self._loop.call_soon_threadsafe(self._fill)

    def take_back(self) -> list[Attempt]:
        """See `Lane`."""
        taken: list[Attempt] = []
        while True:
            try:
                taken.append(self._waiting.popleft())
            except IndexError:
                return taken

    def interrupt(self, attempt: Attempt) -> None:
        """See `Lane`."""
        self._loop.call_soon_threadsafe(self._cancel, attempt)

    def close(self) -> None:
        """See `Lane`."""
        self._loop.call_soon_threadsafe(self._close)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def _fill(self) -> None:
        while self._room and self._waiting:
            try:
                attempt = self._waiting.popleft()
            except IndexError:
                return  # they were taken back in between
            if attempt.context.reason is not None:
                self._ended(attempt, RELEASED)
                continue
            self._room -= 1
            self._began(attempt)
            task = self._tasks[attempt] = self._loop.create_task(handling.run_async(attempt, self._middleware))
            task.add_done_callback(partial(self._over, attempt))

    def _over(self, attempt: Attempt, task: asyncio.Task[Ending]) -> None:
        del self._tasks[attempt]
        self._room += 1
        # It was cancelled before its first step, or else its handler's end is in its result.
        self._ended(attempt, RELEASED if task.cancelled() else task.result())
        self._fill()
        if self._closing and not self._tasks:
            self._loop.stop()

    def _cancel(self, attempt: Attempt) -> None:
        task = self._tasks.get(attempt)
        if task is not None:
            task.cancel()

    def _close(self) -> None:
        self._closing = True
        if not self._tasks:
            self._loop.stop()
