"""`cqueue backup`, `restore` and `inspect`: the whole state into a file, out of it, and a look at it."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click

from cqueue.cli import exits
from cqueue.cli.command import Command
from cqueue.cli.options import At, node_option
from cqueue.errors import Unusable

if TYPE_CHECKING:
    import urllib3

    from cqueue.core.machine import StateMachine

ANSWER_S_MAX: Final = 660.0
"""A node may take ten minutes to make a backup."""
_PIECE_BYTES: Final = 256 * 1024
_SHOWN_CHARS: Final = 16
_STDIO: Final = "-"
_LOCAL: Final = (exits.DONE, exits.REFUSED, exits.USAGE, exits.DATA)


@click.command(
    cls=Command,
    examples=[("cqueue backup monday.cqueue", "into a file"), ("cqueue backup - | gzip > monday.gz", "into a pipe")],
)
@click.argument("file")
@node_option
@click.option("--stale", is_flag=True, help="The node's own state, without asking the others; works without a leader.")
def backup(file: str, at: At, *, stale: bool) -> None:
    """Take the whole state of a running queue along, as of one moment, into FILE (- for stdout).

    FILE appears, or is replaced, only when all of it is there and its checksum is right.
    """
    from urllib3.exceptions import HTTPError  # noqa: PLC0415 - a process that serves must not load it

    from cqueue.cli.http import CallFailed, Node  # noqa: PLC0415

    node = Node(at)
    path = "/cluster/backup?consistency=stale" if stale else "/cluster/backup"
    with _target(file) as target, node.stream("GET", path, answer_s_max=ANSWER_S_MAX) as answer:
        index = answer.headers.get("X-Cqueue-Index", "")
        try:
            size = _receive(answer, target)
        except HTTPError as error:
            raise CallFailed(f"{node.url}: the backup broke off: {error}", exit_code=exits.UNAVAILABLE) from error
    click.echo(f"{file}: the state at index {index}, {size:,} bytes", err=True)


def _receive(answer: urllib3.BaseHTTPResponse, target: BinaryIO) -> int:
    """Write the answer's body to `target`; its size.

    Raises:
        Unusable: what came is not a backup, or is damaged.
    """
    from cqueue.replication import snapshots  # noqa: PLC0415 - only these commands load it

    check = snapshots.Check()
    announced = int(answer.headers.get("Content-Length", "0"))
    with click.progressbar(length=announced, label="backup", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        for piece in answer.stream(_PIECE_BYTES):
            check.update(piece)
            target.write(piece)
            bar.update(len(piece))
    try:
        check.finish()
    except snapshots.UnreadableImage as error:
        raise Unusable(f"what the node sent is no whole backup: {error}") from error
    return check.bytes


@contextmanager
def _target(file: str) -> Iterator[BinaryIO]:
    """Where a backup goes: stdout, or a temporary file that takes the name `file` if all goes well."""
    if file == _STDIO:
        if sys.stdout.isatty():
            raise click.UsageError("a backup is not for a terminal: name a FILE, or send stdout elsewhere")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(file)
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        part = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as target:
                yield target
                target.flush()
                os.fsync(descriptor)
            part.replace(path)
        finally:
            with suppress(FileNotFoundError):
                part.unlink()
    except OSError as error:
        raise Unusable(f"{file}: cannot be written: {error.strerror}") from error


@click.command(
    cls=Command,
    examples=[("cqueue restore monday.cqueue --data-dir /var/lib/cqueue", "then start a node with that directory")],
    ends=_LOCAL,
)
@click.argument("file")
@click.option("--data-dir", required=True, metavar="DIR", help="Directory to prepare; made if it is missing.")
@click.option("--force", is_flag=True, help="Remove the data of a node that is in DIR; nothing else is touched.")
def restore(file: str, data_dir: str, *, force: bool) -> None:
    """Prepare a data directory from the backup FILE (- for stdin).

    `cqueue serve --data-dir DIR` then starts with that state. For a cluster, restore the same file
    on every node, each into a directory of its own, and start them with the --raft-addr and --peers
    they are to have.
    """
    from cqueue.replication import backups  # noqa: PLC0415 - only this command loads it

    encoded = _read(file)
    index, _, machine = _open(file, encoded)
    backups.restore(encoded, Path(data_dir), force=force)
    click.echo(f"{data_dir}: ready, with {len(machine.state.jobs):,} jobs as of index {index}", err=True)


@click.command(
    cls=Command, examples=[("cqueue inspect monday.cqueue", "whether it is whole, and what is in it")], ends=_LOCAL
)
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def inspect(file: str, *, as_json: bool) -> None:
    """Check the backup FILE (- for stdin) and say what is in it."""
    from cqueue.web.shapes.fields import time_text  # noqa: PLC0415 - only this command loads it

    encoded = _read(file)
    index, state, machine = _open(file, encoded)
    found: dict[str, Any] = {
        "index": index,
        "time": time_text(machine.now_ms),
        "bytes": len(encoded),
        "sha256": hashlib.sha256(state).hexdigest(),
        "next_id": machine.state.next_id,
        "jobs": len(machine.state.jobs),
        "queues": {queue.name: queue.counts for queue in machine.state.queues.values()},
    }
    if as_json:
        click.echo(json.dumps(found))
        return
    queues = found.pop("queues")
    for name, value in found.items():
        click.echo(f"{name:{_SHOWN_CHARS}}{value:,}" if isinstance(value, int) else f"{name:{_SHOWN_CHARS}}{value}")
    for queue, counts in sorted(queues.items()):
        shown = ", ".join(f"{status} {count:,}" for status, count in counts.items())
        click.echo(f"queue {queue:{_SHOWN_CHARS - 6}}{shown}")


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == _STDIO else Path(file).read_bytes()
    except OSError as error:
        raise Unusable(f"{file}: cannot be read: {error.strerror}") from error


def _open(file: str, encoded: bytes) -> tuple[int, bytes, StateMachine]:
    """The index, the encoded state and the state of a backup.

    Raises:
        Unusable: it is damaged, or of another version.
    """
    from cqueue.core.machine import StateMachine, UnreadableSnapshot  # noqa: PLC0415 - only these commands load it
    from cqueue.replication import snapshots  # noqa: PLC0415

    try:
        index, _, state = snapshots.decode(encoded)
        return index, state, StateMachine.restore(state)
    except (snapshots.UnreadableImage, UnreadableSnapshot) as error:
        raise Unusable(f"{file}: no usable backup: {error}") from error
