"""What goes over the unix socket, the raft port and a WebSocket: valid frames, and what becomes of them."""

from __future__ import annotations

import json
import struct
from random import Random
from typing import Any, Final

import msgspec

from cqueue import protocol
from cqueue.core import operations, queries
from cqueue.core.feed import Wanted
from cqueue.metrics import Histogram, Tally
from cqueue.replication.link import MAGIC, Link
from cqueue.web.shapes.verbs import VERBS
from tests.fuzz.calls import DOCUMENT
from tests.fuzz.mutations import Schemas, as_json, changed_bytes, changed_value

WRONG_SECRET: Final = b"w" * 32
_SETTLED: Final = (operations.Conclude, operations.Fail, operations.Release, operations.Extend, operations.Progress)
_BY_ID: Final = (operations.Cancel, operations.Redrive, operations.Purge)
_PART: Final = {
    operations.Conclude: operations.Conclusion,
    operations.Fail: operations.FailedAttempt,
    operations.Release: operations.Held,
    operations.Extend: operations.Extension,
    operations.Progress: operations.Report,
}


def inbox_frame(rng: Random) -> bytes:
    """A request of a web worker to its replica."""
    kind, body = _request(rng)
    if rng.random() < 0.5 and kind != protocol.BACKUP:
        body = changed_bytes(rng, body)
    if rng.random() < 0.1:
        kind = rng.choice([number for number in range(256) if number not in {protocol.BACKUP, protocol.ORDER}])
    frame = protocol.request(rng.randrange(2**32), kind, body, rng.choice((0, 0, 0, 5, 100)))
    match rng.randrange(12):
        case 0:
            # The length is wrong, or more of the head is; not the kind, by which a body would become another's.
            return changed_bytes(rng, frame[:8]) + frame[8:]
        case 1:
            return frame[: rng.randrange(len(frame))]
        case 2:
            return struct.pack(">I", rng.randrange(16)) + frame[4:]
    return frame


def _request(rng: Random) -> tuple[int, bytes]:
    match rng.randrange(13):
        case 0:
            return rng.choice((protocol.QUERY, protocol.PEEK)), protocol.encode(_query(rng))
        case 1:
            return rng.choice((protocol.STATUS, protocol.TALLY, protocol.CANCEL, protocol.STOP)), b""
        case 3:
            return protocol.FOLLOW, protocol.encode(Wanted(rng.choice((None, (0, 0), (5, 1))), rng.randint(1, 1_000)))
        case 4:
            return protocol.AWAIT, protocol.encode(rng.choice((0, 1, 2**62, -1)))
        case 5 if rng.random() < 0.05:
            return protocol.VERIFY, b""
        case 6 if rng.random() < 0.05:
            return protocol.BACKUP, rng.choice((b"relative", b"\xff", b"/\0", b""))
        case 7 if rng.random() < 0.1:
            order = protocol.Order(rng.choice(("add", "remove", "x", "")), rng.choice((None, "x", "127.0.0.1:1")), 1)
            return protocol.ORDER, protocol.encode(order)
        case 8:
            return protocol.REPORT, protocol.encode(_tally(rng))
    return protocol.OPERATE, protocol.encode(_operation(rng))


def _tally(rng: Random) -> Tally:
    series = rng.choice((("cqueue_consumers_waiting", "http"), ("cqueue_fenced_total",), (), ("x", "y")))
    histograms = {series: Histogram((0.1,), [1, 2])} if rng.random() < 0.2 else {}
    return Tally({series: rng.randint(-5, 5)}, histograms, {series: 1})


def _query(rng: Random) -> Any:
    return rng.choice(
        (
            queries.GetJob(rng.randint(0, 50)),
            queries.GetStats(),
            queries.ListJobs(count=rng.randint(1, 1_000), queue=rng.choice((None, "default"))),
            queries.GetHistory(rng.randint(0, 50)),
            queries.Explain(rng.randint(0, 50)),
            queries.GetQueue("default"),
            queries.ListQueues(),
        )
    )


def _operation(rng: Random, *, keyed: bool = True) -> Any:
    queue = rng.choice(("default", "mail", "é"))
    ids = [rng.randint(0, 60) for _ in range(rng.randint(0, 3))]
    match rng.randrange(6 + keyed):
        case 0 | 1:
            options = rng.choice((None, operations.Options(rng.randint(0, 9), tags={"a": "b"})))
            jobs = [operations.NewJob("A", b'{"n":1}', queue, options) for _ in range(rng.randint(1, 3))]
            return operations.Enqueue(jobs)
        case 2:
            return operations.Dequeue(rng.randint(1, 3), 1_000, None, (queue,), rng.choice((None, ("A",))))
        case 3:
            verb = rng.choice(_SETTLED)
            return verb([_PART[verb](job_id, rng.choice((None, 1, 7))) for job_id in ids])
        case 4:
            return rng.choice(_BY_ID)(ids)
        case 5:
            limits = {"max_in_progress": rng.choice((0, 2)), "rate_milli": rng.choice((0, 5_000))}
            return operations.SetQueue(queue, lease_ms=rng.randint(1_000, 9_000), priorities={"A": 3}, **limits)
    return operations.Keyed(f"k{rng.randint(0, 9)}", rng.randbytes(32), _operation(rng, keyed=False))


