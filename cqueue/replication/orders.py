"""An operator's orders to the cluster: taken by any node, carried out by the leader.

An order given here goes to whoever leads, and again when leadership moves or nothing is heard: all
of them name what shall be (a member, no member, a leader), so that doing one twice does no harm.
How they are carried out is `changes.py`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from cqueue import protocol
from cqueue.protocol import BOOTSTRAP, REMOVE, TRANSFER, Failure, Order, Ordered

if TYPE_CHECKING:
    from cqueue.replication.consensus import Consensus
    from cqueue.replication.requests import Request

ORDER: Final = "order"
ANSWER: Final = "order_answer"
"""The kinds of message: number, life, attempt, verb, node and wait_ms; number, life, attempt, failure and members."""
SEND_AGAIN_S: Final = 1.0


@dataclass(slots=True)
class _Open:
    """An order given here. first_leader: who led when it was sent first, None before that. sends: how often it was."""

    request: Request
    order: Order
    until_s: float
    first_leader: str | None = None
    epoch: tuple[int, str | None] = (0, None)
    sent_s: float = float("-inf")
    sends: int = 0


class Orders:
    """One node's part in orders; see `Errand`. orders: {number: those given here, not answered yet}.

    life: a number that no other start of any node has.
    """

    def __init__(self, life: int) -> None:
        self._life = life
        self._number = 0
        self._orders: dict[int, _Open] = {}
        self._consensus: Consensus

    def attach(self, consensus: Consensus) -> None:
        """Give it the consensus whose members this is about."""
        self._consensus = consensus
        consensus.listen(ORDER, self._on_order)
        consensus.listen(ANSWER, self._on_answer)

    # -- given here ----------------------------------------------------------------------------

    def take(self, request: Request, index: int, wait_ms: int) -> None:  # noqa: ARG002 - the interface's
        """See `Errand`."""
        order = protocol.decode_order(request.body)
        if self._consensus.is_single:
            self._answer(
                request, protocol.REFUSED, Failure("no_cluster", "this node is single: it was started without --peers")
            )
        elif order.verb == BOOTSTRAP:
            failure = self._consensus.bootstrap(order.members or [self._consensus.node_id])
            self._end(request, failure, list(self._consensus.members))
        else:
            self._number += 1
            self._orders[self._number] = _Open(request, order, request.deadline_s + order.wait_ms / 1000)

    def moved(self, index: int, applied: Any) -> None:
        """See `Errand`."""

    def stop(self, request: Request, index: int) -> None:
        """See `Errand`; whoever waits for the outcome of an order goes on waiting."""

    def advance(self, index: int, now_s: float) -> None:  # noqa: ARG002 - the interface's
        """See `Errand`."""
        for number, opened in list(self._orders.items()):
            if opened.request.done:
                del self._orders[number]
            elif opened.until_s <= now_s:
                del self._orders[number]
                self._give_up(opened)
            else:
                self._send(number, opened, now_s)

    def _send(self, number: int, opened: _Open, now_s: float) -> None:
        leader, epoch = self._consensus.leader_id, self._consensus.epoch
        if leader is None or (epoch == opened.epoch and now_s - opened.sent_s < SEND_AGAIN_S):
            return
        if opened.first_leader not in {None, leader} and opened.order.verb == TRANSFER and opened.order.node is None:
            self._on_done(number, opened.sends, None, list(self._consensus.members))
            return
        opened.first_leader = opened.first_leader or leader
        opened.epoch, opened.sent_s = epoch, now_s
        opened.sends += 1
        order = opened.order
        message = {
            "number": number,
            "life": self._life,
            "attempt": opened.sends,
            "verb": order.verb,
            "node": order.node,
            "wait_ms": order.wait_ms,
        }
        if leader == self._consensus.node_id:
            self._on_order(leader, message)
        else:
            self._consensus.tell(leader, ORDER, **message)

    def _on_answer(self, _node_id: str, message: dict[str, Any]) -> None:
        if message["life"] == self._life:
            failure = None if message["failure"] is None else Failure(*message["failure"])
            self._on_done(message["number"], message["attempt"], failure, message["members"])

    def _on_done(self, number: int, attempt: int, failure: Failure | None, members: list[str]) -> None:
        opened = self._orders.get(number)
        if opened is None or attempt != opened.sends:
            return  # of an attempt that was followed by another one, which may end otherwise
        if failure is not None and failure.code == "change_in_progress" and opened.sends > 1:
            return  # leadership moved on the way, perhaps by this very order: it is asked again
        del self._orders[number]
        if failure is not None and failure.code == "not_found" and opened.order.verb == REMOVE and opened.sends > 1:
            # It was done when it was asked for first, and nobody could say so any more.
            failure = None
        self._end(opened.request, failure, members)

    def _end(self, request: Request, failure: Failure | None, members: list[str]) -> None:
        if failure is not None:
            self._answer(request, protocol.REFUSED, failure)
        else:
            self._answer(request, protocol.RESULT, Ordered(members, self._consensus.leader_id))

    def _give_up(self, opened: _Open) -> None:
        if opened.first_leader is None:
            self._answer(opened.request, protocol.UNAVAILABLE, Failure("no_leader", "no leader was found in time", 1))
        else:
            self._answer(
                opened.request,
                protocol.UNKNOWN,
                Failure("outcome_unknown", "the leader did not say in time whether it was done: look at GET /cluster"),
            )

    def _answer(self, request: Request, outcome: int, body: Failure | Ordered) -> None:
        request.answer(outcome, self._consensus.applied_index, protocol.encode(body))

    # -- given elsewhere -----------------------------------------------------------------------

    def _on_order(self, node_id: str, message: dict[str, Any]) -> None:
        key = (node_id, message["life"], message["number"])
        order = Order(message["verb"], message["node"], message["wait_ms"])
        self._consensus.carry_out(order, key, partial(self._tell_done, key, message["attempt"]))

    def _tell_done(self, key: tuple[str, int, int], attempt: int, failure: Failure | None) -> None:
        node_id, life, number = key
        members = list(self._consensus.members)
        if node_id == self._consensus.node_id:
            self._on_done(number, attempt, failure, members)
        else:
            told = None if failure is None else [failure.code, failure.detail, failure.retry_after_s]
            said = {"number": number, "life": life, "attempt": attempt, "failure": told, "members": members}
            self._consensus.tell(node_id, ANSWER, **said)
