"""`cqueue cancel`, `redrive` and `purge`: of jobs by their ids, or of all that fit a filter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from cqueue.cli.command import Command
from cqueue.cli.options import At, json_option, nodes_option
from cqueue.cli.taking import in_order, tell
from cqueue.cli.which import filter_options, ids_or_filter_argument, in_parts

_yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def _sweep(at: At, verb: str, ids: list[int], which: dict[str, Any], *, yes: bool, as_json: bool) -> None:
    """Do it to one, to many, or to all that fit; the last two ask first."""
    from cqueue.cli import printing  # noqa: PLC0415
    from cqueue.cli.calling import asking, with_body  # noqa: PLC0415 - a process that serves must not load it
    from cqueue.client import jobs  # noqa: PLC0415

    if bool(ids) == bool(which):
        raise click.UsageError("name jobs by their IDs, or say which with --queue, --status, --type, --tag or a time")
    if which:
        fits = ", ".join(f"{name} {printing.shown(value)}" for name, value in which.items())
        printing.sure(f"{verb} all jobs with {fits}?", yes=yes)
    elif len(ids) > 1:
        printing.sure(f"{verb} {len(ids):,} jobs?", yes=yes)
    with asking(at) as client:
        if which:
            by_filter: Callable[..., Any] = getattr(jobs, f"{verb}_where")
            swept = client.run(by_filter(**which))
            if as_json:
                printing.line(printing.encoded(swept))
            else:
                click.echo(f"{swept.matched}")
        elif len(ids) == 1:
            one: Callable[..., Any] = getattr(jobs, verb)
            body, job = client.run(with_body(one(ids[0])))
            if job is not None:
                tell([job], [body], as_json=as_json)
        else:
            many: Callable[..., Any] = getattr(jobs, f"{verb}_many")
            in_order(client, [many(part) for part in in_parts(ids)], as_json=as_json)


@click.command(
    cls=Command,
    examples=[
        ("cqueue cancel 17", "one job; whoever holds it is asked to stop"),
        ("cqueue cancel --queue mail --tag campaign:spring --yes", "all that fit"),
    ],
)
@ids_or_filter_argument
@filter_options()
@_yes_option
@nodes_option
@json_option
def cancel(at: At, ids: list[int], which: dict[str, Any], *, yes: bool, as_json: bool) -> None:
    """Cancel jobs: those that wait at once; the consumers of others are asked to stop.

    Named by IDs (- takes them from stdin), or by what they are. With a filter it prints how many fitted.
    """
    _sweep(at, "cancel", ids, which, yes=yes, as_json=as_json)


@click.command(
    cls=Command,
    examples=[
        ("cqueue redrive 17", "one dead job has all its attempts again"),
        ("cqueue redrive --queue mail --yes", "all dead jobs of a queue"),
        ("cqueue list --status DEAD --type receipt --all | cqueue redrive --yes -", "those of a list"),
    ],
)
@ids_or_filter_argument
@filter_options()
@_yes_option
@nodes_option
@json_option
def redrive(at: At, ids: list[int], which: dict[str, Any], *, yes: bool, as_json: bool) -> None:
    """Give dead jobs all their attempts again.

    Named by IDs (- takes them from stdin), or by what they are. With a filter it prints how many fitted.
    """
    _sweep(at, "redrive", ids, which, yes=yes, as_json=as_json)


@click.command(
    cls=Command,
    examples=[
        ("cqueue purge 17", "one job that nobody holds"),
        ("cqueue purge --queue mail --status CONCLUDED --created-before 2026-01-01T00:00:00Z", "old ones; it asks"),
    ],
)
@ids_or_filter_argument
@filter_options()
@_yes_option
@nodes_option
@json_option
def purge(at: At, ids: list[int], which: dict[str, Any], *, yes: bool, as_json: bool) -> None:
    """Forget jobs for good; those that somebody holds stay.

    Named by IDs (- takes them from stdin), or by what they are. With a filter it prints how many fitted.
    """
    _sweep(at, "purge", ids, which, yes=yes, as_json=as_json)
