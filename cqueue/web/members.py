"""The routes that change who belongs to the cluster, and who leads it.

Any node takes an order; its replica passes it to the leader and answers when it is carried out or
refused. docs/operations.md says how to use them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from flask import request
from msgspec import Meta, Struct

from cqueue import config
from cqueue.protocol import (
    ADD,
    BOOTSTRAP,
    ORDER,
    REMOVE,
    RESULT,
    TRANSFER,
    NodeId,
    Order,
    Ordered,
    decode_ordered,
    encode,
)
from cqueue.web import body
from cqueue.web.answer import Answer
from cqueue.web.contract import BODY, Call, Gives, promises
from cqueue.web.contract import ORDER as ORDER_CODES
from cqueue.web.link import ReplicaLink
from cqueue.web.parameters import refuse_all
from cqueue.web.problems import Problem

if TYPE_CHECKING:
    from flask import Flask, Response

CATCH_UP_S_DEFAULT: Final = 120
CATCH_UP_S_MAX: Final = 3_600
"""How long a new node may take to catch up with the log."""


class AddBody(Struct, forbid_unknown_fields=True):
    """The node to add. wait: seconds it may take to catch up; may be fractional."""

    id: NodeId
    wait: Annotated[float, Meta(gt=0, le=CATCH_UP_S_MAX, examples=[60])] = CATCH_UP_S_DEFAULT


class TransferBody(Struct, forbid_unknown_fields=True):
    """The member that is to lead; None: whichever other member can."""

    to: NodeId | None = None


class BootstrapBody(Struct, forbid_unknown_fields=True):
    """The members that there shall be, this node among them; none: this node alone."""

    force: Annotated[Literal[True], Meta(examples=[True])]
    members: list[NodeId] = []


_decode_add = msgspec.json.Decoder(AddBody).decode
_decode_transfer = msgspec.json.Decoder(TransferBody).decode
_decode_bootstrap = msgspec.json.Decoder(BootstrapBody).decode
_encode = msgspec.json.Encoder().encode


_DONE: Final = {200: Gives("the members and the leader after it", (Ordered,))}

ADD_MEMBER: Final = Call(
    "add_member",
    "Adds a node, which has to run.",
    _DONE,
    (*ORDER_CODES, *BODY, "no_majority", "not_caught_up"),
    (AddBody,),
    must_say=True,
)
REMOVE_MEMBER: Final = Call(
    "remove_member",
    "Removes a member, whether it runs or not.",
    _DONE,
    (*ORDER_CODES, *BODY, "not_found", "last_member", "no_majority", "not_caught_up"),
)
MOVE_LEADER: Final = Call(
    "transfer_leadership",
    "Moves leadership.",
    _DONE,
    (*ORDER_CODES, *BODY, "not_found", "last_member", "not_caught_up"),
    (TransferBody,),
)
FORCE_CLUSTER: Final = Call(
    "bootstrap_cluster",
    "Makes this node the whole cluster; what only the others had is lost.",
    _DONE,
    (*ORDER_CODES, *BODY, "not_found", "leader_known"),
    (BootstrapBody,),
    must_say=True,
)


def add_routes(app: Flask, link: ReplicaLink, *, body_bytes_max: int) -> None:
    """Add the routes to `app`; their orders go to the replica at the other end of `link`."""

    def read() -> bytes:
        refuse_all(request.environ)
        return body.read(request.environ, body_bytes_max)

    def order(what: Order) -> Response:
        _, outcome, index, data = link.ask(ORDER, encode(what), what.wait_ms)
        if outcome != RESULT:
            raise Problem.of_failure(data, index)
        return Answer(200, _encode(decode_ordered(data)), index).response()

    @app.post("/cluster/members")
    @promises(ADD_MEMBER)
    def add_member() -> Response:
        asked = body.decode(_decode_add, read() or b"{}")
        return order(Order(ADD, _node_id(asked.id, "/id"), round(asked.wait * 1000)))

    @app.delete("/cluster/members/<string:member>")
    @promises(REMOVE_MEMBER)
    def remove_member(member: str) -> Response:
        read()
        return order(Order(REMOVE, member))

    @app.post("/cluster/transfer")
    @promises(MOVE_LEADER)
    def transfer() -> Response:
        data = read()
        asked = body.decode(_decode_transfer, data) if data else TransferBody()
        return order(Order(TRANSFER, None if asked.to is None else _node_id(asked.to, "/to")))

    @app.post("/cluster/bootstrap")
    @promises(FORCE_CLUSTER)
    def bootstrap() -> Response:
        asked = body.decode(_decode_bootstrap, read() or b"{}")
        members = [_node_id(member, f"/members/{place}") for place, member in enumerate(asked.members)]
        return order(Order(BOOTSTRAP, members=members))


def _node_id(text: str, pointer: str) -> str:
    if not config.is_address(text):
        raise body.invalid_field(pointer, "a node's id is its host:port for the other nodes")
    return text
