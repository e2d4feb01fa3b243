"""`cqueue token`: make API tokens, and look at the file that holds their hashes.

The secret of a new token goes to stdout, once, and nowhere else; words go to stderr.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

import click

from cqueue.cli import exits
from cqueue.cli.command import Command
from cqueue.web.auth import tokens
from cqueue.web.auth.principals import EVERYTHING, ROLES, Role

DAYS_MAX: Final = 3_650


@click.group()
def token() -> None:
    """Make API tokens and check the file that a node takes them from."""


@token.command(
    cls=Command,
    examples=[
        (
            "cqueue token new --name mailer --role consumer --queues mail --file tokens.toml",
            "one for the consumers of a queue",
        )
    ],
    ends=(exits.DONE, exits.REFUSED, exits.USAGE),
)
@click.option("--name", required=True, metavar="NAME", help="Who will show it; stands in the audit.")
@click.option(
    "--role", "roles", required=True, multiple=True, type=click.Choice(ROLES), help="What it is for; more than one may."
)
@click.option(
    "--queues",
    required=True,
    multiple=True,
    metavar="PATTERN",
    help="Queues it is for; * stands for any characters. More than one may.",
)
@click.option("--days", type=click.IntRange(1, DAYS_MAX), help="Days until it expires; without it, it does not.")
@click.option("--file", metavar="FILE", help="Tokens file to add it to; made if it is missing.")
@click.option("--json", "as_json", is_flag=True, help="Print secret and stanza as JSON.")
def new(
    name: str, roles: tuple[str, ...], queues: tuple[str, ...], days: int | None, file: str | None, *, as_json: bool
) -> None:
    """Make a token. The secret is printed once; the file has its hash only.

    A node that runs takes the changed file on SIGHUP.
    """
    expires = None if days is None else datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    try:
        secret, body = tokens.new(name, cast("list[Role]", list(roles)), list(queues), expires)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    stanza = tokens.stanza(body)
    if file is not None:
        tokens.append(Path(file), body)
    if as_json:
        click.echo(json.dumps({"token": secret, "stanza": stanza}))
        return
    click.echo(secret)
    if file is None:
        click.echo(f"\nFor the tokens file:\n\n{stanza}", err=True)
    else:
        click.echo(f"{file}: has it; send the node SIGHUP", err=True)


@token.command(
    cls=Command,
    examples=[("cqueue token check tokens.toml", "who is in it")],
    ends=(exits.DONE, exits.REFUSED, exits.USAGE),
)
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def check(file: str, *, as_json: bool) -> None:
    """Check the tokens FILE as a node would, and list who is in it.

    Exit code 0: a node takes it; 2: it does not.
    """
    found = [_shown(each) for each in tokens.read(Path(file))]
    if as_json:
        click.echo(json.dumps(found))
        return
    for each in found:
        until = each["expires"] or "does not expire"
        click.echo(f"{each['name']}  {','.join(each['roles'])}  {','.join(each['queues'])}  {until}")
    click.echo(f"{file}: {len(found)} tokens", err=True)


def _shown(each: tokens.Token) -> dict[str, Any]:
    principal = each.principal
    expires = None if each.expires_s is None else datetime.fromtimestamp(each.expires_s, UTC).isoformat()
    return {
        "name": principal.name,
        "roles": [role for role in ROLES if role in principal.roles],
        "queues": [EVERYTHING] if principal.reach is None else list(principal.reach),
        "expires": expires,
        "expired": each.has_expired,
    }
