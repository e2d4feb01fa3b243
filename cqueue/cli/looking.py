"""Looking at jobs: `cqueue show`, `list`, `explain`, `stats` and `events`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

import click

from cqueue.cli.command import COMMON, Command
from cqueue.cli.completion import QUEUE
from cqueue.cli.options import At, json_option, nodes_option
from cqueue.cli.which import STATUSES, filter_options, ids_argument, status_type

if TYPE_CHECKING:
    from cqueue.cli.printing import Pairs
    from cqueue.client.results import Event, Job

LIST_DEFAULT: Final = 50
_PAGE: Final = 1_000

stale_option = click.option("--stale", is_flag=True, help="One node's own state, without asking the others.")


def record_of(job: Job) -> Pairs:
    """What there is to say of a job, in the order of docs/protocol.md."""
    kept = [(name, getattr(job, name)) for name in job.__struct_fields__ if name not in {"errors", "progress"}]
    always = {"payload", "attempt", "priority"}
    pairs: Pairs = [(name, value) for name, value in kept if name in always or value not in (None, False, {})]
    if job.progress is not None:
        percent = "" if job.progress.percent is None else f"{job.progress.percent} % "
        pairs.append(("progress", f"{percent}{job.progress.note or ''}".strip()))
    for error in job.errors:
        pairs.append((f"attempt {error.attempt}", f"{error.event}: {error.error or 'nothing was said'}"))
    return pairs


@click.command(
    cls=Command,
    examples=[
        ("cqueue show 17", "what is known of it"),
        ("cqueue show 17 --history", "every change of it"),
        ("cqueue show 17 --wait 60 --json | jq .result", "its result, as soon as there is one"),
    ],
)
@ids_argument
@click.option("--history", is_flag=True, help="Every change, oldest first.")
@click.option("--wait", type=click.FloatRange(0), metavar="SECONDS", help="Wait until it is finished, for so long.")
@stale_option
@nodes_option
@json_option
def show(at: At, ids: list[int], wait: float | None, *, history: bool, stale: bool, as_json: bool) -> None:
    """Show jobs (- takes their ids from stdin)."""
    from cqueue.cli import printing  # noqa: PLC0415
    from cqueue.cli.calling import asking, with_body  # noqa: PLC0415 - a process that serves must not load it
    from cqueue.client import jobs, looking  # noqa: PLC0415

    freshness: Any = {"consistency": "stale"} if stale else {}
    with asking(at) as client:
        for position, job_id in enumerate(ids):
            if history:
                body, told = client.run(with_body(looking.history(job_id, **freshness)))
            else:
                call = looking.get(job_id, **freshness) if wait is None else jobs.wait(job_id, wait)
                body, job = client.run(with_body(call))
            if as_json:
                printing.line(body)
                continue
            if position:
                click.echo()
            if history:
                rows = [(c.at, c.event, c.status, c.attempt, c.consumer, c.error) for c in told.changes]
                printing.table(("at", "event", "status", "attempt", "consumer", "error"), rows, wide="error")
            else:
                printing.record(record_of(job))


@click.command(
    "list",
    cls=Command,
    examples=[
        ("cqueue list --queue mail --status DEAD", "the first fifty dead ones of a queue"),
        ("cqueue list --all --json | jq -c '{id, payload}'", "all jobs, one a line"),
    ],
)
@filter_options(created_from=True)
@click.option("--limit", default=LIST_DEFAULT, show_default=True, type=click.IntRange(1), metavar="N", help="How many.")
@click.option("--all", "everything", is_flag=True, help="All of them, however many there are.")
@stale_option
@nodes_option
@json_option
def list_jobs(at: At, which: dict[str, Any], limit: int, *, everything: bool, stale: bool, as_json: bool) -> None:
    """List jobs, oldest first."""
    from cqueue.cli import printing  # noqa: PLC0415
    from cqueue.cli.calling import asking  # noqa: PLC0415 - a process that serves must not load it

    wanted: Any = {
        "status" if name == "statuses" else "type" if name == "types" else name: value for name, value in which.items()
    }
    if stale:
        wanted["consistency"] = "stale"
    columns = ("id", "status", "queue", "type", "attempt", "created", "payload")
    more = False
    with asking(at) as client:
        pages = _pages(client, wanted, None if everything else limit)
        for found, raw, has_more in pages:
            more = has_more
            if as_json:
                for each in raw:
                    printing.line(each)
            else:
                rows = [(j.id, j.status, j.queue, j.type, j.attempt, j.created_at, j.payload) for j in found]
                printing.table(columns, rows, wide="payload")
    if more and printing.for_person():
        printing.words("there are more: --limit N or --all")


def _pages(
    client: Any, wanted: dict[str, Any], limit: int | None
) -> Iterator[tuple[Sequence[Job], Sequence[Any], bool]]:
    """Jobs, the same as the node sent them, and whether there are more; page by page."""
    from cqueue.cli.calling import members_of, with_body  # noqa: PLC0415
    from cqueue.client import looking  # noqa: PLC0415

    cursor, left = None, limit
    while True:
        size = _PAGE if left is None else min(left, _PAGE)
        body, page = client.run(with_body(looking.list_jobs(cursor=cursor, limit=size, **wanted)))
        cursor = page.next
        yield page.jobs, members_of("jobs")(body), cursor is not None
        left = None if left is None else left - len(page.jobs)
        if cursor is None or left == 0:
            return


@click.command(cls=Command, examples=[("cqueue explain 17", "why job 17 is not running, and until when")])
@ids_argument
@stale_option
@nodes_option
@json_option
def explain(at: At, ids: list[int], *, stale: bool, as_json: bool) -> None:
    """Say why jobs are not running (- takes their ids from stdin)."""
    from cqueue.cli import printing  # noqa: PLC0415
    from cqueue.cli.calling import asking, with_body  # noqa: PLC0415 - a process that serves must not load it
    from cqueue.client import looking  # noqa: PLC0415

    freshness: Any = {"consistency": "stale"} if stale else {}
    with asking(at) as client:
        told = [client.run(with_body(looking.explain(job_id, **freshness))) for job_id in ids]
    if as_json:
        for body, _ in told:
            printing.line(body)
        return
    rows = [
        (
            each.id,
            each.status,
            "; ".join(_REASONS[reason].format(each.ahead) if reason in _REASONS else reason for reason in each.reasons),
            each.until,
        )
        for _, each in told
    ]
    printing.table(("id", "status", "why", "until"), rows, wide="why")


_REASONS: Final = {
    "next": "nothing is before it: it waits for a consumer",
    "behind": "{} before it",
    "queue_paused": "its queue is paused",
    "delayed": "it is for later",
    "backing_off": "an attempt failed; it waits for the next",
    "held": "a consumer has it",
    "cancel_requested": "its consumer was asked to stop",
    "finished": "it is finished",
}


@click.command(cls=Command, examples=[("cqueue stats", "how many jobs there are, by queue and status")])
@stale_option
@nodes_option
@json_option
def stats(at: At, *, stale: bool, as_json: bool) -> None:
    """Count jobs by queue and status."""
    from cqueue.cli import printing  # noqa: PLC0415
    from cqueue.cli.calling import asking, with_body  # noqa: PLC0415 - a process that serves must not load it
    from cqueue.client import looking  # noqa: PLC0415

    freshness: Any = {"consistency": "stale"} if stale else {}
    with asking(at) as client:
        body, told = client.run(with_body(looking.stats(**freshness)))
    if as_json:
        printing.line(body)
        return
    counts: list[tuple[str, dict[Any, int]]] = [*sorted(told.queues.items()), ("total", told.jobs)]
    columns = ("queue", *(status.lower() for status in STATUSES))
    printing.table(columns, [(name, *(of.get(status, 0) for status in STATUSES)) for name, of in counts], wide="queue")


@click.command(
    cls=Command,
    examples=[
        ("cqueue events --queue mail", "what happens in a queue from now on"),
        ("cqueue events --after 0.0 --job 17 --json", "all that is kept about a job, and what follows"),
    ],
    ends=COMMON,
)
@click.option("--after", metavar="PLACE", help="Go on after this event; 0.0: with the oldest that is kept.")
@click.option("--queue", type=QUEUE, metavar="NAME", help="Of this queue.")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Of jobs of this type; of any of several.")
@click.option("--status", multiple=True, type=status_type, metavar="STATUS", help="To this status; to any of several.")
@click.option("--job", type=int, metavar="ID", help="Of this job.")
@nodes_option
@json_option
def events(at: At, types: Sequence[str], *, as_json: bool, **wanted: Any) -> None:
    """Follow every change of every job, until Ctrl-C, from whichever node is there.

    A line has place, time, job, event, status, queue and type. --after its place goes on there.
    """
    from cqueue.cli import printing  # noqa: PLC0415
    from cqueue.cli.calling import asking  # noqa: PLC0415 - a process that serves must not load it

    said: Any = {name: list(value) if isinstance(value, tuple) else value for name, value in wanted.items() if value}
    if types:
        said["type"] = list(types)
    console = printing.console() if printing.for_person() else None
    with asking(at) as client, closing(client.events(**said)) as told:  # type: ignore[type-var]
        for event in told:
            if as_json:
                printing.line(_as_json(event))
                continue
            fields = (event.place, event.at, event.id, event.event, event.status, event.queue, event.type, event.error)
            if console is None:
                click.echo("\t".join(map(printing.shown, fields)))
            else:
                console.print(printing.aligned(fields, (10, 20, 7, 12, 11, 12)))


def _as_json(event: Event) -> bytes:
    """The event as a node tells it, and its place, which a node tells beside it."""
    from cqueue.cli import printing  # noqa: PLC0415

    at = event.at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
    fields = {"place": event.place, **{name: getattr(event, name) for name in event.__struct_fields__[:-1]}, "at": at}
    return printing.encoded({name: value for name, value in fields.items() if value not in (None, 0)})
