"""Keeps the benchmark from rotting: a tiny run of it, and the page that is made from its results.

No figure is judged here: a test machine is busy, and a slice of some milliseconds measures nothing.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.load import process_count
from benchmarks.results import Bar, Machine, Results, Row, judge
from benchmarks.stages import percentile_ms, plan

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BENCH = (sys.executable, "-m", "benchmarks.bench")


def given_row(stage: str, what: str, clients: int, *, ratio: float = 1.0, p50_ratio: float = 1.0) -> Row:
    """A row in which only what bars look at matters."""
    return Row(
        stage=stage,
        what=what,
        clients=clients,
        bare_clients=clients,
        jobs=1,
        ratio=ratio,
        ratios=[ratio],
        p50_ratio=p50_ratio,
        jobs_per_s=1.0,
        bare_per_s=1.0,
        p50_ms=1.0,
        p99_ms=1.0,
        bare_p50_ms=1.0,
        bare_p99_ms=1.0,
        server_cpu_us=1.0,
        replica_cpu_us=0.0,
        bare_cpu_us=1.0,
        client_cpu_share=0.1,
    )


def given_all_rows(*, ratio: float, p50_ratio: float) -> list[Row]:
    """Every row a run without `--only` has."""
    return [
        given_row(stage.name, cell.what, cell.clients, ratio=ratio, p50_ratio=p50_ratio)
        for stage in plan((), None)
        for group in stage.groups
        for cell in group.cells
    ]


@pytest.mark.cluster
def test_a_tiny_run_measures_one_node_and_three_and_writes_what_it_found(tmp_path: Path) -> None:
    """Real processes, every kind of slice, the books balanced at the end, and JSON that reads back."""
    file = tmp_path / "results.json"
    chosen = [
        "one/*/16",
        "one/batch-100/2",
        "three/enqueue*/1",
        "three/batch-1000/4",
        "three/stream/1",
        "three/worker/1",
        "one/file/1",
    ]
    arguments = [argument for text in chosen for argument in ("--only", text)]
    run = subprocess.run(
        [*BENCH, "--quick", "--slice-s", "0.02", "--repetitions", "1", "--json", str(file), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    results = report.read(file)
    assert [row.key for row in results.rows] == [
        "one/enqueue/16",
        "one/dequeue/16",
        "one/conclude/16",
        "one/batch-100/2",
        "one/file/1",
        "three/enqueue/1",
        "three/enqueue-leader/1",
        "three/batch-1000/4",
        "three/stream/1",
        "three/worker/1",
    ]
    assert all(row.jobs > 0 and row.ratio > 0 and 0 < row.p50_ms <= row.p99_ms for row in results.rows)
    for words in (report.TITLES["one"], report.TITLES["three"], "lifecycle by 1,000", "not measured"):
        assert words in run.stdout


def test_what_matches_no_row_is_a_clear_line() -> None:
    """A misspelt `--only` measures nothing, and says so at once."""
    run = subprocess.run(
        [*BENCH, "--only", "enqeue"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 2
    assert "no row holds or matches 'enqeue'" in run.stderr


def test_a_bar_is_judged_by_its_worst_row() -> None:
    """One row below the bound is enough to miss it."""
    rows = given_all_rows(ratio=100.0, p50_ratio=1.0)
    assert [bar.ok for bar in judge(rows)] == [True] * 10
    next(row for row in rows if row.key == "one/dequeue/64").ratio = 0.69
    missed = [bar for bar in judge(rows) if not bar.ok]
    assert missed == [
        Bar("one node, one by one, 64 clients: rate / bare rate", "≥ 0.7", 0.69, "one/dequeue/64", ok=False)
    ]


def test_a_latency_bar_is_an_upper_one() -> None:
    """Fewer times the bare latency is better."""
    assert [bar.ok for bar in judge(given_all_rows(ratio=100.0, p50_ratio=5.1))][-1] is False
    assert [bar.ok for bar in judge(given_all_rows(ratio=100.0, p50_ratio=4.9))][-1] is True


def test_a_bar_whose_rows_were_not_all_measured_is_neither_kept_nor_missed() -> None:
    """`--only` does not make bars easier."""
    bars = judge([given_row("one", "enqueue", 16)])
    assert [(bar.measured, bar.ok) for bar in bars] == [(None, None)] * 10


def test_durable_rows_come_on_top_of_the_others(tmp_path: Path) -> None:
    """With a directory to write to, the same rows are measured again with journals in it."""
    assert [stage.name for stage in plan((), tmp_path)] == ["one", "three", "one-durable", "three-durable"]
    assert [stage.data_root for stage in plan(("durable",), tmp_path)] == [tmp_path, tmp_path]


def test_percentiles_are_nearest_ranks_in_ms() -> None:
    """Of a hundred latencies the 99th percentile is the largest but none beyond."""
    latencies_s = [number / 1000 for number in range(1, 101)]
    assert percentile_ms(latencies_s, 50) == 51
    assert percentile_ms(latencies_s, 99) == 100
    assert percentile_ms([0.002], 99) == 2
    assert percentile_ms([], 50) == 0


def test_the_load_generator_has_one_process_at_least_and_no_idle_ones() -> None:
    """A process without a client would have nothing to measure."""
    assert process_count(1) == 1
    assert 1 <= process_count(64) <= 64


def test_the_page_shows_what_its_json_says() -> None:
    """docs/performance.md is what `benchmarks.report` makes from docs/performance.json."""
    page = (DOCS / "performance.md").read_text(encoding="utf-8")
    assert report.rewritten(page, report.read(DOCS / "performance.json")) == page


def test_a_page_without_markers_is_refused() -> None:
    """The report writes between its markers or not at all."""
    results = Results(
        version="0", machine=Machine(1, "", "", ""), slice_s=1, repetitions=1, leader_changed=[], rows=[], bars=[]
    )
    with pytest.raises(ValueError, match="needs the lines"):
        report.rewritten("# A page\n", results)
