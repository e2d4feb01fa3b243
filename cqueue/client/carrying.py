"""Sees a call through: which node, how often, how long, and what may be sent again. It does no I/O.

`Carrier.carry` is a generator. It yields what is to be done, a `Send` or a `Pause`, is sent what came of
it, and returns the call's result. Who drives it decides how: `Client` blocks, `AsyncClient` awaits.

    what came of a Send           what follows
    2xx                           the result
    NotSent                       nothing was done: the next node, at once
    Unavailable (Retry-After)     nothing was done: the next node; the time said, once every node said so
    OutcomeUnknown, Lost          the next node, with the key of before; see `Again`
    Refused                       it is raised
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from random import uniform
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

from cqueue.client import failures
from cqueue.client.call import JSON, Again, Call
from cqueue.errors import CqueueError, OutcomeUnknown, Refused, Unavailable

T = TypeVar("T")

NODE_DEFAULT: Final = "http://localhost:3000"
TIMEOUT_S_DEFAULT: Final = 60.0
TIMEOUT_S_MAX: Final = 300.0
"""Half of what a node remembers a key for: within that the same key must not be new to it."""
ANSWER_S_DEFAULT: Final = 15.0
"""Longer than a node takes by default to answer that it does not know (`--request-timeout-s`, 10)."""
CONNECT_S_MAX: Final = 3.0
PAUSE_S_MIN: Final = 0.05
PAUSE_S_MAX: Final = 2.0
"""Between two rounds through all nodes, where none of them said how long."""

_OK: Final = range(200, 300)


class Send(NamedTuple):
    """Send this request, and give back what came of it. answer_s: how long it may be silent."""

    node: str
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None
    answer_s: float


class Pause(NamedTuple):
    """Do nothing for so long."""

    seconds: float


class Answer(NamedTuple):
    """What a node answered; headers: names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NotSent(NamedTuple):
    """There was no connection to send it on."""

    why: str


class Lost(NamedTuple):
    """It was sent, or part of it, and no answer came."""

    why: str


Reply = Answer | NotSent | Lost
Steps = Generator[Send | Pause, Any, T]
"""Yields what is to be done; is sent a `Reply` for a `Send`, anything for a `Pause`."""


