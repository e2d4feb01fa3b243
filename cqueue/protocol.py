"""Frames between a node's web workers and its replica, on a unix socket (doors 1 and 2).

Every frame begins with the length of what follows the length field. All integers are big-endian.

    request   length u32 · request_id u32 · kind u8 · wait_ms u32 · body
    reply     length u32 · request_id u32 · outcome u8 · index u64 · body

`request_id` is the worker's own counter; replies come in any order. `wait_ms` is how long a
dequeue that finds nothing, or a look at a job that is not finished, may wait, and how long a
backup or a comparison may take. `index` is the log index the reply reflects. A worker reports what
it has counted since it last did; a tally is what the node has counted since it started.

    kind      body                                reply body (outcome RESULT)
    OPERATE   one encoded Operation               its encoded Result
    QUERY     one encoded Query, linearizable     its encoded Result
    PEEK      one encoded Query, as this node is  its encoded Result
    STATUS    empty                               NodeStatus
    CANCEL    empty: request_id is unwanted       none
    DRAIN     empty: answer all that wait now     none
    REPORT    encoded Tally (cqueue.metrics)      none
    STOP      empty: answer request_id now,       none
              if it waits
    FOLLOW    encoded Wanted (cqueue.core.feed)   encoded Followed, when there is something to tell
    AWAIT     encoded index                       empty, once this node has applied the log up to it
    BACKUP    path of a file of the worker's      empty, once the state as it was is written there
    VERIFY    empty                               Verdict
    ORDER     one encoded Order                   Ordered
    TALLY     empty                               Tally

Outcomes REFUSED (nothing was done: things are not so that it could be), UNAVAILABLE (nothing was
done just now) and UNKNOWN (it may have been done) carry a `Failure`.
Both ends are processes of one node, started together: this protocol has no version.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

OPERATE: Final = 1
QUERY: Final = 2
PEEK: Final = 3
STATUS: Final = 4
CANCEL: Final = 5
DRAIN: Final = 6
AWAIT: Final = 7
BACKUP: Final = 8
VERIFY: Final = 9
ORDER: Final = 10
STOP: Final = 11
FOLLOW: Final = 12
REPORT: Final = 13
TALLY: Final = 14

RESULT: Final = 0
UNAVAILABLE: Final = 1
UNKNOWN: Final = 2
REFUSED: Final = 3

ADD: Final = "add"
REMOVE: Final = "remove"
TRANSFER: Final = "transfer"
BOOTSTRAP: Final = "bootstrap"

FRAME_BYTES_MAX: Final = 64 * 1024 * 1024
"""A longer frame is a bug of ours, not input: the connection is closed."""

_LENGTH = struct.Struct(">I")
_REQUEST = struct.Struct(">IIBI")
_REPLY = struct.Struct(">IIBQ")


def _one_of(*words: str) -> Meta:
    return Meta(extra_json_schema={"enum": [*words]})


# What of this is shown to clients as it is (`GET /cluster` and its like) says which words it may be.
NodeId = Annotated[
    str,
    Meta(
        description="a node's `host:port` for the other nodes",
        examples=["127.0.0.1:4001"],
        extra_json_schema={"pattern": "^[^:/]+:[0-9]{1,5}$"},
    ),
]
Index = Annotated[int, Meta(ge=0, description="of an entry of the log", examples=[3])]
Level = Annotated[int, Meta(ge=1, description="what a version reads, see docs/versions.md", examples=[1])]
Role = Annotated[str, _one_of("leader", "follower", "candidate")]
Mode = Annotated[str, _one_of("memory", "replicated-memory", "durable")]


class Failure(Struct, array_like=True, frozen=True):
    """Why there is no result. `retry_after_s` counts from now; 0: at once."""

    code: str
    detail: str
    retry_after_s: int = 0


class Member(Struct, frozen=True):
    """One node as this node sees it."""

    id: NodeId
    state: Annotated[str, _one_of("self", "connected", "disconnected")]


class Change(Struct, frozen=True):
    """A change of the members, or of the leader, that the leader is about.

    phase: "catching up" (the new node gets the log), "committing", or "handing over" (leadership).
    """

    verb: Annotated[str, _one_of(ADD, REMOVE, TRANSFER)]
    node: NodeId | None
    phase: Annotated[str, _one_of("catching up", "committing", "handing over")]


class Order(Struct, frozen=True):
    """What an operator wants of the cluster. verb: "add", "remove", "transfer" or "bootstrap".

    node: which member; None with "transfer": whichever can. wait_ms: how long a new node may take to
    catch up. members: with "bootstrap", those there shall be; none: this node alone.
    """

    verb: str
    node: str | None = None
    wait_ms: int = 0
    members: list[str] = []


class Ordered(Struct, frozen=True):
    """How the cluster is after an order."""

    members: list[NodeId]
    leader: NodeId | None


class NodeStatus(Struct, frozen=True):
    """What `GET /cluster` shows, and whether `/readyz` says yes (`not_ready` is None then).

    level: what the members have agreed that all of them read; level_max: what this node reads (cqueue.core.levels).
    consumers_waiting: dequeues that wait for a job on this node.
    """

    node: NodeId
    role: Role
    leader: NodeId | None
    term: int
    commit_index: Index
    applied_index: Index
    members: list[Member]
    mode: Mode
    level: Level
    level_max: Level
    not_ready: str | None
    change: Change | None = None
    consumers_waiting: int = 0


class MemberDigest(Struct, frozen=True):
    """One node's part in a comparison. digest: SHA-256 in hex, "" where there is none.

    state: "equal"; "differs"; "busy": it could not compute one just then; "silent": none came in time.
    """

    id: NodeId
    state: Annotated[str, _one_of("equal", "differs", "busy", "silent")]
    digest: Annotated[str, Meta(examples=["b3a04d2c" * 8])]


class Verdict(Struct, frozen=True):
    """Whether all members hold the same state at `index`.

    result: "equal", "differ", or "incomplete": nothing differs, but not every member said something.
    """

    index: Index
    result: Annotated[str, _one_of("equal", "differ", "incomplete")]
    members: list[MemberDigest]


class FrameError(Exception):
    """The peer sent what cannot be a frame."""


def request(request_id: int, kind: int, body: bytes = b"", wait_ms: int = 0) -> bytes:
    """One request frame."""
    return _REQUEST.pack(len(body) + 9, request_id, kind, wait_ms) + body


def reply(request_id: int, outcome: int, index: int, body: bytes = b"") -> bytes:
    """One reply frame."""
    return _REPLY.pack(len(body) + 13, request_id, outcome, index) + body


def parse_request(frame: bytes) -> tuple[int, int, int, bytes]:
    """Split a request frame into `(request_id, kind, wait_ms, body)`.

    Raises:
        FrameError: it is too short to be one.
    """
    if len(frame) < _REQUEST.size:
        raise FrameError(f"a request of {len(frame)} bytes")
    _, request_id, kind, wait_ms = _REQUEST.unpack_from(frame)
    return request_id, kind, wait_ms, frame[_REQUEST.size :]


def parse_reply(frame: bytes) -> tuple[int, int, int, bytes]:
    """Split a reply frame into `(request_id, outcome, index, body)`.

    Raises:
        FrameError: it is too short to be one.
    """
    if len(frame) < _REPLY.size:
        raise FrameError(f"a reply of {len(frame)} bytes")
    _, request_id, outcome, index = _REPLY.unpack_from(frame)
    return request_id, outcome, index, frame[_REPLY.size :]


class FrameReader:
    """Cuts a byte stream into frames (length field included)."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Take in `data` and yield every frame that is now complete.

        Raises:
            FrameError: a frame announces more than `FRAME_BYTES_MAX`.
        """
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= _LENGTH.size:
                length = _LENGTH.unpack_from(buffer, start)[0] + _LENGTH.size
                if length > FRAME_BYTES_MAX:
                    raise FrameError(f"a frame of {length} bytes")
                if len(buffer) - start < length:
                    break
                frame = bytes(memoryview(buffer)[start : start + length])
                start += length
                yield frame
        finally:
            del buffer[:start]


encode = msgspec.msgpack.Encoder().encode
decode_order = msgspec.msgpack.Decoder(Order).decode
decode_ordered = msgspec.msgpack.Decoder(Ordered).decode
decode_index = msgspec.msgpack.Decoder(int).decode
decode_verdict = msgspec.msgpack.Decoder(Verdict).decode
decode_failure = msgspec.msgpack.Decoder(Failure).decode
decode_status = msgspec.msgpack.Decoder(NodeStatus).decode
