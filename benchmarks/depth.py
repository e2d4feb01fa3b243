"""`python -m benchmarks.depth`: what a million jobs cost the state machine that decides about them.

The state machine alone, in this process, by CPU time: what a dequeue costs when a million jobs wait
against a thousand, how much memory a waiting job takes, and for how long at a time it is busy when
100,000 leases run out within a second.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from benchmarks import scale
from benchmarks.scale import Figure
from cqueue.core import entry
from cqueue.core.machine import StateMachine
from cqueue.core.operations import Dequeue, Enqueue, Held, NewJob, Operation, Release
from cqueue.core.results import Dequeued, Result

DEPTH_RATIO_MAX: Final = 1.3
SLICE_MS_MAX: Final = 50.0
JOB_BYTES_MAX: Final = 700.0

_FEW: Final = 1_000
_LEASES: Final = 100_000
_BATCH: Final = 1_000
_PAYLOAD: Final = b'"' + b"x" * 98 + b'"'
_TRIES: Final = 200

_encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode


class _Queue:
    """A state machine, and a log that it is fed from. now_ms: log time."""

    def __init__(self) -> None:
        self.machine = StateMachine()
        self.now_ms = 1_700_000_000_000
        self._index = 0

    def apply(self, *operations: Operation) -> list[Result]:
        """Apply one entry."""
        self._index += 1
        batch = entry.encode(1, self._index, self._index, [_encode(operation) for operation in operations])
        return self.machine.apply(self._index, entry.stamp(batch, self.now_ms)).results or []

    def fill(self, jobs: int) -> _Queue:
        """Add so many jobs."""
        for _ in range(0, jobs, _BATCH):
            self.apply(Enqueue([NewJob("mail", _PAYLOAD) for _ in range(_BATCH)]))
        return self


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--jobs", default=1_000_000, show_default=True, type=click.IntRange(10_000, 5_000_000), help="How many.")
@scale.options
def main(*, jobs: int, file: Path, check: bool) -> None:
    """Measure the state machine with many jobs in it."""
    about = f"The state machine with {jobs:,} waiting jobs of 100 bytes, alone in one process, by its CPU time."
    scale.conclude("depth", about, lambda: _measure(jobs), file, check=check)


def _measure(jobs: int) -> list[Figure]:
    empty_bytes = _resident_bytes()
    many, few = _Queue().fill(jobs), _Queue().fill(_FEW)
    job_bytes = (_resident_bytes() - empty_bytes) / jobs
    figures = [scale.at_most("memory of a waiting job", job_bytes, "bytes", JOB_BYTES_MAX)]
    for count in (1, 100):
        # In turn, so that whatever else the machine does is the same for both.
        costs = [(_dequeue_s(many, count), _dequeue_s(few, count)) for _ in range(_TRIES)]
        ratio = min(cost for cost, _ in costs) / min(cost for _, cost in costs)
        what = f"dequeue of {count} among all / among {_FEW:,}"
        figures.append(scale.at_most(what, ratio, "", DEPTH_RATIO_MAX))
    for what, spread_ms in (("in the same ms", 0), ("spread over a second", 10)):
        slices_ms = _slices_ms(spread_ms)
        figures.append(
            scale.at_most(f"longest entry while 100,000 leases end {what}", max(slices_ms), "ms", SLICE_MS_MAX)
        )
        figures.append(Figure("the mean entry of it", sum(slices_ms) / len(slices_ms), "ms"))
    return figures


def _dequeue_s(queue: _Queue, count: int) -> float:
    begun_s = time.process_time()
    results = queue.apply(Dequeue(count))
    taken_s = time.process_time() - begun_s
    jobs = [job for result in results if isinstance(result, Dequeued) for job in result.jobs]
    queue.apply(Release([Held(job.id, job.lease_token) for job in jobs]))
    return taken_s


def _slices_ms(spread_ms: int) -> list[float]:
    """Let 100,000 leases end; the CPU time of each entry until they have."""
    queue = _Queue().fill(_LEASES)
    for _ in range(0, _LEASES, _BATCH):
        queue.apply(Dequeue(_BATCH, 10_000))
        queue.now_ms += spread_ms
    queue.now_ms += 20_000
    slices_ms = []
    while (due_ms := queue.machine.next_due_ms()) is not None and due_ms <= queue.now_ms:
        begun_s = time.process_time()
        queue.apply()
        slices_ms.append((time.process_time() - begun_s) * 1000)
    return slices_ms


def _resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
