"""What a run found, as it is written to JSON, and the bars it is held to.

Rates of different machines cannot be compared, ratios within one run nearly can: every bar is a
ratio to the bare Flask route of the same run.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec import Struct

FORMAT: Final = 1

ONE_BY_ONE: Final = ("enqueue", "dequeue", "conclude")


class Machine(Struct):
    """Where a run was made."""

    cores: int
    cpu: str
    system: str
    python: str

    @classmethod
    def here(cls) -> Machine:
        """This one."""
        cpu = platform.machine()
        try:
            lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            cpu = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        except (OSError, StopIteration):
            pass
        return cls(
            cores=len(os.sched_getaffinity(0)),
            cpu=cpu,
            system=platform.system(),
            python=f"{platform.python_implementation()} {platform.python_version()}",
        )


class Row(Struct):
    """One thing measured, against the bare route measured just before and just after it.

    stage: "one", "three", "one-durable" or "three-durable". what: "enqueue", "dequeue", "conclude",
    "enqueue-leader", "batch-<jobs>": a whole lifecycle in three requests, "stream": whole lifecycles over one
    WebSocket, or "worker": jobs that one process with a `Worker` takes, runs and concludes.
    clients, bare_clients: how many loaded cqueue and the bare route. ratio: jobs per bare request,
    the median of `ratios`. p50_ratio: median of the ratios of p50. *_ms: latency of one request,
    of the three of a batch's lifecycle, of a thousand lifecycles of a stream, or of a worker's thousand jobs, as the
    client sees it.
    *_cpu_us: server CPU per job, over all processes of all nodes; replica_cpu_us is the part of Raft and queue.
    client_cpu_share: the load generator's part of all CPU used meanwhile.
    """

    stage: str
    what: str
    clients: int
    bare_clients: int
    jobs: int
    ratio: float
    ratios: list[float]
    p50_ratio: float
    jobs_per_s: float
    bare_per_s: float
    p50_ms: float
    p99_ms: float
    bare_p50_ms: float
    bare_p99_ms: float
    server_cpu_us: float
    replica_cpu_us: float
    bare_cpu_us: float
    client_cpu_share: float

    @property
    def key(self) -> str:
        """`three/batch-100/4`: what `--only` looks at."""
        return key_of(self.stage, self.what, self.clients)


class Bar(Struct):
    """One bar. row: the one measured row that was nearest to missing it; None: not all were measured."""

    what: str
    bound: str
    measured: float | None
    row: str | None
    ok: bool | None


class Results(Struct, kw_only=True):
    """One run.

    leader_changed: stages whose leader was another at the end than at the beginning. import_ratio: `import cqueue`
    to `import http.client`; None: not measured.
    """

    format: int = FORMAT
    version: str
    machine: Machine
    slice_s: float
    repetitions: int
    leader_changed: list[str]
    import_ratio: float | None = None
    rows: list[Row]
    bars: list[Bar]


def key_of(stage: str, what: str, clients: int) -> str:
    """The name of a row."""
    return f"{stage}/{what}/{clients}"


@dataclass(frozen=True, slots=True)
class _Rule:
    """rows: what the bar is about, all of which must keep it. at_least: the bound is a lower one."""

    what: str
    rows: list[str]
    bound: float
    at_least: bool
    value: Callable[[Row], float]


def _ratio(row: Row) -> float:
    return row.ratio


def _p50_ratio(row: Row) -> float:
    return row.p50_ratio


_RULES: Final = [
    *(
        _Rule(
            f"one node, one by one, {clients} client{'s' if clients > 1 else ''}: rate / bare rate",
            [key_of("one", what, clients) for what in ONE_BY_ONE],
            bound,
            at_least=True,
            value=_ratio,
        )
        for clients, bound in ((1, 0.45), (16, 0.7), (64, 0.7))
    ),
    *(
        _Rule(
            f"{nodes}, whole lifecycle by 1,000: jobs per bare request",
            [key_of(stage, "batch-1000", clients) for clients in (1, 2, 4)],
            bound,
            at_least=True,
            value=_ratio,
        )
        for stage, nodes, bound in (("one", "one node", 25), ("three", "three nodes", 8))
    ),
    *(
        _Rule(
            f"{nodes}, one WebSocket: whole lifecycles per bare request",
            [key_of(stage, "stream", 1)],
            bound,
            at_least=True,
            value=_ratio,
        )
        for stage, nodes, bound in (("one", "one node", 12), ("three", "three nodes", 4))
    ),
    _Rule(
        "one node, one Worker whose handler does nothing: jobs per bare request",
        [key_of("one", "worker", 1)],
        1.7,
        at_least=True,
        value=_ratio,
    ),
    _Rule(
        "one node, cqueue enqueue --file: jobs per bare request",
        [key_of("one", "file", 1)],
        20,
        at_least=True,
        value=_ratio,
    ),
    _Rule(
        "three nodes, enqueue, 1 client: p50 / bare p50",
        [key_of("three", "enqueue", 1), key_of("three", "enqueue-leader", 1)],
        5,
        at_least=False,
        value=_p50_ratio,
    ),
]


def judge(rows: list[Row]) -> list[Bar]:
    """Hold the rows to the bars. A bar is kept if its worst row keeps it."""
    by_key = {row.key: row for row in rows}
    bars = []
    for rule in _RULES:
        bound = f"{'≥' if rule.at_least else '≤'} {rule.bound:g}"
        measured = [(rule.value(by_key[key]), key) for key in rule.rows if key in by_key]
        if len(measured) < len(rule.rows):
            bars.append(Bar(rule.what, bound, None, None, None))
            continue
        value, key = min(measured) if rule.at_least else max(measured)
        bars.append(Bar(rule.what, bound, value, key, value >= rule.bound if rule.at_least else value <= rule.bound))
    return bars
