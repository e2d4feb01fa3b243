"""Consumers that wait: who is answered, when, and in what order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.fixtures import StartCluster, StartNode
from tests.support import eventually

pytestmark = pytest.mark.cluster

LONG_S = 40
"""Longer than any request may take that does not wait."""


def test_a_short_wait_ends_before_a_long_one(start_node: StartNode) -> None:
    """Each consumer is answered when its own time is up, whatever a request may take otherwise."""
    node = start_node(request_timeout_s=LONG_S)
    long = node.send("POST", "/jobs/dequeue", {"wait": LONG_S})
    short = node.send("POST", "/jobs/dequeue", {"wait": 0.2})

    assert short.answer().status == 204
    assert not long.is_answered()
    job_id = node.call("PUT", "/jobs/enqueue").body["id"]
    assert long.answer().body["id"] == job_id


def test_those_who_wait_are_served_in_the_order_they_came(start_node: StartNode) -> None:
    """One job each, the first to the first."""
    node = start_node()
    consumers = [node.send_waiting({"wait": LONG_S}) for _ in range(5)]

    ids = node.call("PUT", "/jobs/enqueue", [{"payload": number} for number in range(5)]).body["ids"]

    assert [consumer.answer().body["id"] for consumer in consumers] == ids


def test_a_node_tells_how_many_consumers_wait(start_node: StartNode) -> None:
    """Those it holds, until each of them has a job."""
    node = start_node()
    consumers = [node.send("POST", "/jobs/dequeue", {"wait": LONG_S}) for _ in range(3)]
    eventually(lambda: node.status()["consumers_waiting"] == 3)

    node.call("PUT", "/jobs/enqueue", [{}] * 2)
    eventually(lambda: sum(consumer.is_answered() for consumer in consumers) == 2)
    assert node.status()["consumers_waiting"] == 1
    node.call("PUT", "/jobs/enqueue")
    assert {consumer.answer().status for consumer in consumers} == {200}
    assert node.status()["consumers_waiting"] == 0


def test_a_job_whose_lease_runs_out_goes_to_one_who_waits(start_node: StartNode) -> None:
    """Nobody enqueues and nobody asks: the queue itself notices that the time is up."""
    node = start_node()
    job_id = node.call("PUT", "/jobs/enqueue").body["id"]
    lost = node.call("POST", "/jobs/dequeue", {"lease_seconds": 1}).body

    found = node.ask("POST", "/jobs/dequeue", {"wait": LONG_S})

    assert (found.status, found.body["id"], found.body["attempt"]) == (200, job_id, 2)
    assert found.body["lease_token"] > lost["lease_token"]
    late = node.call("POST", f"/jobs/{job_id}/conclude", {"lease_token": lost["lease_token"]})
    assert (late.status, late.body["code"]) == (409, "lease_lost")


def test_those_who_wait_for_something_else_are_left_alone(start_node: StartNode) -> None:
    """A job goes to the first whose queues, types and tags it fits, not to the first of all."""
    node = start_node()
    wishes = ({"queue": "a"}, {"queues": ["b", "a"], "type": "X"}, {"queue": "b", "tags": {"to": "ada"}}, {})
    other, kind, tagged, plain = (node.send_waiting({"wait": LONG_S} | wish) for wish in wishes)

    jobs = [{}, {"queue": "b", "tags": {"to": "ada"}}, {"queue": "a"}, {"queue": "a", "type": "X"}]
    ids = node.call("PUT", "/jobs/enqueue", jobs).body["ids"]

    assert plain.answer().body["id"] == ids[0]
    assert tagged.answer().body["id"] == ids[1]
    assert [other.answer().body["id"], kind.answer().body["id"]] == ids[2:]


def test_whatever_makes_a_job_ready_on_one_node_wakes_who_waits_on_another(start_cluster: StartCluster) -> None:
    """Enqueued, due, its lease over, released, failed with and without a delay, redriven, and its queue resumed."""
    cluster = start_cluster()
    here, there, _ = cluster.nodes
    asks = {"wait": LONG_S, "lease_seconds": 300}
    job = {"id": 0, "lease_token": 0}

    def say(verb: str, **more: Any) -> Callable[[], object]:
        return lambda: there.call("POST", f"/jobs/{job['id']}/{verb}", more)

    steps: list[tuple[str, Callable[[], object]]] = [
        ("enqueued", lambda: there.call("PUT", "/jobs/enqueue")),
        ("released", say("release")),
        ("failed", say("fail", retry_in_seconds=0)),
        ("failed, later", say("fail", retry_in_seconds=0.3)),
        ("lease over", say("extend", lease_seconds=1)),
    ]
    for what, happens in steps:
        waits = here.send_waiting(asks)
        happens()
        answer = waits.answer()
        assert answer.status == 200, what
        assert what == "enqueued" or answer.body["id"] == job["id"], what
        job = answer.body

    there.call("POST", f"/jobs/{job['id']}/fail", {"retryable": False})
    waits = here.send_waiting(asks)
    say("redrive")()
    assert waits.answer().body["id"] == job["id"]

    waits = here.send_waiting(asks)
    due_id = there.call("PUT", "/jobs/enqueue", {"delay_seconds": 0.3}).body["id"]
    assert waits.answer().body["id"] == due_id

    there.call("POST", "/queues/default/pause")
    waits = here.send_waiting(asks)
    resumed_id = there.call("PUT", "/jobs/enqueue").body["id"]
    assert not waits.is_answered()
    there.call("POST", "/queues/default/resume")
    assert waits.answer().body["id"] == resumed_id


def test_whoever_waits_at_a_paused_queue_is_served_when_it_is_resumed(start_node: StartNode) -> None:
    """The job was there all the time."""
    node = start_node()
    node.call("POST", "/queues/default/pause")
    consumer = node.send_waiting({"wait": LONG_S})
    job_id = node.call("PUT", "/jobs/enqueue").body["id"]
    assert not consumer.is_answered()
    node.call("POST", "/queues/default/resume")
    assert consumer.answer().body["id"] == job_id


def test_whoever_waits_for_a_result_hears_of_it_on_any_node(start_cluster: StartCluster) -> None:
    """Asked of one node, concluded on another; and a job that nobody finishes is shown as it is in the end."""
    cluster = start_cluster()
    first, second, third = cluster.nodes
    ids = first.call("PUT", "/jobs/enqueue", [{}, {}]).body["ids"]
    assert third.call("GET", f"/jobs/{ids[0]}").body["status"] == "QUEUED"
    waiting = second.send("GET", f"/jobs/{ids[0]}?wait={LONG_S}&until=finished")
    stale = third.send("GET", f"/jobs/{ids[0]}?wait={LONG_S}&consistency=stale")
    in_vain = third.send("GET", f"/jobs/{ids[1]}?wait=0.2")

    assert in_vain.answer().body["status"] == "QUEUED"
    first.call("POST", "/jobs/dequeue")
    assert not waiting.is_answered()
    first.call("POST", f"/jobs/{ids[0]}/conclude", {"result": "here"})
    assert waiting.answer().body["result"] == "here"
    assert stale.answer().body["result"] == "here"


def test_the_clusters_bounds_are_those_of_its_leader(start_node: StartNode) -> None:
    """`--max-jobs` travels in the log; at the bound enqueue gets 503, everything else goes on."""
    node = start_node(max_jobs=2)
    full = node.ask("PUT", "/jobs/enqueue", [{}, {}, {}])
    assert (full.status, full.body["code"]) == (503, "queue_full")
    assert int(full.headers["retry-after"]) > 0
    node.call("PUT", "/jobs/enqueue", [{}, {}])
    assert node.ask("PUT", "/jobs/enqueue").status == 503
    node.call("POST", "/jobs/dequeue")
    node.call("POST", "/jobs/1/conclude")
    assert node.ask("PUT", "/jobs/enqueue").status == 201


def test_no_more_wait_than_may(start_node: StartNode) -> None:
    """One more is told so, for a job or for a job's end; who finds what it wants does not have to wait."""
    node = start_node(waiting_max=2)
    jobs = node.call("PUT", "/jobs/enqueue", [{"queue": "held"}, {"queue": "other"}]).body["ids"]
    waiting = [node.send_waiting({"wait": LONG_S}) for _ in range(2)]

    for refused in (
        node.ask("POST", "/jobs/dequeue", {"wait": LONG_S}),
        node.ask("GET", f"/jobs/{jobs[0]}?wait={LONG_S}"),
    ):
        assert (refused.status, refused.body["code"]) == (503, "too_many_waiting")
        assert refused.headers["retry-after"] == "5"
    assert node.ask("POST", "/jobs/dequeue", {"wait": LONG_S, "queue": "other"}).body["id"] == jobs[1]
    assert node.ask("POST", "/jobs/dequeue").status == 204

    node.call("PUT", "/jobs/enqueue", [{}] * 2)
    assert [consumer.answer().status for consumer in waiting] == [200, 200]
    assert node.ask("POST", "/jobs/dequeue", {"wait": 0.1}).status == 204
