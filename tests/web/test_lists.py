"""`GET /jobs`: filters, pages and cursors, and what is wrong in a query string."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

import pytest

from cqueue.core import limits
from tests.web.replica import StandInReplica
from tests.web.web import Web


def _ids(answer: Any) -> list[int]:
    return [job["id"] for job in answer["jobs"]]


def test_jobs_are_listed_oldest_first_as_they_are_shown_alone(web: Web) -> None:
    """All of them where nothing is said, with the index."""
    web.given_jobs(3)
    web.send("POST", "/jobs/dequeue")
    reply = web.send("GET", "/jobs")
    assert reply.json == {"jobs": [web.send("GET", f"/jobs/{job_id}").json for job_id in (1, 2, 3)], "next": None}
    assert reply.index == 2


def test_an_empty_list_is_a_list(web: Web) -> None:
    """200, nothing in it, nothing after it."""
    reply = web.send("GET", "/jobs?status=DEAD")
    assert (reply.status, reply.json) == (200, {"jobs": [], "next": None})


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("queue=mail", [2, 5]),
        ("queue=none", []),
        ("type=A", [1, 5]),
        ("type=A&type=B", [1, 3, 5]),
        ("order=newest&type=A&type=B", [5, 3, 1]),
        ("status=IN_PROGRESS", [1]),
        ("status=QUEUED&status=SCHEDULED&queue=default", [3, 4]),
        ("tag=to:ada", [3, 5]),
        ("tag=to:ada&tag=from:bob", [5]),
        ("tag=to:", []),
        ("tag=url:http://x", [4]),
        ("type=A&queue=mail&status=QUEUED&tag=to:ada", [5]),
        ("created_from=2001-01-01T00:00:00Z", [1, 2, 3, 4, 5]),
        ("created_from=9998-01-01T00:00:00Z", []),
        ("created_before=2001-01-01T00:00:00.5%2B02:00", []),
        ("created_from=1901-01-01T00:00:00Z&created_before=9998-01-01T00:00:00-12:00", [1, 2, 3, 4, 5]),
    ],
)
@pytest.mark.parametrize("limit", [1, 100])
def test_a_list_may_be_narrowed(web: Web, query: str, ids: list[int], limit: int) -> None:
    """By queue, statuses, types, tags and time, whatever the size of the pages."""
    web.given_jobs(type="A")
    web.given_jobs(queue="mail")
    web.given_jobs(type="B", tags={"to": "ada"})
    web.given_jobs(delay_seconds=5, tags={"url": "http://x"})
    web.given_jobs(type="A", queue="mail", tags={"to": "ada", "from": "bob"})
    web.send("POST", "/jobs/dequeue", {"type": "A"})
    found: list[int] = []
    cursor = ""
    while True:
        answer = web.send("GET", f"/jobs?{query}&limit={limit}{cursor}").json
        assert len(answer["jobs"]) <= limit
        found += _ids(answer)
        if answer["next"] is None:
            break
        cursor = f"&cursor={answer['next']}"
    assert found == ids


def test_created_from_is_in_and_created_before_is_out(web: Web, replica: StandInReplica) -> None:
    """To the millisecond, in any offset."""
    web.given_jobs()
    replica.clock_ahead_ms += 1_000
    web.given_jobs()
    first, second = (job["created_at"] for job in web.send("GET", "/jobs").json["jobs"])
    assert _ids(web.send("GET", "/jobs?" + urlencode({"created_from": first, "created_before": second})).json) == [1]
    assert _ids(web.send("GET", "/jobs?" + urlencode({"created_from": second.lower()})).json) == [2]


def test_pages_stay_right_while_jobs_move(web: Web) -> None:
    """No job twice and none left out, whatever is handed out, finished, purged and added in between."""
    web.given_jobs(5)
    first = web.send("GET", "/jobs?limit=2").json
    web.send("POST", "/jobs/dequeue", {"count": 4})
    web.send("POST", "/jobs/conclude", {"ids": [1, 3]})
    web.send("DELETE", "/jobs/3")
    web.given_jobs(1)
    second = web.send("GET", f"/jobs?limit=2&cursor={first['next']}").json
    third = web.send("GET", f"/jobs?limit=2&cursor={second['next']}").json
    assert [_ids(page) for page in (first, second, third)] == [[1, 2], [4, 5], [6]]
    assert third["next"] is None


def test_few_among_many_are_found_in_one_request(web: Web) -> None:
    """The node goes on looking until the page is full."""
    for _ in range(3):
        web.given_jobs(limits.ENQUEUE_JOBS_MAX)
    web.given_jobs(queue="rare")
    answer = web.send("GET", "/jobs?queue=rare").json
    assert _ids(answer) == [3 * limits.ENQUEUE_JOBS_MAX + 1]
    assert answer["next"] is None


def test_a_page_carries_only_so_much_payload(web: Web) -> None:
    """Fewer jobs than asked for, and a cursor for the others."""
    payload = "x" * (200 * 1024)
    for _ in range(50):
        web.send("PUT", "/jobs/enqueue", {"payload": payload})
    answer = web.send("GET", "/jobs?limit=1000").json
    count = len(answer["jobs"])
    assert count == limits.DEQUEUE_PAYLOAD_BYTES_MAX // (len(payload) + 2)
    assert _ids(web.send("GET", f"/jobs?limit=1000&cursor={answer['next']}").json) == list(range(count + 1, 51))


WRONG = {
    "limit=0": "limit",
    "limit=1001": "limit",
    "limit=ten": "limit",
    "limit=": "limit",
    "limit=1&limit=2": "limit",
    "limit=%D9%A1": "limit",
    "cursor=5": "cursor",
    "cursor=%FF": "cursor",
    "cursor=LTE": "cursor",
    "cursor=MA": "cursor",
    "cursor=OTk5OTk5OTk5OTk5OTk5OTk5OQ": "cursor",
    "queue=a%2Fb": "queue",
    "queue=": "queue",
    "queue=a&queue=b": "queue",
    "status=DONE": "status",
    "status=queued": "status",
    "type=": "type",
    "type=%0A": "type",
    "&".join(f"type=t{number}" for number in range(65)): "type",
    "tag=to": "tag",
    "tag=:x": "tag",
    "tag=a:1&tag=a:2": "tag",
    "tag=a:%0A": "tag",
    "&".join(f"tag=t{number}:" for number in range(17)): "tag",
    "created_from=yesterday": "created_from",
    "created_from=2026-01-02": "created_from",
    "created_from=2026-01-02T03:04:05": "created_from",
    "created_from=2026-01-02T03:04:05+01:00": "%2B",
    "created_before=9999-12-31T23:59:59Z": "created_before",
    "created_before=1e9": "created_before",
    "consistency=none": "consistency",
    "page=2": "'page'",
    "wait=5": "'wait'",
}


@pytest.mark.parametrize(("query", "named"), WRONG.items(), ids=[query[:40] for query in WRONG])
def test_a_wrong_parameter_is_refused_by_name(web: Web, query: str, named: str) -> None:
    """422 invalid_field; there is no pointer into an address."""
    reply = web.send("GET", f"/jobs?{query}")
    assert (reply.status, reply.json["code"]) == (422, "invalid_field")
    assert named in reply.json["detail"]
    assert "pointer" not in reply.json
    assert web.replica.kinds == []


@pytest.mark.parametrize("query", ["cursor=%24%24", "limit=0", "queue=a"])
def test_the_list_of_queues_has_its_own_parameters(web: Web, query: str) -> None:
    """Refused in the same way."""
    assert web.send("GET", f"/queues?{query}").status == 422


def test_a_name_in_the_query_is_percent_encoded(web: Web) -> None:
    """Any name of a queue, a type or a tag."""
    web.given_jobs(queue="a&b=c", type="x y+z", tags={"é": "100%"})
    query = urlencode({"queue": "a&b=c", "type": "x y+z", "tag": "é:100%"}, quote_via=quote)
    assert _ids(web.send("GET", f"/jobs?{query}").json) == [1]
