"""`cqueue enqueue`: one job, some, or a file of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import click

from cqueue.cli.command import Command
from cqueue.cli.completion import QUEUE
from cqueue.cli.options import At, json_option, nodes_option
from cqueue.cli.which import tags

_STDIN: Final = "-"


@click.command(
    cls=Command,
    examples=[
        ('cqueue enqueue \'{"to": "ada@example.org"}\' --queue mail --type receipt', "one job; its id comes out"),
        ("cqueue enqueue --text 'water the plants' --delay-seconds 3600", "one for later, with a text"),
        ("cqueue enqueue --unique-key report-2026-01 --max-attempts 3", "one that is there once, without a payload"),
        ("cqueue enqueue --file jobs.ndjson", "a million, a JSON object of docs/protocol.md a line"),
        ("generate | cqueue enqueue --file - --queue mail", "the same from a program"),
    ],
)
@click.argument("payloads", nargs=-1, metavar="[PAYLOAD]...")
@click.option("--text", is_flag=True, help="PAYLOADs are texts, not JSON.")
@click.option("--queue", type=QUEUE, metavar="NAME", help="The queue; default where nothing is said.")
@click.option("--type", metavar="TYPE", help="The type; NOT_TIME_CRITICAL where nothing is said.")
@click.option("--priority", type=int, metavar="N", help="0 to 1000, 0 is served first; as the queue says for the type.")
@click.option("--delay-seconds", type=float, metavar="SECONDS", help="Not before so many seconds from now.")
@click.option("--run-at", metavar="TIME", help="Not before then (RFC 3339, with an offset).")
@click.option("--expires-in-seconds", type=float, metavar="SECONDS", help="Drop it if nobody took it by then.")
@click.option("--lease-seconds", type=int, metavar="SECONDS", help="How long a consumer may hold it.")
@click.option("--max-attempts", type=int, metavar="N", help="How often it may be handed out.")
@click.option("--unique-key", metavar="KEY", help="Add nothing while a job has this key.")
@click.option("--unique-scope", type=click.Choice(["queued", "unfinished"]), help="While that job is in this state.")
@click.option("--unique-seconds", type=float, metavar="SECONDS", help="The same by time.")
@click.option("--tag", "tags", multiple=True, metavar="NAME:VALUE", callback=tags, help="A tag; more than one may be.")
@click.option("--idempotency-key", metavar="KEY", help="Sent again under the same key it is not done again.")
@click.option("--file", metavar="FILE", help="Add the jobs in FILE (- for stdin), one JSON object a line.")
@click.option(
    "--state", metavar="FILE", help="Where --file keeps how far it is; else FILE.state, and nowhere for stdin."
)
@click.option(
    "--in-doubt",
    type=click.Choice(["add", "skip"]),
    help="What to do with lines that were sent more than ten minutes ago, and nobody knows whether they were added.",
)
@nodes_option
@json_option
def enqueue(  # noqa: PLR0917 - click passes them by name
    payloads: tuple[str, ...],
    at: At,
    idempotency_key: str | None,
    file: str | None,
    state: str | None,
    in_doubt: str | None,
    *,
    text: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Add jobs.

    One for each PAYLOAD, a JSON value (- for stdin); without any, one with the payload null.

    Prints the id of each. Several are added all or none.

    \b
    With --file, any number, in parts. The options count where a line does not say
    otherwise. What is stopped, however it is stopped, goes on when the same command
    is given again, and no job is added twice: docs/cli.md says what is promised.
    """  # noqa: D301 - the backspace itself tells click to leave the lines as they are
    said: Any = {name: value for name, value in options.items() if value not in (None, {})}
    if file is not None:
        if payloads or text or idempotency_key:
            raise click.UsageError("--file brings the payloads: no PAYLOAD, --text or --idempotency-key beside it")
        from cqueue.cli import filing  # noqa: PLC0415 - only this command loads it

        where = None if state is None and file == _STDIN else Path(state or f"{file}.state")
        filing.enqueue(at, file, where, said, in_doubt, as_json=as_json)
        return
    if state is not None or in_doubt is not None:
        raise click.UsageError("--state and --in-doubt go with --file")
    _enqueue(at, [_payload(payload, text=text) for payload in payloads], said, idempotency_key, as_json=as_json)


def _enqueue(at: At, payloads: list[Any], said: Any, key: str | None, *, as_json: bool) -> None:
    from cqueue.cli import printing  # noqa: PLC0415
    from cqueue.cli.calling import asking, with_body  # noqa: PLC0415 - a process that serves must not load it
    from cqueue.client import jobs  # noqa: PLC0415

    with asking(at) as client:
        if len(payloads) <= 1:
            call = jobs.enqueue(payloads[0] if payloads else None, key=key, **said)
            body, one = client.run(with_body(call))
            added = [one]
        else:
            added = client.enqueue_many([said | {"payload": payload} for payload in payloads], key=key)
    if as_json and len(payloads) <= 1:
        printing.line(body)
        return
    for one in added:
        if as_json:
            printing.line(printing.encoded({"id": one.id, "duplicate": True} if one.duplicate else {"id": one.id}))
        else:
            click.echo(one.id)
            if one.duplicate:
                printing.words(f"job {one.id} has the unique key already: nothing was added")


def _payload(told: str, *, text: bool) -> Any:
    told = sys.stdin.read() if told == _STDIN else told
    return told if text else json_value(told, "PAYLOAD", "; say --text if it is a text")


def json_value(told: str | None, where: str, hint: str = "") -> Any:
    """A JSON value as it was typed, which is how it leaves.

    Raises:
        click.BadParameter: it is none.
    """
    import msgspec  # noqa: PLC0415

    if told is None:
        return None
    try:
        return msgspec.json.decode(told, type=msgspec.Raw)
    except msgspec.DecodeError as error:
        raise click.BadParameter(f"{told[:60]!r} is no JSON ({error}){hint}", param_hint=where) from error
