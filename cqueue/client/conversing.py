"""What is said on `GET /stream` over any number of connections: messages out, answers and jobs in. No I/O.

A message is a call of many jobs, or an enqueue, under the same key as in HTTP. So what a lost connection
leaves open is sent again on the next one by the same rules (`cqueue.client.carrying`). Source:
docs/protocol.md#get-stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypedDict

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from cqueue.client import failures
from cqueue.client.call import encode
from cqueue.client.carrying import PAUSE_S_MAX, PAUSE_S_MIN, Answer, Carrier, Lost, Reply, Send
from cqueue.client.results import Job
from cqueue.errors import CqueueError, OutcomeUnknown, Refused, Unavailable

if TYPE_CHECKING:
    from websockets.exceptions import ConnectionClosed

SUBPROTOCOL: Final = "cqueue.v1"
CREDIT_DEFAULT: Final = 100
_SUBSCRIBE: Final = 0
_REFUSED: Final = range(4400, 4500)
"""Close codes that no other connection would mend, but for `_SILENT`."""
_SILENT: Final = 4408
_OK: Final = range(200, 300)


class Wanted(TypedDict, total=False):
    """Which jobs are pushed, and for how long. grace_seconds: how long they stay after the connection was lost."""

    queue: str
    queues: Sequence[str]
    type: str
    types: Sequence[str]
    tags: Mapping[str, str]
    lease_seconds: int
    grace_seconds: int
    consumer: str


class _Message(Struct, omit_defaults=True):
    do: str
    id: int
    body: Raw
    key: str | UnsetType = UNSET


class _Incoming(Struct):
    """An answer (`re`), or what comes by itself (`event`)."""

    re: int | None = None
    event: str | None = None
    status: int = 0
    index: int | None = None
    retry_after: int | None = None
    body: Raw = Raw(b"")
    jobs: tuple[Job, ...] = ()


_read: Final = msgspec.json.Decoder(_Incoming | list[_Incoming]).decode


class Conversation:
    """One client's side of it.

    jobs: those that were pushed and not taken yet. failure: why it is over for good. answers: {message: what
    came of it}; a message that is no key of it is none that anybody waits for.
    """

    def __init__(self, carrier: Carrier, credit: int, wanted: Wanted) -> None:
        self.carrier = carrier
        self.jobs: deque[Job] = deque()
        self.failure: CqueueError | None = None
        self.answers: dict[int, Reply | None] = {}
        self._subscription = encode({"credit": credit, **carrier.named, **wanted})
        self._last_id = _SUBSCRIBE
        self._tries = 0
        self._until_s: float | None = None

    @property
    def address(self) -> str:
        """Where the next connection goes."""
        return f"ws{self.carrier.preferred.removeprefix('http')}/stream"

    def hello(self) -> str:
        """What is said first on each connection."""
        return encode(_Message("subscribe", _SUBSCRIBE, Raw(self._subscription))).decode()

    def message(self, send: Send) -> tuple[int, str]:
        """A call's request as a message: what its answer will be found under, and the frame."""
        self._last_id += 1
        verb = send.target.rpartition("/")[2]
        key = send.headers.get("Idempotency-Key")
        said = _Message(verb, self._last_id, Raw(send.body or b"{}"), UNSET if key is None else key.strip('"'))
        self.answers[self._last_id] = None
        return self._last_id, encode(said).decode()

    def take(self, frame: str | bytes) -> None:
        """A frame that came."""
        self._tries = 0
        self._until_s = None
        incoming = _read(frame)
        for one in incoming if isinstance(incoming, list) else (incoming,):
            self.jobs.extend(one.jobs)
            if one.re == _SUBSCRIBE and one.status not in _OK:
                self.failure = failures.failure_of(one.status, {}, bytes(one.body))
            elif one.re in self.answers:
                self.answers[one.re] = Answer(one.status, _headers_of(one), bytes(one.body))

    def taken(self, message: int) -> Reply:
        """What came of a message; nobody asks for it again."""
        return self.answers.pop(message) or Lost("no answer in time")

    def closed(self, error: ConnectionClosed) -> None:
        """The connection was closed by the other end, or broke."""
        frame = error.rcvd
        if frame is None:
            self.lost(str(error))
        else:
            self.ended(frame.code, frame.reason)

    def ended(self, code: int, reason: str) -> None:
        """The connection was closed with this code."""
        if code in _REFUSED and code != _SILENT:
            problem, _, detail = reason.partition(":")
            self.failure = Refused(detail.strip() or reason, code=problem)
        self._leave(f"the connection was closed ({code} {reason})")

    def failed(self, error: CqueueError) -> None:
        """No connection came about, or it was lost."""
        if isinstance(error, Refused):
            self.failure = error
        elif self._until_s is None:
            self._until_s = self.carrier.deadline_s()
        elif self.carrier.is_over(self._until_s):
            self.failure = Unavailable(f"no node takes a stream: {error.detail}", code=error.code)
        self._leave(error.detail)

    def lost(self, why: str) -> None:
        """As `failed`, where nothing is known but why."""
        node = self.carrier.preferred
        self.failed(OutcomeUnknown(f"{node}: {why}", code=failures.NO_ANSWER))

    def pause_s(self) -> float:
        """How long to wait before the next connection, which goes to another node."""
        self.carrier.move_on()
        self._tries += 1
        return min(PAUSE_S_MIN * self._tries, PAUSE_S_MAX)

    def _leave(self, why: str) -> None:
        # Jobs that nobody has begun come again, to whomever: begun now they might run twice at once.
        self.jobs.clear()
        for message, answer in self.answers.items():
            if answer is None:
                self.answers[message] = Lost(why)


def _headers_of(answer: _Incoming) -> dict[str, str]:
    said: dict[str, Any] = {"retry-after": answer.retry_after, "x-cqueue-index": answer.index}
    return {name: str(value) for name, value in said.items() if value is not None}
