"""The routes that change the cluster: what they ask of the replica, and how its refusals look."""

from __future__ import annotations

from typing import Any

import pytest

from cqueue.protocol import REFUSED, UNKNOWN, Failure, Order
from tests.web.web import Web

NODE = "10.0.0.4:4000"


@pytest.mark.parametrize(
    ("method", "path", "sent", "order"),
    [
        ("POST", "/cluster/members", {"id": NODE}, Order("add", NODE, 120_000)),
        ("POST", "/cluster/members", {"id": "[::1]:4000", "wait": 2.5}, Order("add", "[::1]:4000", 2_500)),
        ("DELETE", f"/cluster/members/{NODE}", None, Order("remove", NODE)),
        ("DELETE", "/cluster/members/%5B%3A%3A1%5D%3A4000", None, Order("remove", "[::1]:4000")),
        ("POST", "/cluster/transfer", {"to": NODE}, Order("transfer", NODE)),
        ("POST", "/cluster/transfer", None, Order("transfer")),
        ("POST", "/cluster/bootstrap", {"force": True}, Order("bootstrap")),
        ("POST", "/cluster/bootstrap", {"force": True, "members": [NODE]}, Order("bootstrap", members=[NODE])),
    ],
)
def test_an_order_reaches_the_replica_and_its_outcome_the_caller(
    web: Web, method: str, path: str, sent: Any, order: Order
) -> None:
    """One order for each call, and how the cluster is after it."""
    reply = web.send(method, path, sent)
    assert (reply.status, reply.json) == (200, {"members": ["127.0.0.1:4001"], "leader": None})
    assert web.replica.orders == [order]


@pytest.mark.parametrize(
    ("path", "sent", "pointer"),
    [
        ("/cluster/members", None, "/id"),
        ("/cluster/members", {"id": "nowhere"}, "/id"),
        ("/cluster/members", {"id": "host:70000"}, "/id"),
        ("/cluster/members", {"id": NODE, "wait": 0}, "/wait"),
        ("/cluster/members", {"id": NODE, "wait": 3601}, "/wait"),
        ("/cluster/members", {"id": NODE, "voter": True}, "/voter"),
        ("/cluster/transfer", {"to": "nowhere"}, "/to"),
        ("/cluster/bootstrap", None, "/force"),
        ("/cluster/bootstrap", {"force": False}, "/force"),
        ("/cluster/bootstrap", {"force": True, "members": [NODE, "x"]}, "/members/1"),
    ],
)
def test_a_field_that_is_wrong_is_named_and_nothing_is_ordered(web: Web, path: str, sent: Any, pointer: str) -> None:
    """422 with the pointer."""
    reply = web.send("POST", path, sent)
    assert (reply.status, reply.json["code"], reply.json["pointer"]) == (422, "invalid_field", pointer)
    assert web.replica.orders == []


@pytest.mark.parametrize(
    ("code", "status", "retry_after"),
    [
        ("change_in_progress", 409, "1"),
        ("last_member", 409, None),
        ("leader_known", 409, None),
        ("no_cluster", 409, None),
        ("no_majority", 409, None),
        ("not_caught_up", 409, None),
        ("not_found", 404, None),
    ],
)
def test_a_refusal_says_whether_to_try_again(web: Web, code: str, status: int, retry_after: str | None) -> None:
    """Only the change that is under way ends by itself."""
    web.replica.failure = REFUSED, Failure(code, "why", 0)
    reply = web.send("POST", "/cluster/transfer")
    assert (reply.status, reply.json["code"], reply.headers.get("Retry-After")) == (status, code, retry_after)


def test_an_order_without_an_outcome_is_unknown(web: Web) -> None:
    """504, and it may be sent again."""
    web.replica.failure = UNKNOWN, Failure("outcome_unknown", "the leader did not say")
    assert web.send("POST", "/cluster/members", {"id": NODE}).status == 504
