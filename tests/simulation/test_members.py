"""Members come and go in a simulated cluster: scenarios that a seed meets too rarely to be sure of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cqueue import protocol
from cqueue.core.entry import UnreadableEntry
from cqueue.core.operations import Enqueue, NewJob
from cqueue.protocol import ADD, REMOVE, TRANSFER, Order
from cqueue.replication.changes import FAREWELL_S
from cqueue.replication.membership import MEMBERS
from cqueue.replication.raft import Message
from cqueue.simulation.cluster import Cluster, Setup
from cqueue.simulation.run import simulated
from cqueue.simulation.world import World

PICKLED_MEMBERSHIP = b"\x02\x80\x04N."
"""PySyncObj's own kind of entry, and a pickle of None."""


@pytest.fixture
def world() -> Iterator[World]:
    """A world in which nothing goes wrong by itself."""
    with simulated(None):
        yield World(7)


def given_cluster(world: World, *, spares: int = 1, durable: bool = True) -> Cluster:
    """Three members and a node that is none, all of them up, with a leader."""
    cluster = Cluster(world, Setup(3, spares=spares, durable=durable, compact_bytes=2_000, trailing_entries=0))
    until(cluster, lambda: leader_of(cluster) is not None)
    run(cluster, 1.0)
    return cluster


def run(cluster: Cluster, seconds: float) -> None:
    """Let simulated time go by."""
    cluster.world.run_until(cluster.world.now_s + seconds)


def until(cluster: Cluster, condition: Callable[[], bool], within_s: float = 20.0) -> None:
    """Let simulated time go by until something is so."""
    end_s = cluster.world.now_s + within_s
    while not condition():
        assert cluster.world.now_s < end_s, f"still not so after {within_s} simulated seconds"
        run(cluster, 0.01)


def leader_of(cluster: Cluster) -> str | None:
    """The node that every member which is up takes for the leader."""
    known = {cluster.nodes[member].consensus.leader_id for member in cluster.members() if cluster.is_up(member)}
    return known.pop() if len(known) == 1 else None


def ordered(cluster: Cluster, through: str, order: Order) -> list[str]:
    """Give an order; what becomes of it is put into the list: "done", or the code of the refusal."""
    told: list[str] = []

    def reply(outcome: int, _index: int, body: bytes) -> None:
        told.append("done" if outcome == protocol.RESULT else protocol.decode_failure(body).code)

    replica = cluster.nodes[through].replica
    assert replica is not None
    replica.submit(protocol.ORDER, protocol.encode(order), 0, reply)
    cluster.wake(through)
    return told


def done(cluster: Cluster, through: str, order: Order) -> None:
    """Give an order, which is carried out."""
    told = ordered(cluster, through, order)
    until(cluster, lambda: bool(told))
    assert told == ["done"]


def enqueued(cluster: Cluster, through: str) -> None:
    """Add a job through a node, and wait for the answer."""
    told: list[int] = []
    replica = cluster.nodes[through].replica
    assert replica is not None
    body = protocol.encode(Enqueue([NewJob("A", b"1")]))
    replica.submit(protocol.OPERATE, body, 0, lambda outcome, _index, _body: told.append(outcome))
    cluster.wake(through)
    until(cluster, lambda: bool(told))
    assert told == [protocol.RESULT]


def consensus_of(cluster: Cluster, node_id: str) -> Any:
    """The consensus of a node that is up."""
    consensus = cluster.nodes[node_id].consensus
    assert consensus is not None
    return consensus


def tells_of_four(message: Message) -> bool:
    """Whether a message names the fourth node as a member."""
    commands = [command for command, _, _ in message.get("entries", ())]
    held = [command[1:] for command in commands if command[:1] == MEMBERS] + [message.get("configuration", b"")]
    return any(b"n4:1" in data for data in held)


@pytest.mark.parametrize("durable", [False, True])
def test_a_node_that_was_away_lets_a_new_member_in_that_leads(world: World, *, durable: bool) -> None:
    """It was cut off while the fourth was added, and the fourth leads now: the others tell it of their members."""
    cluster = given_cluster(world, durable=durable)
    leader = leader_of(cluster)
    away, other = (node_id for node_id in cluster.first_ids if node_id != leader)
    for node_id in (other, "n4:1"):
        cluster.network.stall(away, node_id)
        cluster.network.stall(node_id, away)
    cluster.network.stops[str(leader), away] = tells_of_four
    done(cluster, other, Order(ADD, "n4:1", 5_000))
    done(cluster, other, Order(TRANSFER, "n4:1"))
    for _ in range(50):  # so that what it missed is in a snapshot only
        enqueued(cluster, other)
    cluster.network.heal_all()

    until(cluster, lambda: consensus_of(cluster, away).members == cluster.ids)
    until(cluster, lambda: consensus_of(cluster, away).leader_id == "n4:1" and consensus_of(cluster, away).is_current)
    assert cluster.broken == []


