"""The Raft log of one node: in memory for reading, in a `Store` for keeping.

It implements PySyncObj's `Journal` interface. Changes are collected and become one transaction
per round of the loop: `commit` is called before anything that depends on them leaves the node.
Positions given by PySyncObj count from the first entry held; a `Store` counts log indexes.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import Any, Final, Protocol, overload

from msgspec import Struct
from pysyncobj.journal import Journal as PySyncObjJournal

from cqueue.errors import Unusable
from cqueue.replication import membership
from cqueue.replication.membership import MEMBERS, Configuration
from cqueue.replication.snapshots import EXIT_DATA, Image

Entry = tuple[bytes, int, int]
"""(command, index, term), the way PySyncObj keeps it."""


_BASE_COMMAND: Final = b"\x01"
"""PySyncObj's no-op: stands for an entry whose effect is in a snapshot. It is never applied."""


class Kept(Struct):
    """What a store gives back at start. `entries` ascend by index without gaps.

    is_whole: this node knows all it ever promised; see `cqueue.replication.membership`.
    members: the encoded configuration as of `members_index`; entries behind it may hold newer ones.
    life: a number that no other memory of any node has, 0 before there is one.
    """

    term: int = 0
    voted_for: str | None = None
    commit_index: int = 1
    is_whole: bool = False
    entries: list[Entry] = []
    members_index: int = 0
    members: bytes = b""
    life: int = 0


class Store(Protocol):
    """Where a journal keeps its entries, term and vote.

    Between two `commit` calls the changes are one transaction: after a crash either all of them
    are there or none. They are given in order and may cancel each other out.
    """

    def load(self) -> Kept:
        """Everything kept."""
        ...

    def append(self, entry: Entry) -> None:
        """Keep one more entry at the end."""
        ...

    def delete_from(self, index: int) -> None:
        """Forget every entry at or after `index`."""
        ...

    def delete_before(self, index: int) -> None:
        """Forget every entry before `index`."""
        ...

    def set_vote(self, term: int, voted_for: str | None) -> None:
        """Keep the term and whom this node voted for in it."""
        ...

    def set_whole(self) -> None:
        """Keep that this node knows all it ever promised."""
        ...

    def set_members(self, index: int, members: bytes) -> None:
        """Keep the configuration as of `index`."""
        ...

    def set_life(self, life: int) -> None:
        """Keep the number of this memory."""
        ...

    def set_commit_index(self, index: int) -> None:
        """Keep the commit index; on its own this needs no transaction."""
        ...

    def commit(self) -> None:
        """Make the changes since the last commit last."""
        ...

    def close(self) -> None:
        """Commit and let go."""
        ...


