"""Consumers that wait: who is answered, when, and in what order."""

from __future__ import annotations

import pytest

from tests.cluster.fixtures import StartNode

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
