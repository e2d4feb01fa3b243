"""Enqueue over HTTP: what goes in, what comes back, and that payloads are carried untouched."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cqueue.core import limits
from cqueue.web.body import NESTING_LEVELS_MAX
from tests.web.replica import StandInReplica
from tests.web.web import Web

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)


def test_enqueue_answers_the_id_and_where_the_job_is(web: Web) -> None:
    """One object in: 201, a Location and the id."""
    reply = web.send("PUT", "/jobs/enqueue", {"type": "MAIL"})
    assert (reply.status, reply.json) == (201, {"id": 1})
    assert reply.headers["Location"] == "/jobs/1"
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.index == 1


def test_ids_count_from_one_over_single_and_many(web: Web) -> None:
    """Single jobs and batches share one row of ids."""
    assert web.send("PUT", "/jobs/enqueue", {}).json == {"id": 1}
    assert web.send("PUT", "/jobs/enqueue", [{}, {}, {}]).json == {"ids": [2, 3, 4]}
    assert web.send("PUT", "/jobs/enqueue", {}).json == {"id": 5}


def test_an_array_of_one_is_answered_as_many(web: Web) -> None:
    """The shape of the answer follows the shape of the question."""
    reply = web.send("PUT", "/jobs/enqueue", [{}])
    assert (reply.status, reply.json) == (201, {"ids": [1]})
    assert "Location" not in reply.headers


def test_the_largest_batch_is_taken_as_a_whole(web: Web) -> None:
    """As many jobs as one request may carry."""
    body = b"[" + b",".join([b"{}"] * limits.ENQUEUE_JOBS_MAX) + b"]"
    reply = web.request("PUT", "/jobs/enqueue", body, {"Content-Type": "application/json"})
    assert reply.json["ids"] == list(range(1, limits.ENQUEUE_JOBS_MAX + 1))


def test_a_batch_with_one_bad_job_adds_none(web: Web) -> None:
    """All or nothing, and no id is used up."""
    assert web.send("PUT", "/jobs/enqueue", [{}, {"type": ""}, {}]).json["pointer"] == "/1/type"
    assert web.send("GET", "/jobs/stats").json["total"] == 0
    assert web.send("PUT", "/jobs/enqueue", {}).json == {"id": 1}


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/json"}, {"Content-Type": "text/plain"}])
def test_a_job_without_a_body_is_a_plain_job(web: Web, headers: dict[str, str]) -> None:
    """No body at all is fine where every field is optional."""
    assert web.request("PUT", "/jobs/enqueue", None, headers).status == 201
    job = web.send("GET", "/jobs/1").json
    assert (job["type"], job["payload"], job["priority"]) == ("NOT_TIME_CRITICAL", None, 500)


def test_the_original_spelling_of_type_is_accepted(web: Web) -> None:
    """`Type` in, `type` out."""
    web.send("PUT", "/jobs/enqueue", {"Type": "TIME_CRITICAL"})
    job = web.send("GET", "/jobs/1").json
    assert (job["type"], job["priority"]) == ("TIME_CRITICAL", 0)
    assert "Type" not in job


@pytest.mark.parametrize("name", ["x", "é" * limits.TYPE_CHARS_MAX, "with space", "\U0001f4e6"])
def test_any_type_name_of_1_to_128_characters_is_taken(web: Web, name: str) -> None:
    """Characters are counted, not bytes."""
    assert web.send("PUT", "/jobs/enqueue", {"type": name}).status == 201
    assert web.send("GET", "/jobs/1").json["type"] == name


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON", "application/json; charset=utf-8", 'application/json;charset="UTF-8"'],
)
def test_json_content_types_are_taken(web: Web, content_type: str) -> None:
    """With the charset JSON has, or none, in any case."""
    assert web.request("PUT", "/jobs/enqueue", b"{}", {"Content-Type": content_type}).status == 201


def test_a_chunked_body_is_taken(web: Web) -> None:
    """A client need not know its body's length beforehand."""
    answer = web.pool.request(
        "PUT", "/jobs/enqueue", body=iter([b'{"type":', b'"MAIL"}']), headers={"Content-Type": "application/json"}
    )
    assert answer.status == 201
    assert web.send("GET", "/jobs/1").json["type"] == "MAIL"


