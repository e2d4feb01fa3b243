"""What a replica takes from its node's web workers: what it can read, of the kinds there are."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cqueue import metrics, protocol
from cqueue.core.feed import Wanted
from cqueue.core.operations import Conclude, Dequeue, Enqueue, Keyed, NewJob, Options, SetQueue
from cqueue.core.queries import GetJob, ListJobs
from cqueue.metrics import Histogram, Tally
from cqueue.replication.soundness import fault_of

_encode = msgspec.msgpack.Encoder().encode


def counted() -> Tally:
    """A worker's report."""
    tally = Tally()
    tally.count(("cqueue_fenced_total", "extend"))
    tally.observe(("cqueue_job_wait_seconds", "default", "A"), 0.5)
    tally.shift(("cqueue_consumers_waiting", "http"), 1)
    return tally


SOUND: list[tuple[int, bytes]] = [
    (protocol.OPERATE, _encode(Enqueue([NewJob("A", b"null", "default", Options(1, delay_ms=5))]))),
    (protocol.OPERATE, _encode(Keyed("k", b"x" * 32, Dequeue(1_000)))),
    (protocol.OPERATE, _encode(Conclude([]))),
    (protocol.QUERY, _encode(GetJob(2**63 - 1))),
    (protocol.PEEK, _encode(ListJobs(count=1_000))),
    (protocol.STATUS, b""),
    (protocol.FOLLOW, _encode(Wanted((0, 0)))),
    (protocol.AWAIT, _encode(17)),
    (protocol.BACKUP, b"/tmp/caf\xc3\xa9"),
    (protocol.VERIFY, b""),
    (protocol.TALLY, b""),
    (protocol.REPORT, metrics.encode(counted())),
    (protocol.ORDER, _encode(protocol.Order("add", "node4:4000", 120_000))),
    (protocol.ORDER, _encode(protocol.Order("remove", "whoever"))),
    (protocol.ORDER, _encode(protocol.Order("transfer"))),
    (protocol.ORDER, _encode(protocol.Order("bootstrap", members=["node1:4000"]))),
]

UNSOUND: dict[str, tuple[int, Any]] = {
    "a kind there is not": (99, b""),
    "a kind that is no request": (0, b""),
    "nothing": (protocol.OPERATE, b""),
    "no operation": (protocol.OPERATE, [99, 1]),
    "a query as an operation": (protocol.OPERATE, GetJob(1)),
    "an operation as a query": (protocol.QUERY, Dequeue(1)),
    "text that is none": (protocol.OPERATE, b"\x95\x02\x01\x00\xa1\xff\x90"),
    "nesting without end": (protocol.OPERATE, b"\x91" * 100_000 + b"\xc0"),
    "two operations": (protocol.OPERATE, _encode(Dequeue(1)) * 2),
    "no jobs": (protocol.OPERATE, Enqueue([])),
    "no jobs, under a key": (protocol.OPERATE, Keyed("k", b"", Enqueue([]))),
    "a queue without a name": (protocol.OPERATE, SetQueue("")),
    "a burst that no snapshot holds": (protocol.OPERATE, SetQueue("a", rate_burst=2**32 + 1)),
    "more jobs than may be handed out": (protocol.OPERATE, Dequeue(1_001)),
    "a time that lies behind": (protocol.OPERATE, Dequeue(1, -1)),
    "a time beyond all times": (protocol.OPERATE, Dequeue(1, 2**53 + 1)),
    "a page beyond all pages": (protocol.QUERY, ListJobs(count=1_001)),
    "no page at all": (protocol.PEEK, ListJobs(count=0)),
    "more changes than are told": (protocol.FOLLOW, Wanted(None, 1_001)),
    "an index that is none": (protocol.AWAIT, "17"),
    "a path that depends on where one is": (protocol.BACKUP, b"backup"),
    "a path that ends early": (protocol.BACKUP, b"/tmp/a\0b"),
    "a path in no encoding": (protocol.BACKUP, b"/tmp/\xff"),
    "what nobody counts": (protocol.REPORT, Tally({("cqueue_jokes_total",): 1})),
    "a count of nothing": (protocol.REPORT, Tally(levels={(): 1})),
    "a count without its labels": (protocol.REPORT, Tally({("cqueue_fenced_total",): 1})),
    "other buckets": (protocol.REPORT, Tally(histograms={("cqueue_job_wait_seconds",): Histogram((1.0,), [1, 2])})),
    "an order there is not": (protocol.ORDER, protocol.Order("promote", "node4:4000")),
    "to add nobody": (protocol.ORDER, protocol.Order("add")),
    "to add who has no address": (protocol.ORDER, protocol.Order("add", "node4")),
    "to remove nobody": (protocol.ORDER, protocol.Order("remove")),
    "a cluster of who has no address": (protocol.ORDER, protocol.Order("bootstrap", members=["node1"])),
    "to wait for what is over": (protocol.ORDER, protocol.Order("add", "node4:4000", -1)),
}


@pytest.mark.parametrize(("kind", "body"), SOUND)
def test_what_the_web_sends_is_taken(kind: int, body: bytes) -> None:
    """One of each."""
    assert fault_of(kind, body) is None


@pytest.mark.parametrize("case", UNSOUND)
def test_what_nobody_can_read_is_refused_before_it_gets_into_the_log(case: str) -> None:
    """There it would stop every node that applies it."""
    kind, body = UNSOUND[case]
    fault = fault_of(kind, body if isinstance(body, bytes) else _encode(body))
    assert fault is not None
    assert str(kind) in fault


@pytest.mark.parametrize("frame", [b"\0\0\0\0", b"\0\0\0\x08" + b"x" * 8])
def test_a_frame_that_is_shorter_than_its_head_is_none(frame: bytes) -> None:
    """In either direction; the connection ends with it."""
    for parse in (protocol.parse_request, protocol.parse_reply):
        with pytest.raises(protocol.FrameError, match=f"of {len(frame)} bytes"):
            parse(frame)


def test_a_frame_that_is_all_head_has_an_empty_body() -> None:
    """The shortest ones there are."""
    assert protocol.parse_request(protocol.request(7, protocol.STATUS)) == (7, protocol.STATUS, 0, b"")
    assert protocol.parse_reply(protocol.reply(7, protocol.RESULT, 9)) == (7, protocol.RESULT, 9, b"")
