"""Makes docs/cli.md from the commands, below what is written there by hand: `python -m tests.cli.manual`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import click

from cqueue.cli import exits, main
from cqueue.cli.command import Command
from cqueue.cli.options import nodes_option

MANUAL = Path(__file__).parents[2] / "docs" / "cli.md"
MARK = "<!-- What follows is made from the commands: make manual -->\n"
NODE_OPTIONS = "[the options for nodes](#options-for-nodes)"


def commands_of(command: click.Command, words: str) -> Iterator[tuple[str, click.Command]]:
    """A command and each one below it, with the words that call it."""
    yield words, command
    if isinstance(command, click.Group):
        ctx = click.Context(command)
        for name in command.list_commands(ctx):
            below = command.get_command(ctx, name)
            assert below is not None
            yield from commands_of(below, f"{words} {name}")


def given_commands() -> dict[str, click.Command]:
    """All commands, with the words that call them."""
    return dict(commands_of(main, "cqueue"))


@click.command()
@nodes_option
def _nodes() -> None:
    """Stands for any command that calls nodes."""


SHARED = {name for param in _nodes.params for name in param.opts}


def made() -> str:
    """The whole file: what is written by hand, as it is there, and the rest."""
    by_hand = MANUAL.read_text(encoding="utf-8").partition(MARK)[0]
    return by_hand + MARK + "\n" + "\n".join(_parts())


def _parts() -> Iterator[str]:
    yield "## Exit codes\n"
    yield "| code | meaning |\n|---|---|"
    yield from (f"| {code} | {meaning} |" for code, meaning in exits.MEANINGS.items())
    yield "\n## Options for nodes\n"
    yield "Those of every command that calls a node; `--retry` where any node will do.\n"
    yield from _table(_nodes, frozenset())
    yield "## Commands\n"
    for words, command in given_commands().items():
        yield from _command(words, command)


def _command(words: str, command: click.Command) -> Iterator[str]:
    ctx = click.Context(command, info_name=words)
    yield f"### `{words}`\n"
    yield f"`{words} {' '.join(command.collect_usage_pieces(ctx))}`\n"
    yield _prose(command.help or "") + "\n"
    shared = any(name in SHARED for param in command.params for name in param.opts)
    yield from _table(command, SHARED)
    if words == "cqueue serve":
        yield "The options are the [settings](../README.md#settings).\n"
    if shared:
        yield f"And {NODE_OPTIONS}.\n"
    if isinstance(command, Command):
        lines = [f"# {why}\n{line}" for line, why in command.examples]
        yield "```\n" + "\n".join(lines) + "\n```\n"
        yield f"[Exit codes](#exit-codes): {', '.join(map(str, command.ends))}.\n"


def _prose(text: str) -> str:
    """The help as paragraphs; those that click leaves as they are, are code here."""
    blocks = [block.strip("\n") for block in inspect.cleandoc(text).split("\n\n")]
    return "\n\n".join(
        f"```\n{block.removeprefix(chr(8)).strip(chr(10))}\n```" if block.startswith("\b") else block
        for block in blocks
    )


def _table(command: click.Command, without: frozenset[str] | set[str]) -> Iterator[str]:
    ctx = click.Context(command)
    if command.name == "serve":
        return
    records = [
        param.get_help_record(ctx)
        for param in command.params
        if isinstance(param, click.Option) and not without.intersection(param.opts)
    ]
    if records:
        yield "| option | meaning |\n|---|---|"
        yield from (f"| `{_cell(record[0])}` | {_cell(record[1])} |" for record in records if record)
        yield ""


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


if __name__ == "__main__":
    MANUAL.write_text(made(), encoding="utf-8")
