"""docs/worker.md says what is so: its examples run, and its tables have every name and figure."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import get_args

import pytest

from cqueue import Context, Worker
from cqueue.worker import context, engine, pace, program, telling, worker
from tests.cluster.fixtures import StartNode
from tests.docs.examples import run_examples

TEXT = (Path(__file__).parents[2] / "docs" / "worker.md").read_text(encoding="utf-8")


@pytest.mark.cluster
def test_the_examples_run(start_node: StartNode) -> None:
    """Each by itself, one after the other, on one node."""
    run_examples(start_node(), "worker.md")


def test_every_name_is_there() -> None:
    """Arguments, what a context has, reasons to stop, and variables of a program."""
    names = set(inspect.signature(Worker).parameters) - {"nodes"}
    names |= {f"context.{name}" for name in ("cancelled", "reason", *vars(Context)) if not name.startswith("_")} - {
        "context.stop",
        "context.unsaid",
    }
    names |= set(get_args(context.Reason))
    assert {name for name in names if not re.search(rf"`{name}[`(]", TEXT)} == set()


def test_the_figures_are_the_ones_in_force() -> None:
    """Defaults and bounds."""
    for figure in (
        f"| `concurrency` | {worker.CONCURRENCY_DEFAULT} |",
        f"1 to {worker.CONCURRENCY_MAX:,} |",
        f"1 to {worker.PROCESSES_MAX} |",
        f"| `prefetch` | as many as end in {pace.AHEAD_S:g} s, up to {pace.AHEAD_JOBS_MAX:,} |",
        f"0 to {worker.PREFETCH_MAX:,} |",
        f"| `lease_seconds` | {worker.LEASE_S_DEFAULT} |",
        f"1 to {worker.LEASE_S_MAX:,} |",
        f"| `grace_s` | {worker.GRACE_S_DEFAULT:.0f} |",
        f"up to {worker.TYPES_MAX} of them",
        f"up to {context.NOTE_CHARS_MAX:,} characters",
        f"at most {telling.TOLD_JOBS_MAX:,} jobs, and {telling.TOLD_BYTES_MAX:,} bytes of results",
        f"| {program.EXIT_RETRY} |",
        f"| {program.EXIT_DEAD} |",
        f"up to {program.RESULT_BYTES_MAX:,} bytes",
    ):
        assert figure in TEXT, figure
    assert engine.WIND_UP_S / 2 == 5
    assert "with five seconds to do so" in TEXT
