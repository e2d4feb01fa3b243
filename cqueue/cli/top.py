"""`cqueue top`: what happens, as it happens, on the whole screen.

It only looks. Rates are its own, between two looks.
"""

from __future__ import annotations

import select
import sys
import termios
import time
import tty
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from cqueue.cli import printing
from cqueue.cli.command import COMMON, Command
from cqueue.cli.options import At, json_option, nodes_option
from cqueue.errors import CqueueError, Refused

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cqueue.client.results import Cluster, Queue
    from cqueue.client.sync import Client

COUNTED: Final = ("enqueued", "dequeued", "concluded", "failed")
"""What there are rates of, of a queue's totals."""
_LINES_BESIDE: Final = 7
"""Of the screen, those that are not queues: head, two headings, total, foot, what is empty."""


class Look(NamedTuple):
    """What was seen at a time (seconds on a clock that never goes back). rates: of each queue, per second."""

    at_s: float
    cluster: Cluster
    queues: Sequence[Queue]
    rates: Mapping[str, Mapping[str, float]]


def look(client: Client, before: Look | None) -> Look:
    """Look at the cluster and all queues. Rates are since the look before; none without one.

    Raises:
        CqueueError: no node answers.
    """
    cluster, queues = client.cluster(), list(client.iter_queues())
    now_s = time.monotonic()
    rates: dict[str, Mapping[str, float]] = {}
    if before is not None:
        seconds = max(now_s - before.at_s, 0.001)
        earlier = {queue.name: queue.totals for queue in before.queues}
        for queue in queues:
            totals = earlier.get(queue.name, {})
            rates[queue.name] = {
                event: max(queue.totals.get(event, 0) - totals.get(event, 0), 0) / seconds for event in COUNTED
            }
    return Look(now_s, cluster, queues, rates)


def drawn(seen: Look | None, trouble: str, lines: int) -> RenderableType:
    """The screen. trouble: what a person should know, "" for nothing; lines: how high it is."""
    from rich.console import Group  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    parts: list[RenderableType] = []
    if seen is not None:
        members = seen.cluster.members
        parts += [_head(seen), _nodes(seen), Text(), _queues(seen, lines - _LINES_BESIDE - len(members))]
    parts.append(Text(trouble, style="bold red") if trouble else Text("q or Ctrl-C leaves", style="dim"))
    return Group(*parts)


def _head(seen: Look) -> RenderableType:
    from rich.text import Text  # noqa: PLC0415

    cluster = seen.cluster
    head = Text(no_wrap=True, overflow="ellipsis")
    head.append("cqueue", style="bold")
    head.append(
        f"  {datetime.now(UTC):%H:%M:%S}Z  {cluster.mode}  term {cluster.term}  index {cluster.applied_index:,}  "
    )
    head.append(
        "no leader is known" if cluster.leader is None else f"leader {cluster.leader}",
        style="bold red" if cluster.leader is None else "green",
    )
    return head


_STATES: Final = {"self": ("up, answers", "green"), "connected": ("up", "green"), "disconnected": ("away", "bold red")}


def _nodes(seen: Look) -> RenderableType:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("node", "state", "role"):
        table.add_column(column, no_wrap=True)
    for member in seen.cluster.members:
        text, style = _STATES[member.state]
        table.add_row(member.id, Text(text, style=style), "leader" if member.id == seen.cluster.leader else "")
    return table


def _queues(seen: Look, lines: int) -> RenderableType:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    table.add_column("queue", no_wrap=True, overflow="ellipsis", ratio=1)
    for column in ("waits", "held", "dead", "in/s", "out/s", "done/s", "fail/s"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("oldest", justify="right", no_wrap=True)
    busiest = sorted(seen.queues, key=lambda queue: (-queue.depth, queue.name))
    shown = busiest[: max(lines, 1)]
    for queue in shown:
        counts = (queue.depth, queue.jobs.get("IN_PROGRESS", 0), queue.jobs.get("DEAD", 0))
        name = Text(printing.shown(queue.name)).append(" paused" if queue.paused else "", style="yellow")
        age = "" if queue.oldest_age_seconds is None else printing.age(queue.oldest_age_seconds)
        table.add_row(name, *_counts(counts), *_rates(seen, [queue]), age)
    if len(seen.queues) > len(shown):
        table.add_row(Text(f"and {len(seen.queues) - len(shown)} more", style="dim"))
    totals = (
        sum(queue.depth for queue in seen.queues),
        sum(queue.jobs.get("IN_PROGRESS", 0) for queue in seen.queues),
        sum(queue.jobs.get("DEAD", 0) for queue in seen.queues),
    )
    oldest = max((queue.oldest_age_seconds or 0 for queue in seen.queues), default=0)
    table.add_row(
        "all", *_counts(totals), *_rates(seen, seen.queues), printing.age(oldest) if oldest else "", style="bold"
    )
    return table


def _counts(counts: tuple[int, int, int]) -> list[Any]:
    from rich.text import Text  # noqa: PLC0415

    waits, held, dead = counts
    return [f"{waits:,}", f"{held:,}", Text(f"{dead:,}", style="red" if dead else "")]


def _rates(seen: Look, queues: Sequence[Queue]) -> Iterator[str]:
    for event in COUNTED:
        rates = [seen.rates[queue.name][event] for queue in queues if queue.name in seen.rates]
        yield f"{sum(rates):,.0f}" if rates else ""


@click.command(
    cls=Command,
    examples=[
        ("cqueue top", "queues, rates, ages, nodes and leader, every second"),
        ("cqueue top --json --interval 10", "the same for a program, a line every ten seconds"),
    ],
    ends=COMMON,
)
@click.option(
    "--interval",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0.1, 3600),
    metavar="SECONDS",
    help="Between two looks.",
)
@nodes_option
@json_option
def top(at: At, interval: float, *, as_json: bool) -> None:
    """Show what happens, as it happens, until q or Ctrl-C.

    Rates are per second since the look before. When no node answers it says so, and goes on asking.
    """
    from cqueue.cli.calling import asking  # noqa: PLC0415 - a process that serves must not load it

    with asking(at) as client:
        if as_json:
            _stream(client, interval)
        elif not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise click.UsageError("top is for a terminal; without one say --json, or see `cqueue queues`")
        else:
            _screen(client, interval)


def _stream(client: Client, interval: float) -> None:
    before = None
    while True:
        before = look(client, before)
        told = {"cluster": before.cluster, "queues": before.queues, "rates": before.rates}
        printing.line(printing.encoded(told))
        time.sleep(interval)


def _screen(client: Client, interval: float) -> None:
    from rich.live import Live  # noqa: PLC0415

    console = printing.console()
    seen: Look | None = None
    with _keys(), Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            try:
                seen, trouble = look(client, seen), ""
            except Refused:
                raise
            except CqueueError as error:
                trouble = error.detail
            live.update(drawn(seen, trouble, console.size.height), refresh=True)
            if _is_left(interval):
                return


@contextmanager
def _keys() -> Iterator[None]:
    """Keys come one by one, and are not shown."""
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _is_left(seconds: float) -> bool:
    """Whether somebody leaves within that time."""
    until_s = time.monotonic() + seconds
    try:
        while (left_s := until_s - time.monotonic()) > 0:
            if select.select([sys.stdin], [], [], left_s)[0] and sys.stdin.read(1) in {"q", "Q", ""}:
                return True
    except KeyboardInterrupt:
        return True
    return False
