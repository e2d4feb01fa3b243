"""`python -m tests.cluster.fencing LEDGER HOST:PORT...`: workers whose jobs have an effect that must not be doubled.

The ledger is the outside world: it adds what it is told, and would add it twice. It knows of jobs only what a
fencing token is for: it takes nothing from whoever held a job before somebody else began with it. Source of the
guard: docs/worker.md#leases.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final

from cqueue import Context, Retry, Worker
from cqueue.client.results import Job

LEASE_S: Final = 1
WORK_S: Final = 0.1
PATIENCE_S: Final = 60.0
"""For others that write; one of them may stand still with the lock in its hands."""


class Ledger:
    """Effects, in a file that many processes share. `effects` has no key: a second one of a job would stand there."""

    def __init__(self, path: str) -> None:
        self._path = path
        with self._writing() as database:
            database.execute("CREATE TABLE IF NOT EXISTS fences (job INTEGER PRIMARY KEY, token INTEGER)")
            database.execute("CREATE TABLE IF NOT EXISTS effects (job INTEGER, token INTEGER)")
            database.execute("CREATE INDEX IF NOT EXISTS effects_of_jobs ON effects (job)")
            database.execute("CREATE TABLE IF NOT EXISTS refused (job INTEGER, token INTEGER)")

    def begin(self, job_id: int, token: int) -> bool:
        """Raise the fence: who held the job before has no effect any more; whether there was one already."""
        with self._writing() as database:
            database.execute(
                "INSERT INTO fences VALUES (?, ?) ON CONFLICT (job) DO UPDATE SET token = max(token, excluded.token)",
                (job_id, token),
            )
            return database.execute("SELECT count(*) FROM effects WHERE job = ?", (job_id,)).fetchone() != (0,)

    def add(self, job_id: int, token: int) -> bool:
        """The effect; whether the fence let it pass."""
        with self._writing() as database:
            passes = database.execute("SELECT token <= ? FROM fences WHERE job = ?", (token, job_id)).fetchone() == (1,)
            database.execute(f"INSERT INTO {'effects' if passes else 'refused'} VALUES (?, ?)", (job_id, token))  # noqa: S608 - one of two words
            return passes

    def told(self, table: str) -> list[tuple[int, int]]:
        """(job, token) of all `effects`, or of all that were `refused`."""
        with self._writing() as database:
            return database.execute(f"SELECT job, token FROM {table} ORDER BY job, token").fetchall()  # noqa: S608

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=PATIENCE_S, isolation_level=None)) as database:
            # What is to survive is the end of a process, not that of the machine.
            database.execute("PRAGMA synchronous = OFF")
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")


def worker_of(ledger: Ledger, nodes: list[str], chance: random.Random) -> Worker:
    """A worker that has effects, now and then fails before them, and now and then after them."""
    worker = Worker(*nodes, concurrency=4, prefetch=4, lease_seconds=LEASE_S)

    def fails(share: float) -> None:
        if chance.random() < share:
            raise Retry("it is one of those days", in_seconds=0)

    def effect(job: Job) -> None:
        ledger.add(job.id, job.lease_token or 0)
        fails(0.03)

    @worker.job("sync")
    def sync(job: Job, _context: Context) -> None:
        if not ledger.begin(job.id, job.lease_token or 0):
            tell("begun", job)
            threading.Event().wait(chance.expovariate(1 / WORK_S))
            fails(0.03)
            effect(job)

    @worker.job("async")
    async def awaited(job: Job, _context: Context) -> None:
        if not await asyncio.to_thread(ledger.begin, job.id, job.lease_token or 0):
            tell("begun", job)
            await asyncio.sleep(chance.expovariate(1 / WORK_S))
            fails(0.03)
            # Not to be cut short: whether it was done would not be known.
            await asyncio.shield(asyncio.to_thread(effect, job))

    @worker.job("slow")
    def slow(job: Job, context: Context) -> None:
        ledger.begin(job.id, job.lease_token or 0)
        tell("begun", job)
        # It does not listen, and has its effect in any case: the fence has to know better.
        context.cancelled.wait(PATIENCE_S)
        ledger.add(job.id, job.lease_token or 0)

    return worker


def tell(what: str, job: Job) -> None:
    """One line on stdout, written whole and at once."""
    os.write(1, f"{what} {job.id} {job.lease_token}\n".encode())


if __name__ == "__main__":
    logging.basicConfig(level="INFO")
    worker_of(Ledger(sys.argv[1]), sys.argv[2:], random.Random()).run()  # noqa: S311 - no secret
