"""What is wrong is refused with one clear problem, by name and place, and the queue goes on unharmed."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cqueue.core import limits
from cqueue.web.body import NESTING_LEVELS_MAX
from cqueue.web.shapes.verbs import VERBS
from tests.web.web import Reply, Web

JSON = {"Content-Type": "application/json"}
ENQUEUE = ("PUT", "/jobs/enqueue")
DEQUEUE = ("POST", "/jobs/dequeue")
CONCLUDE = ("POST", "/jobs/1/conclude")
CONCLUDE_MANY = ("POST", "/jobs/conclude")
FAIL = ("POST", "/jobs/1/fail")
CANCEL_MANY = ("POST", "/jobs/cancel")
EVERY_CALL = [
    ENQUEUE,
    DEQUEUE,
    CONCLUDE,
    CONCLUDE_MANY,
    FAIL,
    ("POST", "/jobs/fail"),
    ("POST", "/jobs/1/release"),
    ("POST", "/jobs/release"),
    ("POST", "/jobs/1/extend"),
    ("POST", "/jobs/extend"),
    ("POST", "/jobs/1/progress"),
    ("POST", "/jobs/progress"),
    ("POST", "/jobs/1/cancel"),
    CANCEL_MANY,
    ("POST", "/jobs/1/redrive"),
    ("POST", "/jobs/redrive"),
    ("POST", "/jobs/1/purge"),
    ("POST", "/jobs/purge"),
    ("DELETE", "/jobs/1"),
    ("PATCH", "/queues/a"),
    ("POST", "/queues/a/pause"),
    ("POST", "/queues/a/resume"),
    ("POST", "/queues/a/purge"),
    ("POST", "/queues/a/redrive"),
    ("DELETE", "/queues/a"),
]
"""Every route that takes a body."""

DEEPER = NESTING_LEVELS_MAX + 1
BOMB = 100_000

NOT_JSON: list[tuple[str, bytes, str]] = [
    ("not JSON at all", b"Type=TIME_CRITICAL", "invalid character"),
    ("white space alone", b"  \n", "ends too early"),
    ("cut short", b'{"type":"MAI', "ends too early"),
    ("a word of another language", b'{"payload":undefined}', "invalid character"),
    ("single quotes", b"{'type':'MAIL'}", "keys must be strings"),
    ("something after it", b'{"type":"MAIL"}}', "trailing characters"),
    ("a value after it", b"{}{}", "trailing characters"),
    ("not a number", b'{"payload":NaN}', "invalid character"),
    ("not a number within a payload", b'{"payload":[1,{"a":NaN}]}', "invalid character"),
    ("infinity", b'{"payload":Infinity}', "invalid character"),
    ("infinity below zero", b'{"delay_seconds":-Infinity}', "invalid character"),
    ("a number with a zero in front", b'{"priority":01}', "invalid number"),
    ("a comment", b'{"payload":/* nothing */1}', "invalid character"),
    ("a comma too many", b'{"payload":[1,]}', "trailing comma"),
    ("a raw line break in a string", b'{"payload":"a\nb"}', "invalid character"),
    ("a byte order mark", b"\xef\xbb\xbf{}", "invalid character"),
    ("UTF-16", '{"type":"MAIL"}'.encode("utf-16-le"), "not JSON"),
    ("not UTF-8", b'{"payload":"\xff"}', "not UTF-8 (byte 12)"),
    ("a surrogate in UTF-8", b'{"payload":"\xed\xa0\x80"}', "not UTF-8"),
    ("half an escaped surrogate pair", rb'{"payload":"\ud83d!"}', "surrogate"),
    ("half a pair before another escape", rb'{"payload":"\ud83d\u0041"}', "surrogate"),
    ("the other half", rb'{"payload":"\ude00"}', "surrogate"),
    ("arrays beyond the limit", b'{"payload":' + b"[" * DEEPER + b"]" * DEEPER + b"}", "nested too deeply"),
    ("objects beyond the limit", b'{"payload":' + b'{"a":' * DEEPER + b"1" + b"}" * DEEPER + b"}", "nested too deeply"),
    ("a depth bomb", b'{"payload":' + b"[" * BOMB + b"]" * BOMB + b"}", "nested too deeply"),
    ("a depth bomb that never closes", b'{"payload":' + b"[" * BOMB, "nested too deeply"),
    ("a depth bomb in a batch", b"[{},{" + b'"payload":' + b"[" * DEEPER + b"]" * DEEPER + b"}]", "/1/payload"),
]

WRONG_FIELDS: list[tuple[tuple[str, str], Any, str]] = [
    (ENQUEUE, "text", ""),
    (ENQUEUE, 5, ""),
    (ENQUEUE, None, ""),
    (ENQUEUE, [], ""),
    (ENQUEUE, [{}] * (limits.ENQUEUE_JOBS_MAX + 1), ""),
    (ENQUEUE, [{}, 1], "/1"),
    (ENQUEUE, {"type": ""}, "/type"),
    (ENQUEUE, {"type": "x" * 129}, "/type"),
    (ENQUEUE, {"Type": "x" * 129}, "/Type"),
    (ENQUEUE, {"type": 1}, "/type"),
    (ENQUEUE, {"type": None}, "/type"),
    (ENQUEUE, {"type": ["x"]}, "/type"),
    (ENQUEUE, {"type": "a", "Type": "a"}, "/Type"),
    (ENQUEUE, [{}, {}, {"type": "a", "Type": "a"}], "/2/Type"),
    (ENQUEUE, {"TYPE": "a"}, "/TYPE"),
    (ENQUEUE, {"prio": 1}, "/prio"),
    (ENQUEUE, {"a/b~c": 1}, "/a~1b~0c"),
    (ENQUEUE, {"": 1}, "/"),
    (ENQUEUE, {"x" * 200: 1}, "/" + "x" * 128 + "..."),
    (ENQUEUE, [{}, {"payload": 1, "prio": 1}], "/1/prio"),
    (ENQUEUE, {"payload": 1, "type": "tab\there"}, "/type"),
    (ENQUEUE, [{}, {"Type": "\u0000"}], "/1/Type"),
    (ENQUEUE, {"queue": ""}, "/queue"),
    (ENQUEUE, {"queue": "q" * 129}, "/queue"),
    (ENQUEUE, {"queue": "a/b"}, "/queue"),
    (ENQUEUE, {"queue": "$own"}, "/queue"),
    (ENQUEUE, {"queue": ".."}, "/queue"),
    (ENQUEUE, {"queue": "a\n"}, "/queue"),
    (ENQUEUE, [{"queue": "a"}, {"queue": "a/b"}], "/1/queue"),
    (ENQUEUE, {"queue": None}, "/queue"),
    (ENQUEUE, {"priority": -1}, "/priority"),
    (ENQUEUE, {"priority": 1001}, "/priority"),
    (ENQUEUE, {"priority": 1.5}, "/priority"),
    (ENQUEUE, {"priority": "high"}, "/priority"),
    (ENQUEUE, {"delay_seconds": -0.001}, "/delay_seconds"),
    (ENQUEUE, {"delay_seconds": 31_622_401}, "/delay_seconds"),
    (ENQUEUE, {"delay_seconds": "5"}, "/delay_seconds"),
    (ENQUEUE, {"run_at": "2026-01-02T03:04:05"}, "/run_at"),
    (ENQUEUE, {"run_at": "tomorrow"}, "/run_at"),
    (ENQUEUE, {"run_at": 1_767_323_045}, "/run_at"),
    (ENQUEUE, {"run_at": "9999-12-31T23:59:59-10:00"}, "/run_at"),
    (ENQUEUE, {"run_at": "2026-01-02T03:04:05Z", "delay_seconds": 1}, "/run_at"),
    (ENQUEUE, {"expires_in_seconds": 0}, "/expires_in_seconds"),
    (ENQUEUE, {"expires_in_seconds": 31_622_401}, "/expires_in_seconds"),
    (ENQUEUE, {"lease_seconds": 0}, "/lease_seconds"),
    (ENQUEUE, {"lease_seconds": 1.5}, "/lease_seconds"),
    (ENQUEUE, {"max_attempts": 0}, "/max_attempts"),
    (ENQUEUE, {"max_attempts": 1001}, "/max_attempts"),
    (ENQUEUE, {"backoff": 5}, "/backoff"),
    (ENQUEUE, {"backoff": {"kind": "random"}}, "/backoff/kind"),
    (ENQUEUE, {"backoff": {"kind": 1}}, "/backoff/kind"),
    (ENQUEUE, {"backoff": {"seconds": -1}}, "/backoff/seconds"),
    (ENQUEUE, {"backoff": {"seconds": 2, "cap_seconds": 1}}, "/backoff/cap_seconds"),
    (ENQUEUE, {"backoff": {"jitter": 101}}, "/backoff/jitter"),
    (ENQUEUE, {"backoff": {"factor": 2}}, "/backoff/factor"),
    (ENQUEUE, {"unique_key": ""}, "/unique_key"),
    (ENQUEUE, {"unique_key": "k" * 256}, "/unique_key"),
    (ENQUEUE, {"unique_key": "\u200b"}, "/unique_key"),
    (ENQUEUE, {"unique_key": "k", "unique_scope": "window"}, "/unique_scope"),
    (ENQUEUE, {"unique_scope": "queued"}, "/unique_scope"),
    (ENQUEUE, {"unique_seconds": 5}, "/unique_seconds"),
    (ENQUEUE, {"unique_key": "k", "unique_seconds": 0}, "/unique_seconds"),
    (ENQUEUE, {"unique_key": "k", "unique_seconds": 5, "unique_scope": "queued"}, "/unique_seconds"),
    (ENQUEUE, {"tags": []}, "/tags"),
    (ENQUEUE, {"tags": {"a": 1}}, "/tags"),
    (ENQUEUE, {"tags": {"": "x"}}, "/tags/"),
    (ENQUEUE, {"tags": {"a:b": "x"}}, "/tags/a:b"),
    (ENQUEUE, {"tags": {"a/b": "x\n"}}, "/tags/a~1b"),
    (ENQUEUE, {"tags": {"a": "v" * 129}}, "/tags/a"),
    (ENQUEUE, {"tags": {f"t{n}": "" for n in range(17)}}, "/tags"),
    (ENQUEUE, [{}, {"priority": 1}, {"tags": {"a": "\t"}}], "/2/tags/a"),
    (ENQUEUE, [{}, {"backoff": {"kind": "x"}}], "/1/backoff/kind"),
    (ENQUEUE, [{"priority": 1}, {"Type": "a", "type": "b"}], "/1/Type"),
    (DEQUEUE, [], ""),
    (DEQUEUE, {"count": 0}, "/count"),
    (DEQUEUE, {"count": 1001}, "/count"),
    (DEQUEUE, {"count": -1}, "/count"),
    (DEQUEUE, {"count": 1.0}, "/count"),
    (DEQUEUE, {"count": True}, "/count"),
    (DEQUEUE, {"count": "1"}, "/count"),
    (DEQUEUE, {"count": None}, "/count"),
    (DEQUEUE, {"count": 10**30}, "/count"),
    (DEQUEUE, {"lease_seconds": 0}, "/lease_seconds"),
    (DEQUEUE, {"lease_seconds": 86_401}, "/lease_seconds"),
    (DEQUEUE, {"lease_seconds": 1.5}, "/lease_seconds"),
    (DEQUEUE, {"wait": -0.1}, "/wait"),
    (DEQUEUE, {"wait": 60.001}, "/wait"),
    (DEQUEUE, {"wait": True}, "/wait"),
    (DEQUEUE, {"wait": "5"}, "/wait"),
    (DEQUEUE, {"timeout": 5}, "/timeout"),
    (DEQUEUE, {"queue": "a/b"}, "/queue"),
    (DEQUEUE, {"queue": "a", "queues": ["b"]}, "/queues"),
    (DEQUEUE, {"queues": []}, "/queues"),
    (DEQUEUE, {"queues": ["a"] * 65}, "/queues"),
    (DEQUEUE, {"queues": ["a", ""]}, "/queues/1"),
    (DEQUEUE, {"queues": ["a", "$b"]}, "/queues/1"),
    (DEQUEUE, {"queues": "a"}, "/queues"),
    (DEQUEUE, {"type": "a\n"}, "/type"),
    (DEQUEUE, {"type": "a", "types": ["b"]}, "/types"),
    (DEQUEUE, {"types": ["a", "\t"]}, "/types/1"),
    (DEQUEUE, {"types": []}, "/types"),
    (DEQUEUE, {"tags": {"a": None}}, "/tags"),
    (DEQUEUE, {"tags": {"a": "\t"}}, "/tags/a"),
    (CONCLUDE, {"lease_token": 0}, "/lease_token"),
    (CONCLUDE, {"lease_token": "1"}, "/lease_token"),
    (CONCLUDE, {"lease_token": None}, "/lease_token"),
    (CONCLUDE, {"lease_token": 2**63}, "/lease_token"),
    (CONCLUDE, {"lease_token": 2**200}, "/lease_token"),
    (CONCLUDE, {"status": "DEAD"}, "/status"),
    (CONCLUDE, [1], ""),
    (CONCLUDE_MANY, {}, ""),
    (CONCLUDE_MANY, [1], ""),
    (CONCLUDE_MANY, {"ids": [], "jobs": []}, "/ids"),
    (CONCLUDE_MANY, {"ids": [1], "jobs": [{"id": 1}]}, "/jobs"),
    (CONCLUDE_MANY, {"ids": []}, "/ids"),
    (CONCLUDE_MANY, {"jobs": []}, "/jobs"),
    (CONCLUDE_MANY, {"ids": list(range(1, limits.SETTLE_JOBS_MAX + 2))}, "/ids"),
    (CONCLUDE_MANY, {"ids": [1, 0]}, "/ids/1"),
    (CONCLUDE_MANY, {"ids": [1, "2"]}, "/ids/1"),
    (CONCLUDE_MANY, {"ids": [1, 2**63]}, "/ids/1"),
    (CONCLUDE_MANY, {"ids": 1}, "/ids"),
    (CONCLUDE_MANY, {"jobs": [{"id": 1}, {}]}, "/jobs/1/id"),
    (CONCLUDE_MANY, {"jobs": [{"id": 1, "token": 1}]}, "/jobs/0/token"),
    (CONCLUDE_MANY, {"jobs": [{"id": 1, "lease_token": False}]}, "/jobs/0/lease_token"),
    (FAIL, {"lease_token": 0}, "/lease_token"),
    (FAIL, {"error": 5}, "/error"),
    (FAIL, {"error": "e" * 4_097}, "/error"),
    (FAIL, {"retryable": "no"}, "/retryable"),
    (FAIL, {"retry_in_seconds": -1}, "/retry_in_seconds"),
    (FAIL, {"retry_in_seconds": 31_622_401}, "/retry_in_seconds"),
    (FAIL, {"retry_in_seconds": 1, "retryable": False}, "/retry_in_seconds"),
    (FAIL, {"result": 1}, "/result"),
    (("POST", "/jobs/fail"), {"jobs": [{"id": 1}, {"id": 2, "retryable": 0}]}, "/jobs/1/retryable"),
    (
        ("POST", "/jobs/fail"),
        {"jobs": [{"id": 1, "retry_in_seconds": 1, "retryable": False}]},
        "/jobs/0/retry_in_seconds",
    ),
    (("POST", "/jobs/fail"), {"filter": {"queue": "a"}}, "/filter"),
    (("POST", "/jobs/1/release"), {"lease_seconds": 1}, "/lease_seconds"),
    (("POST", "/jobs/release"), {"jobs": [{"id": 1, "error": ""}]}, "/jobs/0/error"),
    (("POST", "/jobs/1/extend"), {"lease_seconds": 0}, "/lease_seconds"),
    (("POST", "/jobs/1/extend"), {"lease_seconds": 86_401}, "/lease_seconds"),
    (("POST", "/jobs/extend"), {"jobs": [{"id": 1, "lease_seconds": 1.5}]}, "/jobs/0/lease_seconds"),
    (("POST", "/jobs/1/progress"), {"percent": 101}, "/percent"),
    (("POST", "/jobs/1/progress"), {"percent": 1.5}, "/percent"),
    (("POST", "/jobs/1/progress"), {"note": "n" * 1_025}, "/note"),
    (("POST", "/jobs/progress"), {"jobs": [{"id": 1}, {"id": 2, "percent": -1}]}, "/jobs/1/percent"),
    (("POST", "/jobs/1/cancel"), {"lease_token": 1}, "/lease_token"),
    (("DELETE", "/jobs/1"), {"force": True}, "/force"),
    (CANCEL_MANY, {}, ""),
    (CANCEL_MANY, {"ids": [0]}, "/ids/0"),
    (CANCEL_MANY, {"jobs": [{"id": 1, "lease_token": 1}]}, "/jobs/0/lease_token"),
    (CANCEL_MANY, {"ids": [1], "filter": {"queue": "a"}}, "/filter"),
    (CANCEL_MANY, {"jobs": [{"id": 1}], "filter": {"queue": "a"}}, "/filter"),
    (CANCEL_MANY, {"filter": {}}, "/filter"),
    (CANCEL_MANY, {"filter": []}, "/filter"),
    (CANCEL_MANY, {"filter": {"queue": "a/b"}}, "/filter/queue"),
    (CANCEL_MANY, {"filter": {"status": "DONE"}}, "/filter/status"),
    (CANCEL_MANY, {"filter": {"statuses": ["QUEUED", "DEAD"]}}, "/filter/statuses/1"),
    (CANCEL_MANY, {"filter": {"statuses": []}}, "/filter/statuses"),
    (CANCEL_MANY, {"filter": {"status": "QUEUED", "statuses": ["QUEUED"]}}, "/filter/statuses"),
    (CANCEL_MANY, {"filter": {"type": ""}}, "/filter/type"),
    (CANCEL_MANY, {"filter": {"types": ["a", "\t"]}}, "/filter/types/1"),
    (CANCEL_MANY, {"filter": {"tags": {"a": 5}}}, "/filter/tags"),
    (CANCEL_MANY, {"filter": {"created_before": "2026-01-02"}}, "/filter/created_before"),
    (CANCEL_MANY, {"filter": {"older_than": 5}}, "/filter/older_than"),
    (("POST", "/jobs/redrive"), {"filter": {"status": "CONCLUDED"}}, "/filter/status"),
    (("POST", "/jobs/purge"), {"filter": {"status": "IN_PROGRESS"}}, "/filter/status"),
    (("PATCH", "/queues/a"), [], ""),
    (("PATCH", "/queues/a"), {"paused": 1}, "/paused"),
    (("PATCH", "/queues/a"), {"require_lease_token": None}, "/require_lease_token"),
    (("PATCH", "/queues/a"), {"lease_seconds": 0}, "/lease_seconds"),
    (("PATCH", "/queues/a"), {"max_attempts": 0}, "/max_attempts"),
    (("PATCH", "/queues/a"), {"backoff": {"seconds": "1"}}, "/backoff/seconds"),
    (("PATCH", "/queues/a"), {"priorities": {"a": 1001}}, "/priorities/a"),
    (("PATCH", "/queues/a"), {"priorities": {"a": 1, "b": -1}}, "/priorities/b"),
    (("PATCH", "/queues/a"), {"priorities": {"a": "1"}}, "/priorities"),
    (("PATCH", "/queues/a"), {"priorities": {"": 1}}, "/priorities/"),
    (("PATCH", "/queues/a"), {"priorities": {f"t{n}": 1 for n in range(101)}}, "/priorities"),
    (("PATCH", "/queues/a"), {"max_depth": -1}, "/max_depth"),
    (("PATCH", "/queues/a"), {"max_in_progress": -1}, "/max_in_progress"),
    (("PATCH", "/queues/a"), {"rate_per_second": 0.0004}, "/rate_per_second"),
    (("PATCH", "/queues/a"), {"rate_per_second": 1_000_001}, "/rate_per_second"),
    (("PATCH", "/queues/a"), {"rate_burst": 1_000_001}, "/rate_burst"),
    (("PATCH", "/queues/a"), {"retention_jobs": 0}, "/retention_jobs"),
    (("PATCH", "/queues/a"), {"retention_seconds": 316_224_001}, "/retention_seconds"),
    (("PATCH", "/queues/a"), {"name": "b"}, "/name"),
    (("POST", "/queues/a/pause"), {"for": 5}, "/for"),
    (("POST", "/queues/a/redrive"), {"status": "DEAD"}, "/status"),
    (("POST", "/queues/a/purge"), {"statuses": ["IN_PROGRESS"]}, "/statuses/0"),
    (("POST", "/queues/a/purge"), {"statuses": ["QUEUED", 1]}, "/statuses/1"),
    (("DELETE", "/queues/a"), {"force": True}, "/force"),
]


def assert_refused(reply: Reply, status: int, code: str) -> dict[str, Any]:
    """One whole problem, and nothing of the server's inside."""
    problem: dict[str, Any] = reply.json
    assert (reply.status, problem["status"], problem["code"]) == (status, status, code)
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert "Retry-After" not in reply.headers
    assert problem["detail"]
    assert b"Traceback" not in reply.body
    return problem


