"""The clock of a `cqueue dev` cluster: ahead of the machine's by as much as it was told. No other node has one.

The nodes are forks of one process and share a word of memory with it; a unix socket takes the order to move
on. Time is stamped into the log by the leader, who takes the wall time when it is elected (ADR 3): so the
order is followed by a hand-over, and the timers, which only count differences, are left alone.
"""

from __future__ import annotations

import mmap
import os
import re
import socket
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from cqueue.errors import Unavailable, Unusable
from cqueue.replication.clock import SystemClock

DAYS_MAX: Final = 3_660
"""How far it may be ahead: as long as anything in a queue may last."""
_AHEAD: Final = struct.Struct("<q")
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_BYTES_MAX: Final = 4_096
_ANSWER_S_MAX: Final = 5.0


class Moved(msgspec.Struct):
    """The answer to an order. ahead_s: how far it is ahead then; nodes: their addresses; error: "" if it moved."""

    ahead_s: int
    nodes: list[str]
    error: str = ""


class SharedClock(SystemClock):
    """See `Clock`: its wall time is ahead; all forks of this process see the same."""

    def __init__(self) -> None:
        self._ahead = mmap.mmap(-1, _AHEAD.size)

    @property
    def ahead_s(self) -> int:
        """By how much."""
        ahead_s: int = _AHEAD.unpack(self._ahead[:])[0]
        return ahead_s

    def move(self, seconds: int) -> None:
        """Move it on.

        Raises:
            ValueError: back, or too far.
        """
        if seconds < 0:
            raise ValueError("time does not run backwards")
        if self.ahead_s + seconds > DAYS_MAX * _UNITS_S["d"]:
            raise ValueError(f"at most {DAYS_MAX:,} days ahead")
        self._ahead[:] = _AHEAD.pack(self.ahead_s + seconds)

    def wall_ms(self) -> int:
        """See `Clock`."""
        return super().wall_ms() + self.ahead_s * 1_000


class Control:
    """The socket on which a `cqueue dev` takes orders; `port` of its first node names it. Only its user reaches it."""

    def __init__(self, port: int, clock: SharedClock, nodes: Sequence[str]) -> None:
        self._clock, self._nodes = clock, list(nodes)
        self._path = _path(port)
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen()

    def fileno(self) -> int:
        """For a selector."""
        return self._listener.fileno()

    def close(self) -> None:
        """Take no more orders."""
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def take(self) -> None:
        """Take one order that is there, and answer it."""
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(_ANSWER_S_MAX)
            try:
                self._clock.move(int(connection.recv(_BYTES_MAX)))
                error = ""
            except ValueError as refused:
                error = str(refused)
            except OSError:
                return
            connection.sendall(msgspec.json.encode(Moved(self._clock.ahead_s, self._nodes, error)))


def order(port: int, seconds: int) -> Moved:
    """Have the clock of the `cqueue dev` whose first node is on this port moved.

    Raises:
        Unavailable: there is none.
        Unusable: it will not.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_ANSWER_S_MAX)
            connection.connect(str(_path(port)))
            connection.sendall(str(seconds).encode())
            moved = msgspec.json.decode(connection.recv(_BYTES_MAX), type=Moved)
    except OSError as error:
        raise Unavailable(
            f"no `cqueue dev` of yours runs on port {port}; --port names that of its first node"
        ) from error
    if moved.error:
        raise Unusable(moved.error)
    return moved


def seconds_of(text: str) -> int:
    """`+7d` → 604800; also `+1d12h`, `90m`, `-1h`.

    Raises:
        ValueError: that is no time.
    """
    found = re.fullmatch(r"([+-]?)((?:\d+[smhd])+)", text)
    if found is None:
        raise ValueError(f"{text!r} is no time such as +7d, +12h, +90m or +30s")
    seconds = sum(int(count) * _UNITS_S[unit] for count, unit in re.findall(r"(\d+)([smhd])", found[2]))
    return -seconds if found[1] == "-" else seconds


def _path(port: int) -> Path:
    return Path(tempfile.gettempdir()) / f"cqueue-dev-{os.getuid()}" / f"{port}.sock"
