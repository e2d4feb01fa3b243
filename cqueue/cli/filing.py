"""`cqueue enqueue --file`: any number of jobs from a file, in parts, each line once.

What is promised, and how (docs/cli.md#a-file-of-jobs):

    before a part is sent     the state file says which lines it is, and thereby under which key it goes
    after a kill, however     the same lines go under the same key: a node that has added them says so again
    after KEY_S_MAX           nodes may have forgotten the key: it goes on only with a word on whether the
                              lines in doubt are there
    when all is added         the state file goes

Without a state file the position is told, and nothing else is promised.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click
import msgspec
from msgspec import Struct

from cqueue.cli import exits, printing
from cqueue.cli.calling import asking
from cqueue.cli.lines import Lines, Part
from cqueue.cli.options import At
from cqueue.client.call import Again, Call
from cqueue.errors import CqueueError, OutcomeUnknown, Refused, Unavailable, Unusable

if TYPE_CHECKING:
    from cqueue.client.sync import Client

KEY_S_MAX: Final = 600.0
"""How long nodes remember a key; docs/protocol.md#idempotency-key."""
_MARGIN_S: Final = 15.0
"""Clocks differ, and the last try takes its time."""
_OF_A_BODY: Final = frozenset({"body_too_large", "invalid_json"})
"""What is said of a body as a whole, and not of a job in it."""
_KEYS_FULL: Final = "keys_full"
_READ_BYTES: Final = 1 << 20
_STDIN: Final = "-"


class State(Struct):
    """How far a file is: what is in the state file.

    run: stands in every key. line, offset: how many lines and bytes of the file are done. lines, digest,
    sent_s: the part that is on its way: how many lines, of what, first sent when (seconds since 1970); 0 lines: none.
    """

    run: str
    line: int = 0
    offset: int = 0
    lines: int = 0
    digest: str = ""
    sent_s: float = 0.0

    @property
    def key(self) -> str:
        """The `Idempotency-Key` of the part that is on its way."""
        return f"file-{self.run}-{self.line}-{self.digest[:16]}"


class _Added(Struct):
    ids: list[int]
    duplicates: list[int] = []


_read_added: Final = msgspec.json.Decoder(_Added).decode


class _Run:
    """One run over a file. jobs, duplicates: what it has added, and what was there under its unique key."""

    def __init__(self, client: Client, lines: Lines, where: Path | None) -> None:
        self._client, self._lines, self._where = client, lines, where
        self.state = State(secrets.token_hex(8))
        self.jobs = self.duplicates = 0
        self._waits = False

    def resume(self, doubt: str | None, sure_s: float) -> None:
        """Go on where another run ended.

        doubt: what to do with lines that were sent more than `sure_s` seconds ago; add, skip, or None: refuse.

        Raises:
            CqueueError: that is not possible.
        """
        if self._where is None or not self._where.exists():
            return
        try:
            self.state = msgspec.json.decode(self._where.read_bytes(), type=State)
        except (OSError, msgspec.DecodeError) as error:
            raise Unusable(f"{self._where}: no state of a file: {error}", exit_code=exits.USAGE) from error
        state = self.state
        self._lines.skip(state.line, state.offset)
        if not state.lines:
            return
        part = self._lines.part(state.line + 1, state.lines)
        if _digest(part) != state.digest:
            raise Unusable(
                f"{self._lines.name}: lines {self._of(part)} were on their way, and are not what they were: "
                f"neither file nor options may change; or remove {self._where} to begin anew",
                exit_code=exits.USAGE,
            )
        if 0 <= time.time() - state.sent_s <= sure_s or doubt == "add":
            self._send(part)
        elif doubt == "skip":
            self._done(part)
        else:
            raise OutcomeUnknown(
                f"lines {self._of(part)} were sent too long ago for nodes to know whether they added them: look, "
                "then say --in-doubt skip if they are there, or --in-doubt add"
            )

    def step(self) -> bool:
        """Add a part; whether there was one.

        Raises:
            CqueueError: it was not added; what was added before it, is.
        """
        part = self._lines.part(self.state.line + 1)
        if not part.lines:
            return False
        self.state.lines, self.state.digest, self.state.sent_s = len(part.lines), _digest(part), time.time()
        self._save()
        self._send(part)
        return True

    def finish(self) -> None:
        """All is added: there is nothing to go on with."""
        if self._where is not None:
            self._where.unlink(missing_ok=True)

    def _send(self, part: Part) -> None:
        if part.numbers:
            call = Call("PUT", "/jobs/enqueue", _read_added, part.body, Again.WITH_KEY, self.state.key)
            try:
                added = self._client.run(call)
            except (Refused, Unavailable) as error:
                # Nothing was done.
                self.state.lines = 0
                self._save()
                if error.code in _OF_A_BODY and len(part.numbers) > 1:
                    # With fewer lines it goes, or at last the one line that does not is known.
                    self._lines.bytes_max = len(part.body) // 2
                    self._lines.put_back(part)
                    return
                if isinstance(error, Unavailable) and error.code == _KEYS_FULL:
                    self._wait(error)
                    self._lines.put_back(part)
                    return
                raise _named(error, self._lines.name, part) from error
            self.jobs += len(added.ids) - len(added.duplicates)
            self.duplicates += len(added.duplicates)
        self._done(part)

    def _wait(self, error: Unavailable) -> None:
        """Passes by itself, while keys are forgotten: a file with more jobs than nodes remember goes on as they do."""
        if not self._waits:
            printing.words(f"cqueue: {error.detail}; waiting")
            self._waits = True
        time.sleep(error.retry_after_s)

    def _done(self, part: Part) -> None:
        self.state.line += len(part.lines)
        self.state.offset += part.size
        self.state.lines = 0

    def _of(self, part: Part) -> str:
        return f"{self.state.line + 1:,} to {self.state.line + len(part.lines):,}"

    def _save(self) -> None:
        if self._where is None:
            return
        new = self._where.with_name(f".{self._where.name}.new")
        try:
            with new.open("wb") as file:
                file.write(msgspec.json.encode(self.state))
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._where)
        except OSError as error:
            raise Unusable(f"{self._where}: cannot be written: {error.strerror}") from error


