"""Fail, release, extend, progress, cancel, redrive and purge over HTTP: one and many, with and without tokens."""

from __future__ import annotations

from typing import Any

import pytest

from cqueue.web.shapes.verbs import VERBS
from tests.web.replica import StandInReplica
from tests.web.web import Reply, Web

HELD = ("conclude", "fail", "release", "extend", "progress")
ANYONES = ("cancel", "redrive", "purge")


def _say(web: Web, verb: str, job_id: int = 1, **said: Any) -> Reply:
    return web.send("POST", f"/jobs/{job_id}/{verb}", said)


def _refusal(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.json["code"]


def _job(web: Web, job_id: int = 1) -> dict[str, Any]:
    job: dict[str, Any] = web.send("GET", f"/jobs/{job_id}").json
    return job


def test_every_verb_is_one_of_the_two_kinds() -> None:
    """The tables below leave none out."""
    assert set(VERBS) == {*HELD, *ANYONES}


# -- while held ------------------------------------------------------------------------------------


def test_a_failed_job_waits_for_its_backoff_and_comes_back(web: Web, replica: StandInReplica) -> None:
    """200 with the job, which says when it runs again and what went wrong."""
    web.given_jobs(backoff={"kind": "fixed", "seconds": 10, "jitter": 0})
    token = web.send("POST", "/jobs/dequeue", consumer_id="c1").json["lease_token"]
    job = _say(web, "fail", lease_token=token, error="no route\nto host").json
    assert job["status"] == "SCHEDULED"
    assert job["run_at"] > job["created_at"]
    [error] = job["errors"]
    assert error.pop("at") >= job["created_at"]
    assert error == {"attempt": 1, "event": "retry", "error": "no route\nto host", "consumer": "c1"}
    assert web.send("POST", "/jobs/dequeue").status == 204
    replica.clock_ahead_ms += 10_000
    assert web.send("POST", "/jobs/dequeue").json["attempt"] == 2


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({}, "SCHEDULED"),
        ({"retry_in_seconds": 0.5}, "SCHEDULED"),
        ({"retry_in_seconds": 0}, "QUEUED"),
        ({"retryable": False}, "DEAD"),
        ({"retryable": True, "error": ""}, "SCHEDULED"),
    ],
)
def test_what_a_failure_says_decides_what_follows(web: Web, said: dict[str, Any], status: str) -> None:
    """When it is tried again, or that it never is."""
    web.given_job_in_progress()
    assert _say(web, "fail", **said).json["status"] == status


def test_the_last_attempt_fails_for_good(web: Web) -> None:
    """DEAD, with the errors of every attempt."""
    web.given_jobs(max_attempts=2)
    for attempt in (1, 2):
        web.send("POST", "/jobs/dequeue")
        _say(web, "fail", error=f"attempt {attempt}", retry_in_seconds=0)
    job = _job(web)
    assert job["status"] == "DEAD"
    assert [(error["attempt"], error["error"]) for error in job["errors"]] == [(1, "attempt 1"), (2, "attempt 2")]


def test_a_released_job_is_back_at_once_and_costs_no_attempt(web: Web) -> None:
    """As if it had not been handed out."""
    web.given_job_in_progress()
    job = _say(web, "release").json
    assert (job["status"], job["attempt"]) == ("QUEUED", 0)
    assert web.send("POST", "/jobs/dequeue").json["attempt"] == 1


def test_an_extended_lease_counts_from_now(web: Web, replica: StandInReplica) -> None:
    """By what is said, or by what the job says."""
    web.given_jobs(lease_seconds=20)
    first = web.send("POST", "/jobs/dequeue", {"lease_seconds": 5}).json
    replica.clock_ahead_ms += 4_000
    longer = _say(web, "extend", lease_seconds=60).json
    assert longer["lease_token"] == first["lease_token"]
    replica.clock_ahead_ms += 59_000
    assert _say(web, "extend").json["status"] == "IN_PROGRESS"
    replica.clock_ahead_ms += 20_000
    assert _refusal(_say(web, "extend", lease_token=first["lease_token"])) == (409, "lease_lost")


