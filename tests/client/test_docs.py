"""docs/client.md says what is so: its examples run, and its tables have every name and figure."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import cqueue
from cqueue.client import carrying
from tests.cluster.fixtures import StartNode

TEXT = (Path(__file__).parents[2] / "docs" / "client.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.cluster
def test_the_examples_run(start_node: StartNode) -> None:
    """Each by itself, one after the other, on one node."""
    node = start_node()
    assert EXAMPLES
    for example in EXAMPLES:
        code = example.replace("localhost:3000", f"{node.host}:{node.port}")
        exec(compile(code, "docs/client.md", "exec"), {})  # noqa: S102 - our own document


def test_every_method_and_every_argument_is_named() -> None:
    """The tables are those of the class."""
    methods = {name for name, value in vars(cqueue.Client).items() if inspect.isfunction(value)}
    missing = {name for name in methods if not name.startswith("_") and f"`{name}`" not in TEXT} - {"run", "close"}
    assert missing == set()
    arguments = set(inspect.signature(cqueue.Client).parameters) - {"nodes"}
    assert set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE)) >= arguments


def test_the_figures_are_the_ones_in_force() -> None:
    """Defaults and bounds."""
    for figure in (
        f"| `timeout_s` | {carrying.TIMEOUT_S_DEFAULT:.0f} |",
        f"tried again; {carrying.TIMEOUT_S_MAX:.0f} at most",
        f"| `answer_s` | {carrying.ANSWER_S_DEFAULT:.0f} |",
        f"| nodes | `{carrying.NODE_DEFAULT}` |",
    ):
        assert figure in TEXT, figure
