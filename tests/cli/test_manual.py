"""Every command says what it is for, how it is used and how it ends; docs/cli.md says the same."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import click
import pytest

from cqueue.cli import exits
from cqueue.cli.command import Command
from tests.cli.manual import MANUAL, given_commands, made
from tests.cluster.harness import START_S, environment

COMMANDS = given_commands()
LEAVES = {words: command for words, command in COMMANDS.items() if not isinstance(command, click.Group)}
SERVERS = {"cqueue serve", "cqueue dev", "cqueue simulate"}
SERVER_PARTS = {
    "flask",
    "gevent",
    "gunicorn",
    "pysyncobj",
    "cqueue.node",
    "cqueue.replication",
    "cqueue.simulation",
    "cqueue.web.app",
}
HEAVY = {"rich", "urllib3", "aiohttp", "websockets", "asyncio", "ssl"}


def loaded_by(*words: str) -> set[str]:
    """The modules that a process has loaded when it has run a command."""
    tell = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr))"
    tell += "; from cqueue.cli import main; main()"
    command = [sys.executable, "-c", tell, *words]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True, timeout=START_S)
    return set(done.stderr.split())


def test_the_manual_is_as_the_commands_are() -> None:
    """`make manual` writes it; what is written there by hand stays."""
    assert MANUAL.read_text(encoding="utf-8") == made()


def test_every_command_has_examples_exit_codes_and_words_for_each_option() -> None:
    """In its help, which the manual is made from."""
    for words, command in LEAVES.items():
        assert isinstance(command, Command), words
        assert command.help, words
        assert command.examples, words
        assert set(command.ends) <= set(exits.MEANINGS), words
        assert [param.name for param in command.params if isinstance(param, click.Option) and not param.help] == [], (
            words
        )


@pytest.mark.parametrize("words", LEAVES)
def test_every_example_is_a_call_that_the_command_takes(words: str) -> None:
    """Read as a shell would read it, without running it; what a pipe brings aside."""
    command = LEAVES[words]
    assert isinstance(command, Command)
    for line, _ in command.examples:
        (own,) = [part for part in re.split(r" [|>] ", line) if part.startswith(words)]
        arguments = shlex.split(own)[len(words.split()) :]
        if "-" not in arguments:
            command.make_context(words, arguments)


@pytest.mark.parametrize("words", sorted(set(LEAVES) - SERVERS))
def test_the_help_of_a_command_loads_no_part_of_a_server(words: str) -> None:
    """Only serve, dev and simulate load any, and not for their help either."""
    assert loaded_by(*words.split()[1:], "--help") & (SERVER_PARTS | HEAVY) <= {"ssl"}


def test_to_tell_the_version_loads_next_to_nothing() -> None:
    """Not even what would tell anything else."""
    assert loaded_by("version") & (SERVER_PARTS | HEAVY | {"msgspec", "tomllib"}) == set()


def test_the_python_client_loads_no_part_of_a_server() -> None:
    """`import cqueue` is for programs that have one call to make."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys, cqueue; cqueue.Client; print(*sys.modules)"],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=START_S,
    )
    assert set(done.stdout.split()) & (SERVER_PARTS | HEAVY) == set()
