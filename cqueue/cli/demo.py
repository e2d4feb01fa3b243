"""The demo of `cqueue dev`: somebody adds jobs, some do them, and it is counted whether any is lost.

It is a process that only has addresses, as any program would: what it knows of the cluster it is told
over HTTP. It says a line whenever its counts may have changed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from cqueue.client.sync import Client
from cqueue.errors import CqueueError, Refused

QUEUE: Final = "demo"
JOBS_PER_S: Final = 20
WORKERS: Final = 3
LEASE_S: Final = 5
"""A worker that got no answer to its dequeue is not waited for any longer."""
OVERDUE_S: Final = 10.0
"""A job that is not done by then is asked for: it may still wait, or be lost."""
COUNT_S: Final = 1.0
_LOST: Final = frozenset({"not_found", "gone"})


class Counts(NamedTuple):
    """added: jobs that nodes said they have; done: those that nodes said are done; lost: those that no node knows."""

    added: int
    done: int
    lost: int

    def __str__(self) -> str:
        open_now = self.added - self.done - self.lost
        return f"{self.added:,} enqueued, {self.done:,} done, {open_now:,} on their way, {self.lost:,} lost"


class Demo:
    """Calls the nodes at these addresses until its process ends."""

    def __init__(self, nodes: Sequence[str]) -> None:
        self._client = Client(*nodes)
        # {id: when it was added}, of jobs that are not known to be done.
        self._open: dict[int, float] = {}
        self._done: set[int] = set()
        self._added = self._lost = 0
        self._counting = threading.Lock()

    def start(self) -> None:
        """Start adding jobs and doing them, in threads that end with the process."""
        for body in (self._add, *[self._work] * WORKERS):
            threading.Thread(target=body, daemon=True).start()

    def count(self) -> Counts:
        """How it stands; jobs that are overdue are asked for."""
        with self._counting:
            overdue = [job_id for job_id, at_s in self._open.items() if time.monotonic() - at_s > OVERDUE_S]
        for job_id in overdue:
            with suppress(CqueueError):
                self._ask_for(job_id)
        with self._counting:
            return Counts(self._added, self._added - len(self._open) - self._lost, self._lost)

    def _ask_for(self, job_id: int) -> None:
        try:
            if self._client.get(job_id).is_finished:
                self._is_done(job_id)
        except Refused as error:
            if error.code in _LOST:
                with self._counting:
                    self._lost += self._open.pop(job_id, None) is not None

    def _add(self) -> None:
        number = 0
        while True:
            number += 1
            with suppress(CqueueError):
                added = self._client.enqueue(number, queue=QUEUE, lease_seconds=LEASE_S, max_attempts=1_000)
                with self._counting:
                    self._added += 1
                    # Whoever did it may have been faster than the answer.
                    if added.id not in self._done:
                        self._open[added.id] = time.monotonic()
            time.sleep(1 / JOBS_PER_S)

    def _work(self) -> None:
        while True:
            with suppress(CqueueError):
                job = self._client.dequeue(queue=QUEUE, wait=5)
                if job is not None:
                    self._client.conclude(job)
                    self._is_done(job.id)

    def _is_done(self, job_id: int) -> None:
        with self._counting:
            self._done.add(job_id)
            self._open.pop(job_id, None)


def run(nodes: Sequence[str]) -> int:
    """Be the demo, and say how it stands on stdout, until killed."""
    demo = Demo(nodes)
    demo.start()
    told = None
    while True:
        counts = demo.count()
        if counts != told:
            print(counts, flush=True)  # noqa: T201 - to the terminal that started it
            told = counts
        time.sleep(COUNT_S)
