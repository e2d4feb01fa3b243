"""Options that several commands share. It imports no HTTP client, which must not be in a process that serves.

What is not said by an option is said by a variable; what that does not say, by `cqueue.cli.context`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from cqueue.cli import context

NODE_DEFAULT: Final = "http://127.0.0.1:3000"
NODE_VARIABLE: Final = "CQUEUE_NODE"
TOKEN_VARIABLE: Final = "CQUEUE_TOKEN"  # noqa: S105 - a name
CA_VARIABLE: Final = "CQUEUE_CA"
RETRY_S_DEFAULT: Final = 4.0
"""Longer than a connection is waited for: of several nodes one may be gone without a word."""
RETRY_S_MAX: Final = 300.0

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON as the node says it; one value a line where there are many."
)


class At(NamedTuple):
    """Where to reach nodes, and what to show them.

    urls: of one node or of several of one cluster. token: None: none. ca: a file with whom to trust over
    https; None: whom the system trusts. cert, key: files with what to prove oneself with over https;
    None: nothing. retry_s: for how long a call is tried again.
    """

    urls: tuple[str, ...]
    token: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    retry_s: float = RETRY_S_DEFAULT


def _from_file(name: str, default: Any = None) -> Callable[[], Any]:
    def default_now() -> Any:
        found = context.told(name)
        return default if found is None else ",".join(found) if isinstance(found, list) else found

    return default_now


_NODE = (
    click.option(
        "--node",
        "urls",
        envvar=NODE_VARIABLE,
        show_envvar=True,
        default=_from_file("node", NODE_DEFAULT),
        show_default=NODE_DEFAULT,
        metavar="URL",
        help="Where to reach a node, any of the cluster; several, with commas, stand in for each other.",
    ),
    click.option(
        "--token-file",
        metavar="FILE",
        help=f"File with the token to show; without it what is in {TOKEN_VARIABLE}, if anything.",
    ),
    click.option(
        "--ca",
        envvar=CA_VARIABLE,
        show_envvar=True,
        default=_from_file("ca"),
        metavar="FILE",
        help="PEM file with the CA of the node's certificate, for an https URL; without it those the system trusts.",
    ),
    click.option(
        "--cert",
        envvar="CQUEUE_CERT",
        show_envvar=True,
        default=_from_file("cert"),
        metavar="FILE",
        help="PEM file with a certificate to show, to a node with --tls-client-ca.",
    ),
    click.option(
        "--key",
        envvar="CQUEUE_KEY",
        show_envvar=True,
        default=_from_file("key"),
        metavar="FILE",
        help="PEM file with the key of --cert; without it the key is in the same file.",
    ),
)
_RETRY = click.option(
    "--retry",
    "retry_s",
    default=_from_file("retry", RETRY_S_DEFAULT),
    show_default=f"{RETRY_S_DEFAULT:g}",
    type=click.FloatRange(0, RETRY_S_MAX, min_open=True),
    metavar="SECONDS",
    help="For how long to try again while no node can do it.",
)


def node_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option `--node` and those that go with it, as its parameter `at`.

    There is no option for the token itself: whoever lists processes would see it.
    """
    return _with_options(command, _NODE)


def nodes_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same, for a command that calls any node and tries again: `cqueue.cli.calling`."""
    return _with_options(command, (*_NODE, _RETRY))


def _with_options(command: Callable[..., Any], options: Sequence[Callable[..., Any]]) -> Callable[..., Any]:
    @wraps(command)
    def with_node(**told: Any) -> Any:
        at = at_of(told)
        return command(at=at, **{name: value for name, value in told.items() if name not in _TOLD})

    for option in reversed(options):
        with_node = option(with_node)
    return with_node


_TOLD: Final = frozenset({"urls", "token_file", "ca", "cert", "key", "retry_s"})


def at_of(told: Mapping[str, Any]) -> At:
    """Where nodes are, by the values of the options for nodes.

    Raises:
        click.BadParameter: there is no token where one should be.
    """
    urls = told.get("urls") or os.environ.get(NODE_VARIABLE) or _from_file("node", NODE_DEFAULT)()
    named = tuple(url.strip() for url in urls.split(",") if url.strip())
    paths = (told.get("ca"), told.get("cert"), told.get("key"))
    return At(named, _token(told.get("token_file")), *paths, told.get("retry_s") or RETRY_S_DEFAULT)


def _token(file: str | None) -> str | None:
    where, token = TOKEN_VARIABLE, os.environ.get(TOKEN_VARIABLE, "").strip()
    if file is not None:
        where = "--token-file"
    elif not token:
        where, token, file = str(context.path()), context.told("token") or "", context.told("token_file")
    if file is not None:
        try:
            token = Path(file).expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise click.BadParameter(f"{file}: cannot be read: {error}", param_hint=where) from error
    if not token and file is None:
        return None
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise click.BadParameter("what is there is no token", param_hint=where)
    return token
