"""`python -m tests.worker.programs NAME ADDRESS`: workers as processes of their own, to be signalled and killed.

What they do goes to stdout, a line each. It judges nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Final

from cqueue import Context, Dead, Worker
from cqueue.client.results import Job

LONG_S: Final = 600.0


def tell(*words: object) -> None:
    """One line, written whole and at once."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def obedient(address: str) -> Worker:
    """Two at a time, which end when they are told to."""
    worker = Worker(address, concurrency=2, prefetch=2, grace_s=LONG_S)

    @worker.job("finishes")
    def finishes(job: Job, context: Context) -> str:
        tell("begun", job.id)
        while not os.path.exists(str(job.payload)) and not context.cancelled.wait(0.02):  # noqa: PTH110 - a poll
            pass
        return "finished"

    return worker


def stubborn(address: str) -> Worker:
    """No grace: what runs is told to stop at once, and the thread does not listen."""
    worker = Worker(address, concurrency=1, prefetch=0, grace_s=0)

    @worker.job("sync")
    def sync(job: Job, context: Context) -> None:
        tell("begun", job.id)
        context.cancelled.wait(LONG_S)
        tell("told", context.reason)

    @worker.job("deaf")
    def deaf(job: Job, _context: Context) -> None:
        tell("begun", job.id)
        time.sleep(LONG_S)  # what a second signal has to end

    @worker.job("async")
    async def awaited(job: Job, context: Context) -> None:
        tell("begun", job.id)
        try:
            await asyncio.Event().wait()
        finally:
            tell("told", context.reason)

    return worker


def several(address: str) -> Worker:
    """Two processes."""
    worker = Worker(address, concurrency=1, prefetch=0, processes=2, lease_seconds=1)

    @worker.job("who")
    def who(_job: Job, _context: Context) -> int:
        return os.getpid()

    @worker.job("crash")
    def crash(job: Job, _context: Context) -> str:
        if job.attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return "survived"

    @worker.job("deaf")
    def deaf(job: Job, _context: Context) -> None:
        tell("begun", job.id)
        time.sleep(LONG_S)

    return worker


def refused(address: str) -> Worker:
    """Two processes whose requests no node takes."""
    worker = Worker(address, processes=2, queues=["/"])

    @worker.job()
    def never(_job: Job, _context: Context) -> None:
        raise Dead

    return worker


WORKERS: Final[dict[str, Callable[[str], Worker]]] = {
    "obedient": obedient,
    "stubborn": stubborn,
    "several": several,
    "refused": refused,
}

if __name__ == "__main__":
    logging.basicConfig(level="INFO")
    WORKERS[sys.argv[1]](sys.argv[2]).run()
