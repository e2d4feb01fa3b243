"""Asks PyPI's advisory database for known holes in what is pinned: `python requirements/audit.py [--strict] [FILE...]`.

pip-audit says that there are none, too, where it could not ask about a single package. So this
counts: what has a hole fails, and what was not looked at is said, and fails only with --strict.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FILES = [str(HERE / name) for name in ("run.txt", "build.txt", "dev.txt")]
TIMEOUT_S = 15
COMMAND = (sys.executable, "-m", "pip_audit")


def main(arguments: list[str]) -> int:
    """The exit code: 1 if something has a known hole, or, with --strict, if something was not looked at."""
    strict = "--strict" in arguments
    files = [argument for argument in arguments if argument != "--strict"] or FILES
    results = [_audit(file) for file in files]
    holes = [hole for found, _, _ in results for hole in found]
    unasked = sorted({name for _, names, _ in results for name in names})
    for hole in holes:
        print(hole)
    if unasked:
        print(f"NOT looked at, as the advisory database did not answer for them: {', '.join(unasked)}")
    print(f"{len(holes)} known holes in {sum(asked for _, _, asked in results)} pinned packages that were looked at")
    return int(bool(holes) or (strict and bool(unasked)))


def _audit(file: str) -> tuple[list[str], list[str], int]:
    """Of one file: the holes, what was not looked at, and how many packages were."""
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "found.json"
        options = ["--require-hashes", "--disable-pip", "--progress-spinner", "off", "--timeout", str(TIMEOUT_S)]
        done = subprocess.run(
            [*COMMAND, "-r", file, *options, "--format", "json", "--output", str(output)],
            capture_output=True,
            text=True,
            check=False,
        )
        if not output.exists():
            # It ends with a traceback where nobody answers at all; its last line says why.
            reason = (done.stderr.strip().splitlines() or ["no word"])[-1]
            print(f"{file}: {reason}", file=sys.stderr)
            return [], [f"all of {Path(file).name}"], 0
        packages: list[dict[str, Any]] = json.loads(output.read_text())["dependencies"]
    asked = [package for package in packages if "skip_reason" not in package]
    holes = [
        f"{package['name']} {package['version']}: {hole['id']}, mended in {', '.join(hole['fix_versions']) or '-'}"
        for package in asked
        for hole in package["vulns"]
    ]
    return holes, [package["name"] for package in packages if "skip_reason" in package], len(asked)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
