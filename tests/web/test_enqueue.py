"""Enqueue over HTTP: what goes in, what comes back, and that payloads are carried untouched."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cqueue.core import limits
from cqueue.web.body import NESTING_LEVELS_MAX
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
