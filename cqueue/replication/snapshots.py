"""Snapshots of the state machine: made beside the loop, kept in one file, sent and received in pieces.

A snapshot stands for the log up to `index`. It is encoded and written by a forked child, which
dies with its parent and writes a temporary file only; the parent, when the child has ended well,
puts the file in the place of the last one. The loop therefore stalls for the fork alone. A node
without a data directory keeps its snapshot in a file without a name, which is gone with it.

    file     header (64 bytes) · state · members
    header   MAGIC (8) · index u64 · term u64 · state bytes u64 · SHA-256 of all else in the file (32)
Members is the cluster's configuration as of `index` (see membership.py), empty where there is none.
All integers are big-endian. A file that is short, or whose digest does not fit, is named and
refused; nothing of it is loaded.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import mkstemp
from threading import Thread
from typing import Final, Protocol

from msgspec import Struct, structs

from cqueue import logs
from cqueue.errors import Unusable
from cqueue.replication.children import Child, Failed

log = logs.of(__name__)

MAGIC: Final = b"cqsnap1\n"
_FIELDS = struct.Struct(">8sQQQ")
HEADER_BYTES: Final = _FIELDS.size + 32
FILE_NAME: Final = "snapshot"
EXIT_DATA: Final = 4
"""Exit code when the data directory cannot be used."""
AGAIN_S: Final = 10.0
"""After a snapshot that failed: what it lacked, memory or space, is hardly there again at once."""
_PART_NAME: Final = f"{FILE_NAME}.part"
_WRITTEN_BYTES: Final = 4 * 1024 * 1024

Members = bytes
"""An encoded `membership.Configuration`; empty: none."""


class Image(Struct, frozen=True):
    """A snapshot's place in the log, how large its encoded form is (header included), and the members as of it."""

    index: int
    term: int
    bytes: int
    members: Members = b""


class UnreadableImage(Exception):
    """Bytes that should be a snapshot are short, of another format, or damaged."""


class Snapshots(Protocol):
    """Where a node keeps its newest snapshot. `latest` is None until there is one."""

    latest: Image | None

    def begin(self, index: int, term: int, state: Callable[[], bytes], members: bytes = b"") -> bool:
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


def encode(index: int, term: int, state: bytes, members: bytes = b"") -> bytes:
    """Header, state and members."""
    return _header(index, term, state, members) + state + members


def _header(index: int, term: int, state: bytes, members: bytes) -> bytes:
    fields = _FIELDS.pack(MAGIC, index, term, len(state))
    digest = sha256(fields)
    digest.update(state)
    digest.update(members)
    return fields + digest.digest()


def members_in(encoded: bytes) -> bytes:
    """The members in a snapshot that `decode` takes."""
    return encoded[HEADER_BYTES + _FIELDS.unpack_from(encoded)[3] :]


def decode(encoded: bytes) -> tuple[int, int, bytes]:
    """Split into `(index, term, state)`.

    Raises:
        UnreadableImage: it is not whole.
    """
    check = Check()
    check.update(encoded)
    index, term, length = check.finish()
    return index, term, encoded[HEADER_BYTES : HEADER_BYTES + length]


class Check:
    """Looks at a snapshot that passes by in pieces. bytes: of what has passed."""

    def __init__(self) -> None:
        self.bytes = 0
        self._header = b""
        self._digest = sha256()

    def update(self, piece: bytes) -> None:
        """The next piece."""
        self.bytes += len(piece)
        lacking = HEADER_BYTES - len(self._header)
        if lacking:
            self._header += piece[:lacking]
            if len(self._header) == HEADER_BYTES:
                self._digest.update(self._header[: _FIELDS.size])
        self._digest.update(memoryview(piece)[lacking:])

    def finish(self) -> tuple[int, int, int]:
        """That was all of it: `(index, term, state bytes)`.

        Raises:
            UnreadableImage: it is not whole.
        """
        if self.bytes < HEADER_BYTES:
            raise UnreadableImage(f"{self.bytes} bytes are no snapshot")
        magic, index, term, length = _FIELDS.unpack_from(self._header)
        if magic != MAGIC:
            raise UnreadableImage("another format")
        if self.bytes < HEADER_BYTES + length:
            raise UnreadableImage(f"it is cut off after {self.bytes} of {HEADER_BYTES + length} bytes")
        if self._digest.digest() != self._header[_FIELDS.size :]:
            raise UnreadableImage("its digest does not fit")
        return index, term, length


