"""`cqueue dequeue`, and what a consumer says of a job that it holds: conclude, fail, release, extend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from cqueue.cli import exits
from cqueue.cli.command import COMMON, Command
from cqueue.cli.completion import QUEUE
from cqueue.cli.options import At, json_option, nodes_option
from cqueue.cli.which import held_argument, in_parts, tag_option

if TYPE_CHECKING:
    from msgspec import Raw

    from cqueue.client.call import Call
    from cqueue.client.results import Job, Outcome
    from cqueue.client.sync import Client

WAIT_S_MAX: Final = 60
"""The longest that a node waits; docs/protocol.md#limits-of-the-http-api."""


@click.command(
    cls=Command,
    examples=[
        ("cqueue dequeue --queue mail --wait 20", "the next job of a queue, waiting for one if there is none"),
        ("cqueue dequeue --json | jq .payload", "its payload"),
        ("cqueue dequeue --count 100 --json", "a hundred, one a line"),
    ],
    ends=(*COMMON, exits.NOTHING),
)
@click.option(
    "--queue", "queues", type=QUEUE, multiple=True, metavar="NAME", help="From this queue; from any of several."
)
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Of this type; of any of several.")
@tag_option
@click.option("--count", type=int, metavar="N", help="Up to so many, 1,000 at most.")
@click.option("--wait", type=click.FloatRange(0, WAIT_S_MAX), metavar="SECONDS", help="Wait for a job for so long.")
@click.option("--lease-seconds", type=int, metavar="SECONDS", help="How long you may hold it.")
@click.option("--consumer", metavar="NAME", help="Who you are; stands in the job.")
@click.option("--idempotency-key", metavar="KEY", help="Sent again under the same key the same jobs come.")
@nodes_option
@json_option
def dequeue(
    at: At, count: int | None, consumer: str | None, idempotency_key: str | None, *, as_json: bool, **wish: Any
) -> None:
    """Take the next job. It is yours until its lease ends: conclude, fail, release or extend it until then.

    Prints what is known of it; without a terminal and with --count a line: id, lease token, type, queue, payload.
    """
    from cqueue.cli import printing  # noqa: PLC0415
    from cqueue.cli.calling import asking, members_of, with_body  # noqa: PLC0415 - not for a process that serves
    from cqueue.cli.looking import record_of  # noqa: PLC0415
    from cqueue.client import jobs  # noqa: PLC0415

    said: Any = {
        name: value if name not in {"queues", "types"} else list(value) for name, value in wish.items() if value
    }
    raw: Sequence[bytes | Raw]
    with asking(at, consumer=consumer) as client:
        if count is None:
            body, one = client.run(with_body(jobs.dequeue(key=idempotency_key, **said)))
            taken, raw = [one] if one else [], [body]
        else:
            body, taken = client.run(with_body(jobs.dequeue_many(count, key=idempotency_key, **said)))
            raw = members_of("jobs")(body)
    if not taken:
        printing.words("there is no job")
        click.get_current_context().exit(exits.NOTHING)
    if as_json:
        for each in raw:
            printing.line(each)
    elif count is None and printing.for_person():
        printing.record(record_of(taken[0]))
    else:
        rows = [(job.id, job.lease_token, job.type, job.queue, job.payload) for job in taken]
        printing.table(("id", "token", "type", "queue", "payload"), rows, wide="payload")


def _settle(at: At, verb: str, named: Sequence[dict[str, int]], fields: dict[str, Any], *, as_json: bool) -> None:
    """Say it of one job, or of many at once, and print what became of each."""
    from cqueue.cli.calling import asking, with_body  # noqa: PLC0415 - a process that serves must not load it
    from cqueue.client import jobs  # noqa: PLC0415

    said = {name: value for name, value in fields.items() if value is not None}
    with asking(at) as client:
        if len(named) == 1:
            one: Callable[..., Any] = getattr(jobs, verb)
            body, job = client.run(with_body(one(named[0]["id"], lease_token=named[0].get("lease_token"), **said)))
            tell([job], [body], as_json=as_json)
            return
        many: Callable[..., Any] = getattr(jobs, f"{verb}_many")
        in_order(client, [many([{**said, **each} for each in part]) for part in in_parts(named)], as_json=as_json)


