"""How jobs are named on the command line: by ids, or by what they are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any, Final

import click

from cqueue.cli.completion import QUEUE

STATUSES: Final = ("SCHEDULED", "QUEUED", "IN_PROGRESS", "CONCLUDED", "DEAD", "CANCELLED", "EXPIRED")
AT_ONCE_MAX: Final = 10_000
"""Jobs in one request; docs/protocol.md#limits."""
_STDIN: Final = "-"
_ID_MAX: Final = 2**63 - 1

status_type = click.Choice(STATUSES, case_sensitive=False)


def _job(text: str) -> dict[str, int]:
    """`17` or `17:3`, an id and its lease token, as a request says it."""
    digits, colon, token = text.partition(":")
    named = {"id": digits, "lease_token": token} if colon else {"id": digits}
    if not all(value.isascii() and value.isdecimal() and 0 < int(value) <= _ID_MAX for value in named.values()):
        raise click.BadParameter(f"{text!r} is no ID, nor ID:LEASE_TOKEN")
    return {name: int(value) for name, value in named.items()}


def _words(texts: Sequence[str]) -> Iterator[str]:
    """The words, and in the place of - the first of each line of stdin."""
    for text in texts:
        if text == _STDIN:
            yield from (line.split(None, 1)[0] for line in sys.stdin if line.strip())
        else:
            yield text


def _jobs(_ctx: click.Context, _param: click.Parameter, texts: Sequence[str]) -> list[dict[str, int]]:
    return [_job(text) for text in _words(texts)]


def _ids(_ctx: click.Context, _param: click.Parameter, texts: Sequence[str]) -> list[int]:
    return [_job(text)["id"] for text in _words(texts)]


held_argument = click.argument("jobs", nargs=-1, required=True, metavar="ID[:LEASE_TOKEN]...", callback=_jobs)
"""Jobs that somebody holds; - reads them from stdin, one a line."""
ids_argument = click.argument("ids", nargs=-1, required=True, metavar="ID...", callback=_ids)
"""Jobs by their ids; - as above, so that what `list` prints can be piped in."""
ids_or_filter_argument = click.argument("ids", nargs=-1, metavar="[ID...]", callback=_ids)


def tags(_ctx: click.Context, param: click.Parameter, texts: Sequence[str]) -> dict[str, str]:
    """`name:value`, as many as were given."""
    pairs = [text.partition(":") for text in texts]
    for text, (name, colon, _) in zip(texts, pairs, strict=True):
        if not name or not colon:
            raise click.BadParameter(f"{text!r} is no name:value", param=param)
    return {name: value for name, _, value in pairs}


tag_option = click.option(
    "--tag", "tags", multiple=True, metavar="NAME:VALUE", callback=tags, help="With this tag; all of several."
)


def filter_options(*, created_from: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options that say what jobs are, as its parameter `which`: a filter of docs/protocol.md."""
    options = [
        click.option("--queue", type=QUEUE, metavar="NAME", help="In this queue."),
        click.option(
            "--status", multiple=True, type=status_type, metavar="STATUS", help="In this status; one of several."
        ),
        click.option("--type", "types", multiple=True, metavar="TYPE", help="Of this type; one of several."),
        tag_option,
        click.option("--created-before", metavar="TIME", help="Created before then (RFC 3339)."),
    ]
    if created_from:
        options.insert(-1, click.option("--created-from", metavar="TIME", help="Created then or later (RFC 3339)."))

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def with_filter(
            *,
            queue: str | None,
            status: Sequence[str],
            types: Sequence[str],
            tags: dict[str, str],
            created_before: str | None,
            **others: Any,
        ) -> Any:
            which = {"queue": queue, "statuses": list(status), "types": list(types), "tags": tags}
            which |= {"created_before": created_before, "created_from": others.pop("created_from", None)}
            return command(which={name: value for name, value in which.items() if value}, **others)

        for option in reversed(options):
            with_filter = option(with_filter)
        return with_filter

    return decorate


def in_parts(jobs: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The jobs, as many at a time as one request takes."""
    for start in range(0, len(jobs), AT_ONCE_MAX):
        yield jobs[start : start + AT_ONCE_MAX]