@pytest.mark.parametrize(("body", "said"), [case[1:] for case in NOT_JSON], ids=[case[0] for case in NOT_JSON])
def test_what_is_not_json_is_refused(web: Web, body: bytes, said: str) -> None:
    """400 invalid_json with a sentence that says why."""
    problem = assert_refused(web.request(*ENQUEUE, body, JSON), 400, "invalid_json")
    assert said in problem["detail"]
    assert web.replica.kinds == []
    assert web.send(*ENQUEUE, {}).json == {"id": 1}


def test_of_a_field_that_is_there_twice_the_last_one_counts(web: Web) -> None:
    """As docs/protocol.md says: nothing looks for such names, and what is within a payload stays as it was sent."""
    given = b'{"type":"a","payload":{"n":1,"n":2},"type":"b"}'
    assert web.request(*ENQUEUE, given, JSON).status == 201
    job = web.send(*DEQUEUE)
    assert job.json["type"] == "b"
    assert b'"payload":{"n":1,"n":2},' in job.body


def test_a_number_that_no_float_can_hold_is_a_payload_but_no_field(web: Web) -> None:
    """Nobody has to calculate with a payload; a field is refused by its place."""
    assert web.request(*ENQUEUE, b'{"payload":1e400}', JSON).status == 201
    assert b'"payload":1e400,' in web.send(*DEQUEUE).body
    reply = web.request(*DEQUEUE, b'{"wait":1e400}', JSON)
    assert assert_refused(reply, 422, "invalid_field")["pointer"] == "/wait"


