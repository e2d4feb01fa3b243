"""`cqueue serve`: one node. The server's parts are imported when it runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Final

import click

from cqueue import __version__
from cqueue.cli import exits
from cqueue.cli.command import Command
from cqueue.config import ENV_PREFIX, Settings, flag_of, load, variable_of

DOCS_URL: Final = "https://github.com/cqueue/cqueue/tree/main/docs"


def _settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give `command` a flag for every setting; the values come unparsed, None where not given."""
    for spec in reversed(fields(Settings)):
        choices, metavar = spec.metadata["choices"], spec.metadata["metavar"]
        is_switch = isinstance(spec.default, bool)
        default = "off" if is_switch else "none" if spec.default in ("", ()) else spec.default
        command = click.option(
            flag_of(spec.name),
            is_flag=is_switch,
            default=None,
            metavar=None if is_switch else "|".join(choices) if choices else metavar or "N",
            help=f"{spec.metadata['help']}  [{variable_of(spec.name)}; default: {default}]",
        )(command)
    return click.option(
        "--config", metavar="FILE", help=f"TOML file with settings; flags and variables win.  [{ENV_PREFIX}CONFIG]"
    )(command)


@click.command(
    cls=Command,
    examples=[
        ("cqueue serve", "a queue in memory, on localhost:3000"),
        ("cqueue serve --data-dir /var/lib/cqueue", "one that keeps every job on disk"),
    ],
    ends=(exits.DONE, exits.REFUSED, exits.USAGE, exits.PORT, exits.DATA),
)
@_settings_options
def serve(**flags: Any) -> None:
    """Serve a queue: one node, alone or with --peers."""
    from cqueue import node  # noqa: PLC0415 - only the commands that serve load the server

    settings = load(flags)

    def announce(url: str) -> None:
        about = {
            "memory": "in memory: a restart loses every job; --data-dir keeps them",
            "replicated-memory": "in the memory of all nodes: survives the loss of a minority",
            "durable": f"in {settings.data_dir}, fsync {settings.fsync}",
        }[settings.mode]
        where = f"node {settings.node_id} of {len(settings.peers) + 1}" if settings.is_cluster else "single node"
        click.echo(f"cqueue {__version__} serves {url} ({where}; {about})\npage: {url}/ui  docs: {DOCS_URL}", err=True)

    sys.exit(node.serve(settings, announce))
