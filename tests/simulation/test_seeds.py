"""Seeds: whole clusters under every fault, judged by the checkers. A failing seed is kept here."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from cqueue.cli import seeds
from cqueue.simulation.run import run

SECONDS = 10.0
FIXED = 100
FRESH = 20
TOGETHER = 10

KEPT = {
    9: "a wiped node crashed while it got its memory back, and voted as if it had it",
    159: "the same, with two leaders' entries at one index",
}

MISSED = {"exactly-once": 7, "memory-before-vote": 100, "pre-vote": 26, "whole-is-kept": 100}
"""Mends, and a seed of twenty seconds on three nodes that breaks without each."""


def _story(seed: int) -> str:
    verdict = run(seed, seconds=SECONDS)
    again = f"cqueue simulate --seed {seed} --seconds {SECONDS:g} --story"
    return "\n".join(f"{again}: {line}" for line in verdict.broken) if verdict.broken else ""


@pytest.mark.parametrize("first", range(0, FIXED, TOGETHER))
def test_nothing_is_lost_or_doubled_under_the_fixed_seeds(first: int) -> None:
    """One hundred seeds that are the same in every run."""
    assert [_story(seed) for seed in range(first, first + TOGETHER)] == [""] * TOGETHER


def test_nothing_is_lost_or_doubled_under_fresh_seeds() -> None:
    """Twenty seeds nobody has seen; what fails names its seed."""
    chosen = seeds.fresh(FRESH)
    assert [_story(seed) for seed in chosen] == [""] * FRESH


@pytest.mark.parametrize("seed", KEPT, ids=[f"{seed}: {why}" for seed, why in KEPT.items()])
def test_a_seed_that_once_failed_stays_mended(seed: int) -> None:
    """Seeds that showed a mistake, for as long as they were run then."""
    assert run(seed, seconds=20.0).broken == []


@pytest.mark.parametrize(("without", "seed"), MISSED.items())
def test_a_mend_that_is_taken_away_is_missed(without: str, seed: int) -> None:
    """A simulator that judges everything well proves nothing."""
    assert run(seed, without=without).broken != []
    assert run(seed).broken == []


def test_five_nodes_hold_as_well_as_three() -> None:
    """A few seeds on five nodes."""
    assert [run(seed, nodes=5, seconds=SECONDS).broken for seed in range(5)] == [[]] * 5


def test_a_seed_tells_the_same_story_in_every_process() -> None:
    """Neither the hash seed nor the process decides anything."""
    stories = {
        subprocess.run(
            [sys.executable, "-m", "cqueue", "simulate", "--seed", "42", "--seconds", "6", "--story"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
            timeout=100,
        ).stderr
        for hash_seed in ("0", "1", "77")
    }
    assert len(stories) == 1
