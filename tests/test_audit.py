"""`make audit`: what is told of known holes in pinned packages, also where nobody could be asked."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "requirements" / "audit.py"
_STAND_IN = """\
import pathlib, sys
found = {found!r}
if found is None:
    sys.exit("ConnectionError: nobody answers")
pathlib.Path(sys.argv[sys.argv.index("--output") + 1]).write_text(found)
"""
GOOD: dict[str, Any] = {"name": "good", "version": "1", "vulns": []}
BAD: dict[str, Any] = {"name": "bad", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["2.1"]}]}
SKIPPED: dict[str, Any] = {"name": "skipped", "skip_reason": "Dependency not found on PyPI"}


def audited(directory: Path, found: list[dict[str, Any]] | None, *arguments: str) -> int:
    """Run it with something in pip-audit's place that finds this; None: it can ask nobody."""
    stand_in = directory / "stand_in.py"
    text = None if found is None else json.dumps({"dependencies": found})
    stand_in.write_text(_STAND_IN.format(found=text))
    script = runpy.run_path(str(SCRIPT))
    script["main"].__globals__["COMMAND"] = (sys.executable, str(stand_in))
    return int(script["main"]([*arguments, "some.txt"]))


@pytest.mark.parametrize(
    ("found", "strict", "code", "words"),
    [
        ([GOOD], True, 0, "0 known holes in 1 pinned packages"),
        ([GOOD, BAD], False, 1, "bad 2: CVE-1, mended in 2.1"),
        ([GOOD, SKIPPED], False, 0, "NOT looked at, as the advisory database did not answer for them: skipped"),
        ([GOOD, SKIPPED], True, 1, "0 known holes in 1 pinned packages"),
        ([SKIPPED], False, 0, "0 known holes in 0 pinned packages"),
        (None, False, 0, "NOT looked at, as the advisory database did not answer for them: all of some.txt"),
        (None, True, 1, "0 known holes in 0 pinned packages"),
    ],
)
def test_a_hole_fails_and_silence_is_told(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    found: list[dict[str, Any]] | None,
    strict: bool,
    code: int,
    words: str,
) -> None:
    """Nobody takes silence for good news: what was not looked at is named, and fails where that is wanted."""
    assert audited(tmp_path, found, *(["--strict"] if strict else [])) == code
    told = capsys.readouterr()
    assert words in told.out
    assert found is not None or "nobody answers" in told.err
