"""What commands print: for a person a table with colours, for a program lines of fields between tabs.

A person is who has stdout on a terminal. Whatever came from a job cannot move the cursor or begin a line:
characters that do not print are shown by their names. rich is imported when there is a table for a person.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final, Literal

import click
import msgspec

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

Pairs = list[tuple[str, Any]]
"""What there is to say of one thing."""

COLOURS: Final = {
    "SCHEDULED": "cyan",
    "QUEUED": "blue",
    "IN_PROGRESS": "yellow",
    "CONCLUDED": "green",
    "DEAD": "red",
    "CANCELLED": "magenta",
    "EXPIRED": "magenta",
}
"""Of statuses; whatever else is a lone word in lower case, such as an error code, is not coloured."""
_RIGHT: Final = (int, float)


def for_person() -> bool:
    """Whether a person looks at stdout."""
    return sys.stdout.isatty()


def shown(value: object) -> str:
    """A value in one line.

    Nothing for None, times in UTC, text as it is, JSON for what has parts; ages in seconds for a program.
    """
    person = for_person()
    match value:
        case None:
            text = ""
        case str():
            text = value
        case bool():
            text = "yes" if value else "no"
        case int():
            text = f"{value:,}" if person and abs(value) > _PLAIN_INT_MAX else str(value)
        case float():
            text = f"{value:.1f}"
        case datetime():
            at = value.astimezone(UTC).replace(tzinfo=None)
            text = at.isoformat(timespec="seconds" if person else "milliseconds") + "Z"
        case timedelta():
            text = age(value.total_seconds()) if person else f"{value.total_seconds():.3f}"
        case _:
            text = msgspec.json.encode(value).decode()
    return text if text.isprintable() else "".join(map(_printable, text))


_PLAIN_INT_MAX: Final = 9_999


def age(seconds: float) -> str:
    """`90061` → `1d 1h`: the two largest parts."""
    left = int(seconds)
    parts: list[str] = []
    for name, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (name == "s" and not parts):
            parts.append(f"{count}{name}")
    return " ".join(parts[:2])


def _printable(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, wide: str = "") -> None:
    """Print rows; the column `wide` is cut to what a terminal has left. Fields between tabs have no head."""
    if not for_person():
        for row in rows:
            click.echo("\t".join(map(shown, row)))
        return
    kept = [[_text(name, value) for name, value in zip(columns, row, strict=True)] for row in rows]
    if kept:
        _draw(columns, kept, wide)


def _draw(columns: Sequence[str], rows: Sequence[Sequence[Text]], wide: str) -> None:
    from rich.table import Table  # noqa: PLC0415

    target = console()
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for name, width, first in zip(columns, _widths(columns, rows, wide, target.width), rows[0], strict=True):
        side: Literal["left", "right"] = "right" if first.justify == "right" else "left"
        drawn.add_column(name, justify=side, no_wrap=True, overflow="ellipsis", width=width)
    for row in rows:
        drawn.add_row(*row)
    target.print(drawn)


def _widths(columns: Sequence[str], rows: Sequence[Sequence[Text]], wide: str, width: int) -> list[int]:
    """How wide each column is: the one called `wide` has what the others leave; long names give way to it."""
    found = [max(len(name), *(row[i].cell_len for row in rows)) for i, name in enumerate(columns)]
    widths = [each if name == wide else min(each, _WIDTH_MAX) for name, each in zip(columns, found, strict=True)]
    if wide:
        at = columns.index(wide)
        left = width - _GAP * (len(columns) - 1) - sum(widths) + widths[at]
        for i, name in enumerate(columns):
            if left < _WIDE_MIN and name in _NAMES and i != at and widths[i] > _NARROW:
                left += widths[i] - _NARROW
                widths[i] = _NARROW
        widths[at] = min(widths[at], max(left, _LEAST))
    return widths


_GAP: Final = 2
_WIDTH_MAX: Final = 26
_WIDE_MIN: Final = 16
_NARROW: Final = 8
_LEAST: Final = 5
_NAMES: Final = frozenset({"queue", "type", "consumer"})
"""Columns that may be cut; figures, times and statuses may not."""
_KEPT: Final = frozenset({"id", "token", "lease_token"})
"""Figures that are there to be copied."""


def record(pairs: Iterable[tuple[str, object]]) -> None:
    """Print what there is to say of one thing, a line for each."""
    if not for_person():
        for name, value in pairs:
            click.echo(f"{name}\t{shown(value)}")
        return
    from rich.table import Table  # noqa: PLC0415

    drawn = Table.grid(padding=(0, 2))
    drawn.add_column(style="bold", no_wrap=True)
    drawn.add_column(overflow="fold")
    for name, value in pairs:
        text = _text(name, value)
        text.justify = "left"
        drawn.add_row(name, text)
    console().print(drawn)


def line(value: bytes | msgspec.Raw) -> None:
    """Print one JSON value."""
    click.echo(bytes(value).rstrip(b"\n"))


def encoded(value: object) -> bytes:
    """A value as JSON."""
    return msgspec.json.encode(value)


def console(*, stderr: bool = False) -> Console:
    """Where a person looks."""
    from rich.console import Console  # noqa: PLC0415

    return Console(stderr=stderr, highlight=False)


def _text(name: str, value: object) -> Text:
    from rich.text import Text  # noqa: PLC0415

    text = str(value) if name in _KEPT and value is not None else shown(value)
    is_figure = isinstance(value, _RIGHT) and not isinstance(value, bool)
    return Text(text, style=COLOURS.get(text, ""), justify="right" if is_figure else "left")


def aligned(values: Sequence[object], widths: Sequence[int]) -> Text:
    """One line of a table that has no end, for `console().print`; what is longer than its width pushes on."""
    from rich.text import Text  # noqa: PLC0415

    drawn = Text(no_wrap=True, overflow="ellipsis")
    for value, width in zip_longest(values, widths, fillvalue=0):
        text = shown(value)
        drawn.append(f"{text:{width}} ", style=COLOURS.get(text, ""))
    return drawn


def words(sentence: str) -> None:
    """Say something beside the data, to a person or a log."""
    click.echo(sentence, err=True)


def sure(question: str, *, yes: bool) -> None:
    """Ask, unless that is said already.

    Raises:
        click.UsageError: there is nobody to ask.
        click.Abort: no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("nobody is there to be asked: say --yes")
    click.confirm(question, abort=True, err=True)
