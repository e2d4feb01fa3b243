"""Several workers, each in a process of its own: one that is killed or crashes is started again.

The parent runs no job. It waits for signals and for its children, in one place, without handlers or threads.

    a child ended by a signal     its jobs come back when their leases end; another one is started
    a child ended with an error   it would again: the others are told to stop, and so is this
    a child ended well            it was told to, or there was nothing to do
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Final

from cqueue import logs
from cqueue.processes import fork

log = logs.of(__name__)

RESTART_S: Final = 1.0
_STOP: Final = (signal.SIGTERM, signal.SIGINT)
_LONG_S: Final = 3600.0


class Processes:
    """`count` children that each run `body`, which returns an exit code and stops on SIGTERM."""

    def __init__(self, count: int, body: Callable[[], int]) -> None:
        self._body = body
        self._living: set[int] = set()
        self._starts_s = [0.0] * count
        self._signals = 0
        self._code = 0

    def run(self) -> int:
        """Go on until all have ended.

        Returns:
            The exit code of the first child with an error; 128 and its number where a second signal came; else 0.
        """
        watched = (*_STOP, signal.SIGCHLD)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
        try:
            while self._living or self._starts_s:
                self._start_due()
                pause_s = min(self._starts_s, default=time.monotonic() + _LONG_S) - time.monotonic()
                came = signal.sigtimedwait(watched, max(pause_s, 0.0))
                if came is not None and came.si_signo in _STOP:
                    self._stop(came.si_signo)
                for pid in list(self._living):
                    self._look(pid)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return self._code

    def _start_due(self) -> None:
        now_s = time.monotonic()
        due = [start_s for start_s in self._starts_s if start_s <= now_s]
        self._starts_s = [start_s for start_s in self._starts_s if start_s > now_s]
        for _ in due:
            # Ctrl-C reaches them too: it is for this one to say, so that they do not count it twice.
            self._living.add(fork(self._body, ignore_interrupt=True))

    def _stop(self, number: int) -> None:
        self._signals += 1
        self._starts_s = []
        if self._signals > 1:
            self._code = 128 + number
        log.info("worker_processes_stopping", count=len(self._living), signals=self._signals)
        for pid in self._living:
            os.kill(pid, signal.SIGTERM if self._signals == 1 else signal.SIGKILL)

    def _look(self, pid: int) -> None:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if not ended:
            return
        self._living.discard(pid)
        code = os.waitstatus_to_exitcode(status)
        if self._signals or code == 0:
            return
        log.warning("worker_process_ended", pid=pid, code=code)
        if code < 0:
            self._starts_s.append(time.monotonic() + RESTART_S)
        else:
            self._code = code
            self._stop(signal.SIGTERM)
