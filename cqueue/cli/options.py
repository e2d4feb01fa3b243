"""Options that several commands share. It imports no HTTP client, which must not be in a process that serves."""

from __future__ import annotations

from typing import Final

import click

NODE_DEFAULT: Final = "http://127.0.0.1:3000"
NODE_VARIABLE: Final = "CQUEUE_NODE"

node_option = click.option(
    "--node",
    "url",
    envvar=NODE_VARIABLE,
    show_envvar=True,
    default=NODE_DEFAULT,
    show_default=True,
    metavar="URL",
    help="Where to reach a node; any of the cluster.",
)
"""Gives a command the option `--node`, as its parameter `url`."""