def in_order(client: Client, calls: Sequence[Call[list[Outcome]]], *, as_json: bool) -> None:
    """Make calls about many jobs and print what became of each.

    One that was refused makes the exit code; the others are done.
    """
    from cqueue.cli.calling import members_of, with_body  # noqa: PLC0415

    all_done = True
    for call in calls:
        body, outcomes = client.run(with_body(call))
        tell(outcomes, members_of("results")(body), as_json=as_json)
        all_done = all_done and all(outcome.status is not None for outcome in outcomes)
    if not all_done:
        click.get_current_context().exit(exits.REFUSED)


def tell(outcomes: Sequence[Job | Outcome], raw: Sequence[bytes | Raw], *, as_json: bool) -> None:
    """Print jobs, or what became of many; raw: the same as the node sent it."""
    from cqueue.cli import printing  # noqa: PLC0415

    if as_json:
        for each in raw:
            printing.line(each)
    else:
        rows = [(each.id, each.status or getattr(each, "code", None)) for each in outcomes]
        printing.table(("id", "outcome"), rows)


@click.command(
    cls=Command,
    examples=[
        ("cqueue conclude 17:3 --result '{\"sent\": true}'", "job 17, held under the lease token 3, is done"),
        ("cqueue conclude 17 18 19", "three at once, whoever holds them"),
    ],
)
@held_argument
@click.option("--result", metavar="JSON", help="A JSON value, kept with the job.")
@nodes_option
@json_option
def conclude(at: At, jobs: list[dict[str, int]], result: str | None, *, as_json: bool) -> None:
    """Say that jobs are done (- takes them from stdin).

    With its lease token a job is concluded only if you still hold it.
    """
    from cqueue.cli.adding import json_value  # noqa: PLC0415

    _settle(at, "conclude", jobs, {"result": json_value(result, "--result")}, as_json=as_json)


@click.command(
    cls=Command,
    examples=[
        ("cqueue fail 17:3 --error 'no such mailbox'", "this attempt failed; it is tried again after its backoff"),
        ("cqueue fail 17:3 --dead --error 'no such user'", "no attempt can succeed"),
        ("cqueue fail 17:3 --retry-in-seconds 60", "try again in a minute"),
    ],
)
@held_argument
@click.option("--error", metavar="TEXT", help="What went wrong; kept with the job.")
@click.option("--dead", is_flag=True, help="Do not try again.")
@click.option("--retry-in-seconds", type=float, metavar="SECONDS", help="When to try again, whatever the backoff says.")
@nodes_option
@json_option
def fail(
    at: At, jobs: list[dict[str, int]], error: str | None, retry_in_seconds: float | None, *, dead: bool, as_json: bool
) -> None:
    """Say that an attempt at each of the jobs failed.

    IDs may come from stdin (-). The outcome says what follows: SCHEDULED or QUEUED for another attempt, or DEAD.
    """
    fields = {"error": error, "retryable": False if dead else None, "retry_in_seconds": retry_in_seconds}
    _settle(at, "fail", jobs, fields, as_json=as_json)


@click.command(cls=Command, examples=[("cqueue release 17:3", "somebody else shall have it; it costs no attempt")])
@held_argument
@nodes_option
@json_option
def release(at: At, jobs: list[dict[str, int]], *, as_json: bool) -> None:
    """Give jobs back untouched (- takes them from stdin)."""
    _settle(at, "release", jobs, {}, as_json=as_json)


@click.command(cls=Command, examples=[("cqueue extend 17:3 --lease-seconds 600", "ten more minutes, from now")])
@held_argument
@click.option("--lease-seconds", type=int, metavar="SECONDS", help="For how long from now; as with its dequeue.")
@nodes_option
@json_option
def extend(at: At, jobs: list[dict[str, int]], lease_seconds: int | None, *, as_json: bool) -> None:
    """Hold jobs longer (- takes them from stdin)."""
    _settle(at, "extend", jobs, {"lease_seconds": lease_seconds}, as_json=as_json)
