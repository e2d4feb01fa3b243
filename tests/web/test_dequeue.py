"""Dequeue over HTTP: order, leases, one and many, waiting."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from cqueue.core import limits
from tests.support import eventually
from tests.web.replica import StandInReplica
from tests.web.web import Web


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def test_dequeue_hands_out_the_bare_job(web: Web) -> None:
    """200, exactly the fields that apply, and the index."""
    web.send("PUT", "/jobs/enqueue", {"type": "MAIL", "payload": {"to": "a"}})
    reply = web.send("POST", "/jobs/dequeue")
    job = reply.json
    assert reply.status == 200
    assert reply.index == 2
    created_at, expires_at = job.pop("created_at"), job.pop("lease_expires_at")
    assert job == {
        "id": 1,
        "type": "MAIL",
        "status": "IN_PROGRESS",
        "queue": "default",
        "priority": 500,
        "payload": {"to": "a"},
        "attempt": 1,
        "max_attempts": 5,
        "lease_token": 1,
    }
    assert created_at.endswith("Z")
    assert len(created_at) == len("2026-01-02T03:04:05.678Z")
    assert _ms(expires_at) == web.replica.machine.now_ms + limits.LEASE_MS_DEFAULT


def test_an_empty_queue_answers_204_without_a_body(web: Web) -> None:
    """Nothing to do is no error."""
    reply = web.send("POST", "/jobs/dequeue")
    assert (reply.status, reply.body, reply.index) == (204, b"", 1)
    assert "Content-Type" not in reply.headers


def test_time_critical_jobs_come_first_and_each_kind_in_order(web: Web) -> None:
    """Priority before age, age within a priority."""
    for name in ("A", "TIME_CRITICAL", "B", "TIME_CRITICAL"):
        web.send("PUT", "/jobs/enqueue", {"Type": name})
    assert [web.send("POST", "/jobs/dequeue").json["id"] for _ in range(4)] == [2, 4, 1, 3]


def test_no_job_is_handed_out_twice_while_its_lease_holds(web: Web) -> None:
    """The second consumer finds nothing."""
    web.given_job_in_progress()
    assert web.send("POST", "/jobs/dequeue").status == 204


def test_a_lease_that_ran_out_returns_the_job(web: Web, replica: StandInReplica) -> None:
    """With the lease the caller asked for, and a fresh token."""
    job = web.given_job_in_progress(lease_seconds=2)
    assert _ms(job["lease_expires_at"]) == replica.machine.now_ms + 2_000
    replica.clock_ahead_ms += 2_000
    again = web.send("POST", "/jobs/dequeue").json
    assert (again["id"], again["attempt"], again["lease_token"]) == (1, 2, 2)


@pytest.mark.parametrize("name", ["worker-1", "a b", "n" * limits.CONSUMER_CHARS_MAX])
def test_a_consumer_may_name_itself(web: Web, name: str) -> None:
    """The name shows on the job while it holds it."""
    web.given_jobs()
    assert web.send("POST", "/jobs/dequeue", consumer_id=name).json["consumer"] == name


def test_a_consumers_name_may_be_unicode(web: Web) -> None:
    """Headers carry UTF-8."""
    web.given_jobs()
    headers = {"Consumer-Id": "zoë".encode().decode("latin-1")}
    assert web.request("POST", "/jobs/dequeue", None, headers).json["consumer"] == "zoë"


def test_dequeue_of_many_answers_a_list(web: Web) -> None:
    """Up to `count`, best first; also of one."""
    web.given_jobs(5)
    assert [job["id"] for job in web.send("POST", "/jobs/dequeue", {"count": 3}).json["jobs"]] == [1, 2, 3]
    assert [job["id"] for job in web.send("POST", "/jobs/dequeue", {"count": 1}).json["jobs"]] == [4]
    assert [job["id"] for job in web.send("POST", "/jobs/dequeue", {"count": 1000}).json["jobs"]] == [5]


def test_dequeue_of_many_from_an_empty_queue_is_an_empty_list(web: Web) -> None:
    """200, so that a loop over the jobs needs no special case."""
    reply = web.send("POST", "/jobs/dequeue", {"count": 10})
    assert (reply.status, reply.json) == (200, {"jobs": []})


@pytest.mark.parametrize("fields", [{"wait": 0.05}, {"wait": 0}, {"wait": 0.0}])
def test_a_wait_that_runs_out_answers_204(web: Web, fields: dict[str, float]) -> None:
    """As if there had been none."""
    assert web.send("POST", "/jobs/dequeue", fields).status == 204
    assert web.send("POST", "/jobs/dequeue", fields | {"count": 2}).json == {"jobs": []}


def test_consumers_that_wait_get_the_jobs_that_come(web: Web, replica: StandInReplica) -> None:
    """Several of them on one worker, each another job."""
    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(web.send, "POST", "/jobs/dequeue", {"wait": 60}) for _ in range(4)]
        eventually(lambda: replica.parked == 4)
        web.given_jobs(4)
        assert sorted(reply.result().json["id"] for reply in waiting) == [1, 2, 3, 4]


def test_queues_are_served_in_the_order_given(web: Web) -> None:
    """The next one only when the one before has nothing; `default` where none is named."""
    for queue in ("b", "a", "default", "a"):
        web.given_jobs(queue=queue)
    assert web.send("POST", "/jobs/dequeue").json["queue"] == "default"
    assert web.send("POST", "/jobs/dequeue").status == 204
    jobs = web.send("POST", "/jobs/dequeue", {"queues": ["a", "b", "a"], "count": 9}).json["jobs"]
    assert [job["id"] for job in jobs] == [2, 4, 1]


def test_one_queue_may_be_named_alone(web: Web) -> None:
    """`queue` is `queues` with one in it."""
    web.given_jobs(2, queue="a")
    assert web.send("POST", "/jobs/dequeue", {"queue": "a"}).json["id"] == 1
    assert web.send("POST", "/jobs/dequeue", {"queues": ["a"]}).json["id"] == 2


@pytest.mark.parametrize(
    ("wish", "ids"),
    [
        ({"type": "A"}, [1, 4]),
        ({"types": ["A", "B"]}, [1, 2, 4]),
        ({"types": ["C"]}, []),
        ({"tags": {"to": "ada"}}, [2, 3]),
        ({"tags": {"to": "ada", "from": "bob"}}, [3]),
        ({"type": "B", "tags": {"to": "ada"}}, [2]),
        ({"tags": {}}, [1, 2, 3, 4]),
    ],
)
def test_a_consumer_may_take_only_some(web: Web, wish: dict[str, object], ids: list[int]) -> None:
    """By types and tags; the others stay."""
    web.given_jobs(type="A")
    web.given_jobs(type="B", tags={"to": "ada"})
    web.given_jobs(tags={"to": "ada", "from": "bob"})
    web.given_jobs(type="A")
    jobs = web.send("POST", "/jobs/dequeue", wish | {"count": 9}).json["jobs"]
    assert [job["id"] for job in jobs] == ids
    assert web.send("GET", "/jobs/stats").json["jobs"]["QUEUED"] == 4 - len(ids)


def test_a_consumer_waits_for_what_it_wants(web: Web, replica: StandInReplica) -> None:
    """Other jobs do not end its wait."""
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(web.send, "POST", "/jobs/dequeue", {"wait": 60, "queue": "a", "type": "X"})
        eventually(lambda: replica.parked == 1)
        web.given_jobs(queue="a")
        web.given_jobs(type="X")
        web.given_jobs(queue="a", type="X")
        assert waiting.result().json["id"] == 3


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        ("wait=0", "wait=0"),
        ("respond-async, wait=1", "wait=1"),
        ('WAIT = "1"; x=y', "wait=1"),
        ("wait=99", "wait=60"),
        ("handling=strict", None),
        ("await=1", None),
        ("wait=-1", None),
        ("wait=x", None),
    ],
)
def test_a_preference_can_ask_to_wait(web: Web, prefer: str, applied: str | None) -> None:
    """RFC 7240: what is understood is said to be; what is not is ignored."""
    web.given_jobs()
    reply = web.send("POST", "/jobs/dequeue", None, Prefer=prefer)
    assert (reply.status, reply.headers.get("Preference-Applied")) == (200, applied)


def test_the_body_counts_more_than_a_preference(web: Web) -> None:
    """Whoever says `wait` in both meant the body."""
    reply = web.send("POST", "/jobs/dequeue", {"wait": 0}, Prefer="wait=60")
    assert (reply.status, "Preference-Applied" in reply.headers) == (204, False)
