"""`cqueue dev`: a cluster on this machine, in one terminal."""

from __future__ import annotations

import sys

import click

from cqueue.cli import exits
from cqueue.cli.command import Command
from cqueue.config import LOG_LEVELS


@click.command(
    cls=Command,
    examples=[("cqueue dev", "three nodes on ports 3001 to 3003")],
    ends=(exits.DONE, exits.USAGE, exits.PORT),
)
@click.option("--port", default=3001, show_default=True, type=click.IntRange(1, 65000), help="Port of the first node.")
@click.option("--nodes", default=3, show_default=True, type=click.IntRange(1, 9), help="How many nodes.")
@click.option(
    "--log-level",
    default="warning",
    show_default=True,
    type=click.Choice(LOG_LEVELS, case_sensitive=False),
    help="Least severe log lines to show of the nodes.",
)
def dev(port: int, nodes: int, log_level: str) -> None:
    """Serve a cluster on this machine, in one terminal, in memory.

    A node that is killed comes back by itself; Ctrl-C ends all.
    """
    from cqueue.cli.terminal import run  # noqa: PLC0415 - only the commands that serve load the server

    sys.exit(run(port, nodes, log_level))
