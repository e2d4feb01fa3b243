"""`python -m benchmarks.million`: three nodes with a million queued jobs, and what that costs.

1. They are filled, and then a client goes on with whole lifecycles, so that the log grows while the
   queue does not, until every node has made a snapshot of it all. What counts is the longest round
   of a replica's loop meanwhile, as the nodes log it: nobody is answered and no heartbeat leaves in
   it. There is one client, for three snapshots at once keep the cores of a small machine busy.
2. Each node is killed and started again. What counts is the time until it is ready.
3. A node is killed, its data directory removed, and started again, while the lifecycles go on at the
   two others. What counts is the rate until the new node is ready, against the rate just before.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import click

from benchmarks import load, scale, servers, workload
from benchmarks.load import WrongAnswer, rendered
from benchmarks.scale import Figure
from benchmarks.servers import Server

STALL_MS_MAX: Final = 100.0
RESTART_S_MAX: Final = 10.0
FILLING_RATIO_MIN: Final = 0.5

BATCH: Final = 1_000
CLIENTS: Final = 4
SLICE_S: Final = 1.0
SLICES_MAX: Final = 120
"""Of load, in any part: then something is wrong."""
BEFORE: Final = 5
"""Slices before a new node is started, to compare with."""
_SECOND: Final = timedelta(seconds=1)
_JOB: Final = b'{"type":"report","payload":"%s"}' % (b"x" * 98)
"""With a payload of 100 bytes."""
_FILL: Final = rendered("PUT", "/jobs/enqueue", b"[" + b",".join([_JOB] * BATCH) + b"]")
_ROUND: Final = re.compile(r"^(\S+) .* round_longest ms=([\d.]+) cpu_ms=([\d.]+)", re.MULTILINE)
_MADE: Final = re.compile(r"^(\S+) .* snapshot_made .* seconds=([\d.]+)", re.MULTILINE)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--jobs", default=1_000_000, show_default=True, type=click.IntRange(1, 4_000_000), help="How many.")
@click.option("--slices", default=SLICES_MAX, hidden=True, type=click.IntRange(0, SLICES_MAX))
@scale.data_dir_option
@scale.options
def main(*, jobs: int, slices: int, directory: Path, file: Path, check: bool) -> None:
    """Fill three nodes with jobs and see that they bear it: about 2 minutes."""
    about = f"{jobs:,} queued jobs with 100 bytes of payload on three nodes with data directories, --fsync always."
    scale.conclude("million", about, lambda: _measure(jobs, slices, directory), file, check=check)


def _measure(jobs: int, slices: int, directory: Path) -> list[Figure]:
    with TemporaryDirectory(dir=directory) as name:
        data = Path(name)
        with servers.running(servers.start_nodes(3, data, log_level="debug")) as nodes:
            return [*_fill(nodes, jobs), *_snapshots(nodes, slices), *_restarts(nodes), *_new_node(nodes, data)]


def _fill(nodes: list[Server], jobs: int) -> list[Figure]:
    rates = []
    done = 0
    with click.progressbar(length=jobs, label="filling", file=sys.stderr) as bar:
        while done < jobs:
            found = load.run([node.address for node in nodes], CLIENTS, SLICE_S, workload.repeat(_FILL, b"201"))
            rates.append(found.rate_per_s * BATCH)
            done += found.jobs * BATCH
            bar.update(found.jobs * BATCH)
    return [Figure("enqueued by 1,000 meanwhile", fmean(rates), "jobs/s")]


def _snapshots(nodes: list[Server], slices: int) -> list[Figure]:
    """Go on until every node has made a snapshot of all there is."""
    seen = [len(node.log()) for node in nodes]
    rates = []
    with click.progressbar(length=len(nodes), label="waiting for snapshots", file=sys.stderr) as bar:
        for _ in range(slices):
            rates.append(_lifecycles(nodes, 1))
            made = sum(" snapshot_made " in node.log()[begin:] for node, begin in zip(nodes, seen, strict=True))
            bar.update(made - bar.pos)
            if made == len(nodes):
                break
        else:
            if slices == SLICES_MAX:
                raise WrongAnswer("not every node made a snapshot")
    rounds = [found for node, begin in zip(nodes, seen, strict=True) for found in _rounds(node.log()[begin:])]
    while_made = max((found for found in rounds if found.while_made), default=_Round())
    otherwise = max((found for found in rounds if not found.while_made), default=_Round())
    return [
        scale.at_most("longest round while a snapshot was made", while_made.ms, "ms", STALL_MS_MAX),
        Figure("CPU time of it", while_made.cpu_ms, "ms"),
        Figure("longest other round", otherwise.ms, "ms"),
        Figure("CPU time of it", otherwise.cpu_ms, "ms"),
        Figure("lifecycles by 1,000 of one client meanwhile", fmean(rates or [0.0]), "jobs/s"),
        Figure("largest replica", max(servers.memory_of(node)[0] for node in nodes), "MB"),
    ]


class _Round(NamedTuple):
    """The longest round of a second. while_made: in that second a snapshot was being made."""

    ms: float = 0.0
    cpu_ms: float = 0.0
    while_made: bool = False


def _rounds(log: str) -> list[_Round]:
    made = [(datetime.fromisoformat(at), timedelta(seconds=float(taken))) for at, taken in _MADE.findall(log)]
    return [
        _Round(
            float(ms),
            float(cpu_ms),
            any(end - taken <= datetime.fromisoformat(at) <= end + _SECOND for end, taken in made),
        )
        for at, ms, cpu_ms in _ROUND.findall(log)
    ]


def _restarts(nodes: list[Server]) -> list[Figure]:
    taken_s = []
    with click.progressbar(nodes, label="restarting", file=sys.stderr) as each:
        for node in each:
            node.kill()
            begun_s = time.monotonic()
            node.start()
            node.wait_until_ready()
            taken_s.append(time.monotonic() - begun_s)
    return [scale.at_most("a node killed and started again is ready, worst of three", max(taken_s), "s", RESTART_S_MAX)]


def _new_node(nodes: list[Server], data: Path) -> list[Figure]:
    new, *others = servers.leader_last(nodes)
    click.echo("filling a new node", err=True)
    before = fmean(_lifecycles(others) for _ in range(BEFORE))
    new.kill()
    shutil.rmtree(data / str(new.address[1]))
    new.start()
    begun_s = time.monotonic()
    rates = []
    while not new.is_ready():
        rates.append(_lifecycles(others))
        if len(rates) > SLICES_MAX:
            raise WrongAnswer(f"the new node was not filled: {new.said()}")
    return [
        scale.at_least("rate while a new node is filled / before", fmean(rates) / before, "", FILLING_RATIO_MIN),
        Figure("worst second of it / before", min(rates) / before),
        Figure("a new node is filled", time.monotonic() - begun_s, "s"),
    ]


def _lifecycles(nodes: list[Server], clients: int = CLIENTS) -> float:
    return load.run([node.address for node in nodes], clients, SLICE_S, workload.lifecycle(BATCH)).rate_per_s


if __name__ == "__main__":
    main()
