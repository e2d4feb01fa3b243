"""How errors look, and that each kind tells the caller what to do next."""

from __future__ import annotations

import json

import pytest

from cqueue import protocol
from cqueue.errors import OutcomeUnknown, Refused, Unavailable
from cqueue.web import problems
from cqueue.web.problems import KINDS, Problem
from tests.support import eventually
from tests.web.web import Web


def test_a_problem_is_whole(web: Web) -> None:
    """Every member of RFC 9457, and ours."""
    reply = web.send("PUT", "/jobs/enqueue", {"type": ""}, x_request_id="mine-1")
    assert reply.json == {
        "type": "urn:cqueue:problem:invalid_field",
        "title": "A field is wrong",
        "status": 422,
        "detail": "/type: expected a string of length >= 1",
        "instance": "/jobs/enqueue",
        "code": "invalid_field",
        "request_id": "mine-1",
        "pointer": "/type",
    }
    assert reply.headers["X-Request-Id"] == "mine-1"


def test_a_problem_without_a_place_has_no_pointer(web: Web) -> None:
    """Left out, not null."""
    assert "pointer" not in web.send("GET", "/jobs/1").json


@pytest.mark.parametrize("given", ["", "two words", 'quo"te', "x" * 129, "\xe9"])
def test_a_request_id_that_is_not_safe_is_replaced(web: Web, given: str) -> None:
    """What is repeated into headers and logs is plain."""
    reply = web.request("GET", "/jobs/1", None, {"X-Request-Id": given})
    assert reply.json["request_id"] == reply.headers["X-Request-Id"] != given
    assert reply.json["request_id"].isalnum()


def test_the_instance_is_a_reference(web: Web) -> None:
    """Percent-encoded like the path it came from."""
    assert web.send("GET", "/caf%C3%A9%20%22").json["instance"] == "/caf%C3%A9%20%22"


@pytest.mark.parametrize("code", KINDS)
def test_each_code_says_what_to_do_next(code: str) -> None:
    """Retry-After where trying again may help, and only there."""
    status, headers, body = problems.render(Problem(code, "why"), "/", "id")
    assert json.loads(body)["status"] == status == KINDS[code].status
    assert ("Retry-After" in dict(headers)) == (status in {429, 503} or code == "change_in_progress")


@pytest.mark.parametrize("code", KINDS)
def test_each_code_that_another_token_would_help_against_says_so(code: str) -> None:
    """RFC 9110 wants a challenge with every 401, RFC 6750 with a 403 for want of scope."""
    status, headers, _ = problems.render(Problem(code, "why"), "/", "id")
    assert ("WWW-Authenticate" in dict(headers)) == (status == 401 or code == "insufficient_scope")


def test_the_kinds_of_errors_and_their_statuses_agree() -> None:
    """Refused is 4xx, Unavailable 503, OutcomeUnknown 504."""
    assert KINDS[Refused.default_code].status == 422
    assert KINDS[Unavailable.default_code].status == 503
    assert KINDS[OutcomeUnknown.default_code].status == 504


def test_a_code_nobody_knows_is_an_internal_error() -> None:
    """The table is complete, or the caller hears of a fault of ours."""
    assert Problem("no_such_code", "why").code == "internal"


@pytest.mark.parametrize(
    "call",
    [
        ("PUT", "/jobs/enqueue"),
        ("POST", "/jobs/dequeue"),
        ("POST", "/jobs/1/conclude"),
        ("POST", "/jobs/1/fail"),
        ("DELETE", "/jobs/1"),
        ("GET", "/jobs/1"),
        ("GET", "/jobs/1/history"),
        ("GET", "/jobs/1/explain"),
        ("GET", "/jobs/stats"),
        ("GET", "/jobs"),
        ("GET", "/queues"),
        ("GET", "/queues/default"),
        ("POST", "/queues/default/pause"),
        ("POST", "/queues/default/purge"),
        ("GET", "/cluster"),
        ("GET", "/readyz"),
    ],
)
@pytest.mark.parametrize(
    ("outcome", "code", "shown"),
    [
        (protocol.UNAVAILABLE, "no_leader", (503, "3")),
        (protocol.UNAVAILABLE, "shutting_down", (503, "3")),
        (protocol.UNKNOWN, "outcome_unknown", (504, None)),
    ],
)
def test_what_the_replica_cannot_do_is_passed_on(
    web: Web, call: tuple[str, str], outcome: int, code: str, shown: tuple[int, str | None]
) -> None:
    """With its code, its sentence, its time to wait and the index."""
    web.replica.failure = (outcome, protocol.Failure(code, "the replica's sentence", 3))
    reply = web.send(*call)
    assert (reply.status, reply.headers.get("Retry-After")) == shown
    assert (reply.json["code"], reply.json["detail"]) == (code, "the replica's sentence")
    assert reply.index == 0


def test_retry_after_is_never_zero(web: Web) -> None:
    """A replica that says "at once" still gets a moment."""
    web.replica.failure = (protocol.UNAVAILABLE, protocol.Failure("no_leader", "election"))
    assert web.send("GET", "/jobs/1").headers["Retry-After"] == "1"


def test_a_full_queue_says_when_to_come_back(web: Web) -> None:
    """503 queue_full with Retry-After, and nothing was added."""
    web.send("PATCH", "/queues/default", {"max_depth": 2})
    reply = web.send("PUT", "/jobs/enqueue", [{}, {}, {}])
    assert (reply.status, reply.json["code"]) == (503, "queue_full")
    assert int(reply.headers["Retry-After"]) > 0
    assert web.send("GET", "/jobs/stats").json["total"] == 0


def test_what_nobody_expected_is_an_internal_error_in_the_log(own_web: Web) -> None:
    """500 without a word of the code; the log has the traceback under the request's id."""
    own_web.replica.garbage = b"\xc1"
    reply = own_web.send("GET", "/jobs/1", x_request_id="odd-one")
    assert (reply.status, reply.json["code"]) == (500, "internal")
    assert b"Traceback" not in reply.body
    assert b"msgspec" not in reply.body
    eventually(lambda: "request_failed request_id=odd-one method=GET path=/jobs/1\nTraceback" in own_web.log)
