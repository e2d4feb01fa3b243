"""Forked children that compute something from the state as it is at the fork, beside the loop.

The loop stalls for the fork alone. A child dies with its parent, keeps none of its descriptors (a
link, a port and the journal's lock must not live on in it), and says what it found through a pipe.
It knows nothing of what it computes.
"""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Final, NoReturn, Protocol

from cqueue.processes import die_with_parent

FOUND_BYTES_MAX: Final = 4096
"""A pipe takes this much without a reader: the child never waits for its parent."""
NICE: Final = 5
"""About a third of the share of a core that the loop gets, where they have to share one."""


class Failed(Exception):
    """A child ended without saying what it found; the sentence says why, as far as is known."""


class Work(Protocol):
    """Something that is being computed."""

    def found(self) -> bytes | None:
        """What it found; None while it is at it.

        Raises:
            Failed: it will never say.
        """
        ...

    def end(self) -> None:
        """Give it up."""
        ...


Start = Callable[[Callable[[], bytes]], Work]
"""Starts what computes something: `Child`, or something that needs no processes where there are none."""


class Child:
    """A forked process that computes `body()`, at most `FOUND_BYTES_MAX` of it. What it raises is why it failed.

    Args:
        body: what it computes.
        keep: a descriptor it needs for that, besides the standard ones.

    Raises:
        Failed: there is no memory for one more process.
    """

    def __init__(self, body: Callable[[], bytes], *, keep: int | None = None) -> None:
        parent = os.getpid()
        reader, writer = os.pipe()
        try:
            with warnings.catch_warnings():
                # Python warns of threads at a fork. The only ones here look names up or close a file,
                # and the child touches nothing of theirs.
                warnings.simplefilter("ignore", DeprecationWarning)
                self._pid = os.fork()
        except OSError as error:
            os.close(reader)
            os.close(writer)
            raise Failed(str(error)) from error
        if self._pid == 0:
            _compute_and_exit(parent, writer, body, {writer} if keep is None else {writer, keep})
        os.close(writer)
        self._reader = reader

    def found(self) -> bytes | None:
        """See `Work`."""
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid == 0:
            return None
        said = self._read()
        if status != 0:
            raise Failed(said.decode(errors="replace") or f"its process ended with status {status}")
        return said

    def end(self) -> None:
        """See `Work`."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._read()

    def _read(self) -> bytes:
        try:
            return os.read(self._reader, FOUND_BYTES_MAX)
        finally:
            os.close(self._reader)


def _compute_and_exit(parent: int, writer: int, body: Callable[[], bytes], kept: set[int]) -> NoReturn:
    code = 1
    try:
        die_with_parent(parent)
        # Every core may be busy: those who wait for an answer come first.
        os.nice(NICE)
        for last, following in pairwise([2, *sorted(kept), min(65536, os.sysconf("SC_OPEN_MAX"))]):
            os.closerange(last + 1, following)
        try:
            os.write(writer, body()[:FOUND_BYTES_MAX])
            code = 0
        except Exception as error:  # noqa: BLE001 - the parent logs it, whatever it is
            os.write(writer, (str(error) or repr(error)).encode()[:FOUND_BYTES_MAX])
    finally:
        os._exit(code)
