"""The command line: data on stdout, words on stderr, one clear line for what goes wrong.

A command is imported when it is asked for, and what it needs of the server or the client when it runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

import click

from cqueue import __version__
from cqueue.cli import exits
from cqueue.cli.command import Command
from cqueue.errors import CqueueError

HOMES: Final[Mapping[str, Mapping[str, str]]] = {
    "Run a queue": {
        "serve": "serving:serve",
        "dev": "developing:dev",
        "cluster": "cluster:cluster",
        "backup": "backup:backup",
        "restore": "backup:restore",
        "inspect": "backup:inspect",
        "token": "token:token",
        "tls": "tls:tls",
    },
    "Add jobs and work on them": {
        "enqueue": "adding:enqueue",
        "dequeue": "taking:dequeue",
        "conclude": "taking:conclude",
        "fail": "taking:fail",
        "release": "taking:release",
        "extend": "taking:extend",
        "work": "work:work",
    },
    "Look": {
        "show": "looking:show",
        "list": "looking:list_jobs",
        "explain": "looking:explain",
        "stats": "looking:stats",
        "events": "looking:events",
        "queues": "queueing:queues",
        "top": "top:top",
    },
    "Intervene": {
        "cancel": "sweeping:cancel",
        "redrive": "sweeping:redrive",
        "purge": "sweeping:purge",
        "pause": "queueing:pause",
        "resume": "queueing:resume",
    },
    "More": {
        "bench": "benching:bench",
        "simulate": "simulating:simulate",
        "completion": "completion:completion",
    },
}
"""Where each command is, below headings of the help."""


class _Cli(click.Group):
    """A group that imports its commands by name, and knows what to do with errors."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*(name for below in HOMES.values() for name in below), *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for below in HOMES.values():
            if cmd_name in below:
                module, _, name = below[cmd_name].partition(":")
                command: click.Command = getattr(import_module(f"cqueue.cli.{module}"), name)
                return command
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        *others, (last, below) = HOMES.items()
        for heading, names in (*others, (last, (*below, *super().list_commands(ctx)))):
            with formatter.section(heading):
                found = ((name, self.get_command(ctx, name)) for name in names)
                formatter.write_dl([(name, command.get_short_help_str(80)) for name, command in found if command])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CqueueError as error:
            click.echo(f"cqueue: {error.detail}", err=True)
            ctx.exit(exits.code_of(error))
        except KeyboardInterrupt:
            ctx.exit(exits.INTERRUPTED)
        except BrokenPipeError:
            # What is left in the buffer has nobody to go to either, and must not be tried at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(exits.CLOSED)


@click.group(cls=_Cli, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", message="cqueue %(version)s")
def main() -> None:
    """A job queue you run with one command and use with curl.

    \b
    Start one:        cqueue serve
    Add a job:        curl -X PUT localhost:3000/jobs/enqueue
    Take it:          curl -X POST localhost:3000/jobs/dequeue
    It is done:       curl -X POST localhost:3000/jobs/1/conclude
    """  # noqa: D301 - the backspace itself tells click to leave the lines as they are


@main.command(cls=Command, examples=[("cqueue version", "which one this is")], ends=(exits.DONE, exits.USAGE))
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def version(*, as_json: bool) -> None:
    """Print the version."""
    click.echo(f'{{"version": "{__version__}"}}' if as_json else __version__)
