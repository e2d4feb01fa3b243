"""Two versions in one simulated cluster: what all of them read is agreed on, and nobody is asked for more."""

from __future__ import annotations

import pytest

from cqueue.core.levels import LEVEL
from cqueue.protocol import ADD, REMOVE, TRANSFER, Order
from cqueue.replication.levels import Levels
from cqueue.simulation.cluster import LEVEL_SIMULATED, OPERATOR_S, Cluster
from cqueue.simulation.world import World
from tests.simulation.test_members import (  # noqa: F401 - world is a fixture
    consensus_of,
    done,
    enqueued,
    given_cluster,
    leader_of,
    ordered,
    run,
    until,
    world,
)


def upgrade(cluster: Cluster, node_id: str) -> None:
    """Stop a node in order, and start the newer version in its place."""
    cluster.nodes[node_id].level_max = LEVEL_SIMULATED
    restart(cluster, node_id)


def restart(cluster: Cluster, node_id: str) -> None:
    """Stop a node in order and start it again."""
    cluster.leave(node_id)
    until(cluster, lambda: cluster.nodes[node_id].replica is None)
    cluster.start(node_id)
    until(cluster, lambda: leader_of(cluster) is not None)
    run(cluster, 1.0)


def levels(cluster: Cluster) -> list[int]:
    """What each member takes for agreed."""
    return [consensus_of(cluster, member).level for member in cluster.members()]


@pytest.mark.parametrize("durable", [False, True])
def test_the_level_rises_when_the_last_member_is_upgraded_and_not_before(world: World, *, durable: bool) -> None:  # noqa: F811
    """Whoever leads meanwhile; the node that is no member does not count."""
    cluster = given_cluster(world, durable=durable)
    for node_id in cluster.first_ids:
        assert levels(cluster) == [LEVEL] * 3
        upgrade(cluster, node_id)
        enqueued(cluster, node_id)
    assert levels(cluster) == [LEVEL_SIMULATED] * 3
    assert cluster.broken == []


def test_the_level_waits_for_a_member_that_is_down(world: World) -> None:  # noqa: F811
    """It may come back with the version it had."""
    cluster = given_cluster(world)
    *upgraded, last = cluster.first_ids
    for node_id in upgraded:
        upgrade(cluster, node_id)
    cluster.crash(last, wipe=False)
    run(cluster, 5.0)
    assert [consensus_of(cluster, node_id).level for node_id in upgraded] == [LEVEL] * 2
    cluster.start(last)
    run(cluster, 2.0)
    assert levels(cluster) == [LEVEL] * 3
    upgrade(cluster, last)
    assert levels(cluster) == [LEVEL_SIMULATED] * 3
    assert cluster.broken == []


def test_a_node_that_reads_less_is_not_added(world: World) -> None:  # noqa: F811
    """It goes on running, and can be added once the newer version is in its place."""
    cluster = given_cluster(world)
    for node_id in cluster.first_ids:
        upgrade(cluster, node_id)
    through = cluster.first_ids[0]
    told = ordered(cluster, through, Order(ADD, "n4:1", 5_000))
    until(cluster, lambda: bool(told))
    assert told == ["not_caught_up"]
    assert cluster.members() == cluster.first_ids
    upgrade(cluster, "n4:1")
    done(cluster, through, Order(ADD, "n4:1", 5_000))
    run(cluster, 1.0)
    assert levels(cluster) == [LEVEL_SIMULATED] * 4
    assert cluster.broken == []


def test_an_older_node_joins_and_leaves_where_the_level_allows_it(world: World) -> None:  # noqa: F811
    """The others are upgraded while it is a member; once it has left, they agree on more."""
    cluster = given_cluster(world)
    done(cluster, cluster.first_ids[0], Order(ADD, "n4:1", 5_000))
    for node_id in cluster.first_ids:
        upgrade(cluster, node_id)
    assert levels(cluster) == [LEVEL] * 4
    enqueued(cluster, "n4:1")
    done(cluster, cluster.first_ids[0], Order(REMOVE, "n4:1"))
    run(cluster, 1.0)
    assert levels(cluster) == [LEVEL_SIMULATED] * 3
    assert cluster.broken == []


def test_a_member_that_is_set_back_stops_and_says_why(world: World) -> None:  # noqa: F811
    """With a disk it is its own journal that asks for more than it reads; nothing in it is changed."""
    cluster = given_cluster(world)
    for node_id in cluster.first_ids:
        upgrade(cluster, node_id)
    victim = cluster.nodes[cluster.first_ids[0]]
    cluster.crash(victim.id, wipe=False)
    victim.level_max = LEVEL
    cluster.start(victim.id)
    assert victim.replica is None
    said = f"agreed on level {LEVEL_SIMULATED}, and this version reads up to {LEVEL}: start the version that"
    assert any(said in line for _, line in world.story)
    run(cluster, OPERATOR_S + 2.0)
    assert levels(cluster) == [LEVEL_SIMULATED] * 3


def test_the_way_out_keeps_the_level(world: World) -> None:  # noqa: F811
    """Whoever is left reads what is in its log, and goes on reading it."""
    cluster = given_cluster(world)
    for node_id in cluster.first_ids:
        upgrade(cluster, node_id)
    left, *gone = cluster.first_ids
    for node_id in gone:
        cluster.crash(node_id, wipe=True)
    run(cluster, 3.0)
    assert consensus_of(cluster, left).bootstrap([left]) is None
    run(cluster, 3.0)
    assert consensus_of(cluster, left).level == LEVEL_SIMULATED


def test_a_leader_that_asks_nobody_before_it_raises_the_level_is_found_out(
    world: World,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The simulator holds every entry against what its members read."""
    cluster = given_cluster(world)

    def raise_level(self: Levels) -> None:
        if self._configuration.level < self.level_max:
            self._append_configuration(self._configuration.at(self.level_max))

    monkeypatch.setattr(Levels, "_raise_level", raise_level)
    leader = leader_of(cluster)
    cluster.nodes[str(leader)].level_max = LEVEL_SIMULATED
    restart(cluster, str(leader))
    done(cluster, str(leader), Order(TRANSFER, leader))
    run(cluster, 1.0)
    assert any(f"asks for level {LEVEL_SIMULATED}: too much for" in line for line in cluster.broken)
