"""Results as tables: on a terminal, and in docs/performance.md.

`python -m benchmarks.report bench-results.json` writes the tables between the markers of
docs/performance.md and keeps the JSON they were made from beside it, so that whoever doubts the
page can make it again from the one or measure the other anew.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click
import msgspec

from benchmarks.results import FORMAT, Results, Row

DOCS: Final = Path(__file__).parents[1] / "docs"
BEGIN: Final = "<!-- measured: written by benchmarks.report -->"
END: Final = "<!-- measured: end -->"

TITLES: Final = {
    "one": "One node, in memory",
    "three": "Three nodes, in memory",
    "one-durable": "One node, with a data directory and --fsync always",
    "three-durable": "Three nodes, with data directories and --fsync always",
}
_HEADER: Final = (
    "what",
    "clients",
    "x bare",
    "min-max",
    "jobs/s",
    "p50 ms",
    "p99 ms",
    "bare p50",
    "bare p99",
    "CPU µs/job",
    "of it replica",
    "client CPU",
)
_TEXT_COLUMNS: Final = 1


def what_of(row: Row) -> str:
    """What a row is about, in words."""
    if row.what.startswith("batch-"):
        return f"lifecycle by {int(row.what.removeprefix('batch-')):,}"
    if row.what == "enqueue-leader":
        return "enqueue, at the leader"
    if row.what == "file":
        return "cqueue enqueue --file"
    if row.what == "stream":
        return "lifecycles over a WebSocket"
    if row.what == "worker":
        return "jobs of a Worker"
    return row.what


def _cells(row: Row) -> tuple[str, ...]:
    return (
        what_of(row),
        str(row.clients),
        figure(row.ratio),
        f"{figure(min(row.ratios))}-{figure(max(row.ratios))}",
        f"{row.jobs_per_s:,.0f}",
        figure(row.p50_ms),
        figure(row.p99_ms),
        figure(row.bare_p50_ms),
        figure(row.bare_p99_ms),
        figure(row.server_cpu_us),
        figure(row.replica_cpu_us),
        f"{row.client_cpu_share:.0%}",
    )


def figure(value: float) -> str:
    """Two or three digits that mean something."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def terminal(results: Results) -> str:
    """All of it for a terminal."""
    parts = []
    for stage, rows in _by_stage(results).items():
        parts.append(f"{TITLES[stage]}\n{aligned([_HEADER, *map(_cells, rows)])}")
    bare = _bare_line(results)
    if bare:
        parts.append(bare)
    parts += [f"warning: the leader of stage {stage!r} changed meanwhile" for stage in results.leader_changed]
    if results.import_ratio is not None:
        parts.append(f"import cqueue takes {figure(results.import_ratio)} times as long as import http.client (bar: 2)")
    parts.append("bars\n" + aligned(_bar_cells(results)))
    return "\n\n".join(parts)


def markdown(results: Results) -> str:
    """All of it for the docs."""
    machine = results.machine
    about = (
        f"cqueue {results.version} on {machine.cores} cores ({machine.cpu}), {machine.system}, {machine.python}. "
        f"{results.repetitions} repetitions, slices of {results.slice_s:g} s. {_bare_line(results)}"
    )
    parts = [about]
    for stage, rows in _by_stage(results).items():
        parts.append(f"### {TITLES[stage]}\n\n{table([_HEADER, *map(_cells, rows)])}")
    header = ("bar", "bound", "measured", "worst row", "")
    parts.append("### Bars\n\n" + table([header, *_bar_cells(results)]))
    return "\n\n".join(parts)


def _by_stage(results: Results) -> dict[str, list[Row]]:
    stages: dict[str, list[Row]] = {}
    for row in results.rows:
        stages.setdefault(row.stage, []).append(row)
    return stages


def _bare_line(results: Results) -> str:
    by_clients = {row.bare_clients: row for row in reversed(results.rows)}
    rates = ", ".join(f"{row.bare_per_s:,.0f}/s with {clients}" for clients, row in sorted(by_clients.items()))
    return f"The bare route: {rates} clients." if rates else ""


def _bar_cells(results: Results) -> list[tuple[str, ...]]:
    return [
        (bar.what, bar.bound, "-", "-", "not measured")
        if bar.measured is None
        else (bar.what, bar.bound, figure(bar.measured), str(bar.row), "ok" if bar.ok else "MISSED")
        for bar in results.bars
    ]


def aligned(lines: list[tuple[str, ...]]) -> str:
    """Lines of cells in columns, for a terminal."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  "
        + "  ".join(
            cell.ljust(width) if number < _TEXT_COLUMNS else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def table(lines: list[tuple[str, ...]]) -> str:
    """Lines of cells as a table of Markdown; the first is the header."""
    ruler = tuple("---" if number < _TEXT_COLUMNS else "---:" for number in range(len(lines[0])))
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], ruler, *lines[1:]))


def rewritten(page: str, results: Results) -> str:
    """`page` with the tables between its markers.

    Raises:
        ValueError: it does not have both.
    """
    return between(page, BEGIN, END, markdown(results))


def between(page: str, begin: str, end: str, text: str) -> str:
    """`page` with `text` between the lines `begin` and `end`.

    Raises:
        ValueError: it does not have both.
    """
    before, found_begin, rest = page.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise ValueError(f"the page needs the lines {begin!r} and {end!r}")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--docs", default=DOCS, type=click.Path(file_okay=False, path_type=Path), hidden=True)
def main(file: Path, docs: Path) -> None:
    """Write the tables of docs/performance.md from FILE, which a benchmark wrote, and keep FILE beside it."""
    results = read(file)
    page = docs / "performance.md"
    page.write_text(rewritten(page.read_text(encoding="utf-8"), results), encoding="utf-8")
    write(results, docs / "performance.json")
    click.echo(f"wrote {page} and {docs / 'performance.json'}", err=True)


def read(file: Path) -> Results:
    """The results in a file."""
    try:
        results = msgspec.json.decode(file.read_bytes(), type=Results)
    except msgspec.DecodeError as error:
        raise click.ClickException(f"{file}: not written by the benchmark: {error}") from error
    if results.format != FORMAT:
        raise click.ClickException(f"{file}: format {results.format}, this version reads {FORMAT}")
    return results


def write(results: Results, file: Path) -> None:
    """Write results where `read` finds them."""
    file.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")


if __name__ == "__main__":
    sys.exit(main())
