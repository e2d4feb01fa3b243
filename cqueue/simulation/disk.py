"""A simulated disk: what a node keeps, what it loses when it crashes, and when it crashes on it.

It passes the same conformance tests as the SQLite store and the snapshot files. A commit is one
transaction: a crash at it leaves all of it or nothing. Snapshots take a while, and count only
when they are finished.
"""

from __future__ import annotations

from collections.abc import Callable

from cqueue.replication import snapshots
from cqueue.replication.journal import Entry, Kept
from cqueue.replication.snapshots import Image
from cqueue.simulation.world import World


class Crashed(Exception):
    """The node died in the middle of a write. Only the simulation's loop catches it."""


class Disk:
    """One node's disk; it outlives the node. Also the node's `Store`.

    kept: what a crash leaves. pending: changes since the last commit, as functions.
    crash_at_commit: None, or "before" or "after": the next commit ends the node.
    """

    def __init__(self) -> None:
        self.wipe()

    def wipe(self) -> None:
        """Lose everything."""
        self.entries: dict[int, Entry] = {}
        self.term = 0
        self.voted_for: str | None = None
        self.commit_index = 1
        self.is_whole = False
        self.snapshot: bytes | None = None
        self.crash_at_commit: str | None = None
        self._pending: list[Callable[[], None]] = []

    def crash(self) -> None:
        """Lose what was not committed."""
        self._pending.clear()
        self.crash_at_commit = None

    # -- Store ---------------------------------------------------------------------------------

    def load(self) -> Kept:
        """See `Store`."""
        entries = [self.entries[index] for index in sorted(self.entries)]
        return Kept(self.term, self.voted_for, self.commit_index, self.is_whole, entries)

    def append(self, entry: Entry) -> None:
        """See `Store`."""
        self._pending.append(lambda: self.entries.__setitem__(entry[1], entry))

    def delete_from(self, index: int) -> None:
        """See `Store`."""
        self._pending.append(lambda: self._keep(lambda i: i < index))

    def delete_before(self, index: int) -> None:
        """See `Store`."""
        self._pending.append(lambda: self._keep(lambda i: i >= index))

    def _keep(self, wanted: Callable[[int], bool]) -> None:
        self.entries = {i: entry for i, entry in self.entries.items() if wanted(i)}

    def set_vote(self, term: int, voted_for: str | None) -> None:
        """See `Store`."""
        self._pending.append(lambda: self._set_vote(term, voted_for))

    def _set_vote(self, term: int, voted_for: str | None) -> None:
        self.term, self.voted_for = term, voted_for

    def set_whole(self) -> None:
        """See `Store`."""
        self._pending.append(lambda: setattr(self, "is_whole", True))

    def set_commit_index(self, index: int) -> None:
        """See `Store`."""
        self._pending.append(lambda: setattr(self, "commit_index", index))

    def commit(self) -> None:
        """See `Store`."""
        if self.crash_at_commit == "before":
            raise Crashed
        for change in self._pending:
            change()
        self._pending.clear()
        if self.crash_at_commit == "after":
            raise Crashed

    def close(self) -> None:
        """See `Store`."""


class SimSnapshots:
    """A node's `Snapshots` on its `Disk`, in one life of the node."""

    def __init__(self, disk: Disk, world: World) -> None:
        self._disk = disk
        self._world = world
        self._making: tuple[float, Image, bytes] | None = None
        self.latest: Image | None = None

    def load(self) -> tuple[int, int, bytes] | None:
        """The kept snapshot as `(index, term, state)`, or None."""
        if self._disk.snapshot is None:
            return None
        index, term, state = snapshots.decode(self._disk.snapshot)
        self.latest = Image(index, term, len(self._disk.snapshot))
        return index, term, state

    def begin(self, index: int, term: int, state: Callable[[], bytes]) -> bool:
        """See `Snapshots`."""
        if self._making is not None:
            return False
        encoded = snapshots.encode(index, term, state())
        self._making = (self._world.now_s + self._world.expo(0.3), Image(index, term, len(encoded)), encoded)
        return True

    def finished(self) -> Image | None:
        """See `Snapshots`."""
        if self._making is None or self._making[0] > self._world.now_s:
            return None
        _, self.latest, self._disk.snapshot = self._making
        self._making = None
        return self.latest

    def read(self, offset: int, count: int) -> bytes:
        """See `Snapshots`."""
        return (self._disk.snapshot or b"")[offset : offset + count]

    def install(self, encoded: bytes) -> None:
        """See `Snapshots`."""
        index, term, _ = snapshots.decode(encoded)
        self._making = None
        self._disk.snapshot = encoded
        self.latest = Image(index, term, len(encoded))
