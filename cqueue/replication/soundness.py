"""What may come through the second door: requests that can be understood, and nothing else.

A request that nobody can read must not get into the log, where it would stop every node that applies it, for
ever. So each is read once before it is taken, though the bytes are what is passed on. It knows shapes; whether
their values make sense was for the web to see, within what the shapes of `cqueue.core` allow at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from cqueue import metrics, protocol
from cqueue.config import is_address
from cqueue.core.feed import decode_wanted
from cqueue.core.operations import Operation
from cqueue.core.queries import Query


def _path(body: bytes) -> None:
    if not body.startswith(b"/") or b"\0" in body:
        raise ValueError("it is no path of a file")
    body.decode()


def _order(body: bytes) -> None:
    order = protocol.decode_order(body)
    if order.verb not in _VERBS or (order.node is None and order.verb in {protocol.ADD, protocol.REMOVE}):
        raise ValueError(f"there is no order {order.verb!r} without more")
    # Only who comes to the cluster has to have an address; who is to go, and is none, is no member.
    new = [*order.members, *([order.node or ""] if order.verb == protocol.ADD else [])]
    if order.wait_ms < 0 or not all(map(is_address, new)):
        raise ValueError("new members have an address, and time lies ahead")


def _tally(body: bytes) -> None:
    tally = metrics.decode(body)
    for series in (*tally.counts, *tally.levels, *tally.histograms):
        metric = metrics.METRICS.get(series[0]) if series else None
        if metric is None or len(series) != 1 + len(metric.labels):
            raise ValueError(f"nothing is counted as {series}")
    for series, told in tally.histograms.items():
        if told.bounds != metrics.METRICS[series[0]].bounds or len(told.counts) != len(told.bounds) + 1:
            raise ValueError(f"{series[0]} has other buckets")


_VERBS: Final = frozenset((protocol.ADD, protocol.REMOVE, protocol.TRANSFER, protocol.BOOTSTRAP))
_decode_query: Final = msgspec.msgpack.Decoder(Query).decode
_READ: Final[Mapping[int, Callable[[bytes], Any]]] = {
    protocol.OPERATE: msgspec.msgpack.Decoder(Operation).decode,
    protocol.QUERY: _decode_query,
    protocol.PEEK: _decode_query,
    protocol.STATUS: bytes,
    protocol.FOLLOW: decode_wanted,
    protocol.AWAIT: protocol.decode_index,
    protocol.BACKUP: _path,
    protocol.VERIFY: bytes,
    protocol.TALLY: bytes,
    protocol.REPORT: _tally,
    protocol.ORDER: _order,
}


def fault_of(kind: int, body: bytes) -> str | None:
    """What is wrong with a request; None: it can be taken."""
    read = _READ.get(kind)
    if read is None:
        return f"there is no kind {kind}"
    try:
        read(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return f"a request of kind {kind} cannot be read: {error}"
    return None
