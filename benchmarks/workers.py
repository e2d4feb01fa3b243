"""One `cqueue.Worker` with its default settings, in a process of its own, whose handler does nothing.

What it takes is the price of taking a job, calling a function in a thread, and saying that it is done.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

import msgspec

from benchmarks.load import Address, Result, WrongAnswer
from cqueue import Worker
from cqueue.processes import fork

_THOUSAND: Final = 1_000


def run(address: Address, at_go: Callable[[], None]) -> Result:
    """Run all jobs that wait, to the last conclusion.

    Args:
        address: a node's.
        at_go: called before it begins.

    Raises:
        WrongAnswer: the worker ended with an error.
    """
    at_go()
    reader, writer = os.pipe()
    pid = fork(lambda: _be(writer, address))
    os.close(writer)
    with os.fdopen(reader, "rb") as said:
        data = said.read()
    os.waitpid(pid, 0)
    if not data:
        raise WrongAnswer("the worker ended early")
    return msgspec.msgpack.decode(data, type=Result)


def _be(writer: int, address: Address) -> int:
    done = []
    # The first run loads what it needs; it is for nothing.
    for queue in ("nothing", "default"):
        worker = Worker(f"{address[0]}:{address[1]}", queues=queue)
        worker.job()(lambda job, _context: done.append(job.id))
        cpu_s, begin_s = time.process_time(), time.perf_counter()
        worker.run(until_empty=True)
    elapsed_s = time.perf_counter() - begin_s
    thousand_s = elapsed_s / max(len(done), 1) * _THOUSAND
    result = Result(len(done), len(done) / elapsed_s, elapsed_s, [[thousand_s]], [], time.process_time() - cpu_s)
    with os.fdopen(writer, "wb") as told:
        told.write(msgspec.msgpack.encode(result))
    return 0
