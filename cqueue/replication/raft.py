"""PySyncObj's `SyncObj` as the mends see it: its private state with types, and a few words for it.

PySyncObj is mended by overriding its (name-mangled) methods, a class for each area: elections.py,
appends.py, consensus.py. A class here calls `super()` for what PySyncObj does well. Each mend says
which hole it closes; DESIGN.md has the table. "Raft" is the dissertation (Ongaro 2014).
"""

from __future__ import annotations

import zlib
from typing import Any, Final, NoReturn, Protocol

import pysyncobj.journal
import pysyncobj.pickle
from msgspec import Struct
from pysyncobj import SyncObj
from pysyncobj.node import TCPNode

from cqueue.replication.clock import Clock
from cqueue.replication.journal import Journal

PYSYNCOBJ_VERSION: Final = "0.3.17"
"""The one version these mends were written against; a test holds the installed one to it."""

FOLLOWER, CANDIDATE, LEADER = 0, 1, 2
ROLES: Final = ("follower", "candidate", "leader")
REGULAR, NO_OP = b"\x00", b"\x01"

Message = dict[str, Any]


def _refuse_pickle(*_args: Any, **_options: Any) -> NoReturn:
    raise RuntimeError("PySyncObj reached for pickle, which runs what it reads; nothing here is pickled")


for _module in (pysyncobj.pickle, pysyncobj.journal):
    for _name in ("load", "loads", "dump", "dumps"):
        # Hole: it unpickles what comes from the wire and the disk. With this it cannot, wherever it tries.
        setattr(_module, _name, _refuse_pickle)


class Timing(Struct, frozen=True):
    """Raft's periods, in seconds."""

    election_s_min: float = 0.5
    election_s_max: float = 1.0
    heartbeat_s: float = 0.1

    @property
    def fallback_s(self) -> float:
        """A leader that has heard no majority for this long steps down: it may have a successor."""
        return self.election_s_max


class HoldingTransport(Protocol):
    """What the loop needs beyond PySyncObj's `Transport`: messages held until they may leave."""

    def send(self, node: Any, message: Message) -> bool:
        """Hold `message` for `node`; False where there is no link to it."""
        ...

    def flush(self) -> None:
        """Send what was held."""
        ...

    def addNode(self, node: Any) -> None:  # noqa: N802 - PySyncObj's name
        """Have a link to `node` from now on."""
        ...

    def dropNode(self, node: Any) -> None:  # noqa: N802
        """Have none to `node` any more."""
        ...


class Peer(TCPNode):  # type: ignore[misc]
    """A node's name. Its hash is the same in every process, so that sets iterate alike everywhere."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self._hash = zlib.crc32(address.encode())

    def __hash__(self) -> int:
        return self._hash


class Raft(SyncObj):  # type: ignore[misc]
    """`SyncObj` with typed private state."""

    _SyncObj__commandsQueue: Any
    _SyncObj__connectedNodes: set[Peer]
    _SyncObj__lastResponseTime: dict[Peer, float]
    _SyncObj__leaderCommitIndex: int | None
    _SyncObj__newAppendEntriesTime: float
    _SyncObj__noopIDx: int
    _SyncObj__otherNodes: set[Peer]
    _SyncObj__raftCommitIndex: int
    _SyncObj__raftElectionDeadline: float
    _SyncObj__raftLastApplied: int
    _SyncObj__raftLeader: Peer | None
    _SyncObj__raftMatchIndex: dict[Peer, int]
    _SyncObj__raftNextIndex: dict[Peer, int]
    _SyncObj__raftState: int
    _SyncObj__selfNode: Peer
    _SyncObj__transferInProgress: bool
    _SyncObj__transport: HoldingTransport

    _journal: Journal
    _timing: Timing
    _clock: Clock

    @property
    def is_leader(self) -> bool:
        """Whether this node takes itself for the leader; only a commit proves it."""
        return bool(self._SyncObj__raftState == LEADER)

    @property
    def is_alone(self) -> bool:
        """Whether this node is the whole cluster."""
        return not self._SyncObj__otherNodes

    @property
    def last_index(self) -> int:
        """Index of the last entry in the log."""
        return self._journal[-1][1]

    def _send(self, node: Peer, kind: str, /, **fields: Any) -> None:
        self._SyncObj__transport.send(node, {"type": kind, "term": self.raftCurrentTerm, **fields})

    def _is_majority(self, count: int) -> bool:
        return count > (len(self._SyncObj__otherNodes) + 1) / 2
