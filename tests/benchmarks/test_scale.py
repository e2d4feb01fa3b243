"""Keeps the long runs from rotting: each of them for a moment, and the page made from their results.

No figure is judged here: a test machine is busy, and a moment measures nothing.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import report, scale
from benchmarks.results import Machine
from benchmarks.scale import Figure, Run, Runs

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

MOMENTS = {
    "failover": ["--times", "1"],
    "auth": ["--repetitions", "1", "--slice-s", "0.02"],
    "fsync": ["--repetitions", "1", "--slice-s", "0.02"],
    "million": ["--jobs", "2000", "--slices", "1"],
    "scrape": ["--jobs", "10000", "--queues", "10", "--scrapes", "1"],
    "overload": ["--connections", "8", "--seconds", "0.2", "--repetitions", "1"],
    "soak": ["--seconds", "1"],
    "waiting": [
        *("--consumers", "20", "--pollers", "20", "--wait-s", "1", "--seconds", "0.2"),
        *("--singles", "2", "--burst", "5"),
    ],
}

KEEPS_NOTHING = {"scrape"}
"""Those whose nodes have no data directories."""


def given_runs(*figures: Figure) -> Runs:
    """One run that found `figures`."""
    return Runs({"failover": Run("0", Machine(2, "a cpu", "Linux", "CPython 3"), "Some kills.", 0.5, [*figures])})


@pytest.mark.cluster
@pytest.mark.parametrize("name", MOMENTS)
def test_a_moment_of_each_long_run_measures_something(tmp_path: Path, name: str) -> None:
    """Real processes, and JSON that holds what was found before too."""
    file = tmp_path / "results.json"
    scale.write(Runs({"another": given_runs().runs["failover"]}), file)
    where = [] if name in KEEPS_NOTHING else ["--dir", str(tmp_path)]
    run = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *MOMENTS[name], *where, "--json", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found = scale.read(file).runs
    assert sorted(found) == sorted(["another", name])
    assert found[name].figures
    assert all(figure.what in run.stdout for figure in found[name].figures)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_bar_is_kept_up_to_its_bound() -> None:
    """At most and at least, with the bound itself on the good side."""
    assert scale.at_most("a", 3.0, "s", 3.0).ok
    assert not scale.at_most("a", 3.1, "s", 3.0).ok
    assert scale.at_least("a", 0.5, "", 0.5).ok
    assert not scale.at_least("a", 0.49, "", 0.5).ok
    assert scale.at_least("a", 0.49, "", 0.5).bound == "≥ 0.5"


def test_a_run_is_told_with_its_bars_and_with_how_busy_the_machine_was() -> None:
    """The table for the docs."""
    text = scale.markdown(given_runs(scale.at_most("to the next write", 3.5, "s", 3.0), Figure("best", 0.25, "s")))
    assert "### Failover" in text
    assert "Some kills. cqueue 0 on 2 cores (a cpu), load average 0.5 before." in text
    assert "| to the next write | 3.50 | s | ≤ 3 | MISSED |" in text
    assert "| best | 0.25 | s |  |  |" in text


def test_the_page_shows_what_the_json_of_the_long_runs_says() -> None:
    """docs/performance.md is what `benchmarks.scale` makes from docs/scale.json."""
    page = (DOCS / "performance.md").read_text(encoding="utf-8")
    assert scale.rewritten(page, scale.read(DOCS / "scale.json")) == page


def test_both_pages_of_results_can_be_rewritten_on_their_own() -> None:
    """The markers of the one are not those of the other."""
    page = f"{report.BEGIN}\nrates\n{report.END}\n{scale.BEGIN}\nlong runs\n{scale.END}\n"
    assert "rates" in scale.rewritten(page, given_runs())
    assert "long runs" not in scale.rewritten(page, given_runs())
