"""The short way in and the long one through Flask are the same to a caller."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from flask import Flask
from werkzeug.test import Client

from cqueue.config import Settings
from cqueue.web.auth.access import Access
from cqueue.web.auth.gate import Gate
from tests.web.conftest import given_app

TIME = re.compile(rb'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"')
JSON = "application/json"
LARGEST_ID = 2**63 - 1

REQUESTS = [
    ("PUT", "/jobs/enqueue", None, {}),
    ("PUT", "/jobs/enqueue", b'{"type":"report","payload":{"to":"ada@example.org"}}', {"Content-Type": JSON}),
    ("PUT", "/jobs/enqueue", b'[{"payload":1},{"Type":"TIME_CRITICAL"},{"payload":[2]}]', {"Content-Type": JSON}),
    ("PUT", "/jobs/enqueue", b"{}", {"Content-Type": JSON, "Idempotency-Key": '"k 1"'}),
    ("PUT", "/jobs/enqueue", b"{}", {"Content-Type": JSON, "Idempotency-Key": '"k 1"'}),
    ("PUT", "/jobs/enqueue", b"{}", {"Content-Type": JSON, "Idempotency-Key": '"'}),
    ("PUT", "/jobs/enqueue", b'{"typ":"report"}', {"Content-Type": JSON}),
    ("PUT", "/jobs/enqueue", b'[{},{"type":"a","Type":"b"}]', {"Content-Type": JSON}),
    ("PUT", "/jobs/enqueue", b"{", {"Content-Type": JSON}),
    ("PUT", "/jobs/enqueue", b"{}", {"Content-Type": "text/plain"}),
    ("PUT", "/jobs/enqueue", b" " * 2_000, {"Content-Type": JSON}),
    ("PUT", "/jobs/enqueue?now=1", None, {}),
    ("POST", "/jobs/enqueue", None, {}),
    ("POST", "/jobs/dequeue", None, {"Consumer-Id": "mailer-1"}),
    ("POST", "/jobs/dequeue", None, {"Consumer-Id": "x" * 129}),
    ("POST", "/jobs/dequeue", b'{"count":2}', {"Content-Type": JSON}),
    ("POST", "/jobs/3/conclude", None, {}),
    ("POST", "/jobs/conclude/3", None, {}),
    ("POST", "/jobs/1/conclude", b'{"lease_token":2,"result":{"sent":true}}', {"Content-Type": JSON}),
    ("POST", "/jobs/2/conclude", b'{"lease_token":1}', {"Content-Type": JSON}),
    ("POST", "/jobs/5/conclude", None, {}),
    ("POST", "/jobs/99/conclude", None, {}),
    ("POST", f"/jobs/{LARGEST_ID}/conclude", None, {}),
    ("POST", f"/jobs/{LARGEST_ID + 1}/conclude", None, {}),
    ("POST", "/jobs/007/conclude", None, {}),
    ("POST", "/jobs/conclude/007", None, {}),
    ("POST", "/jobs/0/conclude", None, {}),
    ("POST", "/jobs/conclude/1/conclude", None, {}),
    ("POST", "/jobs/conclude", b'{"jobs":[{"id":2,"lease_token":3},{"id":98}]}', {"Content-Type": JSON}),
    ("POST", "/jobs/conclude", b"{}", {"Content-Type": JSON}),
    ("PUT", "/jobs/enqueue", b'{"queue":"a","priority":1,"unique_key":"u","delay_seconds":0}', {"Content-Type": JSON}),
    ("PUT", "/jobs/enqueue", b'[{},{"queue":"a","unique_key":"u"}]', {"Content-Type": JSON}),
    ("POST", "/jobs/dequeue", b'{"queues":["a","b"],"count":5}', {"Content-Type": JSON}),
    ("POST", "/jobs/6/extend", b'{"lease_seconds":5}', {"Content-Type": JSON}),
    ("POST", "/jobs/6/fail", b'{"error":"boom","retry_in_seconds":0}', {"Content-Type": JSON}),
    ("POST", "/jobs/6/fail", b'{"retryable":0}', {"Content-Type": JSON}),
    ("POST", "/jobs/extend", b'{"ids":[6,7]}', {"Content-Type": JSON}),
    ("POST", "/jobs/fail", b'{"jobs":[{"id":6},{"id":7}]}', {"Content-Type": JSON}),
    ("POST", "/jobs/fail", None, {}),
    ("POST", "/jobs/6/release", None, {}),
    ("POST", "/jobs/cancel", b'{"filter":{"queue":"a"}}', {"Content-Type": JSON}),
    ("GET", "/jobs/6/extend", None, {}),
    ("PUT", "/jobs/extend", None, {}),
    ("POST", "/jobs/dequeue/", None, {}),
    ("POST", "//jobs/dequeue", None, {}),
    ("OPTIONS", "/jobs/dequeue", None, {}),
    ("GET", "/jobs/1", None, {}),
    ("POST", "/jobs/dequeue", b'{"count":1000}', {"Content-Type": JSON}),
    ("POST", "/jobs/dequeue", None, {}),
]


def answers_of(client: Client) -> Iterator[tuple[str, str, list[tuple[str, str]], bytes]]:
    """What the requests are answered, one after the other, with the times in it made equal."""
    for method, path, body, headers in REQUESTS:
        with client.open(
            path, method=method, data=body or b"", headers={"X-Request-Id": "same", **headers}
        ) as response:
            answer = TIME.sub(b'"then"', response.get_data())
            yield f"{method} {path}", response.status, sorted(response.headers), answer


def test_both_ways_give_the_same_answers() -> None:
    """The same calls on two equal queues: statuses, headers and bodies agree, errors included."""
    with given_app() as short, given_app() as long:
        plain = Client(Gate(long, partial(Flask.wsgi_app, long), Access(Settings())))
        for by_short_way, by_flask in zip(answers_of(Client(short)), answers_of(plain), strict=True):
            assert by_short_way == by_flask


def test_the_usual_calls_do_not_pass_through_flask_and_others_do() -> None:
    """A hook of Flask's sees only what takes the long way."""
    with given_app() as app:
        seen: list[str] = []
        app.before_request(lambda: seen.append("somebody"))
        client = Client(app)
        for method, path in (
            ("PUT", "/jobs/enqueue"),
            ("POST", "/jobs/dequeue"),
            ("POST", "/jobs/1/extend"),
            ("POST", "/jobs/1/conclude"),
        ):
            assert client.open(path, method=method, buffered=True).status_code < 300
        assert not seen
        assert client.get("/jobs/1").status_code == 200
        assert len(seen) == 1
