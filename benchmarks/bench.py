"""The command `python -m benchmarks.bench`: measure, print, write JSON. Words go to stderr."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

import cqueue
from benchmarks import file as of_file
from benchmarks import report, servers
from benchmarks.load import WrongAnswer
from benchmarks.results import Machine, Results, Row, judge
from benchmarks.servers import NotServed
from benchmarks.stages import Stand, plan

SLICE_S: Final = 0.8
REPETITIONS: Final = 5
SLICE_QUICK_S: Final = 0.15
REPETITIONS_QUICK: Final = 3
EXIT_MISSED: Final = 1


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--quick", is_flag=True, help="Shorter slices and fewer repetitions: about 40 s instead of 4 minutes.")
@click.option(
    "--only",
    multiple=True,
    metavar="TEXT",
    help="Only rows whose name holds TEXT or matches it as a pattern, such as three/, batch-1000 or 'one/*/16'.",
)
@click.option(
    "--durable",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    metavar="DIR",
    help="More rows: nodes with --data-dir below DIR and --fsync always. DIR is on the disk to measure.",
)
@click.option(
    "--json",
    "file",
    default="bench-results.json",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where the results go.",
)
@click.option("--check", is_flag=True, help="Exit with 1 if a bar was missed.")
@click.option("--slice-s", type=click.FloatRange(0.01, 60), hidden=True)
@click.option("--repetitions", type=click.IntRange(1, 100), hidden=True)
def main(
    *,
    quick: bool,
    only: tuple[str, ...],
    durable: Path | None,
    file: Path,
    check: bool,
    slice_s: float | None,
    repetitions: int | None,
) -> None:
    """Measure cqueue on this machine against a bare Flask route on the same web server.

    What the rows mean and how to read them: docs/performance.md.
    """
    slice_s = slice_s or (SLICE_QUICK_S if quick else SLICE_S)
    repetitions = repetitions or (REPETITIONS_QUICK if quick else REPETITIONS)
    try:
        rows, leader_changed = _measure(only, durable, slice_s, repetitions)
    except (NotServed, WrongAnswer, OSError) as error:
        raise click.ClickException(str(error)) from error
    results = Results(
        version=cqueue.__version__,
        machine=Machine.here(),
        slice_s=slice_s,
        repetitions=repetitions,
        leader_changed=leader_changed,
        import_ratio=of_file.import_ratio(),
        rows=rows,
        bars=judge(rows),
    )
    report.write(results, file)
    click.echo(report.terminal(results))
    click.echo(f"wrote {file}", err=True)
    if check and any(bar.ok is False for bar in results.bars):
        sys.exit(EXIT_MISSED)


def _measure(
    only: tuple[str, ...], durable: Path | None, slice_s: float, repetitions: int
) -> tuple[list[Row], list[str]]:
    stages = plan(only, durable)
    if not stages:
        raise click.UsageError(f"no row holds or matches {' or '.join(map(repr, only))}")
    rows: list[Row] = []
    leader_changed: list[str] = []
    length = sum(stage.slices(repetitions) for stage in stages)
    reference = servers.start_reference()
    try:
        reference.wait_until_ready()
        with click.progressbar(length=length, label="measuring", file=sys.stderr) as bar:
            for stage in stages:
                stand = Stand(reference, stage, slice_s, lambda: bar.update(1))
                rows += stand.run(repetitions)
                if stand.leader_changed:
                    leader_changed.append(stage.name)
    finally:
        reference.stop()
    return rows, leader_changed


if __name__ == "__main__":
    main()