class FileSnapshots:
    """`Snapshots` in one file.

    Descriptors: file is the newest, part the one that `work` fills.

    Args:
        directory: where the file is. None: it has no name and is gone with the process, however that ends.
        sync: a snapshot is on the disk before it counts.
        on_made: called with the seconds each took to be made.
    """

    def __init__(
        self, directory: Path | None, *, sync: bool, on_made: Callable[[float], None] = lambda _seconds: None
    ) -> None:
        self._directory = directory
        self._sync = sync
        self._on_made = on_made
        self._work: Child | None = None
        self._making = Image(0, 0, 0)
        self._begun_s = 0.0
        self._not_before_s = 0.0
        self._file: int | None = None
        self._part: int | None = None
        self.latest: Image | None = None
        if directory is not None:
            (directory / _PART_NAME).unlink(missing_ok=True)

    def load(self) -> tuple[int, int, bytes] | None:
        """The newest kept snapshot as `(index, term, state)`, or None.

        Raises:
            Unusable: it is damaged, or cannot be read.
        """
        if self._directory is None:
            return None
        path = self._directory / FILE_NAME
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            with open(self._file, "rb", closefd=False) as file:
                encoded = file.read()
            index, term, state = decode(encoded)
        except FileNotFoundError:
            return None
        except (OSError, UnreadableImage) as error:
            raise Unusable(
                f"{path}: cannot be used: {error}. Nothing was changed; restore the directory from a backup, "
                "or move it away and let the node be filled by the others",
                exit_code=EXIT_DATA,
            ) from error
        self.latest = Image(index, term, len(encoded), members_in(encoded))
        return index, term, state

    def begin(self, index: int, term: int, state: Callable[[], bytes], members: bytes = b"") -> bool:
        """See `Snapshots`. After one that failed, False for a while too."""
        if self._work is not None or time.monotonic() < self._not_before_s:
            return False
        self._making, self._begun_s = Image(index, term, 0, members), time.monotonic()
        try:
            self._part = self._open_part()
            self._work = Child(partial(self._fill, self._part, self._making, state), keep=self._part)
        except (OSError, Failed) as error:  # no memory, no space: the log goes on growing meanwhile
            self._failed(str(error))
            return False
        return True

    def _give_up(self) -> None:
        if self._part is not None:
            os.close(self._part)
        self._work = self._part = None

    def _failed(self, why: str) -> None:
        self._give_up()
        self._not_before_s = time.monotonic() + AGAIN_S
        log.error("snapshot_failed", index=self._making.index, why=why)

    def _open_part(self) -> int:
        if self._directory is not None:
            return os.open(self._directory / _PART_NAME, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        part, name = mkstemp(prefix="cqueue-")
        Path(name).unlink()
        return part

    def _fill(self, part: int, image: Image, state: Callable[[], bytes]) -> bytes:
        encoded = state()
        self._write(part, _header(image.index, image.term, encoded, image.members), encoded, image.members)
        return b""

    def _write(self, part: int, *pieces: bytes) -> None:
        with open(part, "wb", closefd=False) as file:
            for piece in pieces:
                for offset in range(0, len(piece), _WRITTEN_BYTES):
                    file.write(memoryview(piece)[offset : offset + _WRITTEN_BYTES])
                    if self._sync:
                        # Little by little: the journal's next sync stands in line behind this one.
                        file.flush()
                        os.fsync(part)

    def _replace(self, part: int, image: Image) -> None:
        if self._directory is not None:
            (self._directory / _PART_NAME).replace(self._directory / FILE_NAME)
            if self._sync:
                directory = os.open(self._directory, os.O_RDONLY)
                try:
                    os.fsync(directory)
                finally:
                    os.close(directory)
        if self._file is not None:
            # The last descriptor of a large file takes a while to close, as the file is freed then.
            Thread(target=os.close, args=(self._file,)).start()
        self._file, self._part = part, None
        self.latest = image

    def finished(self) -> Image | None:
        """See `Snapshots`."""
        if self._work is None or self._part is None:
            return None
        try:
            if self._work.found() is None:
                return None
        except Failed as error:
            self._failed(str(error))
            return None
        self._work = None
        size = os.fstat(self._part).st_size
        self._replace(self._part, structs.replace(self._making, bytes=size))
        seconds = time.monotonic() - self._begun_s
        self._on_made(seconds)
        log.info("snapshot_made", index=self._making.index, bytes=size, seconds=round(seconds, 2))
        return self.latest

    def read(self, offset: int, count: int) -> bytes:
        """See `Snapshots`."""
        return b"" if self._file is None else os.pread(self._file, count, offset)

    def install(self, encoded: bytes) -> None:
        """See `Snapshots`."""
        index, term, _ = decode(encoded)
        if self._work is not None:
            # A snapshot of what this one replaces: whatever it says, it is older.
            self._work.end()
            self._give_up()
        part = self._open_part()
        self._write(part, encoded)
        self._replace(part, Image(index, term, len(encoded), members_in(encoded)))


class NoSnapshots:
    """`Snapshots` of a node that needs none: alone, and in memory only. The log may just go."""

    latest: Image | None = None

    def __init__(self) -> None:
        self._finished: Image | None = None

    def begin(self, index: int, term: int, state: Callable[[], bytes], members: bytes = b"") -> bool:  # noqa: ARG002 - the interface's
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
