"""Snapshots of the state machine: made beside the loop, kept in one file, sent and received in pieces.

A snapshot stands for the log up to `index`. It is encoded and written by a forked child, which
dies with its parent and writes a temporary file only; the parent, when the child has ended well,
puts the file in the place of the last one. The loop therefore stalls for the fork alone.

    file     header (64 bytes) · state
    header   MAGIC (8) · index u64 · term u64 · state bytes u64 · SHA-256 of the state (32)
All integers are big-endian. A file that is short, or whose digest does not fit, is named and
refused; nothing of it is loaded.
"""

from __future__ import annotations

import hashlib
import logging
import os
import struct
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from msgspec import Struct

from cqueue.errors import Unusable
from cqueue.processes import die_with_parent

log = logging.getLogger(__name__)

MAGIC: Final = b"cqsnap1\n"
_HEADER = struct.Struct(">8sQQQ32s")
FILE_NAME: Final = "snapshot"
EXIT_DATA: Final = 4
"""Exit code when the data directory cannot be used."""


class Image(Struct, frozen=True):
    """A snapshot's place in the log, and how large its encoded form is (header included)."""

    index: int
    term: int
    bytes: int


class UnreadableImage(Exception):
    """Bytes that should be a snapshot are short, of another format, or damaged."""


class Snapshots(Protocol):
    """Where a node keeps its newest snapshot. `latest` is None until there is one."""

    latest: Image | None

    def begin(self, index: int, term: int, state: Callable[[], bytes]) -> bool:
        """Start to make one of `state()` as it is now; False where one is being made already."""
        ...

    def finished(self) -> Image | None:
        """The one that was finished since this was last asked; it is `latest` from then on."""
        ...

    def read(self, offset: int, count: int) -> bytes:
        """A piece of the newest one's encoded form."""
        ...

    def install(self, encoded: bytes) -> None:
        """Keep one that came from another node, durably where this store is durable."""
        ...


def encode(index: int, term: int, state: bytes) -> bytes:
    """Header and state."""
    return _HEADER.pack(MAGIC, index, term, len(state), hashlib.sha256(state).digest()) + state


def decode(encoded: bytes) -> tuple[int, int, bytes]:
    """Split into `(index, term, state)`.

    Raises:
        UnreadableImage: it is not whole.
    """
    if len(encoded) < _HEADER.size:
        raise UnreadableImage(f"{len(encoded)} bytes are no snapshot")
    magic, index, term, length, digest = _HEADER.unpack_from(encoded)
    state = encoded[_HEADER.size :]
    if magic != MAGIC:
        raise UnreadableImage("another format")
    if len(state) != length or hashlib.sha256(state).digest() != digest:
        raise UnreadableImage("its digest does not fit")
    return index, term, state


class FileSnapshots:
    """`Snapshots` in a directory. With `sync` a snapshot is on the disk before it counts.

    Raises:
        Unusable: the directory holds a damaged snapshot.
    """

    def __init__(self, directory: Path, *, sync: bool) -> None:
        self._path = directory / FILE_NAME
        self._part = directory / f"{FILE_NAME}.part"
        self._sync = sync
        self._child = 0
        self._making: Image | None = None
        self.latest: Image | None = None
        with suppress(FileNotFoundError):
            self._part.unlink()

    def load(self) -> tuple[int, int, bytes] | None:
        """The newest kept snapshot as `(index, term, state)`, or None."""
        try:
            encoded = self._path.read_bytes()
            index, term, state = decode(encoded)
        except FileNotFoundError:
            return None
        except (OSError, UnreadableImage) as error:
            raise Unusable(
                f"{self._path}: cannot be used: {error}. Nothing was changed; restore the directory from a backup, "
                "or move it away and let the node be filled by the others",
                exit_code=EXIT_DATA,
            ) from error
        self.latest = Image(index, term, len(encoded))
        return index, term, state

    def begin(self, index: int, term: int, state: Callable[[], bytes]) -> bool:
        """See `Snapshots`."""
        if self._child:
            return False
        parent = os.getpid()
        with warnings.catch_warnings():
            # Python warns of threads at a fork. The only ones here look names up, and the child
            # touches nothing of theirs: it encodes, writes and ends.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._child = os.fork()
        if self._child == 0:
            self._write_and_exit(parent, index, term, state)
        self._making = Image(index, term, 0)
        return True

    def _write_and_exit(self, parent: int, index: int, term: int, state: Callable[[], bytes]) -> None:
        code = 1
        try:
            die_with_parent(parent)
            # The child must not keep a link, a port or the journal's lock alive.
            os.closerange(3, min(65536, os.sysconf("SC_OPEN_MAX")))
            self._write(encode(index, term, state()))
            code = 0
        finally:
            os._exit(code)

    def _write(self, encoded: bytes) -> None:
        with self._part.open("wb") as part:
            part.write(encoded)
            part.flush()
            if self._sync:
                os.fsync(part.fileno())

    def _replace(self, image: Image) -> None:
        self._part.replace(self._path)
        if self._sync:
            directory = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        self.latest = image

    def finished(self) -> Image | None:
        """See `Snapshots`."""
        if not self._child or self._making is None:
            return None
        pid, status = os.waitpid(self._child, os.WNOHANG)
        if pid == 0:
            return None
        self._child = 0
        size = self._part.stat().st_size if status == 0 else 0
        if size < _HEADER.size:
            log.error("snapshot_failed index=%d status=%d", self._making.index, status)
            return None
        self._replace(Image(self._making.index, self._making.term, size))
        log.info("snapshot_made index=%d bytes=%d", self._making.index, size)
        return self.latest

    def read(self, offset: int, count: int) -> bytes:
        """See `Snapshots`."""
        with self._path.open("rb") as file:
            file.seek(offset)
            return file.read(count)

    def install(self, encoded: bytes) -> None:
        """See `Snapshots`."""
        index, term, _ = decode(encoded)
        if self._child:
            # A snapshot of what this one replaces: whatever it says, it is older.
            os.kill(self._child, 9)
            os.waitpid(self._child, 0)
            self._child = 0
        self._write(encoded)
        self._replace(Image(index, term, len(encoded)))


class NoSnapshots:
    """`Snapshots` of a node that needs none: alone, and in memory only. The log may just go."""

    latest: Image | None = None

    def __init__(self) -> None:
        self._finished: Image | None = None

    def begin(self, index: int, term: int, state: Callable[[], bytes]) -> bool:  # noqa: ARG002 - the interface's
        """Nobody will ask for it: it is finished at once."""
        self._finished = Image(index, term, 0)
        return True

    def finished(self) -> Image | None:
        """See `begin`."""
        finished, self._finished = self._finished, None
        return finished

    def read(self, offset: int, count: int) -> bytes:  # noqa: ARG002 - the interface's
        """There is nobody to read it."""
        return b""

    def install(self, encoded: bytes) -> None:
        """There is nobody to send one."""
