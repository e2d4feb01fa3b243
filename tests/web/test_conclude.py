"""Conclude over HTTP: both spellings, tokens, results, many at once, and every refusal."""

from __future__ import annotations

import pytest

from tests.web.replica import StandInReplica
from tests.web.web import Reply, Web

spellings = pytest.mark.parametrize("path", ["/jobs/conclude/{}", "/jobs/{}/conclude"])


def _refusal(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.json["code"]


@spellings
def test_both_spellings_conclude_the_job(web: Web, path: str) -> None:
    """200 with the job; what no longer applies is gone from it."""
    job = web.given_job_in_progress()
    reply = web.send("POST", path.format(job["id"]))
    done = reply.json
    assert reply.status == 200
    assert reply.index == 3
    assert done.pop("finished_at") >= done["created_at"]
    for name in ("lease_token", "lease_expires_at"):
        del job[name]
    assert done == job | {"status": "CONCLUDED"}


@spellings
def test_concluding_twice_changes_nothing(web: Web, path: str) -> None:
    """The same answer again, even with another result."""
    job = web.given_job_in_progress()
    body = {"lease_token": job["lease_token"], "result": [1, None]}
    first = web.send("POST", path.format(1), body)
    assert first.json["result"] == [1, None]
    again = web.send("POST", path.format(1), body | {"result": "other"})
    assert (again.status, again.body) == (200, first.body)


def test_a_null_result_is_a_result(web: Web) -> None:
    """What was said is shown."""
    web.given_job_in_progress()
    assert web.send("POST", "/jobs/1/conclude", {"result": None}).json["result"] is None


@spellings
def test_a_job_nobody_holds_cannot_be_concluded(web: Web, path: str) -> None:
    """409 not_in_progress, with the index, and the job is still there."""
    web.given_jobs()
    reply = web.send("POST", path.format(1))
    assert _refusal(reply) == (409, "not_in_progress")
    assert reply.index == 2
    assert web.send("POST", "/jobs/dequeue").json["id"] == 1


@spellings
def test_a_stale_token_is_refused(web: Web, replica: StandInReplica, path: str) -> None:
    """409 lease_lost: another consumer has the job now."""
    stale = web.given_job_in_progress(lease_seconds=1)["lease_token"]
    replica.clock_ahead_ms += 1_000
    fresh = web.send("POST", "/jobs/dequeue").json["lease_token"]
    assert _refusal(web.send("POST", path.format(1), {"lease_token": stale})) == (409, "lease_lost")
    assert web.send("POST", path.format(1), {"lease_token": fresh}).status == 200


@spellings
def test_an_unknown_job_is_not_found(web: Web, path: str) -> None:
    """404 not_found."""
    assert _refusal(web.send("POST", path.format(7))) == (404, "not_found")
    assert _refusal(web.send("POST", path.format(2**63 - 1))) == (404, "not_found")


def test_a_forgotten_job_is_gone(web: Web) -> None:
    """410 gone, for concluding and for looking."""
    web.send("PATCH", "/queues/default", {"retention_jobs": 1})
    web.given_jobs(2)
    web.send("POST", "/jobs/dequeue", {"count": 2})
    web.send("POST", "/jobs/conclude", {"ids": [1, 2]})
    assert _refusal(web.send("POST", "/jobs/1/conclude")) == (410, "gone")
    assert _refusal(web.send("GET", "/jobs/1")) == (410, "gone")


def test_many_are_concluded_each_on_its_own(web: Web) -> None:
    """By plain ids: a status or a code for each, in the order of the request."""
    web.given_jobs(3)
    web.send("POST", "/jobs/dequeue", {"count": 2})
    reply = web.send("POST", "/jobs/conclude", {"ids": [2, 9, 1, 3, 2]})
    assert reply.status == 200
    assert reply.index == 3
    assert reply.json == {
        "results": [
            {"id": 2, "status": "CONCLUDED"},
            {"id": 9, "code": "not_found"},
            {"id": 1, "status": "CONCLUDED"},
            {"id": 3, "code": "not_in_progress"},
            {"id": 2, "status": "CONCLUDED"},
        ]
    }


def test_many_may_carry_tokens_and_results(web: Web) -> None:
    """By objects; a wrong token is that job's affair alone."""
    web.given_jobs(2)
    tokens = [job["lease_token"] for job in web.send("POST", "/jobs/dequeue", {"count": 2}).json["jobs"]]
    reply = web.send(
        "POST",
        "/jobs/conclude",
        {"jobs": [{"id": 1, "lease_token": tokens[0], "result": {"ok": True}}, {"id": 2, "lease_token": 99}]},
    )
    assert reply.json == {"results": [{"id": 1, "status": "CONCLUDED"}, {"id": 2, "code": "lease_lost"}]}
    assert web.send("GET", "/jobs/1").json["result"] == {"ok": True}


def test_a_malformed_conclude_of_many_concludes_none(web: Web) -> None:
    """The whole request is refused, by the place of the first fault."""
    web.given_jobs(2)
    web.send("POST", "/jobs/dequeue", {"count": 2})
    reply = web.send("POST", "/jobs/conclude", {"jobs": [{"id": 1}, {"id": "2"}]})
    assert _refusal(reply) == (422, "invalid_field")
    assert reply.json["pointer"] == "/jobs/1/id"
    assert web.send("GET", "/jobs/stats").json["jobs"]["IN_PROGRESS"] == 2
