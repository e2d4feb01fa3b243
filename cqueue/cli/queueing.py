"""`cqueue queues`, `pause` and `resume`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from cqueue.cli.command import Command
from cqueue.cli.completion import QUEUE
from cqueue.cli.looking import stale_option
from cqueue.cli.options import At, json_option, nodes_option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cqueue.cli.printing import Pairs
    from cqueue.client.results import Queue

COLUMNS = ("queue", "waits", "in progress", "dead", "oldest", "in/s", "out/s", "")


def row_of(queue: Queue) -> tuple[object, ...]:
    """A queue in one line: the fields of `COLUMNS`."""
    return (
        queue.name,
        queue.depth,
        queue.jobs.get("IN_PROGRESS", 0),
        queue.jobs.get("DEAD", 0),
        _age(queue),
        queue.rates.get("enqueued", 0.0),
        queue.rates.get("concluded", 0.0),
        "paused" if queue.paused else "",
    )


def _age(queue: Queue) -> timedelta | None:
    return None if queue.oldest_age_seconds is None else timedelta(seconds=queue.oldest_age_seconds)


@click.command(
    cls=Command,
    examples=[
        ("cqueue queues", "all of them, with what waits and how fast they move"),
        ("cqueue queues mail --json | jq .settings", "the settings of one"),
    ],
)
@click.argument("names", nargs=-1, type=QUEUE, metavar="[QUEUE]...")
@stale_option
@nodes_option
@json_option
def queues(at: At, names: tuple[str, ...], *, stale: bool, as_json: bool) -> None:
    """List the queues, or show some with their settings.

    Rates are per second, over the last one to two minutes; the age is that of the oldest job that is QUEUED.
    """
    from cqueue.cli import printing  # noqa: PLC0415
    from cqueue.cli.calling import asking, with_body  # noqa: PLC0415 - a process that serves must not load it
    from cqueue.client import queues as calls  # noqa: PLC0415

    freshness: Any = {"consistency": "stale"} if stale else {}
    with asking(at) as client:
        if not names:
            pages = list(_pages(client, freshness))
            if as_json:
                for raw, _ in pages:
                    for each in raw:
                        printing.line(each)
            else:
                printing.table(COLUMNS, [row_of(queue) for _, found in pages for queue in found], wide="queue")
            return
        told = [client.run(with_body(calls.get_queue(name, **freshness))) for name in names]
    for position, (body, queue) in enumerate(told):
        if as_json:
            printing.line(body)
        else:
            if position:
                click.echo()
            printing.record(_record_of(queue))


def _pages(client: Any, freshness: dict[str, Any]) -> Iterator[tuple[Sequence[Any], Sequence[Queue]]]:
    from cqueue.cli.calling import members_of, with_body  # noqa: PLC0415
    from cqueue.client import queues as calls  # noqa: PLC0415

    cursor = None
    while True:
        body, page = client.run(with_body(calls.list_queues(cursor=cursor, limit=1_000, **freshness)))
        yield members_of("queues")(body), page.queues
        cursor = page.next
        if cursor is None:
            return


def _record_of(queue: Queue) -> Pairs:
    pairs: Pairs = [("name", queue.name), ("paused", queue.paused), ("depth", queue.depth)]
    pairs += [(status.lower(), count) for status, count in queue.jobs.items() if count]
    pairs += [("oldest", _age(queue))] if queue.oldest_age_seconds is not None else []
    pairs += [
        (f"{event}", f"{total:,}  {queue.rates.get(event, 0.0):.1f}/s")
        for event, total in queue.totals.items()
        if total
    ]
    return pairs + [(name, getattr(queue.settings, name)) for name in queue.settings.__struct_fields__]


def _each(at: At, names: tuple[str, ...], make: Callable[[str], Any], *, as_json: bool) -> None:
    from cqueue.cli import printing  # noqa: PLC0415
    from cqueue.cli.calling import asking, with_body  # noqa: PLC0415 - a process that serves must not load it

    with asking(at) as client:
        for name in names:
            body, queue = client.run(with_body(make(name)))
            if as_json:
                printing.line(body)
            else:
                printing.table(COLUMNS, [row_of(queue)], wide="queue")


@click.command(cls=Command, examples=[("cqueue pause mail", "nobody is handed a job of it; all else goes on")])
@click.argument("names", nargs=-1, type=QUEUE, required=True, metavar="QUEUE...")
@nodes_option
@json_option
def pause(at: At, names: tuple[str, ...], *, as_json: bool) -> None:
    """Hand out no more jobs of these queues."""
    from cqueue.client import queues as calls  # noqa: PLC0415

    _each(at, names, calls.pause_queue, as_json=as_json)


@click.command(cls=Command, examples=[("cqueue resume mail", "hand out its jobs again")])
@click.argument("names", nargs=-1, type=QUEUE, required=True, metavar="QUEUE...")
@nodes_option
@json_option
def resume(at: At, names: tuple[str, ...], *, as_json: bool) -> None:
    """Hand out jobs of these queues again."""
    from cqueue.client import queues as calls  # noqa: PLC0415

    _each(at, names, calls.resume_queue, as_json=as_json)
