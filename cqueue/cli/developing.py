"""`cqueue dev`: a cluster on this machine, in one terminal."""

from __future__ import annotations

import sys
from typing import Final

import click

from cqueue.cli import exits
from cqueue.cli.command import Command
from cqueue.config import LOG_LEVELS

PORT_DEFAULT: Final = 3001


@click.group(invoke_without_command=True)
@click.option(
    "--port",
    default=PORT_DEFAULT,
    show_default=True,
    type=click.IntRange(1, 65000),
    metavar="N",
    help="Port of the first node; the others follow.",
)
@click.option("--nodes", default=3, show_default=True, type=click.IntRange(1, 9), metavar="N", help="How many nodes.")
@click.option(
    "--log-level",
    default="warning",
    show_default=True,
    type=click.Choice(LOG_LEVELS, case_sensitive=False),
    help="Least severe log lines to show of the nodes.",
)
@click.option("--demo/--no-demo", default=True, help="Add jobs and do them, and count whether any is lost.")
@click.pass_context
def dev(ctx: click.Context, port: int, nodes: int, log_level: str, *, demo: bool) -> None:
    """Serve a cluster on this machine, in one terminal, in memory.

    A node that is killed comes back by itself; Ctrl-C ends all. The demo has a queue of its own, `demo`.
    """
    if ctx.invoked_subcommand is None:
        from cqueue.cli.terminal import run  # noqa: PLC0415 - only the commands that serve load the server

        sys.exit(run(port, nodes, log_level, with_demo=demo))


def _seconds(_ctx: click.Context, _param: click.Parameter, text: str) -> int:
    from cqueue.cli.time_travel import seconds_of  # noqa: PLC0415

    try:
        return seconds_of(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@dev.command(
    cls=Command,
    examples=[
        ("cqueue dev clock +7d", "a week later: what is due by then happens, what is too old is forgotten"),
        ("cqueue dev clock +1h30m --port 4001", "of the cluster whose first node is on that port"),
    ],
    ends=(exits.DONE, exits.REFUSED, exits.USAGE, exits.UNAVAILABLE, exits.UNKNOWN),
)
@click.argument("by", metavar="+TIME", callback=_seconds)
@click.option(
    "--port", default=PORT_DEFAULT, show_default=True, metavar="N", type=int, help="Port of that cluster's first node."
)
@click.option("--json", "as_json", is_flag=True, help="Print how far it is ahead as JSON.")
def clock(by: int, port: int, *, as_json: bool) -> None:
    """Move the clock of a `cqueue dev` on; s, m, h and d are units.

    It never goes back, and it is no node's but those of `dev`. Leadership moves with it, which takes two nodes:
    time is stamped by the leader, who looks at the clock when it is elected.
    """
    from cqueue.cli import printing  # noqa: PLC0415
    from cqueue.cli.calling import asking  # noqa: PLC0415 - a process that serves must not load it
    from cqueue.cli.options import At  # noqa: PLC0415
    from cqueue.cli.time_travel import order  # noqa: PLC0415

    moved = order(port, by)
    with asking(At(tuple(moved.nodes))) as client:
        client.transfer_leadership()
    if as_json:
        printing.line(printing.encoded({"ahead_seconds": moved.ahead_s}))
    else:
        click.echo(f"{printing.age(moved.ahead_s)} ahead")
