"""Directed scenarios: each mend is missed when it is gone, and not before."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from cqueue.cli import main
from cqueue.replication import consensus
from cqueue.simulation.scenarios import SCENARIOS, run_scenario
from cqueue.simulation.unmended import MENDS

DESIGN = Path(consensus.__file__).with_name("DESIGN.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", MENDS)
def test_a_mend_that_is_taken_away_is_missed(name: str) -> None:
    """A simulator that judges everything well proves nothing."""
    assert run_scenario(name).broken == []
    assert run_scenario(name, without=name).broken != []


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_scenario_holds_whatever_it_leaves_to_chance(seed: int) -> None:
    """Delays and the like come from a seed; the story is the same."""
    assert [(name, line) for name in SCENARIOS for line in run_scenario(name, seed=seed).broken] == []


def test_every_mend_has_a_scenario_of_its_name() -> None:
    """And no scenario is about nothing."""
    assert set(SCENARIOS) == set(MENDS)


def test_the_design_names_every_mend_that_can_be_taken_away() -> None:
    """The last column of its table is the list of names, each once."""
    chapter = DESIGN.split("## Mends")[1].split("\n## ")[0]
    named = [name for line in chapter.splitlines() for name in re.findall(r"`([a-z-]+)`", line.rsplit("|", 2)[-2:][0])]
    assert sorted(named) == sorted(MENDS)


def test_the_command_line_runs_one_and_tells_what_broke() -> None:
    """Exit code 0 where it holds; 1, the story and what broke where it does not."""
    name = "known-entries-stay"
    holds = CliRunner().invoke(main, ["simulate", "--scenario", name])
    assert (holds.exit_code, holds.stdout) == (0, f"{name}: holds. {SCENARIOS[name].about}\n")
    broken = CliRunner().invoke(main, ["simulate", "--scenario", name, "--without", name])
    assert (broken.exit_code, broken.stdout) == (1, f"{name}: BROKEN. {SCENARIOS[name].about}\n")
    assert re.search(
        rf"^{name}: operation \d+ .* was answered with something else than it did$", broken.stderr, re.MULTILINE
    )
    assert re.search(r"^ +\d+\.\d{3} s  operation \d+: n\d:1 is asked for Enqueue$", broken.stderr, re.MULTILINE)


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    """Of scenarios and of mends."""
    for option in ("--scenario", "--without"):
        refused = CliRunner().invoke(main, ["simulate", option, "hope"])
        assert refused.exit_code == 2
        assert "'hope' is none of" in refused.stderr
        assert "one-vote-each" in refused.stderr