class Carrier:
    """What all calls of a client share.

    Args:
        nodes: URLs, or `host:port` for `http://host:port`; none: `NODE_DEFAULT`.
        token: shown as `Authorization: Bearer`.
        consumer: the name that jobs are handed out under, where a call does not say another.
        timeout_s: for how long a call is tried again. What is under way by then is not cut short.
        answer_s: how long a node may be silent, the wait that was asked for aside.
        keys: send an `Idempotency-Key` with what must not be done twice.
        clock: seconds on a clock that never goes back.

    Raises:
        ValueError: an argument is wrong.
    """

    def __init__(
        self,
        nodes: tuple[str, ...],
        *,
        token: str | None = None,
        consumer: str | None = None,
        timeout_s: float = TIMEOUT_S_DEFAULT,
        answer_s: float = ANSWER_S_DEFAULT,
        keys: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.nodes = [_url_of(node) for node in nodes or (NODE_DEFAULT,)]
        if not 0 < timeout_s <= TIMEOUT_S_MAX:
            raise ValueError(f"timeout_s: expected more than 0 and at most {TIMEOUT_S_MAX:.0f}")
        if answer_s <= 0:
            raise ValueError("answer_s: expected more than 0")
        self.index = 0
        self.headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self.named = {} if consumer is None else {"consumer": consumer}
        self.answer_s = answer_s
        self._timeout_s, self._keys, self._clock = timeout_s, keys, clock
        self._preferred = 0

    def carry(self, call: Call[T]) -> Steps[T]:
        """See a call through, and those that follow from it.

        Raises:
            Refused: it cannot succeed as it is.
            Unavailable: nothing was done, in all the time there was.
            OutcomeUnknown: it may have been done.
        """
        following: Call[T] | None = call
        while following is not None:
            began_s = self._clock()
            result = yield from self._one(following)
            following = following.then and following.then(result, self._clock() - began_s)
            if following is not None:
                # A node that stops answers at once what asks it to wait, until it is gone.
                yield Pause(PAUSE_S_MIN)
        return result

    def in_order(self) -> Iterator[str]:
        """The nodes, beginning with the one that answered last; whoever is taken next answered."""
        first = self._preferred
        for number in range(len(self.nodes)):
            self._preferred = (first + number) % len(self.nodes)
            yield self.preferred

    @property
    def preferred(self) -> str:
        """The node that answered last."""
        return self.nodes[self._preferred]

    def deadline_s(self, wait_s: float = 0.0) -> float:
        """Until when it is worth trying what begins now."""
        return self._clock() + self._timeout_s + wait_s

    def is_over(self, deadline_s: float, pause_s: float = 0.0) -> bool:
        """Whether that time is over, or will be after a pause."""
        return self._clock() + pause_s >= deadline_s

    def move_on(self) -> None:
        """Begin with another node the next time."""
        self._preferred = (self._preferred + 1) % len(self.nodes)

    def _one(self, call: Call[T]) -> Steps[T]:
        until_s = self.deadline_s(call.wait_s)
        headers, may_repeat = self._headers_of(call)
        rounds = 0
        doubt: CqueueError | None = None
        while True:
            pauses_s: list[float] = []
            for node in self.in_order():
                reply = yield Send(node, call.method, call.target, headers, call.body, self.answer_s + call.wait_s)
                if isinstance(reply, Answer) and reply.status in _OK:
                    self.index = max(self.index, int(reply.headers.get("x-cqueue-index", 0)))
                    return call.read(reply.body)
                error = error_of(reply, node)
                if isinstance(error, OutcomeUnknown):
                    doubt = error
                    if not may_repeat:
                        raise error
                elif isinstance(error, Refused):
                    raise error
                elif isinstance(reply, Answer) and isinstance(error, Unavailable):
                    pauses_s.append(error.retry_after_s)
                if self.is_over(until_s):
                    raise doubt or error
            self.move_on()
            rounds += 1
            pause_s = min(pauses_s, default=0.0) or uniform(0.5, 1) * min(PAUSE_S_MIN * 2**rounds, PAUSE_S_MAX)  # noqa: S311
            if self.is_over(until_s, pause_s):
                raise doubt or error
            yield Pause(pause_s)

    def _headers_of(self, call: Call[Any]) -> tuple[dict[str, str], bool]:
        """What is sent along, and whether the call may be sent again where its outcome is unknown."""
        headers = dict(self.headers)
        if call.body is not None:
            headers |= JSON
        consumer = call.consumer or self.named.get("consumer")
        if consumer is not None:
            headers["Consumer-Id"] = consumer
        key = call.key
        if key is None and self._keys and call.again is Again.WITH_KEY:
            key = os.urandom(16).hex()
        if key is not None:
            headers["Idempotency-Key"] = f'"{key}"'
        return headers, call.again is Again.FREELY or key is not None


def error_of(reply: Reply, node: str) -> CqueueError:
    """What a reply that is no good answer means."""
    match reply:
        case Answer(status, headers, body):
            return failures.failure_of(status, headers, body)
        case NotSent(why):
            return Unavailable(f"{node} cannot be reached: {why}", code=failures.UNREACHABLE)
        case Lost(why):
            return OutcomeUnknown(f"{node} did not answer to the end: {why}", code=failures.NO_ANSWER)


def _url_of(node: str) -> str:
    parts = urlsplit(node if "://" in node else f"http://{node}")
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path not in {"", "/"} or parts.query:
        raise ValueError(f"{node!r} is no address of a node, such as {NODE_DEFAULT}")
    return f"{parts.scheme}://{parts.netloc}"