@pytest.mark.parametrize(
    "payload",
    [
        b"null",
        b"123456789012345678901234567890",
        b"1.0000000000000000000000001",
        b"1e400",
        b'"\\ud83d\\ude00 \\u0000 \xc3\xa9"',
        b'{"a":{"b":[1,[2,[3,{}]]]},"a":2}',
        b"[ 1 ,\n2 ]",
        b"[" * NESTING_LEVELS_MAX + b"]" * NESTING_LEVELS_MAX,
    ],
)
def test_a_payload_comes_back_byte_for_byte(web: Web, payload: bytes) -> None:
    """Numbers keep their digits, strings their escapes, objects their order."""
    body = b'{"payload": ' + payload + b" }"
    assert web.request("PUT", "/jobs/enqueue", body, {"Content-Type": "application/json"}).status == 201
    assert b'"payload":' + payload + b"," in web.send("POST", "/jobs/dequeue").body
    assert b'"payload":' + payload + b"," in web.send("GET", "/jobs/1").body


@given(payload=json_values, result=json_values)
def test_payload_and_result_mean_the_same_afterwards(running_web: Web, payload: Any, result: Any) -> None:
    """Any JSON value, through the whole life of a job."""
    job_id = running_web.send("PUT", "/jobs/enqueue", {"type": "TIME_CRITICAL", "payload": payload}).json["id"]
    job = running_web.send("POST", "/jobs/dequeue").json
    assert (job["id"], job["payload"]) == (job_id, payload)
    done = running_web.send("POST", f"/jobs/{job_id}/conclude", {"result": result}).json
    assert (done["payload"], done["result"]) == (payload, result)
    assert json.loads(running_web.send("GET", f"/jobs/{job_id}").body) == done


# -- what a job may say beyond its type and payload --------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"queue": "mail"}, {"queue": "mail"}),
        ({"priority": 0}, {"priority": 0}),
        ({"type": "TIME_CRITICAL", "priority": 1000}, {"priority": 1000}),
        ({"max_attempts": 1}, {"max_attempts": 1}),
        ({"tags": {"to": "ada", "é": ""}}, {"tags": {"to": "ada", "é": ""}}),
        ({"unique_key": "k"}, {"unique_key": "k"}),
        ({"delay_seconds": 0}, {"status": "QUEUED"}),
        ({"run_at": "2001-01-01T00:00:00Z"}, {"status": "QUEUED"}),
        ({"run_at": "1901-01-01T00:00:00+14:00"}, {"status": "QUEUED"}),
        ({"run_at": "9000-01-02T03:04:05.678+02:00"}, {"status": "SCHEDULED", "run_at": "9000-01-02T01:04:05.678Z"}),
        ({"backoff": {}}, {"status": "QUEUED"}),
        ({"lease_seconds": 5}, {"status": "QUEUED"}),
    ],
)
@pytest.mark.parametrize("many", [False, True])
def test_a_job_shows_what_it_said(web: Web, fields: dict[str, Any], shown: dict[str, Any], *, many: bool) -> None:
    """Alone, and in an array beside plain ones."""
    web.send("PUT", "/jobs/enqueue", [{}, fields] if many else fields)
    job = web.send("GET", f"/jobs/{2 if many else 1}").json
    assert {name: job[name] for name in shown} == shown
    if many:
        plain = web.send("GET", "/jobs/1").json
        assert not {"tags", "unique_key", "run_at"} & plain.keys()


def test_a_delayed_job_waits(web: Web, replica: StandInReplica) -> None:
    """SCHEDULED until its time has come, to the millisecond."""
    web.given_jobs(delay_seconds=0.25)
    assert web.send("GET", "/jobs/1").json["status"] == "SCHEDULED"
    assert web.send("POST", "/jobs/dequeue").status == 204
    replica.clock_ahead_ms += 250
    job = web.send("POST", "/jobs/dequeue").json
    assert job["id"] == 1
    assert "run_at" not in job


