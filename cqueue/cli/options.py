"""Options that several commands share. It imports no HTTP client, which must not be in a process that serves."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

NODE_DEFAULT: Final = "http://127.0.0.1:3000"
NODE_VARIABLE: Final = "CQUEUE_NODE"
TOKEN_VARIABLE: Final = "CQUEUE_TOKEN"  # noqa: S105 - a name
CA_VARIABLE: Final = "CQUEUE_CA"


class At(NamedTuple):
    """Where to reach a node, and what to show it.

    token: None: none. ca: a file with whom to trust over https; None: whom the system trusts. cert,
    key: files with what to prove oneself with over https; None: nothing.
    """

    url: str
    token: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None


def node_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option `--node` and those that go with it, as its parameter `at`.

    There is no option for the token itself: whoever lists processes would see it.
    """

    @click.option(
        "--node",
        "url",
        envvar=NODE_VARIABLE,
        show_envvar=True,
        default=NODE_DEFAULT,
        show_default=True,
        metavar="URL",
        help="Where to reach a node; any of the cluster.",
    )
    @click.option(
        "--token-file",
        metavar="FILE",
        help=f"File with the token to show; without it what is in {TOKEN_VARIABLE}, if anything.",
    )
    @click.option(
        "--ca",
        envvar=CA_VARIABLE,
        show_envvar=True,
        metavar="FILE",
        help="PEM file with the CA of the node's certificate, for an https URL; without it those the system trusts.",
    )
    @click.option(
        "--cert",
        envvar="CQUEUE_CERT",
        show_envvar=True,
        metavar="FILE",
        help="PEM file with a certificate to show, to a node with --tls-client-ca.",
    )
    @click.option(
        "--key",
        envvar="CQUEUE_KEY",
        show_envvar=True,
        metavar="FILE",
        help="PEM file with the key of --cert; without it the key is in the same file.",
    )
    @wraps(command)
    def with_node(
        *, url: str, token_file: str | None, ca: str | None, cert: str | None, key: str | None, **others: Any
    ) -> Any:
        return command(at=At(url, _token(token_file), ca, cert, key), **others)

    return with_node


def _token(file: str | None) -> str | None:
    where, token = TOKEN_VARIABLE, os.environ.get(TOKEN_VARIABLE, "")
    if file is not None:
        where = "--token-file"
        try:
            token = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise click.BadParameter(f"{file}: cannot be read: {error}", param_hint=where) from error
    token = token.strip()
    if not token and file is None:
        return None
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise click.BadParameter("what is there is no token", param_hint=where)
    return token