class MemoryStore:
    """Keeps nothing: a node without a data directory."""

    def load(self) -> Kept:
        """Nothing was kept."""
        return Kept()

    def append(self, entry: Entry) -> None:
        """Forget it."""

    def delete_from(self, index: int) -> None:
        """Nothing is there."""

    def delete_before(self, index: int) -> None:
        """Nothing is there."""

    def set_vote(self, term: int, voted_for: str | None) -> None:
        """Forget it."""

    def set_whole(self) -> None:
        """Forget it."""

    def set_members(self, index: int, members: bytes) -> None:
        """Forget it."""

    def set_life(self, life: int) -> None:
        """Forget it."""

    def set_commit_index(self, index: int) -> None:
        """Forget it."""

    def commit(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


class Journal(PySyncObjJournal):  # type: ignore[misc]
    """The log. The first entry held is the base: everything up to it may be in a snapshot only.

    entries: list of (command, index, term), indexes ascending by one.
    ends: for each entry, bytes of all commands up to and including it, since the journal was made.
    configurations: list of (index, Configuration), ascending: those in entries, and before them the
    one as of `settled_index`, which holds whatever entries up to there say.
    """

    def __init__(self, store: Store) -> None:
        kept = store.load()
        self._store = store
        self._entries = kept.entries
        self._ends = list(accumulate(len(command) for command, _, _ in kept.entries))
        self._term = kept.term
        self._voted_for = kept.voted_for
        self._commit_index = max(1, kept.commit_index)
        self._changed = False
        self._settled_index = kept.members_index
        settled = membership.decode(kept.members)
        self._configurations = [] if settled is None else [(kept.members_index, settled)]
        for entry in kept.entries:
            self._note_members(entry)
        self._life = kept.life
        self.is_whole = kept.is_whole
        self.was_empty = not kept.entries and kept.term == 0

    @overload
    def __getitem__(self, item: int) -> Entry: ...
    @overload
    def __getitem__(self, item: slice) -> list[Entry]: ...
    def __getitem__(self, item: Any) -> Any:
        return self._entries[item]

    def __len__(self) -> int:
        return len(self._entries)

    def entry_at(self, index: int) -> Entry | None:
        """The entry with log index `index`, if it is held."""
        position = index - self._entries[0][1]
        return self._entries[position] if 0 <= position < len(self._entries) else None

    def bytes_between(self, first: int, last: int) -> int:
        """Bytes of the commands held in `(first, last]`, as log indexes."""
        base, end = self._entries[0][1], len(self._ends) - 1
        return self._ends[max(0, min(last - base, end))] - self._ends[max(0, min(first - base, end))]

    def slice(self, index: int, bytes_max: int) -> list[Entry]:
        """Entries from `index` on: as many as fit `bytes_max`, but one at least where there is one."""
        position = index - self._entries[0][1]
        if position >= len(self._entries):
            return []
        limit = (self._ends[position - 1] if position else 0) + bytes_max
        return self._entries[position : max(position + 1, bisect_right(self._ends, limit, position))]

    @property
    def configuration(self) -> Configuration | None:
        """The newest configuration in the log, or in what it follows from; None: it never had one."""
        return self._configurations[-1][1] if self._configurations else None

    @property
    def configuration_index(self) -> int:
        """Where the newest configuration stands, 0 without one."""
        return self._configurations[-1][0] if self._configurations else 0

    def configuration_at(self, index: int) -> Configuration | None:
        """The newest configuration up to `index`."""
        return next((held for at, held in reversed(self._configurations) if at <= index), None)

    def set_configuration(self, index: int, configuration: Configuration) -> None:
        """Let `configuration` be the one as of `index`, whatever the entries up to there say."""
        self._configurations = [
            (index, configuration),
            *(later for later in self._configurations if later[0] > index),
        ]
        self._settled_index = index
        self._store.set_members(index, membership.encode(configuration))
        self._changed = True

    def _note_members(self, entry: Entry) -> None:
        command, index, _ = entry
        if command[:1] == MEMBERS and index > self._settled_index:
            held = membership.decode(command[1:])
            if held is not None:
                self._configurations.append((index, held))

    def start_over(self, index: int, term: int, configuration: Configuration | None = None) -> None:
        """Let the log begin after a snapshot of everything up to `index`, made under `configuration`.

        What is held behind it stays where it follows from the snapshot, and goes where it does
        not: the entry at `index` then has another term (Raft figure 5.3, steps 6 and 7).
        """
        held = self.entry_at(index) if self._entries else None
        if held is not None and held[2] == term:
            self.deleteEntriesTo(index - self._entries[0][1])
        else:
            self.clear()
            self.add(_BASE_COMMAND, index, term)
            self._configurations.clear()
            if configuration is not None:
                self.set_configuration(index, configuration)

    def reconcile(self, restored: Image | None) -> None:
        """Let the journal follow on from the snapshot the state was restored from.

        Hole: PySyncObj clears the whole journal when a snapshot is newer than the journal's first
        entry. Here it is kept wherever it reaches the snapshot.

        Raises:
            Unusable: what is between the snapshot and the journal, or one of them, is missing.
        """
        first = self._entries[0][1] if self._entries else None
        kept = 0 if restored is None else restored.index
        if restored is None and first is None:
            return
        if first is None or first > max(kept, 1):
            raise Unusable(
                f"the journal begins at {first or 'nothing'} and the snapshot ends at {kept or 'nothing'}: what lies "
                "between them is missing. Nothing was changed; restore the data directory from a backup, or move it "
                "away and let the node be filled by the others",
                exit_code=EXIT_DATA,
            )
        if restored is not None:
            held = self.entry_at(kept)
            if held is None or held[2] != restored.term:
                self.start_over(kept, restored.term, membership.decode(restored.members))

    def add(self, command: bytes, idx: int, term: int) -> None:
        """Append one entry."""
        entry = (command, idx, term)
        self._entries.append(entry)
        self._ends.append((self._ends[-1] if self._ends else 0) + len(command))
        self._store.append(entry)
        self._note_members(entry)
        self._changed = True

    def clear(self) -> None:
        """Forget every entry."""
        if self._entries:
            self._store.delete_from(self._entries[0][1])
            self._entries.clear()
            self._ends.clear()
            self._changed = True

    def deleteEntriesFrom(self, entryFrom: int) -> None:  # noqa: N802, N803 - PySyncObj's name
        """Forget the entries from position `entryFrom` on."""
        if entryFrom < len(self._entries):
            index = self._entries[entryFrom][1]
            self._store.delete_from(index)
            while self._configurations and self._configurations[-1][0] >= max(index, self._settled_index + 1):
                self._configurations.pop()
            del self._entries[entryFrom:]
            del self._ends[entryFrom:]
            self._changed = True

    def deleteEntriesTo(self, entryTo: int) -> None:  # noqa: N802, N803 - PySyncObj's name
        """Forget the entries before position `entryTo`."""
        if 0 < entryTo < len(self._entries):
            index = self._entries[entryTo][1]
            configuration = self.configuration_at(index)
            if configuration is not None and self._configurations[0][0] < index:
                self.set_configuration(index, configuration)
            self._store.delete_before(index)
            del self._entries[:entryTo]
            del self._ends[:entryTo]
            self._changed = True

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:  # noqa: N802, N803 - PySyncObj's name
        """Keep the commit index with the next transaction."""
        if raftCommitIndex != self._commit_index:
            self._commit_index = raftCommitIndex
            self._store.set_commit_index(raftCommitIndex)

    def getRaftCommitIndex(self) -> int:  # noqa: N802 - PySyncObj's name
        """The commit index as it was kept, which may be behind; never past the last entry."""
        return min(self._commit_index, self._entries[-1][1]) if self._entries else 1

    def setCurrentTerm(self, term: int, votedForNodeId: str | None) -> None:  # noqa: N802, N803 - PySyncObj's name
        """Keep term and vote."""
        self._term, self._voted_for = term, votedForNodeId
        self._store.set_vote(term, votedForNodeId)
        self._changed = True

    def getCurrentTerm(self) -> int:  # noqa: N802 - PySyncObj's name
        """The kept term."""
        return self._term

    def getVotedForNodeId(self) -> str | None:  # noqa: N802 - PySyncObj's name
        """Whom this node voted for in the kept term."""
        return self._voted_for

    def life(self, fresh: int) -> int:
        """The number of this memory: the kept one, else `fresh`, which is kept from now on."""
        if not self._life:
            self._life = fresh
            self._store.set_life(fresh)
            self._changed = True
        return self._life

    def set_whole(self) -> None:
        """Keep that this node knows all it ever promised, from here on."""
        self.is_whole = True
        self._store.set_whole()
        self._changed = True

    def commit(self) -> None:
        """Make every change since the last commit last; cheap where there is none."""
        if self._changed:
            self._store.commit()
            self._changed = False

    def _destroy(self) -> None:
        self._store.close()
