"""One log entry: a batch of operations behind a header of fixed layout.

The header is fixed so that the leader can stamp the time into a batch that a follower encoded,
and so that a batch is made by joining encoded operations, without decoding one of them.

    offset  bytes  what
         0      1  format (FORMAT)
         1      8  stamp_ms: leader's time at the append, ms since the Unix epoch; 0 until then
         9      8  session: which incarnation of which replica proposed it; 0 for a tick
        17      8  number: counts that session's batches from 1
        25      8  done_below: every batch of the session below this number is settled
        33      …  operations: a msgpack array
All integers are unsigned and big-endian.
"""

from __future__ import annotations

import struct

import msgspec

from cqueue.core.operations import Operation

FORMAT = 1

_HEADER = struct.Struct(">BQQQQ")
_STAMP = struct.Struct(">Q")
_STAMP_OFFSET = 1
_ARRAY = struct.Struct(">BI")
_decode_operations = msgspec.msgpack.Decoder(list[Operation]).decode

TICK = _HEADER.pack(FORMAT, 0, 0, 0, 0) + b"\x90"
"""An entry without operations: it only moves the time, so that what is due happens."""


class UnreadableEntry(Exception):
    """The log holds an entry this version cannot read. The node must stop, never skip it."""


def encode(session: int, number: int, done_below: int, operations: list[bytes]) -> bytes:
    """Join encoded operations into one entry, unstamped."""
    return b"".join(
        (
            _HEADER.pack(FORMAT, 0, session, number, done_below),
            _ARRAY.pack(0xDD, len(operations)),
            *operations,
        )
    )


def stamp(entry: bytes, stamp_ms: int) -> bytes:
    """The same entry with the leader's time in it."""
    return b"".join((entry[:_STAMP_OFFSET], _STAMP.pack(stamp_ms), entry[_STAMP_OFFSET + 8 :]))


def decode(entry: bytes) -> tuple[int, int, int, int, list[Operation]]:
    """Split an entry into `(stamp_ms, session, number, done_below, operations)`.

    Raises:
        UnreadableEntry: another format, or not an entry at all.
    """
    try:
        layout, stamp_ms, session, number, done_below = _HEADER.unpack_from(entry)
        if layout != FORMAT:
            raise UnreadableEntry(f"log entry format {layout}, this version reads {FORMAT}")
        return (
            stamp_ms,
            session,
            number,
            done_below,
            _decode_operations(memoryview(entry)[_HEADER.size :]),
        )
    except (struct.error, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnreadableEntry(f"damaged log entry: {error}") from error