@pytest.mark.parametrize(("call", "value", "pointer"), WRONG_FIELDS)
def test_a_wrong_field_is_refused_by_its_place(web: Web, call: tuple[str, str], value: Any, pointer: str) -> None:
    """422 invalid_field with a JSON pointer, and a sentence that begins with it."""
    problem = assert_refused(web.request(*call, json.dumps(value).encode(), JSON), 422, "invalid_field")
    assert problem["pointer"] == pointer
    assert problem["detail"].startswith(f"{pointer or 'the body'}: ")
    assert "`str`" not in problem["detail"]
    assert web.replica.kinds == []


def test_results_nest_no_deeper_than_payloads(web: Web) -> None:
    """One limit for what is stored."""
    deep = b"[" * DEEPER + b"]" * DEEPER
    problem = assert_refused(web.request(*CONCLUDE, b'{"result":' + deep + b"}", JSON), 400, "invalid_json")
    assert problem["pointer"] == "/result"
    many = b'{"jobs":[{"id":1,"result":' + deep + b"}]}"
    assert assert_refused(web.request(*CONCLUDE_MANY, many, JSON), 400, "invalid_json")["pointer"] == "/jobs/0/result"


def test_brackets_in_strings_are_no_nesting(web: Web) -> None:
    """Only structure counts."""
    for payload in ("[" * 1000, '\\"[' * 1000, [["{"]] * 500):
        assert web.send(*ENQUEUE, {"payload": payload}).status == 201


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_of_many_needs_a_body(web: Web, verb: str) -> None:
    """Here not every field is optional."""
    problem = assert_refused(web.send("POST", f"/jobs/{verb}"), 422, "invalid_field")
    assert "required" in problem["detail"]


