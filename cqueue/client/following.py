"""Follows `GET /events` over any number of connections: where to go on, when, and when to give up. No I/O.

Each event has its place in the log, the same on every node. A connection that ends is opened again, on
the next node, after the last place that was told: no gap and no repeat. Source: docs/protocol.md#get-events.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypedDict

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from cqueue.client.call import query
from cqueue.client.carrying import PAUSE_S_MAX, PAUSE_S_MIN, Carrier, Reply, Send, error_of
from cqueue.client.results import Event, Status
from cqueue.errors import CqueueError, Refused, Unavailable

SILENCE_S: Final = 15.0
"""How often a node says something where nothing happens."""
GONE: Final = "events_gone"
_ROUNDS_MAX: Final = 10
_BOUNDARY: Final = b"\n\n"


class EventFilter(TypedDict, total=False):
    """Which events are wanted. after: a place; "0.0": all that are kept; without it: from now on."""

    after: str
    queue: str
    type: str | Sequence[str]
    status: Status | Sequence[Status]
    job: int


class _End(Struct):
    """Why a node ends the stream."""

    code: str
    detail: str


_read_event = msgspec.json.Decoder(Event).decode
_read_end = msgspec.json.Decoder(_End).decode


class Follower:
    """One look at the events.

    place: the last that was told; an iteration that is begun anew after it misses nothing.
    """

    def __init__(self, carrier: Carrier, wanted: EventFilter) -> None:
        self._carrier = carrier
        self.place = wanted.get("after")
        self._target = query("/events", {name: value for name, value in wanted.items() if name != "after"})
        self._rest = b""
        self._tries = 0
        self._gone = 0
        self._until_s: float | None = None

    def request(self) -> Send:
        """What opens the next connection."""
        self._rest = b""
        headers = dict(self._carrier.headers)
        if self.place is not None:
            headers["Last-Event-ID"] = self.place
        node = self._carrier.preferred
        return Send(node, "GET", self._target, headers, None, self._carrier.answer_s + SILENCE_S)

    def take(self, part: bytes | Reply) -> Iterator[Event]:
        """The events in a part of the stream, or nothing where it is how the stream failed.

        Raises:
            Refused: no node has what was asked for, or it was wrong to ask.
            Unavailable: no node told anything for the time that the client has.
        """
        if isinstance(part, bytes):
            self._tries = self._gone = 0
            self._until_s = None
            *blocks, self._rest = (self._rest + part).split(_BOUNDARY)
            for block in blocks:
                yield from self._told(block)
        else:
            self._failed(error_of(part, self._carrier.preferred))

    def pause_s(self) -> float:
        """Called when a connection has ended: how long to wait before the next one, which goes to another node."""
        self._carrier.move_on()
        self._tries += 1
        rounds = min(self._tries // len(self._carrier.nodes), _ROUNDS_MAX)
        return min(PAUSE_S_MIN * (1 << rounds), PAUSE_S_MAX)

    def _told(self, block: bytes) -> Iterator[Event]:
        fields = dict(line.split(b": ", 1) for line in block.splitlines() if not line.startswith(b":"))
        data = fields.get(b"data")
        if fields.get(b"event") == b"end" and data is not None:
            end = _read_end(data)
            kind = Refused if end.code == GONE else Unavailable
            self._failed(kind(end.detail, code=end.code))
            return
        if b"id" in fields:
            place = fields[b"id"].decode()
            if data is not None:
                # Before the place is taken on: what is never given to the caller has to come again.
                yield replace(_read_event(data), place=place)
            self.place = place

    def _failed(self, error: CqueueError) -> None:
        if isinstance(error, Refused):
            # A node keeps events from its start on. One that runs for longer may have them.
            self._gone += error.code == GONE
            if error.code != GONE or self._gone >= len(self._carrier.nodes):
                raise error
        elif self._until_s is None:
            self._until_s = self._carrier.deadline_s()
        elif self._carrier.is_over(self._until_s):
            raise Unavailable(f"no node tells events: {error.detail}", code=error.code)
