"""Runs a command in the test's own process, and tells what it said."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from click.testing import CliRunner

from cqueue.cli import main


class Said(NamedTuple):
    """How a command ended, and what it said."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def rows(self) -> list[list[str]]:
        """The fields of each line."""
        return [line.split("\t") for line in self.stdout.splitlines()]

    @property
    def values(self) -> list[Any]:
        """The JSON value of each line."""
        return [json.loads(line) for line in self.stdout.splitlines()]


def run(*words: object, node: str | None = None, stdin: str | None = None, **variables: str | None) -> Said:
    """Run `cqueue` with these words; node: where it finds one; variables: of its environment."""
    env = {"CQUEUE_NODE": node, "CQUEUE_TOKEN": None, "CQUEUE_CA": None, "XDG_CONFIG_HOME": "/nowhere", **variables}
    done = CliRunner().invoke(main, [str(word) for word in words], input=stdin, env=env)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Said(done.exit_code, done.stdout, done.stderr)
