"""A token that is for some queues: over HTTP nothing is done to the others, and nothing is told of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cqueue.web.auth.principals import QUEUES_BYTES_MAX, QUEUES_MAX, reach_of
from cqueue.web.shapes.verbs import VERBS
from tests.web.callers import Callers, Door, given_open_door
from tests.web.replica import StandInReplica


@pytest.fixture
def door(own_replica: StandInReplica, tmp_path: Path) -> Iterator[Door]:
    """Job 1 in mail-1 and job 2 in other, both held; `bob` may do all but administer, in mail-* alone."""
    callers = Callers(tmp_path)
    callers.add("ann", "operator")
    callers.add("bob", "operator", queues=("mail-*",))
    with given_open_door(callers, own_replica) as door:
        for queue in ("mail-1", "other"):
            door.call("ann", "PUT", "/jobs/enqueue", {"queue": queue, "payload": queue})
            door.call("ann", "POST", "/jobs/dequeue", {"queue": queue})
        yield door


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/jobs/enqueue", {"queue": "other"}),
        ("PUT", "/jobs/enqueue", {}),
        ("PUT", "/jobs/enqueue", [{"queue": "mail-1"}, {"queue": "other"}]),
        ("POST", "/jobs/dequeue", None),
        ("POST", "/jobs/dequeue", {"queues": ["mail-1", "other"]}),
        ("POST", "/jobs/cancel", {"filter": {"queue": "other"}}),
        ("GET", "/jobs?queue=other", None),
        ("GET", "/events?queue=other", None),
        ("GET", "/queues/other", None),
        ("PATCH", "/queues/other", {"paused": True}),
        ("DELETE", "/queues/other", None),
        ("POST", "/queues/other/pause", None),
        ("POST", "/queues/other/resume", None),
        ("POST", "/queues/other/purge", None),
        ("POST", "/queues/other/redrive", None),
    ],
)
def test_a_queue_out_of_reach_that_is_named_is_refused(door: Door, method: str, path: str, body: Any) -> None:
    """403, and the sentence says which queue; nothing is done to the others in the same request either."""
    before = door.call("ann", "GET", "/jobs/stats").json

    reply = door.call("bob", method, path, body)

    assert reply.status_code == 403
    assert reply.json is not None
    assert reply.json["code"] == "insufficient_scope"
    assert "'default'" in reply.json["detail"] or "'other'" in reply.json["detail"]
    assert door.call("ann", "GET", "/jobs/stats").json == before


@pytest.mark.parametrize("verb", VERBS)
def test_a_job_out_of_reach_is_not_there(door: Door, verb: str) -> None:
    """By its id, alone or among others, whatever is said of it; those within reach are done."""
    before = door.call("ann", "GET", "/jobs/2").json

    alone = door.call("bob", "POST", f"/jobs/2/{verb}")
    many = door.call("bob", "POST", f"/jobs/{verb}", {"ids": [2, 1]})

    assert (alone.status_code, alone.json["code"]) == (404, "not_found")  # type: ignore[index]
    assert many.json is not None
    assert [result.get("code") == "not_found" for result in many.json["results"]] == [True, False]
    assert door.call("ann", "GET", "/jobs/2").json == before


@pytest.mark.parametrize("path", ["/jobs/2", "/jobs/2/history", "/jobs/2/explain", "/jobs/2?wait=5"])
def test_a_job_out_of_reach_cannot_be_looked_at(door: Door, path: str) -> None:
    """Nor waited for."""
    reply = door.call("bob", "GET", path)
    assert (reply.status_code, reply.json["code"]) == (404, "not_found")  # type: ignore[index]


def test_the_other_spellings_of_verbs_are_bound_as_well(door: Door) -> None:
    """The original's conclude, and DELETE."""
    assert door.call("bob", "POST", "/jobs/conclude/2").status_code == 404
    assert door.call("bob", "DELETE", "/jobs/2").status_code == 404
    assert door.call("bob", "POST", "/jobs/conclude/1").status_code == 200


def test_lists_and_counts_tell_of_no_other_queue(door: Door) -> None:
    """As if there were none."""
    jobs, counts, queues = (door.call("bob", "GET", path).json for path in ("/jobs", "/jobs/stats", "/queues"))

    assert jobs is not None
    assert counts is not None
    assert queues is not None
    assert [job["id"] for job in jobs["jobs"]] == [1]
    assert (counts["total"], list(counts["queues"])) == (1, ["mail-1"])
    assert [queue["name"] for queue in queues["queues"]] == ["mail-1"]


def test_a_filter_without_a_queue_is_about_ones_own(door: Door) -> None:
    """It goes through the jobs within reach."""
    reply = door.call("bob", "POST", "/jobs/cancel", {"filter": {"status": "IN_PROGRESS"}})

    assert reply.json == {"matched": 1, "done": True}
    assert "cancel_requested" not in (door.call("ann", "GET", "/jobs/2").json or {})


def test_an_answer_under_a_key_is_not_given_to_another_reach(door: Door) -> None:
    """The same request of another caller under the same key would be shown the job."""
    key = {"Idempotency-Key": "k"}
    assert door.call("ann", "POST", "/jobs/2/conclude", headers=key).status_code == 200

    reply = door.call("bob", "POST", "/jobs/2/conclude", headers=key)

    assert (reply.status_code, reply.json["code"]) == (422, "key_reused")  # type: ignore[index]


def test_within_reach_all_is_as_ever(door: Door) -> None:
    """A whole life of a job."""
    assert door.call("bob", "PUT", "/jobs/enqueue", {"queue": "mail-2", "payload": 7}).json == {"id": 3}
    job = door.call("bob", "POST", "/jobs/dequeue", {"queue": "mail-2"}).json
    assert job is not None
    assert (job["id"], job["payload"]) == (3, 7)
    done = door.call("bob", "POST", "/jobs/3/conclude", {"lease_token": job["lease_token"], "result": 8})
    assert done.json is not None
    assert (done.json["status"], done.json["result"]) == ("CONCLUDED", 8)
    assert door.call("bob", "GET", "/queues/mail-2").status_code == 200


@pytest.mark.parametrize(
    ("queues", "roles", "words"),
    [
        (["mail"], {"admin"}, "an admin is for all queues"),
        (["a"] * (QUEUES_MAX + 1), {"viewer"}, f"at most {QUEUES_MAX} queues"),
        (["é" * (QUEUES_BYTES_MAX // 2), "a"], {"viewer"}, f"{QUEUES_BYTES_MAX} bytes"),
        ([""], {"viewer"}, "a name, or a pattern"),
        (["a\n"], {"viewer"}, "printable"),
    ],
)
def test_patterns_have_limits(queues: list[str], roles: Any, words: str) -> None:
    """Each is refused in words, before anybody has such a token."""
    with pytest.raises(ValueError, match=words):
        reach_of(queues, frozenset(roles))


def test_a_star_among_the_patterns_is_all_queues() -> None:
    """Then nothing is bound, and nothing paid for."""
    assert reach_of(["mail", "*"], frozenset(("admin",))) is None
    assert reach_of(["mail", "mail"], frozenset(("viewer",))) == ("mail",)
    assert reach_of([], frozenset(("viewer",))) == ()
