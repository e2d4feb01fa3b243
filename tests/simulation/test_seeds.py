"""Seeds: whole clusters under every fault, judged by the checkers."""

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