def test_progress_is_shown_until_the_job_is_handed_out_again(web: Web) -> None:
    """What is not said stays as it was."""
    web.given_job_in_progress()
    assert "progress" not in _job(web)
    _say(web, "progress", percent=40, note="resizing")
    progress = _say(web, "progress", percent=60).json["progress"]
    assert progress.pop("at") >= _job(web)["created_at"]
    assert progress == {"percent": 60, "note": "resizing"}
    _say(web, "release")
    assert "progress" not in web.send("POST", "/jobs/dequeue").json


@pytest.mark.parametrize("verb", HELD)
def test_a_stale_token_changes_nothing(web: Web, replica: StandInReplica, verb: str) -> None:
    """409 lease_lost for every verb of a holder; the one who holds the job now goes on."""
    stale = web.given_job_in_progress(lease_seconds=1)["lease_token"]
    replica.clock_ahead_ms += 1_000
    web.send("POST", "/jobs/dequeue")
    before = _job(web)
    assert _refusal(_say(web, verb, lease_token=stale)) == (409, "lease_lost")
    assert _job(web) == before
    assert _say(web, verb, lease_token=before["lease_token"]).status == 200


@pytest.mark.parametrize("verb", HELD)
def test_a_job_nobody_holds_is_not_in_progress(web: Web, verb: str) -> None:
    """409 not_in_progress without a token, 409 lease_lost with one."""
    web.given_jobs()
    assert _refusal(_say(web, verb)) == (409, "not_in_progress")
    assert _refusal(_say(web, verb, lease_token=1)) == (409, "lease_lost")


@pytest.mark.parametrize("verb", HELD)
def test_a_queue_may_require_tokens(web: Web, verb: str) -> None:
    """409 token_required without one, and nothing changes."""
    web.send("PATCH", "/queues/default", {"require_lease_token": True})
    job = web.given_job_in_progress()
    assert _refusal(_say(web, verb)) == (409, "token_required")
    assert web.send("POST", f"/jobs/{verb}", {"ids": [1]}).json == {"results": [{"id": 1, "code": "token_required"}]}
    assert _job(web) == job
    assert _say(web, verb, lease_token=job["lease_token"]).status == 200


@pytest.mark.parametrize("verb", VERBS)
def test_an_unknown_job_is_not_found(web: Web, verb: str) -> None:
    """404, alone and among many."""
    assert _refusal(_say(web, verb, 7)) == (404, "not_found")
    assert web.send("POST", f"/jobs/{verb}", {"ids": [7]}).json == {"results": [{"id": 7, "code": "not_found"}]}
    assert web.send("POST", f"/jobs/{verb}", {"jobs": [{"id": 7}]}).json["results"][0]["code"] == "not_found"


@pytest.mark.parametrize("verb", HELD)
def test_many_are_told_each_on_its_own(web: Web, verb: str) -> None:
    """By objects with what is said of each, or by plain ids."""
    web.given_jobs(3)
    jobs = web.send("POST", "/jobs/dequeue", {"count": 2}).json["jobs"]
    said = [{"id": 1, "lease_token": jobs[0]["lease_token"]}, {"id": 2, "lease_token": 99}, {"id": 3}]
    results = web.send("POST", f"/jobs/{verb}", {"jobs": said}).json["results"]
    assert [result["id"] for result in results] == [1, 2, 3]
    assert results[0] == {"id": 1, "status": _job(web)["status"]}
    assert [result.get("code") for result in results[1:]] == ["lease_lost", "not_in_progress"]
    assert web.send("POST", f"/jobs/{verb}", {"ids": [2]}).json == {
        "results": [{"id": 2, "status": _job(web, 2)["status"]}]
    }


