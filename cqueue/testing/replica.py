"""The replica of a single node in a thread of this process; it is driven as in a process of its own."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from cqueue.config import Settings
from cqueue.replication import loop
from cqueue.testing.clock import MovableClock

_READABLE = 1


class InMemoryReplica:
    """Listens on the unix socket at `path` while the `with` statement lasts."""

    def __init__(self, settings: Settings, path: Path) -> None:
        self.clock = MovableClock()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._listener.setblocking(False)
        self._settings = settings
        self._reader, self._writer = socket.socketpair()
        self._stopping = False
        # Held while time is moved, and while it is looked whether everything due has happened.
        self._time = threading.Lock()
        self._caught_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cqueue-replica", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopping = True
        self._writer.send(b".")
        self._thread.join()
        for end in (self._listener, self._reader, self._writer):
            end.close()

    def advance(self, seconds: float) -> None:
        """Move the clock on, and wait until what is due by then has happened.

        Raises:
            ValueError: time does not run backwards.
        """
        if seconds < 0:
            raise ValueError("seconds: time does not run backwards")
        with self._time:
            self.clock.ahead_s += seconds
            self._caught_up.clear()
        self._writer.send(b".")
        self._caught_up.wait()

    def _run(self) -> None:
        consensus, replica, inbox = loop.prepare(self._settings, self._listener, self.clock)
        consensus._poller.subscribe(self._reader.fileno(), lambda *_: self._reader.recv(64), _READABLE)
        try:
            while not self._stopping:
                loop.go_round(consensus, replica, inbox)
                with self._time:
                    due_ms = replica.machine.next_due_ms()
                    if not consensus.has_unapplied and (due_ms is None or due_ms > consensus.now_ms()):
                        self._caught_up.set()
        finally:
            inbox.close()
            consensus.destroy()