@pytest.mark.parametrize(
    ("content_type", "said"),
    [
        ("application/x-www-form-urlencoded", "add -H 'Content-Type: application/json'"),
        ("text/plain", "'text/plain'"),
        ("application/problem+json", "'application/problem+json'"),
        ("application/json; charset=latin-1", "UTF-8"),
        ("", "no content type"),
        (None, "no content type"),
    ],
)
def test_another_content_type_is_refused(web: Web, content_type: str | None, said: str) -> None:
    """415 with a sentence that says what to send instead."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    problem = assert_refused(web.request(*ENQUEUE, b"{}", headers), 415, "unsupported_media_type")
    assert said in problem["detail"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused(web: Web, *, chunked: bool) -> None:
    """413, whether its length is announced or not; one byte less is taken."""
    limit = web.settings["body_bytes_max"]
    room = limit - len(b'{"payload":""}')
    for over, status in ((0, 201), (1, 413)):
        body = b'{"payload":"' + b"x" * (room + over) + b'"}'
        answer = web.pool.request(*ENQUEUE, body=iter([body]) if chunked else body, headers=JSON)
        assert answer.status == status
    assert_refused(Reply(answer.status, answer.headers, answer.data), 413, "body_too_large")
    assert str(limit) in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/jobs/enqueue", "PUT"),
        ("GET", "/jobs/enqueue", "PUT"),
        ("GET", "/jobs/dequeue", "POST"),
        ("PUT", "/jobs/conclude", "POST"),
        ("GET", "/jobs/1/conclude", "POST"),
        ("GET", "/jobs/conclude/1", "POST"),
        ("PUT", "/jobs/1/fail", "POST"),
        ("GET", "/jobs/1/purge", "POST"),
        ("POST", "/jobs/1/history", "GET"),
        ("POST", "/jobs", "GET"),
        ("POST", "/queues", "GET"),
        ("DELETE", "/queues/a/pause", "POST"),
        ("POST", "/jobs/stats", "GET"),
        ("POST", "/cluster", "GET"),
        ("POST", "/", "GET"),
        ("PATCH", "/livez", "GET"),
    ],
)
def test_a_wrong_method_is_refused(web: Web, method: str, path: str, allowed: str) -> None:
    """405 with Allow, and a sentence that names the right one."""
    reply = web.send(method, path)
    problem = assert_refused(reply, 405, "method_not_allowed")
    assert allowed in reply.headers["Allow"].split(", ")
    assert problem["detail"].endswith(f"only {allowed}")


@pytest.mark.parametrize(
    "path", ["/nothing", "/jobs/", "/jobs/1/", "/jobs/1/nap", "/jobs/x/conclude", "/queues/a/b", "/é"]
)
def test_an_unknown_path_is_not_found(web: Web, path: str) -> None:
    """404 as a problem, without a redirect."""
    assert_refused(web.send("GET", path), 404, "not_found")


@pytest.mark.parametrize("name", ["", "n" * 129, "tab\there", "\xff\xfe", "zero\u200bwidth".encode().decode("latin-1")])
def test_a_consumers_name_is_printable(web: Web, name: str) -> None:
    """1 to 128 printable characters in UTF-8, else 422 before anything is handed out."""
    web.given_jobs()
    problem = assert_refused(web.request(*DEQUEUE, None, {"Consumer-Id": name}), 422, "invalid_field")
    assert "Consumer-Id" in problem["detail"]
    assert web.send(*DEQUEUE).json["attempt"] == 1


@pytest.mark.parametrize("call", EVERY_CALL)
def test_fields_in_the_address_are_refused(web: Web, call: tuple[str, str]) -> None:
    """`?wait=5` would otherwise be ignored, and nobody would know why."""
    method, path = call
    assert "'wait'" in assert_refused(web.send(method, f"{path}?wait=5"), 422, "invalid_field")["detail"]


def test_a_body_that_breaks_off_harms_nobody(web: Web) -> None:
    """The client goes away in the middle; nothing is enqueued."""
    with socket.create_connection(("127.0.0.1", web.port)) as connection:
        connection.sendall(
            b"PUT /jobs/enqueue HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{}"
        )
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read()
    assert b"ended after 2 of 100 bytes" in answer
    assert web.send("GET", "/jobs/stats").json["total"] == 0


def test_a_broken_chunk_is_refused(web: Web) -> None:
    """400, not 500: it is the caller's doing."""
    with socket.create_connection(("127.0.0.1", web.port)) as connection, connection.makefile("rb") as answer:
        connection.sendall(
            b"PUT /jobs/enqueue HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"
        )
        assert answer.readline() == b"HTTP/1.1 400 BAD REQUEST\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "code"),
    [
        (b"hello\r\n\r\n", "invalid_http"),
        (b"GET / HTTP/9.9\r\n\r\n", "invalid_http"),
        (b"GET / HTTP/1.1\r\nConsumer-Id: \x7f\r\n\r\n", "invalid_http"),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "invalid_http"),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "invalid_http"),
        (b"GET /" + b"x" * 5_000 + b" HTTP/1.1\r\n\r\n", "uri_too_long"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 9_000 + b"\r\n\r\n", "headers_too_large"),
        (b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 200 + b"\r\n", "headers_too_large"),
    ],
)
def test_what_is_not_http_is_refused(web: Web, request_bytes: bytes, code: str) -> None:
    """As a problem, like everything; the connection is closed."""
    with socket.create_connection(("127.0.0.1", web.port)) as connection, connection.makefile("rb") as answer:
        connection.sendall(request_bytes)
        head, _, body = answer.read().partition(b"\r\n\r\n")
    problem = json.loads(body)
    assert problem["code"] == code
    assert head.startswith(b"HTTP/1.1 %d " % problem["status"])
    assert b"\r\nContent-Type: application/problem+json\r\n" in head
    assert b"\r\nConnection: close\r\n" in head
    assert "Traceback" not in web.log


