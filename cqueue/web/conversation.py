"""One client of `GET /stream`: verbs in, answers out, and jobs as its subscription says.

It knows messages and requests to the replica, and no frames. Messages are done in the order in
which they come, and none is waited for; but nothing more is read from a client that is behind with
reading, or ahead of its answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import gevent
from gevent.event import Event
from msgspec import UNSET, Raw
from websockets.frames import CloseCode

from cqueue.core import limits
from cqueue.core.operations import Operation
from cqueue.core.results import Settled
from cqueue.errors import CqueueError, Refused
from cqueue.protocol import OPERATE, RESULT, encode
from cqueue.web import headers, problems
from cqueue.web.asking import Desk, result_of
from cqueue.web.auth.gate import note
from cqueue.web.auth.principals import Principal
from cqueue.web.auth.routes import AUDITED, check_role
from cqueue.web.link import ReplicaLink, Reply
from cqueue.web.outbox import Outbox
from cqueue.web.problems import Problem
from cqueue.web.shapes import enqueue, stream, verbs
from cqueue.web.shapes.filters import Filter
from cqueue.web.shapes.stream import Message
from cqueue.web.shapes.verbs import VERBS
from cqueue.web.subscription import Subscription
from cqueue.web.websocket import WebSocket

OPEN_MESSAGES_MAX: Final = 1_000
"""Messages that are not answered yet; no more are read meanwhile."""
DRAIN_S: Final = 5
"""How long a client has to settle what it holds when the node stops."""
CLOSE_CODE_OF_STATUS: Final = 4000
"""A connection that is ended for the reason that is 422 in HTTP is ended with 4422."""
STALLED: Final = CLOSE_CODE_OF_STATUS + 408

Answered = Callable[[bytes, int], tuple[int, bytes]]
"""What makes (status, body) of an encoded result and its index."""


class _Asked:
    """One message on its way; see `cqueue.web.link.Receiver`."""

    __slots__ = ("switch", "throw")

    def __init__(self, switch: Callable[[Reply], None], throw: Callable[[CqueueError], None]) -> None:
        self.switch = switch
        self.throw = throw


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a conversation is with. consumer: `Consumer-Id`, if there is one; request_id: names it in problems."""

    principal: Principal
    address: str
    consumer: str | None
    request_id: str