def test_a_member_that_learns_late_of_its_removal_disturbs_nobody(world: World) -> None:
    """It was cut off when it was removed; what it still takes for its cluster does not listen to it."""
    cluster = given_cluster(world)
    leader = leader_of(cluster)
    gone, other = (node_id for node_id in cluster.first_ids if node_id != leader)
    cluster.crash(gone, wipe=False)
    done(cluster, other, Order(REMOVE, gone))
    term = consensus_of(cluster, other).raftCurrentTerm
    run(cluster, FAREWELL_S + 1.0)
    cluster.start(gone)

    run(cluster, 10.0)

    assert gone in consensus_of(cluster, gone).members
    assert consensus_of(cluster, other).leader_id == leader
    assert consensus_of(cluster, other).raftCurrentTerm == term
    assert consensus_of(cluster, gone).leader_id is None
    done(cluster, other, Order(ADD, gone, 5_000))
    until(cluster, lambda: consensus_of(cluster, gone).is_current)


def test_a_node_added_in_one_life_and_wiped_in_the_next_has_to_be_filled_first(world: World) -> None:
    """What it promised as a member is lost with its disk: it is not whole by having been added."""
    cluster = given_cluster(world)
    done(cluster, "n1:1", Order(ADD, "n4:1", 5_000))
    until(cluster, lambda: not consensus_of(cluster, "n4:1").recovering)
    for node_id in cluster.first_ids:
        cluster.network.stall(node_id, "n4:1")
    cluster.crash("n4:1", wipe=True)
    cluster.start("n4:1")
    run(cluster, 2.0)
    assert consensus_of(cluster, "n4:1").recovering
    cluster.network.heal_all()

    until(cluster, lambda: not consensus_of(cluster, "n4:1").recovering)
    assert consensus_of(cluster, "n4:1").members == cluster.ids


def test_one_change_at_a_time(world: World) -> None:
    """Two orders through two nodes at the same moment: one is carried out, the other refused."""
    cluster = given_cluster(world, spares=2)
    told = [ordered(cluster, "n1:1", Order(ADD, "n4:1", 5_000)), ordered(cluster, "n2:1", Order(ADD, "n5:1", 5_000))]
    until(cluster, lambda: all(told))
    assert sorted(answer for answers in told for answer in answers) == ["change_in_progress", "done"]


def test_an_order_outlives_the_leader_it_was_given_to(world: World) -> None:
    """The leader dies in the middle of it, and comes back: the next one is asked by the node that took the order."""
    cluster = given_cluster(world)
    leader = leader_of(cluster)
    assert leader is not None
    other = next(node_id for node_id in cluster.first_ids if node_id != leader)
    told = ordered(cluster, other, Order(ADD, "n4:1", 10_000))
    until(cluster, lambda: consensus_of(cluster, leader).change is not None)
    cluster.crash(leader, wipe=False)
    cluster.start(leader)

    until(cluster, lambda: bool(told))
    assert told == ["done"]
    assert consensus_of(cluster, other).members == cluster.ids


def test_a_node_is_not_added_where_the_others_could_not_do_without_it(world: World) -> None:
    """With one of three down, a fourth that fails right away would stop the cluster: it has to wait."""
    cluster = given_cluster(world)
    leader = leader_of(cluster)
    down, other = (node_id for node_id in cluster.first_ids if node_id != leader)
    cluster.crash(down, wipe=False)
    told = ordered(cluster, other, Order(ADD, "n4:1", 5_000))
    until(cluster, lambda: bool(told))
    assert told == ["no_majority"]
    cluster.start(down)
    run(cluster, 2.0)
    done(cluster, other, Order(ADD, "n4:1", 5_000))


def test_a_member_whose_removal_is_not_committed_still_helps_to_commit_it(world: World) -> None:
    """It alone has the entry with its removal, and its log is the longest: nobody else can be elected before it."""
    cluster = given_cluster(world)
    done(cluster, "n1:1", Order(ADD, "n4:1", 5_000))
    leader = leader_of(cluster)
    assert leader is not None
    gone, *rest = (node_id for node_id in cluster.ids if node_id != leader)
    for node_id in rest:
        cluster.network.stops[leader, node_id] = lambda message: any(
            command[:1] == MEMBERS for command, _, _ in message.get("entries", ())
        )
    ordered(cluster, leader, Order(REMOVE, gone))
    until(cluster, lambda: gone not in consensus_of(cluster, gone).members)
    cluster.crash(leader, wipe=False)
    for node_id in rest:
        cluster.network.disconnect(leader, node_id)
    cluster.network.heal_all()

    # Of the four members three are up, one of them the removed one, and without it there is no majority.
    until(cluster, lambda: all(gone not in consensus_of(cluster, node_id).members for node_id in rest))
    until(cluster, lambda: {consensus_of(cluster, node_id).leader_id for node_id in rest} < set(rest))
    until(cluster, lambda: not consensus_of(cluster, gone).is_leader)
    assert cluster.broken == []


def test_the_engines_own_membership_entries_are_not_taken(world: World) -> None:
    """They are pickled: a node that finds one in its log stops, and unpickles nothing."""
    cluster = given_cluster(world)
    leader = consensus_of(cluster, leader_of(cluster) or "")
    leader._journal.add(PICKLED_MEMBERSHIP, leader.last_index + 1, leader.raftCurrentTerm)
    leader._SyncObj__raftCommitIndex = leader.last_index
    with pytest.raises(UnreadableEntry, match="kind 2"):
        leader._SyncObj__applyLogEntries()
