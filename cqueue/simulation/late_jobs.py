"""Stories in which the cluster would keep its clients waiting, or a node forever, without a mend.

Each is named after the mend it is about, and promises something within a time. Times are simulated:
they count messages and time-outs, not the speed of a machine.
"""

from __future__ import annotations

from cqueue.simulation.cluster import Setup
from cqueue.simulation.stage import Stage, is_kind, scenario

MIB = 1024 * 1024


@scenario("pre-vote", Setup(3))
def a_node_that_was_cut_off(stage: Stage) -> None:
    """A node comes back after a while on its own; the leader has done nothing to be deposed."""
    n1, _, n3 = stage.ids
    term = stage.node(n1).raftCurrentTerm
    stage.cut(n3)
    stage.run(2.5)
    stage.join(n3)
    stage.promise("it follows the leader", lambda: stage.node(n3).leader_id == n1, 0.5)
    stage.run(1.0)
    stage.promise("the leader leads on", lambda: stage.node(n1).is_leader and stage.node(n1).raftCurrentTerm == term)


@scenario("newer-term-told", Setup(3))
def a_term_reached_in_vain(stage: Stage) -> None:
    """A node is promised its votes, opens a term, and is cut off before anybody hears of it."""
    n1, n2, n3 = stage.ids
    stage.withhold(n1, n2)
    stage.withhold(n1, n3)
    stage.withhold(n3, n1, since=is_kind("request_vote"))
    stage.withhold(n3, n2, since=is_kind("request_vote"))
    stage.fall_silent()
    stage.campaign(n3)
    stage.reach(lambda: stage.node(n3).raftCurrentTerm > stage.node(n1).raftCurrentTerm)
    stage.release(n1, n2)
    for other in (n1, n2):
        stage.reconnect(other, n3)
    stage.promise("it has a leader", lambda: stage.node(n3).leader_id not in {None, n3}, 3.0)


@scenario("asked-from-commit", Setup(3))
def a_log_that_went_astray(stage: Stage) -> None:
    """A deposed leader has hundreds of entries that nobody else has; its link is slow."""
    n1, n2, n3 = stage.ids
    stage.cut(n1)
    stage.ticks(n1, 300)
    stage.lead(n2)
    stage.ticks(n2, 200)
    reached = stage.agree(n2, n3)
    stage.network.disconnect(n1, n2)
    stage.network.disconnect(n1, n3)
    stage.join(n1)
    stage.network.slow[n1, n2] = stage.network.slow[n2, n1] = 0.04
    stage.reach(lambda: stage.network.is_connected(n1, n2))
    stage.promise("it has caught up", lambda: stage.node(n1).applied_index >= reached, 1.0)


@scenario("acknowledged-goes-forward", Setup(3))
def a_long_way(stage: Stage) -> None:
    """Acknowledgements take a while to come back, and the leader goes on writing."""
    n1, n2, _ = stage.ids
    stage.network.slow[n2, n1] = 0.3
    before = stage.network.sent_bytes[n1, n2]
    stage.write_each(n1, *(60 * [10_000]))
    sent = stage.network.sent_bytes[n1, n2] - before
    stage.promise("hardly anything is sent twice", lambda: sent < 60 * 15_000)


@scenario("window", Setup(3))
def a_follower_that_does_not_read(stage: Stage) -> None:
    """A follower takes nothing from its link while the others go on."""
    n1, _, n3 = stage.ids
    stage.withhold(n1, n3)
    for _ in range(24):
        stage.write(n1, MIB)
        stage.run(0.02)
    stage.promise("little waits on its link", lambda: stage.network.bytes_under_way(n1, n3) < 11 * MIB)


@scenario("piece-by-piece", Setup(3, compact_bytes=200_000, trailing_entries=0))
def a_snapshot_on_a_slow_link(stage: Stage) -> None:
    """A follower gets a snapshot over a slow link while clients go on writing."""
    n1, _, n3 = stage.ids
    stage.quick_snapshots()
    stage.cluster.crash(n3, wipe=False)
    stage.write_each(n1, *(40 * [20_000]))
    before = stage.network.sent_bytes[n1, n3]
    stage.cluster.start(n3)
    stage.network.slow[n1, n3] = stage.network.slow[n3, n1] = 0.4
    stage.reach(lambda: stage.network.is_connected(n1, n3))
    stage.write_each(n1, *(60 * [1]))
    sent = stage.network.sent_bytes[n1, n3] - before
    stage.promise("it is sent about once", lambda: sent < 3 * MIB)


@scenario("prompt-step-down", Setup(3))
def a_leader_on_its_own(stage: Stage) -> None:
    """A leader is cut off; its clients should go elsewhere."""
    n1 = stage.ids[0]
    stage.cut(n1)
    stage.promise("it no longer takes itself for the leader", lambda: not stage.node(n1).is_leader, 1.2)


@scenario("handed-over", Setup(3))
def a_leader_that_stops(stage: Stage) -> None:
    """The leader is told to stop, as in a rolling restart."""
    n1, n2, n3 = stage.ids
    stage.cluster.leave(n1)
    stage.promise("another leads", lambda: stage.node(n2).is_leader or stage.node(n3).is_leader, 0.3)
    stage.reach(lambda: stage.cluster.nodes[n1].replica is None)


@scenario("read-before-doubt", Setup(3))
def a_node_that_was_stopped_for_a_while(stage: Stage) -> None:
    """A follower was paused, and finds its leader's messages when it wakes."""
    n3 = stage.ids[2]
    asked = stage.node(n3)._pre_vote_round
    stage.cluster.nodes[n3].paused_until_s = stage.world.now_s + 2.0
    stage.run(2.5)
    stage.promise("it asked nobody for a vote", lambda: stage.node(n3)._pre_vote_round == asked)


@scenario("append-at-once", Setup(3))
def one_write_after_the_other(stage: Stage) -> None:
    """A client writes twenty jobs, each after the last one's answer."""
    n1 = stage.ids[0]
    began_s = stage.world.now_s
    for _ in range(20):
        stage.write_through(n1)
    took_s = stage.world.now_s - began_s
    stage.promise("a write takes no heartbeat", lambda: took_s < 20 * 0.03)


@scenario("committed-told-at-once", Setup(3))
def one_write_after_the_other_at_a_follower(stage: Stage) -> None:
    """A client of a follower writes twenty jobs, each after the last one's answer."""
    n2 = stage.ids[1]
    stage.write_through(n2)
    began_s = stage.world.now_s
    for _ in range(20):
        stage.write_through(n2)
    took_s = stage.world.now_s - began_s
    stage.promise("a write takes no heartbeat", lambda: took_s < 20 * 0.04)


@scenario("ends-where-it-fails", Setup(3))
def an_entry_that_cannot_be_applied(stage: Stage) -> None:
    """Applying an entry fails on one node: its state is in doubt, and it has to end rather than try again."""
    n1, _, n3 = stage.ids
    stage.cluster.nodes[n3].fails_to_apply = True
    stage.write_through(n1)
    stage.promise("it ended", lambda: stage.cluster.nodes[n3].replica is None, 0.3)