class Conversation:
    """open: messages not answered yet. room: set when the client may have caught up.

    Args:
        socket: the connection.
        codec: how messages are written.
        caller: the client.
        desk, link: the way to the replica.
    """

    def __init__(
        self,
        socket: WebSocket,
        codec: stream.Json,
        caller: Caller,
        *,
        desk: Desk,
        link: ReplicaLink,
    ) -> None:
        self._socket = socket
        self._codec = codec
        self._caller = caller
        self._link = link
        self._outbox = Outbox(socket, codec, self._go_on)
        self._subscription = Subscription(desk, link, self._outbox, self._go_on, self._shown)
        self._open = 0
        self._draining = False
        self._room = Event()

    def run(self) -> None:
        """Talk until the connection ends."""
        writer = gevent.spawn(self._write)
        self._link.on_drain.add(self._drain)
        if self._link.draining:
            self._drain()
        try:
            for frame in self._socket.messages():
                for message in self._codec.read(frame):
                    self._take(message)
                self._wait_for_room()
        except Refused as error:
            problem = Problem.of(error)
            self._end(CLOSE_CODE_OF_STATUS + problems.KINDS[problem.code].status, f"{problem.code}: {problem.detail}")
        except Exception:
            self._end(CloseCode.INTERNAL_ERROR)
            raise
        finally:
            self._link.on_drain.discard(self._drain)
            self._subscription.end()
            writer.kill()
            self._subscription.give_back_unseen()
            self._socket.part()
            self._subscription.cut_leases()

    # -- messages --------------------------------------------------------------------------------

    def _take(self, message: Message) -> None:
        """Do what a message says.

        Raises:
            Refused: it says nothing that could be answered.
        """
        if message.do == "subscribe":
            check_role(self._caller.principal, route_of("dequeue"))
            said, wish = stream.subscribe_of(message.body, self._caller.consumer)
            self._caller.principal.bound(wish)
            answer = stream.SubscribedAnswer(said.credit, said.grace_seconds)
            self._outbox.put(stream.Reply(message.id, 200, body=Raw(stream.encode(answer))))
            self._subscription.change(said, wish)
            return
        if message.do != "enqueue" and message.do not in VERBS:
            raise Refused(f"there is no {message.do!r}", code="unknown_verb")
        self._open += 1
        try:
            self._link.check_load(holds=message.do != "enqueue")
            operation, answered = self._operation(message)
            asked = _Asked(partial(self._on_reply, message, answered), partial(self._on_error, message))
            self._link.post(asked, OPERATE, encode(operation))
        except CqueueError as error:
            self._on_error(message, error)

    def _operation(self, message: Message) -> tuple[Operation, Answered]:
        """What is to be done, and what makes an answer of its result."""
        check_role(self._caller.principal, route_of(message.do))
        data = b"" if message.body is UNSET else bytes(message.body)
        operation: Any
        answered: Answered
        if message.do == "enqueue":
            operation, many = enqueue.operation_of(data)
            answered = partial(_enqueued, many)
        else:
            asked = VERBS[message.do].of_many(data)
            if isinstance(asked, Filter):
                raise Refused("/filter: a stream takes ids; a filter goes over HTTP", pointer="/filter")
            ids, operation = asked
            answered = partial(self._settled, ids, operation)
        operation = self._caller.principal.bound(operation)
        if message.key is not UNSET:
            if not (message.key.isascii() and message.key.isprintable() and message.key):
                raise Refused(f"/key takes 1 to {limits.KEY_CHARS_MAX} printable ASCII characters", pointer="/key")
            operation = headers.once(message.key, operation)
        return operation, answered

    def _wait_for_room(self) -> None:
        while self._socket.is_open and (self._open > OPEN_MESSAGES_MAX or self._outbox.is_full):
            self._room.clear()
            self._room.wait()

    # -- answers ---------------------------------------------------------------------------------

    def _on_reply(self, message: Message, answered: Answered, reply: Reply) -> None:
        _, outcome, index, data = reply
        try:
            if outcome != RESULT:
                raise Problem.of_failure(data, index)
            status, body = answered(data, index)
        except Problem as problem:
            self._answer_problem(message, problem)
        else:
            self._answer(message, stream.Reply(message.id, status, index, body=Raw(body)))

    def _on_error(self, message: Message, error: CqueueError) -> None:
        self._answer_problem(message, Problem.of(error))

    def _answer_problem(self, message: Message, problem: Problem) -> None:
        status, retry_after_s = problems.KINDS[problem.code].status, problems.retry_after_s(problem)
        self._answer(message, stream.Reply(message.id, status, problem.index, retry_after_s, Raw(self._shown(problem))))

    def _answer(self, message: Message, reply: stream.Reply) -> None:
        route = route_of(message.do)
        if route in AUDITED:
            caller = self._caller
            found = {"request_id": caller.request_id} | ({} if reply.index is None else {"index": reply.index})
            note(caller.principal, f"{route} /stream", str(reply.status), caller.address, **found)
        self._open -= 1
        self._outbox.put(reply)
        self._go_on()

    def _settled(self, ids: list[int], operation: Operation, data: bytes, index: int) -> tuple[int, bytes]:
        settled: Settled = result_of(verbs.decode, data, index)
        self._subscription.note(ids, operation, settled.outcomes)
        return 200, verbs.results_json(ids, settled)

    def _shown(self, problem: Problem) -> bytes:
        return problems.body_of(problem, "/stream", self._caller.request_id)

    def _write(self) -> None:
        self._outbox.write()
        self._end(STALLED, "nothing was taken for too long")

    # -- going on, and the end -----------------------------------------------------------------------

    def _go_on(self) -> None:
        """Something was answered or written: there may be room for more, or nothing left to do."""
        self._room.set()
        if not self._draining:
            self._subscription.fill()
        elif self._subscription.is_settled and not self._open and not self._outbox:
            self._go_away()

    def _end(self, code: int, reason: str = "") -> None:
        self._socket.close(code, reason)
        self._room.set()

    def _drain(self) -> None:
        """The node stops: the client may settle what it holds, for a while."""
        self._draining = True
        self._outbox.put(stream.Draining(DRAIN_S))
        gevent.spawn_later(DRAIN_S, self._go_away)

    def _go_away(self) -> None:
        self._end(CloseCode.GOING_AWAY, "this node is shutting down")


def route_of(verb: str) -> str:
    """The route that does the same over HTTP: who may call it, may say it here."""
    return "PUT /jobs/enqueue" if verb == "enqueue" else f"POST /jobs/{verb}"


def _enqueued(many: bool, data: bytes, index: int) -> tuple[int, bytes]:  # noqa: FBT001 - given by `partial`
    return enqueue.answer(result_of(enqueue.decode, data, index), many=many)