def test_a_flood_of_what_is_not_http_does_not_flood_the_log(web: Web) -> None:
    """One line for an address, and a count of the others ten seconds later; each is answered all the same."""
    before = web.log.count("request_refused ")
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", web.port)) as connection, connection.makefile("rb") as answer:
            connection.sendall(b"flood\r\n\r\n")
            assert answer.readline().split()[1] == b"400"
    # More than one only where others were refused before, or an interval ended meanwhile.
    assert web.log.count("request_refused ") - before <= 2


@pytest.mark.parametrize("host", ["", "..", "x" * 300, "\xff", "a:b:c", "[::1"])
def test_the_host_header_is_the_callers_affair(web: Web, host: str) -> None:
    """Routes do not depend on it."""
    with socket.create_connection(("127.0.0.1", web.port)) as connection, connection.makefile("rb") as answer:
        connection.sendall(f"GET /livez HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("latin-1"))
        assert answer.readline().split()[1] in (b"200", b"400")
    assert "Traceback" not in web.log


@given(body=st.binary(max_size=200), call=st.sampled_from(EVERY_CALL))
def test_no_body_at_all_upsets_the_server(running_web: Web, body: bytes, call: tuple[str, str]) -> None:
    """Any bytes are answered by a client error or a success."""
    assert running_web.request(*call, body, JSON).status < 500


NAMES = [
    "type",
    "Type",
    "payload",
    "count",
    "wait",
    "ids",
    "jobs",
    "id",
    "lease_token",
    "result",
    "x",
    "queue",
    "queues",
    "types",
    "tags",
    "priority",
    "delay_seconds",
    "run_at",
    "expires_in_seconds",
    "lease_seconds",
    "max_attempts",
    "backoff",
    "kind",
    "seconds",
    "jitter",
    "unique_key",
    "unique_scope",
    "unique_seconds",
    "error",
    "retryable",
    "retry_in_seconds",
    "percent",
    "note",
    "filter",
    "status",
    "statuses",
    "created_before",
    "paused",
    "priorities",
    "max_depth",
]


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(NAMES),
                inner,
                max_size=3,
            )
        ),
        max_leaves=8,
    ),
    call=st.sampled_from(EVERY_CALL),
)
def test_no_json_at_all_upsets_the_server(running_web: Web, value: Any, call: tuple[str, str]) -> None:
    """Any value is answered by a success or by a problem of its own, even with all the right names."""
    if isinstance(value, dict) and call == DEQUEUE:
        value.pop("wait", None)
    reply = running_web.request(*call, json.dumps(value, allow_nan=True).encode(), JSON)
    assert reply.status in (200, 201, 204, 400, 404, 409, 410, 422)
