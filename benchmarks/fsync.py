"""`python -m benchmarks.fsync`: what syncing the journal before every answer costs three nodes.

Two clusters stand side by side, one with `--fsync always`, one with `never`, and slices of the same
load go to them in turn. What counts is the ratio of neighbours: the machine and its disk are the
same, and what slows them down for seconds slows both.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import click

from benchmarks import load, scale, servers, workload
from benchmarks.scale import Figure

RATIO_MIN: Final = 0.5
CELLS: Final = ((100, 1), (100, 4), (1_000, 1), (1_000, 4))
"""(jobs in a request, clients)."""
_MODES: Final = ("always", "never")


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--repetitions", default=7, show_default=True, type=click.IntRange(1, 100), help="Slices of each kind.")
@click.option("--slice-s", default=1.0, show_default=True, type=click.FloatRange(0.01, 60), help="How long one is.")
@scale.data_dir_option
@scale.options
def main(*, repetitions: int, slice_s: float, directory: Path, file: Path, check: bool) -> None:
    """Load three nodes that sync and three that do not, in turn."""
    about = f"Whole lifecycles in batches on three nodes, {repetitions} slices of {slice_s:g} s in turn."
    scale.conclude("fsync", about, lambda: _measure(repetitions, slice_s, directory), file, check=check)


def _measure(repetitions: int, slice_s: float, directory: Path) -> list[Figure]:
    figures = []
    with ExitStack() as stack:
        clusters = {}
        for fsync in _MODES:
            data = Path(stack.enter_context(TemporaryDirectory(dir=directory)))
            clusters[fsync] = stack.enter_context(servers.running(servers.start_nodes(3, data, fsync=fsync)))
        with click.progressbar(length=len(CELLS) * repetitions, label="loading", file=sys.stderr) as bar:
            for batch, clients in CELLS:
                ratios = []
                for _ in range(repetitions):
                    always, never = (
                        load.run(
                            [node.address for node in clusters[fsync]], clients, slice_s, workload.lifecycle(batch)
                        ).rate_per_s
                        for fsync in _MODES
                    )
                    ratios.append(always / never)
                    bar.update(1)
                what = f"lifecycle by {batch:,}, {clients} client{'s' if clients > 1 else ''}: always / never"
                figures.append(scale.at_least(what, median(ratios), "", RATIO_MIN))
    return figures


if __name__ == "__main__":
    main()
