"""How soon who waits has what it waits for.

Times are simulated: they count rounds and messages, not the speed of a machine.
"""

from __future__ import annotations

import pytest

from cqueue.core.feed import Wanted
from cqueue.core.operations import (
    Conclude,
    Conclusion,
    Dequeue,
    Fail,
    FailedAttempt,
    Held,
    Operation,
    Release,
    SetQueue,
)
from cqueue.core.results import Dequeued
from cqueue.protocol import FOLLOW, RESULT, encode
from cqueue.simulation.cluster import Setup
from cqueue.simulation.stage import Stage, is_done
from cqueue.simulation.workload import Asked, decode, submit

SOON_S = 0.05
"""Half of the time between two heartbeats, and several round trips."""
WAIT_MS = 30_000
BEFORE_A_COMMIT_S = 0.002
"""A node that was asked has proposed it, and no other has heard of it."""


def ask(stage: Stage, node_id: str, what: Operation, wait_ms: int = 0) -> Asked:
    """Ask a node for something."""
    asked = Asked(len(stage.history) + 1, node_id, what, stage.world.now_s)
    stage.history.append(asked)
    submit(stage.cluster, asked, wait_ms, lambda _asked: None)
    return asked


@pytest.mark.parametrize("nodes", [1, 3])
def test_a_job_reaches_who_waits_without_the_help_of_a_heartbeat(nodes: int) -> None:
    """Nothing else goes on, so that nothing but the job itself can wake the node that has a consumer for it."""
    stage = Stage(1, Setup(nodes))
    stage.open()
    here, there = stage.ids[-1], stage.ids[0]
    first = ask(stage, here, Dequeue(1))
    stage.reach(lambda: is_done(first))
    consumers = [ask(stage, here, Dequeue(1), WAIT_MS) for _ in range(3)]
    stage.run(1.0)
    assert not any(map(is_done, consumers))

    stage.write(there)
    stage.promise("an enqueued job is delivered", lambda: is_done(consumers[0]), SOON_S)
    stage.run(1.0)
    ask(stage, there, Release([Held(1)]))
    stage.promise("a released job is delivered", lambda: is_done(consumers[1]), SOON_S)
    stage.run(1.0)
    ask(stage, there, Fail([FailedAttempt(2, retry_in_ms=0)]))
    stage.promise("a failed job is delivered", lambda: is_done(consumers[2]), SOON_S)
    assert stage.broken == []


@pytest.mark.parametrize("nodes", [1, 3])
def test_a_job_reaches_who_waits_as_soon_as_a_limit_lets_it_go(nodes: int) -> None:
    """When another one is concluded, or when time has come; nothing is enqueued meanwhile."""
    stage = Stage(1, Setup(nodes))
    stage.open()
    here, there = stage.ids[-1], stage.ids[0]
    limited = ask(stage, there, SetQueue("default", max_in_progress=1, rate_milli=500, rate_burst=2))
    stage.reach(lambda: is_done(limited))
    for _ in range(3):
        stage.write(there)
    consumers = [ask(stage, here, Dequeue(1), WAIT_MS) for _ in range(3)]
    stage.reach(lambda: is_done(consumers[0]))
    stage.run(0.2)
    ask(stage, there, Conclude([Conclusion(1)]))
    stage.promise("there is room for a job, and it is delivered", lambda: is_done(consumers[1]), SOON_S)
    concluded = ask(stage, there, Conclude([Conclusion(2)]))
    stage.reach(lambda: is_done(concluded))
    stage.run(1.5)
    assert not is_done(consumers[2])
    stage.promise("it is time for a job, and it is delivered", lambda: is_done(consumers[2]), 0.5)
    assert stage.broken == []


@pytest.mark.parametrize("nodes", [1, 3])
def test_a_job_reaches_who_found_nothing_just_before_it_in_the_same_entry(nodes: int) -> None:
    """It was not there yet when the consumer asked, and nothing happens after it."""
    stage = Stage(1, Setup(nodes))
    stage.open()
    node_id = stage.ids[-1]
    first = ask(stage, node_id, Dequeue(1))
    stage.reach(lambda: is_done(first))
    consumer = ask(stage, node_id, Dequeue(1), WAIT_MS)
    written = stage.write(node_id)
    stage.promise("the job is delivered", lambda: is_done(consumer), SOON_S)
    assert stage.broken == []
    assert written.index < consumer.index


def test_a_job_that_comes_too_late_for_who_left_reaches_the_next_one_as_soon() -> None:
    """The node itself gives it back, in a round for which nobody sends it anything."""
    stage = Stage(1, Setup(3))
    stage.open()
    node_id = stage.ids[-1]
    leaving = Asked(0, node_id, Dequeue(1), stage.world.now_s)
    hang_up = submit(stage.cluster, leaving, 0, lambda _asked: None)
    next_one = ask(stage, node_id, Dequeue(1), WAIT_MS)
    stage.run(BEFORE_A_COMMIT_S)
    hang_up()
    stage.promise("the job is delivered", lambda: is_done(next_one), SOON_S)
    assert stage.broken == []
    result = decode(next_one.body)
    assert isinstance(result, Dequeued)
    assert [(job.id, job.lease_token) for job in result.jobs] == [(1, 2)]


def test_who_follows_hears_of_a_change_without_the_help_of_a_heartbeat() -> None:
    """On a node that nobody asked for anything."""
    stage = Stage(1, Setup(3))
    stage.open()
    here, there = stage.ids[-1], stage.ids[0]
    heard: list[int] = []
    replica = stage.cluster.nodes[here].replica
    assert replica is not None
    replica.submit(FOLLOW, encode(Wanted()), WAIT_MS, lambda outcome, _index, _body: heard.append(outcome))
    stage.run(1.0)
    assert heard == []
    stage.write(there)
    stage.promise("the change is told", lambda: heard == [RESULT], SOON_S)
    assert stage.broken == []
