"""Runs the Python examples of a page of the docs, as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.cluster.harness import Node

DOCS = Path(__file__).parents[2] / "docs"


def run_examples(node: Node, *pages: str) -> None:
    """Run each example of `pages` by itself, one after the other; the node takes the place of the usual one."""
    for page in pages:
        text = (DOCS / page).read_text(encoding="utf-8")
        examples = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        assert examples, page
        for example in examples:
            code = example.replace("localhost:3000", f"{node.host}:{node.port}")
            exec(compile(code, page, "exec"), {})  # noqa: S102 - our own document
