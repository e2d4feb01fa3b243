"""`python -m benchmarks.failover`: from kill -9 of the leader to the next acknowledged write.

Three nodes with the default settings. Again and again the leader is killed and a survivor is sent a
write at once; what counts is the time until its 201. A write that is answered "nothing was done" is
sent again, as clients do, but without their pause. Then the killed node comes back.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import click

from benchmarks import scale, servers, workload
from benchmarks.load import Connection, WrongAnswer, expect
from benchmarks.scale import Figure
from benchmarks.servers import Server

MEDIAN_S_MAX: Final = 1.5
WORST_S_MAX: Final = 3.0
_AGAIN_S: Final = 0.01


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--times", default=20, show_default=True, type=click.IntRange(1, 1000), help="How often.")
@click.option("--durable", is_flag=True, help="Nodes with data directories, --fsync always.")
@scale.data_dir_option
@scale.options
def main(*, times: int, durable: bool, directory: Path, file: Path, check: bool) -> None:
    """Kill the leader of three nodes and see how soon writes go on."""
    kind = "with data directories" if durable else "in memory"
    about = f"Kill -9 of the leader, {times} times, of three nodes {kind}."
    scale.conclude("failover", about, lambda: _measure(times, directory if durable else None), file, check=check)


def _measure(times: int, directory: Path | None) -> list[Figure]:
    with ExitStack() as stack:
        data = None if directory is None else Path(stack.enter_context(TemporaryDirectory(dir=directory)))
        nodes = stack.enter_context(servers.running(servers.start_nodes(3, data)))
        with click.progressbar(range(times), label="killing", file=sys.stderr) as numbers:
            taken_s = [_one(nodes) for _ in numbers]
    return [
        scale.at_most(
            "kill -9 of the leader to the next acknowledged write, median", median(taken_s), "s", MEDIAN_S_MAX
        ),
        scale.at_most("the same, worst", max(taken_s), "s", WORST_S_MAX),
        Figure("the same, best", min(taken_s), "s"),
    ]


def _one(nodes: list[Server]) -> float:
    """Kill the leader once; returns the seconds until the next acknowledged write."""
    *followers, leader = servers.leader_last(nodes)
    with Connection(followers[0].address) as connection:
        expect(connection.exchange(workload.enqueue_request()), b"201")
        begun_s = time.perf_counter()
        leader.kill()
        while True:
            answer = connection.exchange(workload.enqueue_request())
            if answer[9:12] != b"503":
                break
            if time.perf_counter() > begun_s + servers.READY_S_MAX:
                raise WrongAnswer(f"nobody leads: {answer.decode(errors='replace')}")
            time.sleep(_AGAIN_S)
        expect(answer, b"201")
        taken_s = time.perf_counter() - begun_s
    leader.start()
    leader.wait_until_ready()
    return taken_s


if __name__ == "__main__":
    main()
