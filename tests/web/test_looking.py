"""Looking at jobs and counts, linearizable and stale; what a job shows in each status."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from cqueue import protocol
from cqueue.core import limits
from cqueue.core.jobs import STATUSES
from cqueue.web.shapes.queues import EVENTS
from tests.support import eventually
from tests.web.replica import StandInReplica
from tests.web.web import Web

PATHS = ["/jobs/1", "/jobs/1/history", "/jobs/1/explain", "/jobs/stats"]
ALWAYS = {"id", "type", "status", "queue", "priority", "payload", "created_at", "attempt", "max_attempts"}


def test_a_job_shows_what_applies_to_its_status(web: Web, replica: StandInReplica) -> None:
    """From queued over in progress and back to dead."""
    web.given_jobs()
    assert web.send("GET", "/jobs/1").json.keys() == ALWAYS
    for attempt in range(1, limits.ATTEMPTS_MAX_DEFAULT + 1):
        web.send("POST", "/jobs/dequeue", {"lease_seconds": 1}, consumer_id="c")
        job = web.send("GET", "/jobs/1").json
        assert job["attempt"] == attempt
        errors = {"errors"} if attempt > 1 else set()
        assert job.keys() == ALWAYS | {"lease_token", "lease_expires_at", "consumer"} | errors
        replica.clock_ahead_ms += 1_000
    assert web.send("POST", "/jobs/dequeue").status == 204
    job = web.send("GET", "/jobs/1").json
    assert job["status"] == "DEAD"
    assert job.keys() == ALWAYS | {"finished_at", "errors"}


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
    zeros = dict.fromkeys(STATUSES, 0)
    reply = web.send("GET", "/jobs/stats")
    assert reply.json == {
        "jobs": zeros,
        "total": 0,
        "queues": {"default": zeros},
        "totals": dict.fromkeys(EVENTS, 0),
    }
    assert reply.index == 0


def test_stats_count_jobs_by_status(web: Web) -> None:
    """Over all queues and by queue."""
    web.given_jobs(4)
    web.send("POST", "/jobs/dequeue", {"count": 3})
    web.send("POST", "/jobs/1/conclude")
    counts = dict.fromkeys(STATUSES, 0) | {"QUEUED": 1, "IN_PROGRESS": 2, "CONCLUDED": 1}
    stats = web.send("GET", "/jobs/stats").json
    assert (stats["jobs"], stats["total"], stats["queues"]) == (counts, 4, {"default": counts})
    assert (stats["totals"]["enqueued"], stats["totals"]["dequeued"], stats["totals"]["concluded"]) == (4, 3, 1)
    assert stats["oldest_created_at"] == web.send("GET", "/jobs/4").json["created_at"]


def test_stats_need_not_name_queues(web: Web) -> None:
    """There may be many of them."""
    web.given_jobs(2)
    stats = web.send("GET", "/jobs/stats?by_queue=false").json
    assert (stats["total"], stats["queues"]) == (2, {})


@pytest.mark.parametrize("path", PATHS)
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


@pytest.mark.parametrize("path", PATHS)
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


@pytest.mark.parametrize("value", ["", "-1", "x", "1.5", "9223372036854775808", "1" * 40, "%D9%A1"])
def test_what_cannot_be_an_index_is_refused(web: Web, value: str) -> None:
    """422 that names the parameter."""
    reply = web.send("GET", f"/jobs/stats?min_index={value}")
    assert (reply.status, reply.json["code"]) == (422, "invalid_field")
    assert "the parameter min_index" in reply.json["detail"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "query", ["consistency=eventual", "consistency=", "consistency", "stale=1", "consistency=stale&x=1"]
)
def test_unknown_parameters_are_refused(web: Web, path: str, query: str) -> None:
    """422 that names what is wrong."""
    reply = web.send("GET", f"{path}?{query}")
    assert (reply.status, reply.json["code"]) == (422, "invalid_field")
    assert "parameter" in reply.json["detail"]


# -- history, explain --------------------------------------------------------------------------------


def test_a_history_has_every_change_with_its_index(web: Web, replica: StandInReplica) -> None:
    """Oldest first: what happened, what the job was then, when, and who held it."""
    web.given_jobs(delay_seconds=5)
    replica.clock_ahead_ms += 5_000
    web.send("POST", "/jobs/dequeue", consumer_id="c1")
    web.send("POST", "/jobs/1/fail", {"error": "boom", "retry_in_seconds": 0})
    web.send("POST", "/jobs/dequeue", consumer_id="c2")
    web.send("POST", "/jobs/1/cancel")
    web.send("POST", "/jobs/1/conclude")
    reply = web.send("GET", "/jobs/1/history")
    history = reply.json
    assert (history["id"], reply.index) == (1, 6)
    assert "forgotten" not in history
    times = [change.pop("at") for change in history["changes"]]
    assert times == sorted(times)
    first = {"attempt": 1, "lease_token": 1, "consumer": "c1"}
    second = {"attempt": 2, "lease_token": 2, "consumer": "c2"}
    assert history["changes"] == [
        {"event": "enqueue", "status": "SCHEDULED", "index": 1},
        {"event": "become_due", "status": "QUEUED", "index": 2},
        {"event": "hand_out", "status": "IN_PROGRESS", "index": 2, **first},
        {"event": "retry_now", "status": "QUEUED", "index": 3, **first, "error": "boom"},
        {"event": "hand_out", "status": "IN_PROGRESS", "index": 4, **second},
        {"event": "request_cancel", "status": "IN_PROGRESS", "index": 5, **second},
        {"event": "cancel", "status": "CANCELLED", "index": 6, **second},
    ]


def test_a_long_history_says_how_much_is_forgotten(web: Web) -> None:
    """The newest changes are kept."""
    web.given_jobs(max_attempts=1000)
    for _ in range(limits.CHANGES_KEPT_MAX):
        web.send("POST", "/jobs/dequeue")
        web.send("POST", "/jobs/1/fail", {"retry_in_seconds": 0})
    history = web.send("GET", "/jobs/1/history").json
    assert history["forgotten"] == limits.CHANGES_KEPT_MAX
    assert history["changes"][-1]["attempt"] == limits.CHANGES_KEPT_MAX


def test_explain_says_why_a_job_is_not_running(web: Web, replica: StandInReplica) -> None:
    """Behind others, next, paused, delayed, backing off, held, asked to stop, finished."""
    web.given_jobs(2)

    def explained(job_id: int) -> dict[str, object]:
        answer: dict[str, object] = web.send("GET", f"/jobs/{job_id}/explain").json
        assert answer.pop("id") == job_id
        return answer

    assert explained(1) == {"status": "QUEUED", "reasons": ["next"]}
    assert explained(2) == {"status": "QUEUED", "reasons": ["behind"], "ahead": 1}
    web.send("POST", "/queues/default/pause")
    assert explained(2)["reasons"] == ["behind", "queue_paused"]
    web.send("POST", "/queues/default/resume")
    job = web.send("POST", "/jobs/dequeue").json
    assert explained(1) == {"status": "IN_PROGRESS", "reasons": ["held"], "until": job["lease_expires_at"]}
    web.send("POST", "/jobs/1/cancel")
    assert explained(1)["reasons"] == ["held", "cancel_requested"]
    web.send("POST", "/jobs/1/release")
    assert explained(1) == {"status": "CANCELLED", "reasons": ["finished"]}
    web.send("POST", "/jobs/dequeue")
    run_at = web.send("POST", "/jobs/2/fail").json["run_at"]
    assert explained(2) == {"status": "SCHEDULED", "reasons": ["backing_off"], "until": run_at}
    web.given_jobs(delay_seconds=60)
    assert explained(3)["reasons"] == ["delayed"]


@pytest.mark.parametrize("path", ["/jobs/7/history", "/jobs/7/explain", "/jobs/7?wait=1"])
def test_what_never_was_has_no_history(web: Web, path: str) -> None:
    """404 at once."""
    reply = web.send("GET", path)
    assert (reply.status, reply.json["code"]) == (404, "not_found")


# -- waiting for the result --------------------------------------------------------------------------


@pytest.mark.parametrize("more", ["", "&consistency=stale"])
def test_a_caller_may_wait_for_the_result(web: Web, replica: StandInReplica, more: str) -> None:
    """Answered when the job is finished, not before."""
    web.given_job_in_progress()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(web.send, "GET", f"/jobs/1?wait=60&until=finished{more}")
        eventually(lambda: replica.parked == 1)
        web.send("POST", "/jobs/1/progress", {"percent": 50})
        assert not waiting.done()
        web.send("POST", "/jobs/1/conclude", {"result": 42})
        job = waiting.result().json
    assert (job["status"], job["result"]) == ("CONCLUDED", 42)


def test_a_wait_that_runs_out_shows_the_job_as_it_is(web: Web) -> None:
    """200; the caller sees the status."""
    web.given_jobs()
    reply = web.send("GET", "/jobs/1?wait=0.05")
    assert (reply.status, reply.json["status"]) == (200, "QUEUED")


def test_a_finished_job_is_not_waited_for(web: Web, replica: StandInReplica) -> None:
    """At once."""
    web.given_jobs()
    web.send("POST", "/jobs/1/cancel")
    assert web.send("GET", "/jobs/1?wait=60").json["status"] == "CANCELLED"
    assert replica.parked == 0


@pytest.mark.parametrize(
    "query",
    ["wait=-1", "wait=60.1", "wait=", "wait=nan", "wait=1e9", "wait=1&until=dead", "until=finished", "wait=1&wait=2"],
)
def test_a_wrong_wait_is_refused(web: Web, query: str) -> None:
    """422 that names the parameter."""
    reply = web.send("GET", f"/jobs/1?{query}")
    assert (reply.status, reply.json["code"]) == (422, "invalid_field")
    assert "parameter" in reply.json["detail"]