def link_frames(rng: Random, me: str, node_id: str) -> bytes:
    """What an outsider, which knows who the nodes are but not their secret, says on the raft port: a frame or two."""
    link = Link(WRONG_SECRET, me, set(), private_key=rng.randbytes(32), frame_bytes_max=1 << 20, connect_to=node_id)
    greeting = link.take_unsent()
    proof = struct.pack(">I", 32) + rng.randbytes(32)
    match rng.randrange(6):
        case 0:
            return changed_bytes(rng, greeting)
        case 1:
            return greeting + changed_bytes(rng, proof)
        case 2:
            return greeting + proof + struct.pack(">I", 40) + rng.randbytes(40)
        case 3:
            return struct.pack(">I", rng.choice((0, 1, 511, 512, 513, 2**31, 2**32 - 1))) + rng.randbytes(600)
        case 4:
            key = rng.choice((b"\0" * 32, b"\xff" * 32, rng.randbytes(31)))
            body = MAGIC + key + rng.choice((me.encode(), b"", b"\xff" * 9, node_id.encode()))
            return struct.pack(">I", len(body)) + body + proof
    return greeting + greeting


def insider_frame(rng: Random) -> bytes:
    """What may be inside a sealed frame of a node that has the secret: a message, and what becomes of it."""
    message = {"type": "append_entries", "term": 1, "commit_index": 1, "entries": [b"x"], "prev": [1, 1]}
    value = changed_value(rng, message) if rng.random() < 0.3 else message
    try:
        data = msgspec.msgpack.encode(value)
    except OverflowError:
        data = rng.randbytes(9)
    return changed_bytes(rng, data) if rng.random() < 0.8 else data


class Messages:
    """Frames of a WebSocket client (RFC 6455, 5.2)."""

    def __init__(self, rng: Random, *, is_binary: bool) -> None:
        self._rng = rng
        self._is_binary = is_binary
        self._schemas = Schemas(DOCUMENT)

    def next(self) -> bytes:
        """One more frame, or what was one."""
        rng = self._rng
        messages = [self._message() for _ in range(rng.choice((1, 1, 1, 2, 5)))]
        value: Any = messages if len(messages) > 1 or rng.random() < 0.1 else messages[0]
        if rng.random() < 0.5:
            value = changed_value(rng, value)
        payload = self._encoded(value)
        if rng.random() < 0.15:
            payload = changed_bytes(rng, payload)
        opcode = 2 if self._is_binary else 1
        match rng.randrange(14):
            case 0:
                return changed_bytes(rng, frame_of(rng, opcode, payload))
            case 1:
                return frame_of(rng, rng.randrange(16), payload[:125])
            case 2:
                return frame_of(rng, opcode, payload, first=rng.choice((0x00, 0x40, 0x20, 0x10)))
            case 3:
                half = len(payload) // 2
                return frame_of(rng, opcode, payload[:half], first=0) + frame_of(rng, 0, payload[half:])
            case 4:
                return frame_of(rng, rng.choice((9, 10)), rng.randbytes(rng.choice((0, 4, 125, 130))))
            case 5:
                return frame_of(rng, 8, struct.pack(">H", rng.choice((0, 999, 1000, 1005, 3000, 65535))) + b"\xff")
            case 6:
                return bytes((0x80 | opcode, 0xFF)) + struct.pack(">Q", rng.choice((2**63, 2**40, 2**21)))
        return frame_of(rng, opcode, payload)

    def _message(self) -> dict[str, Any]:
        rng = self._rng
        do = rng.choice(("enqueue", "enqueue", "subscribe", "conclude", *VERBS, "dance"))
        if do == "subscribe":
            body: Any = {"credit": rng.choice((0, 1, 5)), "grace_seconds": 1, "lease_seconds": 1}
        else:
            path, method = ("/jobs/enqueue", "put") if do == "enqueue" else (f"/jobs/{do}", "post")
            call = DOCUMENT["paths"].get(path, {}).get(method)
            body = (
                {}
                if call is None
                else self._schemas.sample(rng, call["requestBody"]["content"]["application/json"]["schema"])
            )
        message = {"do": do, "id": rng.choice((1, "a", 2**53)), "body": body}
        return message | ({"key": rng.choice(("k", "", "é"))} if rng.random() < 0.2 else {})

    def _encoded(self, value: Any) -> bytes:
        if not self._is_binary:
            return as_json(self._rng, value)
        try:
            return msgspec.msgpack.encode(json.loads(as_json(Random(0), value)))
        except (OverflowError, ValueError):
            return b"\xc1"


def frame_of(rng: Random, opcode: int, payload: bytes, *, first: int = 0x80) -> bytes:
    """A masked frame; first: the upper bits of its first byte."""
    size = len(payload)
    length = (
        bytes((0x80 | size,))
        if size < 126
        else b"\xfe" + struct.pack(">H", size)
        if size < 65_536
        else b"\xff" + struct.pack(">Q", size)
    )
    mask = rng.randbytes(4)
    masked = int.from_bytes(payload, "little") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "little")
    return bytes((first | opcode,)) + length + mask + masked.to_bytes(size, "little")
