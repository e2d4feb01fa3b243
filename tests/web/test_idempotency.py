"""`Idempotency-Key` over HTTP: a request that is sent again is answered again, and done once."""

from __future__ import annotations

from typing import Any

import pytest

from cqueue.core import limits
from tests.web.web import Reply, Web

CALLS = [
    ("PUT", "/jobs/enqueue", {"type": "MAIL"}),
    ("PUT", "/jobs/enqueue", [{}, {}]),
    ("POST", "/jobs/dequeue", {}),
    ("POST", "/jobs/dequeue", {"count": 2}),
    ("POST", "/jobs/1/conclude", {"result": 7}),
    ("POST", "/jobs/conclude/1", {}),
    ("POST", "/jobs/conclude", {"ids": [1, 2, 9]}),
    ("PUT", "/jobs/enqueue", {"unique_key": "k"}),
    ("PUT", "/jobs/enqueue", [{"unique_key": "k"}, {"unique_key": "k"}]),
    ("POST", "/jobs/1/fail", {"error": "boom"}),
    ("POST", "/jobs/fail", {"jobs": [{"id": 1, "retry_in_seconds": 0}, {"id": 3}]}),
    ("POST", "/jobs/1/release", {}),
    ("POST", "/jobs/release", {"ids": [1, 2, 3]}),
    ("POST", "/jobs/1/extend", {"lease_seconds": 5}),
    ("POST", "/jobs/extend", {"ids": [1, 2, 3]}),
    ("POST", "/jobs/1/progress", {"percent": 5}),
    ("POST", "/jobs/progress", {"ids": [1, 2, 3]}),
    ("POST", "/jobs/1/cancel", {}),
    ("POST", "/jobs/cancel", {"ids": [1, 3, 9]}),
    ("POST", "/jobs/purge", {"ids": [3, 1]}),
    ("POST", "/jobs/3/purge", {}),
    ("DELETE", "/jobs/3", {}),
    ("PATCH", "/queues/default", {"paused": True}),
    ("POST", "/queues/default/pause", {}),
    ("POST", "/queues/default/resume", {}),
    ("DELETE", "/queues/other", {}),
]


def _without_age(reply: Reply) -> Any:
    """What a queue tells of time goes on."""
    shown = reply.json if reply.body else None
    return shown if shown is None else {k: v for k, v in shown.items() if k not in {"oldest_age_seconds", "rates"}}


@pytest.mark.parametrize(("method", "path", "body"), CALLS, ids=[f"{path} {body}" for _, path, body in CALLS])
def test_every_writing_verb_is_done_once_under_a_key(web: Web, method: str, path: str, body: object) -> None:
    """Status, headers and body are those of the first answer; the queue moves once."""
    web.send("PUT", "/jobs/enqueue", [{}, {}, {}])
    web.send("PATCH", "/queues/other", {"max_depth": 5})
    if method == "POST" and path != "/jobs/dequeue":
        web.send("POST", "/jobs/dequeue", {"count": 2})
    first = web.send(method, path, body, idempotency_key='"once"')
    stats = web.request("GET", "/jobs/stats").json
    again = web.send(method, path, body, idempotency_key='"once"')
    assert first.status < 300
    assert (again.status, again.headers.get("Location")) == (first.status, first.headers.get("Location"))
    assert _without_age(again) == _without_age(first)
    assert web.request("GET", "/jobs/stats").json == stats


def test_another_body_under_a_used_key_is_refused(web: Web) -> None:
    """422, and nothing is done."""
    web.send("PUT", "/jobs/enqueue", {"payload": 1}, idempotency_key="k")
    reply = web.send("PUT", "/jobs/enqueue", {"payload": 2}, idempotency_key="k")
    assert (reply.status, reply.json["code"]) == (422, "key_reused")
    assert web.request("GET", "/jobs/stats").json["total"] == 1


def test_an_empty_dequeue_is_asked_anew(web: Web) -> None:
    """204 is never remembered."""
    assert web.send("POST", "/jobs/dequeue", {}, idempotency_key="k").status == 204
    web.send("PUT", "/jobs/enqueue", {})
    assert web.send("POST", "/jobs/dequeue", {}, idempotency_key="k").json["id"] == 1


@pytest.mark.parametrize(("one", "other"), [('"abc"', "abc"), (r'"a\"b\\c"', r'"a\"b\\c"'), ('"a b, c"', '"a b, c"')])
def test_a_key_is_quoted_or_bare(web: Web, one: str, other: str) -> None:
    """The quotes do not belong to the key."""
    first = web.send("PUT", "/jobs/enqueue", {}, idempotency_key=one)
    assert web.send("PUT", "/jobs/enqueue", {}, idempotency_key=other).json == first.json


@pytest.mark.parametrize(
    "value", ["", '""', "a b", "a,b", '"a', 'a"b', r'"a\b"', "é", "k" * (limits.KEY_CHARS_MAX + 1), '"tab\there"']
)
def test_what_is_no_key_is_refused(web: Web, value: str) -> None:
    """422 with a sentence that says what a key is; nothing is done."""
    reply = web.send("PUT", "/jobs/enqueue", {}, idempotency_key=value)
    assert (reply.status, reply.json["code"]) == (422, "invalid_field")
    assert "Idempotency-Key" in reply.json["detail"]
    assert web.request("GET", "/jobs/stats").json["total"] == 0


def test_the_longest_key_is_taken(web: Web) -> None:
    """As long as it may be."""
    assert web.send("PUT", "/jobs/enqueue", {}, idempotency_key="k" * limits.KEY_CHARS_MAX).status == 201