def test_many_failures_say_each_their_own(web: Web) -> None:
    """Error, retryable and retry_in_seconds of each."""
    web.given_jobs(3)
    web.send("POST", "/jobs/dequeue", {"count": 3})
    said = [{"id": 1, "error": "a"}, {"id": 2, "retryable": False}, {"id": 3, "retry_in_seconds": 0}]
    results = web.send("POST", "/jobs/fail", {"jobs": said}).json["results"]
    assert [result["status"] for result in results] == ["SCHEDULED", "DEAD", "QUEUED"]
    assert _job(web)["errors"][0]["error"] == "a"


# -- cancel ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [{}, {"delay_seconds": 60}])
def test_a_waiting_job_is_cancelled_at_once(web: Web, fields: dict[str, Any]) -> None:
    """And again is fine."""
    web.given_jobs(**fields)
    assert _say(web, "cancel").json["status"] == "CANCELLED"
    assert _say(web, "cancel").json["status"] == "CANCELLED"
    assert web.send("POST", "/jobs/dequeue").status == 204


@pytest.mark.parametrize("verb", ["conclude", "fail", "release"])
def test_a_running_job_hears_that_it_is_cancelled(web: Web, verb: str) -> None:
    """With its next extend or progress; what ends the attempt then ends the job."""
    web.given_job_in_progress()
    assert "cancel_requested" not in _say(web, "extend").json
    job = _say(web, "cancel").json
    assert (job["status"], job["cancel_requested"]) == ("IN_PROGRESS", True)
    assert _say(web, "extend").json["cancel_requested"] is True
    assert _say(web, "progress", percent=5).json["cancel_requested"] is True
    heard = {"results": [{"id": 1, "status": "IN_PROGRESS", "cancel_requested": True}]}
    assert web.send("POST", "/jobs/extend", {"ids": [1]}).json == heard
    assert web.send("POST", "/jobs/cancel", {"ids": [1]}).json == heard
    job = _say(web, verb).json
    assert job["status"] == "CANCELLED"
    assert "cancel_requested" not in job


def test_a_job_that_finished_otherwise_cannot_be_cancelled(web: Web) -> None:
    """409 already_finished."""
    web.given_job_in_progress()
    _say(web, "conclude")
    assert _refusal(_say(web, "cancel")) == (409, "already_finished")
    assert web.send("POST", "/jobs/cancel", {"ids": [1]}).json["results"] == [{"id": 1, "code": "already_finished"}]


# -- redrive, purge --------------------------------------------------------------------------------


def test_a_dead_job_is_redriven_with_all_its_attempts(web: Web) -> None:
    """QUEUED again; the errors stay."""
    web.given_job_in_progress()
    assert _refusal(_say(web, "redrive")) == (409, "not_dead")
    _say(web, "fail", retryable=False, error="bad")
    job = _say(web, "redrive").json
    assert (job["status"], job["attempt"]) == ("QUEUED", 0)
    assert "finished_at" not in job
    assert job["errors"][0]["error"] == "bad"


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/jobs/1"), ("POST", "/jobs/1/purge")])
def test_a_purged_job_is_gone(web: Web, method: str, path: str) -> None:
    """204, in both spellings; then 410. One that is held stays."""
    web.given_job_in_progress()
    assert _refusal(web.send(method, path)) == (409, "in_progress")
    _say(web, "release")
    reply = web.send(method, path)
    assert (reply.status, reply.body) == (204, b"")
    assert _refusal(web.send("GET", "/jobs/1")) == (410, "gone")
    assert _refusal(web.send(method, path)) == (410, "gone")


def test_many_are_purged_each_on_its_own(web: Web) -> None:
    """The status is the one each had."""
    web.given_jobs(3)
    web.send("POST", "/jobs/dequeue")
    assert web.send("POST", "/jobs/purge", {"ids": [1, 2, 3, 4]}).json == {
        "results": [
            {"id": 1, "code": "in_progress"},
            {"id": 2, "status": "QUEUED"},
            {"id": 3, "status": "QUEUED"},
            {"id": 4, "code": "not_found"},
        ]
    }