def enqueue(
    at: At, file: str, where: Path | None, options: dict[str, Any], doubt: str | None, *, as_json: bool
) -> None:
    """Add the jobs in a file, and print how many. where: the state file; None: there is none."""
    began_s = time.monotonic()
    with _opened(file) as source, asking(at) as client:
        lines = Lines("stdin" if file == _STDIN else file, source, options)
        run = _Run(client, lines, where)
        try:
            run.resume(doubt, KEY_S_MAX - _MARGIN_S - at.retry_s)
            with _progress(source, run) as show:
                while run.step():
                    show()
        except BaseException as error:
            where_it_is = _where(run, where)
            if not isinstance(error, CqueueError):
                printing.words(f"cqueue: {where_it_is}")
                raise
            error.detail += f"; {where_it_is}"
            raise
        run.finish()
    seconds = time.monotonic() - began_s
    if as_json:
        told = {"jobs": run.jobs, "duplicates": run.duplicates, "lines": run.state.line, "seconds": seconds}
        printing.line(printing.encoded(told))
    else:
        click.echo(run.jobs)
    more = f"; {run.duplicates:,} more were there under their unique keys" if run.duplicates else ""
    printing.words(f"{run.jobs:,} jobs added in {seconds:.1f} s, {run.jobs / seconds:,.0f} a second{more}")


def _where(run: _Run, where: Path | None) -> str:
    """Which lines are added, and how to go on."""
    state = run.state
    added = f"{state.line:,} lines are done"
    if state.lines:
        added += f", and the {state.lines:,} after them may be"
    return f"{added}; {'the same command goes on there' if where else f'go on with line {state.line + 1}'}"


def _named(error: Refused | Unavailable, name: str, part: Part) -> CqueueError:
    """The error with the line that it is about, if it is about one."""
    index, _, _ = (error.pointer or "").removeprefix("/").partition("/")
    if index.isdecimal() and int(index) < len(part.numbers):
        about = error.detail.removeprefix(f"/{index}")
        error.detail = f"{name}, line {part.numbers[int(index)]}: {about.removeprefix(': ')}"
    elif isinstance(error, Refused) and len(part.numbers) == 1:
        error.detail = f"{name}, line {part.numbers[0]}: {error.detail}"
    return error


def _digest(part: Part) -> str:
    return sha256(part.body).hexdigest()


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    """The file, which no other run has open.

    Raises:
        Unusable: it cannot be read, or another run is at it.
    """
    if file == _STDIN:
        yield sys.stdin.buffer
        return
    try:
        source = Path(file).open("rb", buffering=_READ_BYTES)  # noqa: SIM115 - closed below
    except OSError as error:
        raise Unusable(f"{file}: cannot be read: {error.strerror}", exit_code=exits.USAGE) from error
    with source:
        try:
            fcntl.flock(source, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Unusable(f"{file}: another cqueue is adding it") from error
        yield source


@contextmanager
def _progress(source: BinaryIO, run: _Run) -> Iterator[Callable[[], None]]:
    """Shows how far it is, where a person looks."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    total = os.fstat(source.fileno()).st_size if source.seekable() else None
    columns = (
        TextColumn("{task.fields[jobs]} jobs"),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}/s"),
        TimeRemainingColumn(compact=True),
    )
    began_s = time.monotonic()
    with Progress(*columns, console=printing.console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total, completed=run.state.offset, jobs="0", rate="0")

        def show() -> None:
            rate = run.jobs / (time.monotonic() - began_s)
            progress.update(task, completed=run.state.offset, jobs=f"{run.jobs:,}", rate=f"{rate:,.0f}")

        yield show
