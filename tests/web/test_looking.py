"""Looking at jobs and counts, linearizable and stale; what a job shows in each status."""

from __future__ import annotations

import pytest

from cqueue import protocol
from cqueue.core import limits
from tests.web.replica import StandInReplica
from tests.web.web import Web

ALWAYS = {"id", "type", "status", "queue", "priority", "payload", "created_at", "attempt", "max_attempts"}


def test_a_job_shows_what_applies_to_its_status(web: Web, replica: StandInReplica) -> None:
    """From queued over in progress and back to dead."""
    web.given_jobs()
    assert web.send("GET", "/jobs/1").json.keys() == ALWAYS
    for attempt in range(1, limits.ATTEMPTS_MAX_DEFAULT + 1):
        web.send("POST", "/jobs/dequeue", {"lease_seconds": 1}, consumer_id="c")
        job = web.send("GET", "/jobs/1").json
        assert job["attempt"] == attempt
        assert job.keys() == ALWAYS | {"lease_token", "lease_expires_at", "consumer"}
        replica.clock_ahead_ms += 1_000
    assert web.send("POST", "/jobs/dequeue").status == 204
    job = web.send("GET", "/jobs/1").json
    assert job["status"] == "DEAD"
    assert job.keys() == ALWAYS | {"finished_at"}


def test_a_concluded_job_shows_its_result(web: Web) -> None:
    """And when it was finished."""
    web.given_job_in_progress()
    web.send("POST", "/jobs/1/conclude", {"result": 1})
    assert web.send("GET", "/jobs/1").json.keys() == ALWAYS | {"finished_at", "result"}


def test_an_unknown_job_is_not_found(web: Web) -> None:
    """404 with the index the answer reflects."""
    reply = web.send("GET", "/jobs/1")
    assert (reply.status, reply.json["code"], reply.index) == (404, "not_found", 0)


@pytest.mark.parametrize(
    "job_id", ["0", "-1", "01", "1.0", "x", "9223372036854775808", "9" * 40, "%31%00", "¹", "1\u0662"]
)
def test_what_cannot_be_an_id_is_not_found(web: Web, job_id: str) -> None:
    """404, and never a question to the replica."""
    reply = web.send("GET", f"/jobs/{job_id}")
    assert (reply.status, reply.json["code"]) == (404, "not_found")
    assert web.replica.kinds == []


def test_head_answers_like_get_without_the_body(web: Web) -> None:
    """Same status, same length."""
    web.given_jobs()
    length = len(web.send("GET", "/jobs/1").body)
    reply = web.send("HEAD", "/jobs/1")
    assert (reply.status, reply.body, reply.headers["Content-Length"]) == (200, b"", str(length))


def test_stats_of_an_empty_queue_are_zeros(web: Web) -> None:
    """Every status is there from the start."""
    zeros = {"QUEUED": 0, "IN_PROGRESS": 0, "CONCLUDED": 0, "DEAD": 0}
    reply = web.send("GET", "/jobs/stats")
    assert reply.json == {"jobs": zeros, "total": 0, "queues": {"default": zeros}}
    assert reply.index == 0


def test_stats_count_jobs_by_status(web: Web) -> None:
    """Over all queues and by queue."""
    web.given_jobs(4)
    web.send("POST", "/jobs/dequeue", {"count": 3})
    web.send("POST", "/jobs/1/conclude")
    counts = {"QUEUED": 1, "IN_PROGRESS": 2, "CONCLUDED": 1, "DEAD": 0}
    assert web.send("GET", "/jobs/stats").json == {"jobs": counts, "total": 4, "queues": {"default": counts}}


@pytest.mark.parametrize("path", ["/jobs/1", "/jobs/stats"])
@pytest.mark.parametrize(
    ("query", "kind"),
    [("", protocol.QUERY), ("?consistency=linearizable", protocol.QUERY), ("?consistency=stale", protocol.PEEK)],
)
def test_consistency_decides_how_the_replica_is_asked(web: Web, path: str, query: str, kind: int) -> None:
    """Linearizable unless the caller says otherwise."""
    web.given_jobs()
    web.replica.kinds.clear()
    assert web.send("GET", path + query).status == 200
    assert web.replica.kinds == [kind]


@pytest.mark.parametrize("path", ["/jobs/1", "/jobs/stats"])
@pytest.mark.parametrize(("consistency", "kind"), [("linearizable", protocol.QUERY), ("stale", protocol.PEEK)])
def test_a_read_with_min_index_waits_for_it_first(web: Web, path: str, consistency: str, kind: int) -> None:
    """The replica is asked whether it is that far; without the parameter it is not."""
    web.given_jobs()
    index = web.send("GET", "/jobs/stats").index
    web.replica.kinds.clear()
    reply = web.send("GET", f"{path}?consistency={consistency}&min_index={index}")
    assert (reply.status, reply.index) == (200, index)
    assert web.replica.kinds == [protocol.AWAIT, kind]


def test_an_index_that_is_not_reached_in_time_is_503(web: Web) -> None:
    """With Retry-After and the index this node has got to; nothing else is asked."""
    web.given_jobs()
    web.replica.kinds.clear()
    reply = web.send("GET", "/jobs/1?min_index=9223372036854775807")
    assert (reply.status, reply.json["code"], reply.index) == (503, "index_not_reached", 1)
    assert reply.headers["Retry-After"] == "1"
    assert web.replica.kinds == [protocol.AWAIT]


@pytest.mark.parametrize("value", ["", "-1", "x", "1.0", "9223372036854775808", "1" * 40, "%D9%A1"])
def test_what_cannot_be_an_index_is_refused(web: Web, value: str) -> None:
    """422 that names the parameter."""
    reply = web.send("GET", f"/jobs/stats?min_index={value}")
    assert (reply.status, reply.json["code"]) == (422, "invalid_field")
    assert "the parameter min_index" in reply.json["detail"]


@pytest.mark.parametrize("path", ["/jobs/1", "/jobs/stats"])
@pytest.mark.parametrize(
    "query", ["consistency=eventual", "consistency=", "consistency", "stale=1", "consistency=stale&x=1"]
)
def test_unknown_parameters_are_refused(web: Web, path: str, query: str) -> None:
    """422 that names what is wrong."""
    reply = web.send("GET", f"{path}?{query}")
    assert (reply.status, reply.json["code"]) == (422, "invalid_field")
    assert "parameter" in reply.json["detail"]
