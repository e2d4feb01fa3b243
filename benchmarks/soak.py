"""`python -m benchmarks.soak`: three nodes under full load for a long time, without faults.

Half of the clients work in batches of 1,000 and half one by one, so that entries are large and many
at once. What counts is that nobody doubts the leader: the term at the end is that of the beginning.
Every minute says what got through and how much memory each process has.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import click

from benchmarks import load, scale, servers, workload
from benchmarks.load import Script, Share
from benchmarks.scale import Figure
from benchmarks.servers import Server

CLIENTS: Final = 8
MINUTE_S: Final = 60.0


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--seconds", default=600.0, show_default=True, type=click.FloatRange(1, 86_400), help="How long.")
@click.option("--durable", is_flag=True, help="Nodes with data directories, --fsync always.")
@scale.data_dir_option
@scale.options
def main(*, seconds: float, durable: bool, directory: Path, file: Path, check: bool) -> None:
    """Load three nodes without a pause."""
    kind = "with data directories" if durable else "in memory"
    about = f"{CLIENTS} clients for {seconds:g} s on three nodes {kind}, without faults."
    scale.conclude("soak", about, lambda: _measure(seconds, directory if durable else None), file, check=check)


def _measure(seconds: float, directory: Path | None) -> list[Figure]:
    with ExitStack() as stack:
        data = None if directory is None else Path(stack.enter_context(TemporaryDirectory(dir=directory)))
        nodes = stack.enter_context(servers.running(servers.start_nodes(3, data)))
        before = servers.view_of(nodes[0])
        rates, memory_mb, slowest_s = [], [], 0.0
        for minute in range(math.ceil(seconds / MINUTE_S)):
            part_s = min(MINUTE_S, seconds - minute * MINUTE_S)
            found = load.run([node.address for node in nodes], CLIENTS, part_s, _scripts)
            rates.append(found.rate_per_s)
            slowest_s = max(slowest_s, *(max(latencies_s, default=0.0) for latencies_s in found.latencies_s))
            memory_mb.append(_say(minute, found.rate_per_s, nodes))
        after = servers.view_of(nodes[0])
        for node in nodes:
            for line in node.log().splitlines():
                if " WARNING " in line:
                    click.echo(f"port {node.address[1]}: {line}", err=True)
    return [
        scale.at_most("changes of leadership", after.term - before.term, "", 0),
        scale.at_least("slowest minute's throughput / median", min(rates) / median(rates), "", 0.5),
        Figure("throughput, median minute", median(rates), "jobs/s"),
        Figure("slowest request", slowest_s, "s"),
        Figure("largest replica after the first minute", memory_mb[0], "MB"),
        Figure("largest replica at the end", memory_mb[-1], "MB"),
    ]


def _scripts(share: Share) -> list[Script]:
    half = share.clients // 2
    return workload.lifecycle(1_000)(share)[:half] + workload.lifecycle(1)(share)[half:]


def _say(minute: int, rate_per_s: float, nodes: list[Server]) -> float:
    """Say how the nodes are after a minute; returns the largest replica's memory in MB."""
    memory = [servers.memory_of(node) for node in nodes]
    view = servers.view_of(nodes[0])
    text = ", ".join(f"{replica:,.0f} + {web:,.0f}" for replica, web in memory)
    click.echo(
        f"minute {minute + 1}: {rate_per_s:,.0f} jobs/s, term {view.term}, MB of replica + web: {text}", err=True
    )
    return max(replica for replica, _ in memory)


if __name__ == "__main__":
    main()
