"""`python -m benchmarks.overload`: more than a node can do, and three nodes.

Slices of two kinds alternate. In the one, 64 clients enqueue one job after the other, each when it has its
answer: what is done then is what the nodes can do. In the other, `FACTOR` times as much is offered, over
thousands of connections, by clients that heed no refusal. Goodput is what is answered 201 within a second.
Meanwhile somebody asks `/readyz`, and a consumer dequeues and concludes.

The clients have the last core to themselves and the nodes the others, so that the storm takes nothing of what
the nodes need to weather it.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, median
from typing import Final

import click
import msgspec

from benchmarks import load, scale, servers, workload
from benchmarks.load import Connection, body_of, rendered
from benchmarks.scale import Figure
from benchmarks.servers import Server
from benchmarks.storm import Storm, Told, Wind
from benchmarks.workload import enqueue_request

FACTOR: Final = 3
CLIENTS: Final = 64
GOODPUT_MIN: Final = 0.7
READY_S_MAX: Final = 1.0
"""How long whoever watches over nodes waits for an answer, usually."""
_PAUSE_S: Final = 0.02


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--connections", default=2_000, show_default=True, type=click.IntRange(1, 50_000), help="Of the storm.")
@click.option("--seconds", default=6.0, show_default=True, type=click.FloatRange(0.1, 600), help="Of each storm.")
@click.option("--repetitions", default=5, show_default=True, type=click.IntRange(1, 100), help="How many storms.")
@scale.data_dir_option
@scale.options
def main(*, connections: int, seconds: float, repetitions: int, directory: Path, file: Path, check: bool) -> None:
    """Offer nodes three times what they can do: about 2 minutes."""
    del directory  # these nodes keep nothing
    about = (
        f"{FACTOR} times what the nodes can do, offered over {connections:,} connections for {seconds:g} s, "
        f"{repetitions} times, by clients on a core of their own that heed no refusal."
    )

    def measure() -> list[Figure]:
        return [
            figure
            for count, name in ((1, "one node"), (3, "three nodes"))
            for figure in _measure(count, name, connections, seconds, repetitions)
        ]

    scale.conclude("overload", about, measure, file, check=check)


def _measure(count: int, name: str, connections: int, seconds: float, repetitions: int) -> list[Figure]:
    ratios: list[float] = []
    told: list[Told] = []
    bystander = Bystander()
    with _apart(lambda: servers.start_nodes(count, None)) as nodes, servers.running(nodes):
        term = servers.view_of(nodes[0]).term
        addresses = [node.address for node in nodes]
        peak = _peak(addresses, seconds)
        for repetition in range(repetitions):
            storm = Storm(Wind(addresses, connections, peak * FACTOR, seconds, enqueue_request()))
            bystander.watch(nodes[-1], storm)
            told.append(storm.told())
            before, peak = peak, _peak(addresses, seconds)
            ratios.append(told[-1].good / seconds / mean((before, peak)))
            click.echo(f"{name}, storm {repetition + 1}: {ratios[-1]:.0%} of {before:,.0f}/s", err=True)
        changes = servers.view_of(nodes[0]).term - term
    latencies_ms = sorted(1000 * latency_s for one in told for latency_s in one.latencies_s) or [0.0]
    refused = sum((Counter(one.refused) for one in told), Counter())
    return [
        scale.at_most(f"{name}: changes of leadership", changes, "", 0),
        scale.at_least("goodput / what was done before and after, median", median(ratios), "", GOODPUT_MIN),
        Figure("the same, worst", min(ratios), ""),
        Figure("what was done before and after", peak, "/s"),
        Figure("in time, p50", latencies_ms[len(latencies_ms) // 2], "ms"),
        Figure("in time, p99", latencies_ms[len(latencies_ms) * 99 // 100], "ms"),
        Figure("too late", sum(one.late for one in told) / seconds / repetitions, "/s"),
        Figure("refused", sum(refused.values()) / seconds / repetitions, "/s"),
        Figure("refused for anything but overload", sum(refused.values()) - refused["503 overloaded"], ""),
        scale.at_most("slowest /readyz meanwhile", max(bystander.ready_s), "s", READY_S_MAX),
        Figure("of them not ready", bystander.not_ready, ""),
        Figure("concludes meanwhile", bystander.concluded, ""),
        scale.at_most("of them refused", bystander.not_concluded, "", 0),
    ]


def _peak(addresses: list[load.Address], seconds: float) -> float:
    return load.run(addresses, CLIENTS, seconds / 2, workload.repeat(enqueue_request(), b"201")).rate_per_s


@contextmanager
def _apart(start: Callable[[], list[Server]]) -> Iterator[list[Server]]:
    """The nodes on all cores but the last, and this process and what it starts from here on on that one."""
    cores = os.sched_getaffinity(0)
    last = {max(cores)}
    os.sched_setaffinity(0, cores - last or cores)
    try:
        nodes = start()
        os.sched_setaffinity(0, last)
        yield nodes
    finally:
        os.sched_setaffinity(0, cores)


class Bystander:
    """Somebody who watches over a node, and a consumer that is refused nothing but its dequeues.

    ready_s: how long each answer took. not_ready: answers that said no. concluded: jobs it held; not_concluded:
    those of them of which it was told something else.
    """

    def __init__(self) -> None:
        self.ready_s: list[float] = []
        self.not_ready = 0
        self.concluded = 0
        self.not_concluded = 0

    def watch(self, node: Server, storm: Storm) -> None:
        """Ask, and work, until the storm is over."""
        with Connection(node.address) as watcher, Connection(node.address) as consumer:
            while not storm.is_over():
                begun_s = time.perf_counter()
                self.not_ready += watcher.exchange(rendered("GET", "/readyz"))[9:12] != b"200"
                self.ready_s.append(time.perf_counter() - begun_s)
                answer = consumer.exchange(workload.dequeue_request())
                if answer[9:12] == b"200":
                    job = msgspec.json.decode(body_of(answer))
                    answer = consumer.exchange(workload.conclude_request((job["id"], job["lease_token"])))
                    self.concluded += 1
                    self.not_concluded += answer[9:12] != b"200"
                time.sleep(_PAUSE_S)


if __name__ == "__main__":
    main()
