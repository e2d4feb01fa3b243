"""Queues over HTTP: settings, pause and resume, purge and redrive, what they show."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from cqueue.core import limits
from cqueue.core.jobs import STATUSES
from cqueue.web.shapes.queues import EVENTS
from tests.web.replica import StandInReplica
from tests.web.web import Reply, Web

DEFAULTS = {
    "require_lease_token": False,
    "lease_seconds": 300,
    "max_attempts": 5,
    "backoff": {"kind": "exponential", "seconds": 1, "cap_seconds": 3600, "jitter": 10},
    "priorities": {"TIME_CRITICAL": 0},
    "max_depth": 0,
    "retention_jobs": 100_000,
    "retention_seconds": 604_800,
    "max_in_progress": 0,
    "rate_per_second": 0,
    "rate_burst": 0,
}


def _refusal(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.json["code"]


def test_a_queue_is_there_once_it_has_a_job(web: Web) -> None:
    """With its defaults, its counts, and how old its oldest job is."""
    assert _refusal(web.send("GET", "/queues/mail")) == (404, "queue_not_found")
    web.given_jobs(2, queue="mail")
    web.given_jobs(queue="mail", delay_seconds=60)
    reply = web.send("GET", "/queues/mail")
    queue = reply.json
    assert reply.index == 2
    assert queue.pop("oldest_created_at") == web.send("GET", "/jobs/1").json["created_at"]
    assert 0 <= queue.pop("oldest_age_seconds") < 60
    assert queue.pop("totals") == dict.fromkeys(EVENTS, 0) | {"enqueued": 3}
    rates = queue.pop("rates")
    assert rates.keys() == EVENTS.keys()
    assert rates["enqueued"] > 0
    counts = dict.fromkeys(STATUSES, 0) | {"QUEUED": 2, "SCHEDULED": 1}
    assert queue == {"name": "mail", "paused": False, "settings": DEFAULTS, "jobs": counts, "depth": 3}


def test_age_goes_on_while_nothing_happens(web: Web, replica: StandInReplica) -> None:
    """An autoscaler must see that nobody works."""
    replica.clock_ahead_ms -= 3_600_000
    web.given_jobs()
    queue = web.send("GET", "/queues/default").json
    assert 3_600 <= queue["oldest_age_seconds"] < 3_700
    assert queue["rates"]["enqueued"] < 0.001


def test_totals_count_what_happened(web: Web, replica: StandInReplica) -> None:
    """Each event under the names it has outside."""
    web.given_jobs(4)
    jobs = web.send("POST", "/jobs/dequeue", {"count": 3, "lease_seconds": 1}).json["jobs"]
    web.send("POST", f"/jobs/{jobs[0]['id']}/conclude")
    web.send("POST", f"/jobs/{jobs[1]['id']}/fail", {"retryable": False})
    replica.clock_ahead_ms += 1_000
    web.send("POST", "/jobs/4/cancel")
    totals = web.send("GET", "/queues/default").json["totals"]
    happened = {"enqueued": 4, "dequeued": 3, "concluded": 1, "failed": 1, "died": 1, "leases_lost": 1, "cancelled": 1}
    assert totals == dict.fromkeys(EVENTS, 0) | happened


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({"require_lease_token": True}, {"require_lease_token": True}),
        ({"lease_seconds": 30}, {"lease_seconds": 30}),
        ({"max_attempts": 1000}, {"max_attempts": 1000}),
        (
            {"backoff": {"kind": "linear", "seconds": 0.25}},
            {"backoff": {"kind": "linear", "seconds": 0.25, "cap_seconds": 3600, "jitter": 10}},
        ),
        (
            {"backoff": {"kind": "fixed", "seconds": 7200, "jitter": 0}},
            {"backoff": {"kind": "fixed", "seconds": 7200, "cap_seconds": 7200, "jitter": 0}},
        ),
        ({"priorities": {"MAIL": 1, "é": 1000}}, {"priorities": {"MAIL": 1, "é": 1000}}),
        ({"priorities": {}}, {"priorities": {}}),
        ({"max_depth": 5, "retention_jobs": 1}, {"max_depth": 5, "retention_jobs": 1}),
        ({"retention_seconds": 0.5}, {"retention_seconds": 0.5}),
        ({"max_in_progress": 3, "rate_burst": 7}, {"max_in_progress": 3, "rate_burst": 7}),
        ({"rate_per_second": 0.001}, {"rate_per_second": 0.001}),
        ({"rate_per_second": 1_000_000}, {"rate_per_second": 1_000_000}),
        ({}, {}),
    ],
)
def test_settings_are_changed_one_by_one(web: Web, said: dict[str, Any], shown: dict[str, Any]) -> None:
    """What is not said stays; the answer is the queue as it is now."""
    web.given_jobs(queue="mail")
    queue = web.send("PATCH", "/queues/mail", said).json
    assert queue["settings"] == DEFAULTS | shown
    assert web.send("GET", "/queues/mail").json["settings"] == queue["settings"]


def test_jobs_take_their_defaults_from_their_queue(web: Web) -> None:
    """When they are enqueued; what a job says itself counts more."""
    web.send("PATCH", "/queues/mail", {"max_attempts": 2, "lease_seconds": 9, "priorities": {"MAIL": 7}})
    web.given_jobs(queue="mail", type="MAIL")
    web.given_jobs(queue="mail", type="MAIL", max_attempts=3, priority=8)
    jobs = web.send("GET", "/jobs?queue=mail").json["jobs"]
    assert [(job["max_attempts"], job["priority"]) for job in jobs] == [(2, 7), (3, 8)]


def test_a_paused_queue_hands_out_nothing_until_it_is_resumed(web: Web) -> None:
    """It takes jobs all the while."""
    assert web.send("POST", "/queues/mail/pause").json["paused"] is True
    web.given_jobs(queue="mail")
    assert web.send("POST", "/jobs/dequeue", {"queue": "mail"}).status == 204
    assert web.send("GET", "/jobs/1/explain").json["reasons"] == ["next", "queue_paused"]
    assert web.send("POST", "/queues/mail/resume", {}).json["paused"] is False
    assert web.send("POST", "/jobs/dequeue", {"queue": "mail"}).json["id"] == 1


def test_a_limited_queue_hands_out_what_its_limits_leave(web: Web, replica: StandInReplica) -> None:
    """And says which of them holds a job up, and until when."""
    web.send("PATCH", "/queues/mail", {"max_in_progress": 2, "rate_per_second": 0.5, "rate_burst": 2})
    web.given_jobs(3, queue="mail")
    dequeue = ("POST", "/jobs/dequeue", {"queue": "mail", "count": 3})
    assert [job["id"] for job in web.send(*dequeue).json["jobs"]] == [1, 2]
    explained = web.send("GET", "/jobs/3/explain").json
    assert explained["reasons"] == ["next", "in_progress_limit", "rate_limit"]
    assert explained["until"] > web.send("GET", "/jobs/3").json["created_at"]
    web.send("POST", "/jobs/1/conclude")
    assert web.send(*dequeue).json["jobs"] == []
    replica.clock_ahead_ms += 2_000
    assert [job["id"] for job in web.send(*dequeue).json["jobs"]] == [3]


def test_a_purge_takes_what_waits_unless_told_otherwise(web: Web) -> None:
    """Other queues are none of its business."""
    web.given_jobs(4, queue="mail")
    web.given_jobs(queue="other")
    web.send("POST", "/jobs/dequeue", {"queue": "mail", "count": 2})
    web.send("POST", "/jobs/1/conclude")
    assert web.send("POST", "/queues/mail/purge").json == {"matched": 2, "done": True}
    assert web.send("POST", "/queues/mail/purge", {"statuses": ["CONCLUDED"]}).json == {"matched": 1, "done": True}
    assert web.send("GET", "/queues/mail").json["jobs"]["IN_PROGRESS"] == 1
    assert web.send("GET", "/jobs/stats").json["total"] == 2


def test_all_dead_jobs_of_a_queue_are_redriven(web: Web) -> None:
    """And of no other."""
    for queue in ("mail", "other"):
        web.given_jobs(2, queue=queue)
        web.send("POST", "/jobs/dequeue", {"queue": queue, "count": 2})
    web.send("POST", "/jobs/fail", {"jobs": [{"id": job_id, "retryable": False} for job_id in (1, 2, 3, 4)]})
    assert web.send("POST", "/queues/mail/redrive").json == {"matched": 2, "done": True}
    counts = web.send("GET", "/jobs/stats").json["queues"]
    assert (counts["mail"]["QUEUED"], counts["other"]["DEAD"]) == (2, 2)


def test_a_queue_is_dropped_once_nothing_waits_or_runs(web: Web) -> None:
    """204, and then there is no such queue; its finished jobs are gone."""
    web.send("PATCH", "/queues/mail", {"max_depth": 5})
    web.given_jobs(queue="mail")
    assert _refusal(web.send("DELETE", "/queues/mail")) == (409, "queue_not_empty")
    web.send("POST", "/jobs/1/cancel")
    reply = web.send("DELETE", "/queues/mail")
    assert (reply.status, reply.body) == (204, b"")
    assert _refusal(web.send("DELETE", "/queues/mail")) == (404, "queue_not_found")
    assert _refusal(web.send("GET", "/jobs/1")) == (410, "gone")


def test_a_queue_may_have_a_bound(web: Web) -> None:
    """503 queue_full beyond it, for its own jobs alone."""
    web.send("PATCH", "/queues/mail", {"max_depth": 1})
    web.given_jobs(queue="mail")
    reply = web.send("PUT", "/jobs/enqueue", {"queue": "mail"})
    assert _refusal(reply) == (503, "queue_full")
    assert int(reply.headers["Retry-After"]) > 0
    assert web.send("PUT", "/jobs/enqueue", {"queue": "other"}).status == 201


def test_there_are_only_so_many_queues(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """409 too_many_queues, from an enqueue and from a change."""
    monkeypatch.setattr(limits, "QUEUES_MAX", 1)
    web.given_jobs(queue="one")
    assert _refusal(web.send("PUT", "/jobs/enqueue", {"queue": "two"})) == (409, "too_many_queues")
    assert _refusal(web.send("PATCH", "/queues/two", {"paused": True})) == (409, "too_many_queues")


@pytest.mark.parametrize("name", ["a b", "zoë", "x" * limits.QUEUE_CHARS_MAX, "a:b?c#d%", "stats", "\U0001f4e6"])
def test_a_name_in_the_path_is_percent_encoded(web: Web, name: str) -> None:
    """Any name a job may have for its queue."""
    web.given_jobs(queue=name)
    assert web.send("GET", f"/queues/{quote(name, safe='')}").json["name"] == name


@pytest.mark.parametrize(
    ("name", "status"),
    [("$own", 422), ("a%0Ab", 422), ("x" * 129, 422), ("%E2%80%8B", 422), ("a%2Fb", 404), ("", 404)],
)
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_what_is_no_name_is_refused(web: Web, method: str, name: str, status: int) -> None:
    """422 with a sentence about the path; a slash makes another path of it."""
    reply = web.send(method, f"/queues/{name}")
    assert reply.status == status
    if status == 422:
        assert reply.json["detail"].startswith("the queue's name in the path")
    assert web.replica.kinds == []


def test_queues_are_listed_by_name_page_by_page(web: Web) -> None:
    """Each once, also while others come in between."""
    for name in ("b", "d", "a", "é", "c"):
        web.given_jobs(queue=name)
    first = web.send("GET", "/queues?limit=2").json
    assert [queue["name"] for queue in first["queues"]] == ["a", "b"]
    web.given_jobs(queue="aa")
    second = web.send("GET", f"/queues?limit=2&cursor={first['next']}").json
    assert [queue["name"] for queue in second["queues"]] == ["c", "d"]
    third = web.send("GET", f"/queues?cursor={second['next']}").json
    assert [queue["name"] for queue in third["queues"]] == ["é"]
    assert third["next"] is None
    stale = web.send("GET", "/queues?consistency=stale").json["queues"]
    assert [queue["name"] for queue in stale] == ["a", "aa", "b", "c", "d", "é"]