def test_a_job_expires_if_nobody_starts_it_in_time(web: Web, replica: StandInReplica) -> None:
    """It shows when, and is EXPIRED then."""
    web.given_jobs(expires_in_seconds=2)
    job = web.send("GET", "/jobs/1").json
    assert job["expires_at"] > job["created_at"]
    replica.clock_ahead_ms += 2_000
    assert web.send("POST", "/jobs/dequeue").status == 204
    job = web.send("GET", "/jobs/1").json
    assert job["status"] == "EXPIRED"
    assert "expires_at" not in job


def test_a_jobs_own_lease_is_used_where_the_consumer_names_none(web: Web, replica: StandInReplica) -> None:
    """And only there."""
    web.given_jobs(2, lease_seconds=5)
    own, other = (web.send("POST", "/jobs/dequeue", body).json for body in ({}, {"lease_seconds": 9}))
    assert other["lease_expires_at"] > own["lease_expires_at"]
    replica.clock_ahead_ms += 5_000
    assert web.send("POST", "/jobs/dequeue").json["id"] == own["id"]


def test_a_taken_unique_key_answers_the_job_that_took_it(web: Web) -> None:
    """200 with its id and where it is, and no new job."""
    web.send("PUT", "/jobs/enqueue", {"unique_key": "order-1"})
    reply = web.send("PUT", "/jobs/enqueue", {"unique_key": "order-1", "payload": 2})
    assert (reply.status, reply.json, reply.headers["Location"]) == (200, {"id": 1, "duplicate": True}, "/jobs/1")
    assert web.send("PUT", "/jobs/enqueue", {"unique_key": "order-1", "queue": "other"}).status == 201
    web.send("POST", "/jobs/dequeue")
    web.send("POST", "/jobs/1/conclude")
    assert web.send("PUT", "/jobs/enqueue", {"unique_key": "order-1"}).json == {"id": 3}


def test_duplicates_among_many_are_told_by_position(web: Web) -> None:
    """201 while at least one is new, 200 when none is."""
    keys = [{"unique_key": "a"}, {}, {"unique_key": "a"}, {"unique_key": "b"}]
    reply = web.send("PUT", "/jobs/enqueue", keys)
    assert (reply.status, reply.json) == (201, {"ids": [1, 2, 1, 3], "duplicates": [2]})
    reply = web.send("PUT", "/jobs/enqueue", [{"unique_key": "b"}, {"unique_key": "a"}])
    assert (reply.status, reply.json) == (200, {"ids": [3, 1], "duplicates": [0, 1]})


@pytest.mark.parametrize(
    ("scope", "free_after"),
    [
        ({"unique_scope": "queued"}, "dequeue"),
        ({"unique_scope": "unfinished"}, "conclude"),
        ({}, "conclude"),
        ({"unique_seconds": 60}, "a minute"),
    ],
)
def test_the_scope_says_how_long_a_key_is_taken(
    web: Web, replica: StandInReplica, scope: dict[str, Any], free_after: str
) -> None:
    """While it is queued, until it is finished, or for a time, whatever becomes of it."""
    job = {"unique_key": "k"} | scope
    statuses = {"enqueue": web.send("PUT", "/jobs/enqueue", job).status}
    web.send("POST", "/jobs/dequeue")
    steps = {
        "dequeue": lambda: None,
        "conclude": lambda: web.send("POST", "/jobs/1/conclude"),
        "a minute": lambda: setattr(replica, "clock_ahead_ms", 60_000),
    }
    for step, take in steps.items():
        take()
        statuses[step] = web.send("PUT", "/jobs/enqueue", job).status
        if statuses[step] == 201:
            break
    assert [step for step, status in statuses.items() if status == 201] == ["enqueue", free_after]
