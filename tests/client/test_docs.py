"""docs/client.md and docs/tracing.md say what is so: examples run, and tables have every name and figure."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import cqueue
from cqueue.client import carrying
from cqueue.core import limits
from cqueue.otel import OPERATIONS, TAG_CHARS_MAX, TAGS_MAX
from tests.cluster.fixtures import StartNode
from tests.docs.examples import run_examples

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "client.md").read_text(encoding="utf-8")
TRACING = (DOCS / "tracing.md").read_text(encoding="utf-8")


@pytest.mark.cluster
def test_the_examples_run(start_node: StartNode) -> None:
    """Each by itself, one after the other, on one node."""
    run_examples(start_node(), "client.md", "tracing.md")


def test_every_verb_with_a_span_is_in_the_table_of_spans() -> None:
    """With its kind and its type."""
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in TRACING.splitlines() if row.startswith("| `")]
    told = {verb: tuple(row[2:4]) for row in rows for verb in re.findall(r"`(\w+)`", row[0])}
    for verb, (kind, span) in OPERATIONS.items():
        assert told[verb] == (span.name.lower(), f"`{kind}`"), verb
    for figure in (f"({TAGS_MAX} tags)", f"{TAG_CHARS_MAX} characters"):
        assert figure in TRACING
    assert (TAGS_MAX, TAG_CHARS_MAX) == (limits.TAGS_MAX, limits.TAG_CHARS_MAX)


def test_every_method_and_every_argument_is_named() -> None:
    """The tables are those of the class."""
    methods = {name for name, value in vars(cqueue.Client).items() if inspect.isfunction(value)}
    missing = {name for name in methods if not name.startswith("_") and f"`{name}`" not in TEXT} - {"run", "close"}
    assert missing == set()
    arguments = set(inspect.signature(cqueue.Client).parameters) - {"nodes"}
    assert set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`[^|]*) \|", TEXT, re.MULTILINE)))) >= arguments


def test_the_figures_are_the_ones_in_force() -> None:
    """Defaults and bounds."""
    for figure in (
        f"| `timeout_s` | {carrying.TIMEOUT_S_DEFAULT:.0f} |",
        f"tried again; {carrying.TIMEOUT_S_MAX:.0f} at most",
        f"| `answer_s` | {carrying.ANSWER_S_DEFAULT:.0f} |",
        f"| nodes | `{carrying.NODE_DEFAULT}` |",
    ):
        assert figure in TEXT, figure
