"""The client of a real cluster whose nodes die: no call fails, and none is done twice."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from cqueue import Client
from tests.cluster.fixtures import StartCluster
from tests.cluster.harness import Cluster
from tests.support import eventually

pytestmark = pytest.mark.cluster

PRODUCERS = 4
KILLED_AFTER = 20
"""Jobs that each producer adds before and after the node it talks to dies."""


def given_client(cluster: Cluster) -> Client:
    """A client of all nodes."""
    return Client(*(f"{node.host}:{node.port}" for node in cluster.nodes))


def test_a_node_that_dies_in_the_middle_loses_and_doubles_nothing(start_cluster: StartCluster) -> None:
    """SIGKILL of the leader, the node that every producer talks to: each payload is there once."""
    cluster = start_cluster()
    talking_to = cluster.leader()
    cluster.nodes.sort(key=lambda node: node is not talking_to)
    killed = Event()
    added: list[object] = []

    def produce(client: Client, producer: int) -> None:
        number = 0
        after = 0
        while after < KILLED_AFTER:
            payload = f"{producer}-{number}"
            client.enqueue(payload)
            added.append(payload)
            number += 1
            after += killed.is_set()

    with given_client(cluster) as client, ThreadPoolExecutor(PRODUCERS) as pool:
        producers = [pool.submit(produce, client, producer) for producer in range(PRODUCERS)]
        eventually(lambda: len(added) >= PRODUCERS * KILLED_AFTER, within_s=60)
        talking_to.kill()
        killed.set()
        for producer in producers:
            producer.result(timeout=100)
        there = Counter(job.payload for job in client.iter_jobs(limit=1000))
    assert there == Counter(added)
    assert set(there.values()) == {1}


def test_a_consumer_that_waits_on_a_node_that_dies_gets_its_job_elsewhere(start_cluster: StartCluster) -> None:
    """The wait begins anew on another node."""
    cluster = start_cluster()
    doomed, *others = cluster.nodes
    with given_client(cluster) as client, ThreadPoolExecutor(1) as pool:
        before = doomed.index()
        taken = pool.submit(client.dequeue, wait=50)
        # Every dequeue is in the log, also one that finds nothing.
        eventually(lambda: others[0].index() > before, within_s=30)
        doomed.kill()
        with Client(*(f"{node.host}:{node.port}" for node in others)) as producer:
            producer.enqueue("for whoever waits")
        job = taken.result(timeout=100)
    assert job is not None
    assert job.payload == "for whoever waits"


def test_a_node_that_stands_still_is_left(start_cluster: StartCluster) -> None:
    """SIGSTOP of the node the client talks to: the same call, under the same key, goes to another."""
    cluster = start_cluster()
    still = cluster.nodes[0]
    addresses = [f"{node.host}:{node.port}" for node in cluster.nodes]
    with Client(*addresses, answer_s=1) as client:
        client.enqueue("before")
        still.pause()
        client.enqueue("after")
        still.resume()
        eventually(still.is_ready, within_s=30)
        assert [job.payload for job in client.iter_jobs()] == ["before", "after"]
