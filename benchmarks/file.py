"""`cqueue enqueue --file` in a process of its own, and `import cqueue` beside `import http.client`."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.load import Address, Result, WrongAnswer
from benchmarks.workload import JOB

PART_JOBS: Final = 10_000
"""Lines a latency is told for; about as many go at once."""
IMPORTS: Final = 9


def run(address: Address, jobs: int) -> Result:
    """Add so many jobs from a file. The start of Python is not measured: it is the same for a million lines.

    Raises:
        WrongAnswer: they were not all added.
    """
    with tempfile.TemporaryDirectory(prefix="bench-file-") as directory:
        file = Path(directory) / "jobs.ndjson"
        file.write_bytes((JOB + b"\n") * jobs)
        command = [sys.executable, "-m", "cqueue", "enqueue", "--file", str(file), "--json"]
        before_s = _children_cpu_s()
        done = subprocess.run(
            [*command, "--node", "{}:{}".format(*address)], capture_output=True, check=False, text=True
        )
        cpu_s = _children_cpu_s() - before_s
    if done.returncode:
        raise WrongAnswer(f"cqueue enqueue --file ended with {done.returncode}: {done.stderr}")
    told: dict[str, Any] = msgspec.json.decode(done.stdout)
    if told["jobs"] != jobs:
        raise WrongAnswer(f"{jobs} lines, but {told['jobs']} jobs")
    seconds: float = told["seconds"]
    return Result(jobs, jobs / seconds, seconds, [[seconds / jobs * PART_JOBS]], [], cpu_s)


def import_ratio() -> float:
    """How much longer `import cqueue` takes than `import http.client`; the best of several of each."""
    return _best_s("import cqueue; cqueue.Client") / _best_s("import http.client")


def _best_s(what: str) -> float:
    timed = f"import time; began = time.perf_counter(); {what}; print(time.perf_counter() - began)"
    command = [sys.executable, "-c", timed]
    return min(
        float(subprocess.run(command, capture_output=True, check=True, text=True).stdout) for _ in range(IMPORTS)
    )


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
