"""A simulated disk: what a node keeps, what it loses when it crashes, and when it crashes on it.

It passes the same conformance tests as the SQLite store. A commit is one transaction: a crash at it
leaves all of it or nothing, which is also what a torn write leaves of a journal that is a database.
A commit may take its time, as a real one does: the node does nothing else meanwhile. Snapshots are
made beside the node, take a while, and count only when they are finished.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cqueue.replication import snapshots
from cqueue.replication.journal import Entry, Kept
from cqueue.replication.snapshots import Image
from cqueue.simulation.world import World

MAKING_S: Final = 0.3
"""How long it takes to make a snapshot, on average."""


class Crashed(Exception):
    """The node died in the middle of a write. Only the simulation's loop catches it."""


class Disk:
    """One node's disk; it outlives the node. Also the node's `Store`.

    pending: changes since the last commit, as functions; all else is what a crash leaves.
    crash_at_commit: None, or "before" or "after": the next commit ends the node.
    making_s: how long it takes to make a snapshot, on average.
    commit_s: how long a commit takes at present. busy_s: how long those since the last `rest` took.
    on_append: hears of every entry that is appended.
    """

    def __init__(self) -> None:
        self.making_s = MAKING_S
        self.commit_s = self.busy_s = 0.0
        self.on_append: Callable[[Entry], None] = lambda _entry: None
        self.wipe()

    def wipe(self) -> None:
        """Lose everything."""
        self.entries: dict[int, Entry] = {}
        self.term = 0
        self.voted_for: str | None = None
        self.commit_index = 1
        self.is_whole = False
        self.members = (0, b"")
        self.life = 0
        self.snapshot: bytes | None = None
        self.crash_at_commit: str | None = None
        self._pending: list[Callable[[], None]] = []

    def crash(self) -> None:
        """Lose what was not committed."""
        self._pending.clear()
        self.crash_at_commit = None
        self.busy_s = 0.0

    def rest(self) -> float:
        """How long the commits since the last rest took, in simulated seconds."""
        busy_s, self.busy_s = self.busy_s, 0.0
        return busy_s

    # -- Store ---------------------------------------------------------------------------------

    def load(self) -> Kept:
        """See `Store`."""
        entries = [self.entries[index] for index in sorted(self.entries)]
        return Kept(self.term, self.voted_for, self.commit_index, self.is_whole, entries, *self.members, self.life)

    def append(self, entry: Entry) -> None:
        """See `Store`."""
        self.on_append(entry)
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

    def set_members(self, index: int, members: bytes) -> None:
        """See `Store`."""
        self._pending.append(lambda: setattr(self, "members", (index, members)))

    def set_life(self, life: int) -> None:
        """See `Store`."""
        self._pending.append(lambda: setattr(self, "life", life))

    def set_commit_index(self, index: int) -> None:
        """See `Store`."""
        self._pending.append(lambda: setattr(self, "commit_index", index))

    def commit(self) -> None:
        """See `Store`."""
        if self.crash_at_commit == "before":
            raise Crashed
        self.busy_s += self.commit_s
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
        self.latest = Image(index, term, len(self._disk.snapshot), snapshots.members_in(self._disk.snapshot))
        return index, term, state

    def begin(self, index: int, term: int, state: Callable[[], bytes], members: bytes = b"") -> bool:
        """See `Snapshots`."""
        if self._making is not None:
            return False
        encoded = snapshots.encode(index, term, state(), members)
        image = Image(index, term, len(encoded), members)
        self._making = (self._world.now_s + self._world.expo(self._disk.making_s), image, encoded)
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
        self.latest = Image(index, term, len(encoded), snapshots.members_in(encoded))
