"""What versions read, counted in levels."""

from __future__ import annotations

import re
from pathlib import Path

from cqueue.core.levels import LEVEL, LEVEL_FIRST

VERSIONS = Path(__file__).parents[2] / "docs" / "versions.md"


def test_every_level_has_its_row() -> None:
    """Whoever upgrades looks up what a level is for; the first one is where every cluster begins."""
    rows = re.findall(r"^\| (\d+) \|", VERSIONS.read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(row) for row in rows] == list(range(LEVEL_FIRST, LEVEL + 1))
