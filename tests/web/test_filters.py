"""Cancel, redrive and purge by filter: the jobs that fit, page by page, and how far it got."""

from __future__ import annotations

from typing import Any

import pytest

from cqueue import protocol
from cqueue.core import limits
from tests.web.replica import StandInReplica
from tests.web.web import Web


def _statuses(web: Web) -> list[str]:
    return [job["status"] for job in web.send("GET", "/jobs?limit=1000").json["jobs"]]


@pytest.fixture
def jobs(web: Web) -> list[int]:
    """Six jobs: 1 held, 2 scheduled, 3 dead, 4 of another queue, 5 of another type, 6 with tags."""
    web.given_jobs(queue="first")
    web.send("POST", "/jobs/dequeue", {"queue": "first"})
    web.given_jobs(delay_seconds=60)
    web.given_jobs(type="DOOMED")
    web.send("POST", "/jobs/dequeue", {"type": "DOOMED"})
    web.send("POST", "/jobs/3/fail", {"retryable": False})
    web.given_jobs(queue="other")
    web.given_jobs(type="MAIL")
    web.given_jobs(tags={"to": "ada", "from": "bob"})
    return list(range(1, 7))


@pytest.mark.parametrize(
    ("given", "matched"),
    [
        ({"queue": "other"}, [4]),
        ({"queue": "default"}, [2, 5, 6]),
        ({"queue": "nothing here"}, []),
        ({"status": "SCHEDULED"}, [2]),
        ({"statuses": ["SCHEDULED", "IN_PROGRESS"]}, [1, 2]),
        ({"type": "MAIL"}, [5]),
        ({"types": ["MAIL", "DOOMED"]}, [5]),
        ({"tags": {"to": "ada"}}, [6]),
        ({"tags": {"to": "ada", "from": "eve"}}, []),
        ({"queue": "default", "tags": {"from": "bob"}, "status": "QUEUED"}, [6]),
        ({"created_before": "2001-01-01T00:00:00Z"}, []),
        ({"created_before": "9998-01-01T00:00:00+02:00"}, [1, 2, 4, 5, 6]),
    ],
)
def test_those_that_fit_are_cancelled(web: Web, jobs: list[int], given: dict[str, Any], matched: list[int]) -> None:
    """All of it must fit; finished jobs are left alone, held ones are asked to stop."""
    before = _statuses(web)
    assert web.send("POST", "/jobs/cancel", {"filter": given}).json == {"matched": len(matched), "done": True}
    after = _statuses(web)
    for job_id in jobs:
        if job_id == 1:
            assert web.send("GET", "/jobs/1").json.get("cancel_requested", False) == (1 in matched)
        else:
            assert after[job_id - 1] == ("CANCELLED" if job_id in matched else before[job_id - 1])


def test_the_dead_are_redriven_by_filter(web: Web, jobs: list[int]) -> None:
    """Nothing but them, whatever else fits."""
    assert web.send("POST", "/jobs/redrive", {"filter": {"queue": "default"}}).json == {"matched": 1, "done": True}
    assert web.send("GET", "/jobs/3").json["status"] == "QUEUED"


def test_a_purge_by_filter_spares_what_is_held(web: Web, jobs: list[int]) -> None:
    """Waiting and finished jobs go."""
    for queue, count in (("first", 0), ("default", 4)):
        assert web.send("POST", "/jobs/purge", {"filter": {"queue": queue}}).json["matched"] == count
    assert web.send("GET", "/jobs/stats").json["total"] == 2


def test_more_than_a_page_is_done_in_one_request(web: Web) -> None:
    """Page after page, each an operation of its own."""
    count = 2 * limits.PAGE_JOBS_MAX + 1
    web.given_jobs(count)
    web.replica.kinds.clear()
    assert web.send("POST", "/jobs/cancel", {"filter": {"queue": "default"}}).json == {"matched": count, "done": True}
    assert web.replica.kinds.count(protocol.OPERATE) == 3


def test_a_filter_takes_no_key(web: Web) -> None:
    """It is many operations; a key stands for one."""
    reply = web.send("POST", "/jobs/purge", {"filter": {"queue": "a"}}, idempotency_key="k")
    assert (reply.status, reply.json["code"]) == (422, "invalid_field")
    assert "Idempotency-Key" in reply.json["detail"]


def test_what_was_done_before_the_node_failed_is_told(web: Web, replica: StandInReplica) -> None:
    """503 says that nothing was done: after a page that was, it would not be true."""
    web.given_jobs(limits.PAGE_JOBS_MAX + 1)
    replica.failure = (protocol.UNAVAILABLE, protocol.Failure("no_leader", "election"))
    replica.failure_after = 1
    assert web.send("POST", "/jobs/cancel", {"filter": {"queue": "default"}}).status == 503
    replica.failure_after = 3
    answer = web.send("POST", "/jobs/cancel", {"filter": {"queue": "default"}})
    assert (answer.status, answer.json) == (200, {"matched": limits.PAGE_JOBS_MAX, "done": False})
    replica.failure = None
    assert web.send("POST", "/jobs/cancel", {"filter": {"status": "QUEUED"}}).json == {"matched": 1, "done": True}


def test_an_outcome_nobody_knows_is_told_as_such(web: Web, replica: StandInReplica) -> None:
    """504, whatever was done before."""
    web.given_jobs(limits.PAGE_JOBS_MAX + 1)
    replica.failure = (protocol.UNKNOWN, protocol.Failure("outcome_unknown", "time ran out"))
    replica.failure_after = 3
    assert web.send("POST", "/jobs/cancel", {"filter": {"queue": "default"}}).status == 504
