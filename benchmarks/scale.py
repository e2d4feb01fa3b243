"""What the long runs found: figures, each with the bar it is held to; and their part of the docs.

    million    one million queued jobs: snapshots, restarts, a new node
    failover   from kill -9 of the leader to the next acknowledged write
    fsync      what syncing the journal costs three nodes
    scrape     a scrape of a million jobs in a thousand queues
    waiting    thousands of consumers that wait, beside consumers that poll
    overload   three times what nodes can do: what is done of it?
    soak       full load for a long time: is the leader left alone?

Each is a command, `python -m benchmarks.million` and so on, and keeps what it found in one file
beside what the others found. `python -m benchmarks.scale scale-results.json` writes that file's
tables between the markers of docs/performance.md and keeps it there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from msgspec import Struct

import cqueue
from benchmarks import report
from benchmarks.load import WrongAnswer
from benchmarks.results import Machine
from benchmarks.servers import NotServed

FORMAT: Final = 1
BEGIN: Final = "<!-- scale: written by benchmarks.scale -->"
END: Final = "<!-- scale: end -->"
EXIT_MISSED: Final = 1

TITLES: Final = {
    "depth": "A million jobs in the state machine",
    "million": "One million queued jobs",
    "fsync": "What syncing costs",
    "failover": "Failover",
    "waiting": "Consumers that wait",
    "auth": "What asking who calls costs",
    "scrape": "What a scrape costs",
    "overload": "Overload",
    "soak": "Soak",
}


class Figure(Struct):
    """One thing measured. bound: the bar in words; "" and ok None where it is only told."""

    what: str
    measured: float
    unit: str = ""
    bound: str = ""
    ok: bool | None = None


class Run(Struct):
    """One command's run. about: what was run, in words; load_before: the machine's load average when it began."""

    version: str
    machine: Machine
    about: str
    load_before: float
    figures: list[Figure]


class Runs(Struct):
    """The newest run of each command, by its name."""

    runs: dict[str, Run]
    format: int = FORMAT


def at_most(what: str, measured: float, unit: str, bar: float) -> Figure:
    """A figure that must not be above `bar`."""
    return Figure(what, measured, unit, f"≤ {bar:g}", measured <= bar)


def at_least(what: str, measured: float, unit: str, bar: float) -> Figure:
    """A figure that must not be below `bar`."""
    return Figure(what, measured, unit, f"≥ {bar:g}", measured >= bar)


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that every long run has."""
    for option in (
        click.option("--check", is_flag=True, help="Exit with 1 if a bar was missed."),
        click.option(
            "--json",
            "file",
            default="scale-results.json",
            show_default=True,
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="Where the figures go, beside those of the other long runs.",
        ),
    ):
        command = option(command)
    return command


def data_dir_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Where nodes with data directories keep them."""
    return click.option(
        "--dir",
        "directory",
        default=".",
        type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
        metavar="DIR",
        help="The nodes' data directories are made below DIR, which is on the disk to measure, and removed again.",
    )(command)


def conclude(name: str, about: str, measure: Callable[[], list[Figure]], file: Path, *, check: bool) -> None:
    """Measure, print, keep; the end of every long run.

    Raises:
        click.ClickException: it could not be measured.
    """
    load_before = os.getloadavg()[0]
    try:
        figures = measure()
    except (NotServed, WrongAnswer, OSError) as error:
        raise click.ClickException(str(error)) from error
    runs = read(file) if file.exists() else Runs({})
    runs.runs[name] = Run(cqueue.__version__, Machine.here(), about, load_before, figures)
    write(runs, file)
    click.echo(report.aligned([_cells(figure) for figure in figures]))
    click.echo(f"wrote {file}", err=True)
    if check and any(figure.ok is False for figure in figures):
        sys.exit(EXIT_MISSED)


def _cells(figure: Figure) -> tuple[str, ...]:
    verdict = {None: "", True: "ok", False: "MISSED"}[figure.ok]
    return figure.what, report.figure(figure.measured), figure.unit, figure.bound, verdict


def markdown(runs: Runs) -> str:
    """All of it for the docs."""
    parts = []
    for name, run in sorted(runs.runs.items(), key=lambda item: list(TITLES).index(item[0])):
        machine = run.machine
        where = (
            f"cqueue {run.version} on {machine.cores} cores ({machine.cpu}), load average {run.load_before:.1f} before."
        )
        rows = [("figure", "measured", "unit", "bar", ""), *map(_cells, run.figures)]
        parts.append(f"### {TITLES[name]}\n\n{run.about} {where}\n\n{report.table(rows)}")
    return "\n\n".join(parts)


def rewritten(page: str, runs: Runs) -> str:
    """`page` with the tables between its markers."""
    return report.between(page, BEGIN, END, markdown(runs))


def read(file: Path) -> Runs:
    """The runs in a file."""
    try:
        runs = msgspec.json.decode(file.read_bytes(), type=Runs)
    except msgspec.DecodeError as error:
        raise click.ClickException(f"{file}: not written by a long run: {error}") from error
    if runs.format != FORMAT:
        raise click.ClickException(f"{file}: format {runs.format}, this version reads {FORMAT}")
    return runs


def write(runs: Runs, file: Path) -> None:
    """Write runs where `read` finds them."""
    file.write_bytes(msgspec.json.format(msgspec.json.encode(runs), indent=1) + b"\n")


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--docs", default=report.DOCS, type=click.Path(file_okay=False, path_type=Path), hidden=True)
def main(file: Path, docs: Path) -> None:
    """Write the tables of docs/performance.md from FILE, which long runs wrote, and keep FILE beside it."""
    runs = read(file)
    page = docs / "performance.md"
    page.write_text(rewritten(page.read_text(encoding="utf-8"), runs), encoding="utf-8")
    write(runs, docs / "scale.json")
    click.echo(f"wrote {page} and {docs / 'scale.json'}", err=True)


if __name__ == "__main__":
    main()
