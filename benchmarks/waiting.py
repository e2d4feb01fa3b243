"""`python -m benchmarks.waiting`: thousands of consumers that wait at one node, beside consumers that poll.

1. As many as shall wait are connected and wait, by `wait` of 60 seconds. What counts is the memory of the
   whole node, and its CPU time while nothing happens; beside that, the CPU time where all ask again once
   in a minute.
2. Jobs are enqueued, one at a time and then 500 in one request. What counts is the time until a consumer
   has read each. Consumers conclude what they get, and wait again.
3. The same, where each consumer waits for a type of its own.
4. Consumers at a fresh node ask once a second instead: fewer, as more would keep a small machine busy.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from benchmarks import scale, servers
from benchmarks.crowd import Crowd
from benchmarks.load import WrongAnswer
from benchmarks.scale import Figure
from benchmarks.servers import Server

MEMORY_MB_MAX: Final = 220.0
IDLE_PERCENT_MAX: Final = 1.0
SINGLE_P99_MS_MAX: Final = 40.0
BURST_P99_MS_MAX: Final = 800.0

BURSTS: Final = 5
PAUSE_S: Final = 0.02
"""Between two single jobs, on average."""
POLL_S: Final = 1.0
QUIET_S: Final = 0.5
QUIET_PERCENT: Final = 4.0
"""Of a core: a node that used no more for `QUIET_S` is done with what came before."""
QUIET_TIMES: Final = 60
"""How often to look; then something is wrong."""


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--consumers", default=5_000, show_default=True, type=click.IntRange(1, 50_000), help="How many wait.")
@click.option("--pollers", default=500, show_default=True, type=click.IntRange(1, 50_000), help="How many poll.")
@click.option("--seconds", default=20.0, show_default=True, type=click.FloatRange(0.1, 30), help="Of doing nothing.")
@click.option("--singles", default=500, hidden=True, type=click.IntRange(1, 10_000))
@click.option("--burst", default=500, hidden=True, type=click.IntRange(2, 1_000))
@click.option("--wait-s", default=60, hidden=True, type=click.IntRange(1, 60))
@scale.data_dir_option
@scale.options
def main(
    *,
    consumers: int,
    pollers: int,
    seconds: float,
    singles: int,
    burst: int,
    wait_s: int,
    directory: Path,
    file: Path,
    check: bool,
) -> None:
    """Let consumers wait, and others poll, and see what it costs and how soon they get jobs: about 2 minutes."""
    del directory  # these nodes keep nothing
    about = (
        f"{consumers:,} consumers wait at one node in memory, {wait_s} s at a time; at another {pollers:,} ask once "
        f"a second. Single jobs come one at a time, bursts are {burst} jobs in one request."
    )
    sizes = [1] * singles + [burst] * BURSTS

    def measure() -> list[Figure]:
        gc.disable()
        return [
            *_waiting(consumers, wait_s, seconds, sizes),
            *_choosy(consumers, wait_s, sizes),
            *_polling(pollers, seconds, sizes),
        ]

    scale.conclude("waiting", about, measure, file, check=check)


def _waiting(consumers: int, wait_s: int, seconds: float, sizes: list[int]) -> list[Figure]:
    click.echo(f"{consumers:,} consumers wait", err=True)
    (node,) = servers.start_nodes(1, None)
    with servers.running([node]):
        empty_mb, _ = servers.whole_memory_of(node)
        with Crowd(node.address, consumers, lambda _: b'{"wait":%d,"lease_seconds":3600}' % wait_s) as crowd:
            _settle(node, crowd)
            pss_mb, rss_mb = servers.whole_memory_of(node)
            idle = _cpu_percent(node, lambda: crowd.run(seconds))
            renewed = _cpu_percent(node, lambda: crowd.run(wait_s))
            _settle(node, crowd)
            single_ms, burst_ms = _deliver(crowd, sizes)
            after_mb, _ = servers.whole_memory_of(node)
    return [
        scale.at_most("memory of the whole node while they wait (PSS)", pss_mb, "MB", MEMORY_MB_MAX),
        Figure("the same by RSS, which counts what its processes share several times", rss_mb, "MB"),
        Figure("the same before anybody was connected (PSS)", empty_mb, "MB"),
        Figure("the same after all deliveries (PSS)", after_mb, "MB"),
        scale.at_most(f"CPU while nothing happens for {seconds:g} s, of a core", idle, "%", IDLE_PERCENT_MAX),
        Figure(f"CPU over {wait_s} s in which every wait ends once and is renewed", renewed, "%"),
        Figure(f"{consumers:,} wait: single job, enqueue to delivery, p50", _percentile(single_ms, 0.5), "ms"),
        scale.at_most("the same, p99", _percentile(single_ms, 0.99), "ms", SINGLE_P99_MS_MAX),
        Figure(f"{consumers:,} wait: burst, enqueue to delivery, p50", _percentile(burst_ms, 0.5), "ms"),
        scale.at_most("the same, p99", _percentile(burst_ms, 0.99), "ms", BURST_P99_MS_MAX),
    ]


def _choosy(consumers: int, wait_s: int, sizes: list[int]) -> list[Figure]:
    """Nobody waits for what another one waits for."""
    click.echo(f"{consumers:,} consumers wait, each for a type of its own", err=True)
    (node,) = servers.start_nodes(1, None)
    with (
        servers.running([node]),
        Crowd(node.address, consumers, lambda number: b'{"wait":%d,"type":"t%d"}' % (wait_s, number)) as crowd,
    ):
        _settle(node, crowd)
        single_ms, burst_ms = _deliver(crowd, sizes, consumers)
    return [
        Figure(f"{consumers:,} wait, each for a type of its own: single job, p50", _percentile(single_ms, 0.5), "ms"),
        Figure("the same, p99", _percentile(single_ms, 0.99), "ms"),
        Figure(f"{consumers:,} wait, each for a type of its own: burst, p99", _percentile(burst_ms, 0.99), "ms"),
    ]


def _polling(pollers: int, seconds: float, sizes: list[int]) -> list[Figure]:
    click.echo(f"{pollers:,} consumers poll", err=True)
    (node,) = servers.start_nodes(1, None)
    with servers.running([node]), Crowd(node.address, pollers, lambda _: b'{"lease_seconds":3600}', POLL_S) as crowd:
        crowd.run(2 * POLL_S)
        before = crowd.asked
        idle = _cpu_percent(node, lambda: crowd.run(seconds))
        asked = crowd.asked - before
        single_ms, burst_ms = _deliver(crowd, sizes)
    return [
        Figure(f"{pollers:,} poll: CPU while nothing happens, of a core", idle, "%"),
        Figure("the same, for each 1,000 of them", idle * 1_000 / pollers, "%"),
        Figure("requests meanwhile", asked / seconds, "/s"),
        Figure(f"{pollers:,} poll: single job, p50", _percentile(single_ms, 0.5), "ms"),
        Figure("the same, p99", _percentile(single_ms, 0.99), "ms"),
        Figure(f"{pollers:,} poll: burst, p99", _percentile(burst_ms, 0.99), "ms"),
    ]


def _deliver(crowd: Crowd, sizes: list[int], types: int = 0) -> tuple[list[float], list[float]]:
    """Milliseconds of single jobs, and of those of bursts; of random types, if there are some."""
    chance = random.Random(1)  # noqa: S311 - the same in every run
    single_ms: list[float] = []
    burst_ms: list[float] = []
    for size in sizes:
        taken_s = crowd.deliver(_jobs(size, types, chance))
        (single_ms if size == 1 else burst_ms).extend(1_000 * each_s for each_s in taken_s)
        crowd.run(chance.uniform(0, 2 * PAUSE_S) if size == 1 else QUIET_S)
    return single_ms, burst_ms


def _jobs(count: int, types: int, chance: random.Random) -> list[bytes]:
    if not types:
        return [b'{"payload":%d}'] * count
    return [b'{"type":"t%d","payload":%%d}' % chance.randrange(types) for _ in range(count)]


def _cpu_percent(node: Server, act: Callable[[], None]) -> float:
    """The CPU time the node took meanwhile, in percent of one core."""
    before, begun_s = servers.cpu_of([node]), time.perf_counter()
    act()
    used, taken_s = servers.cpu_of([node]) - before, time.perf_counter() - begun_s
    return 100 * used.sum_s / taken_s


def _settle(node: Server, crowd: Crowd) -> None:
    """Until the node has nothing to do."""
    for _ in range(QUIET_TIMES):
        if _cpu_percent(node, lambda: crowd.run(QUIET_S)) <= QUIET_PERCENT:
            return
    raise WrongAnswer("the node does not come to rest")


def _percentile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]


if __name__ == "__main__":
    main()
