"""Stories in which an acknowledged job would be lost, or done twice, without a mend.

Each is named after the mend it is about: `cqueue simulate --scenario NAME --without NAME` breaks,
and without `--without` it holds. Most end the same way: whoever knew of the job is cut off, and the
others go on.
"""

from __future__ import annotations

from cqueue.simulation.cluster import Setup
from cqueue.simulation.stage import (
    SLOWLY_S,
    Stage,
    acknowledges_beyond,
    appends_behind,
    asks_again,
    commits_beyond,
    is_done,
    is_kind,
    scenario,
)

KEEPS_ALL = Setup(3)
COMPACTS = Setup(3, compact_bytes=3_000, trailing_entries=0)
LARGE, SMALL = 2_000, 10
"""Bytes of payload: two large jobs make a node compact its log, small ones do not."""


@scenario("answers-in-their-term", Setup(5))
def an_old_acknowledgement(stage: Stage) -> None:
    """An acknowledgement of term 1 is withheld until its receiver leads again, in term 3."""
    n1, n2, n3, n4, n5 = stage.ids
    stage.withhold(n2, n1)
    for far in (n3, n4, n5):
        stage.withhold(n1, far)
    stage.ticks(n1, 20)
    stage.lead(n3)
    stage.release(n1, n3)
    stage.agree(n3, n1, n2)
    stage.cut(n3)
    for far in (n4, n5):
        stage.release(n1, far)
    stage.lead(n1)
    stage.agree(n1, n4, n5)
    stage.withhold(n1, n2)
    stage.withhold(n1, n4)
    stage.write(n1)
    stage.agree(n1, n5)
    stage.release(n2, n1)
    stage.run(0.1)
    stage.go_on(n4, n2, n3)


@scenario("journal-before-word", KEEPS_ALL)
def a_crash_at_the_commit(stage: Stage) -> None:
    """A node crashes between its acknowledgement and the commit of what it acknowledged."""
    n1, n2, n3 = stage.ids
    stage.cut(n3)
    stage.cluster.nodes[n2].disk.crash_at_commit = "before"
    stage.write(n1)
    stage.reach(lambda: stage.cluster.nodes[n2].replica is None)
    stage.run(0.05)
    stage.cluster.start(n2)
    stage.go_on(n3, n2)


@scenario("known-entries-stay", KEEPS_ALL)
def an_append_that_comes_again(stage: Stage) -> None:
    """A leader sends known entries once more, in pieces, and is cut off after the first piece."""
    n1, n2, n3 = stage.ids
    known = stage.agree(*stage.ids)
    stage.cut(n3)
    stage.withhold(n2, n1)
    written = stage.write_each(n1, *(3 * [600 * 1024]))
    stage.withhold(n1, n2, since=commits_beyond(known))
    stage.release(n2, n1)
    stage.reach(lambda: is_done(*written))
    stage.write_each(n1, SMALL)
    stage.reconnect(n1, n2)
    stage.withhold(n1, n2, since=appends_behind(known + 1))
    stage.reach(lambda: (n1, n2) in stage.network.stalled)
    stage.go_on(n2, n3)


@scenario("newer-state-stays", Setup(5, compact_bytes=3_000, trailing_entries=0))
def an_old_snapshot(stage: Stage) -> None:
    """A node asks for entries that are only in a snapshot, and has got further when the snapshot comes."""
    n1, n2, n3, n4, n5 = stage.ids
    stage.quick_snapshots()
    known = stage.agree(*stage.ids)
    stage.cut(n4, n5)
    stage.withhold(n2, n1)
    stage.withhold(n3, n1)
    written = stage.write_each(n1, LARGE, LARGE, SMALL, SMALL)
    stage.withhold(n1, n2, since=commits_beyond(known))
    stage.release(n3, n1)
    stage.withhold(n3, n1, since=acknowledges_beyond(known + 2))
    stage.release(n2, n1)
    stage.reach(lambda: is_done(*written[:2]))
    stage.write_each(n1, SMALL)
    stage.reconnect(n1, n2)
    stage.withhold(n2, n1, since=asks_again)
    stage.reach(lambda: (n2, n1) in stage.network.stalled)
    stage.withhold(n1, n2, since=is_kind("append_entries"))
    stage.release(n3, n1)
    stage.reach(lambda: is_done(*written))
    stage.reach(lambda: stage.node(n2)._journal[0][1] > known + 2)
    stage.release(n2, n1)
    stage.run(0.05)
    stage.release(n1, n2)
    stage.withhold(n1, n2, since=appends_behind(known + 2))
    stage.run(0.15)
    stage.go_on(n2, n4, n5)


@scenario("one-vote-each", Setup(5))
def a_vote_that_arrives_twice(stage: Stage) -> None:
    """A link repeats what is sent on it: two nodes of five make a majority of their own."""
    n1, n2, n3, n4, n5 = stage.ids
    stage.cut(n1)
    stage.fall_silent()
    stage.fall_silent()
    stage.withhold(n2, n4, since=is_kind("request_vote"))
    stage.withhold(n2, n5, since=is_kind("request_vote"))
    stage.withhold(n3, n4)
    stage.network.twice.add((n3, n2))
    stage.campaign(n2)
    stage.run(0.1)
    stage.go_on(n4, n5, n1)


@scenario("tail-behind-snapshot", COMPACTS)
def a_snapshot_with_a_tail(stage: Stage) -> None:
    """A node that holds acknowledged entries gets a snapshot of what comes before them."""
    n1, n2, n3 = stage.ids
    stage.quick_snapshots()
    known = stage.agree(*stage.ids)
    stage.cut(n3)
    stage.withhold(n2, n1)
    written = stage.write_each(n1, LARGE, LARGE, SMALL, SMALL)
    stage.withhold(n1, n2, since=commits_beyond(known))
    stage.release(n2, n1)
    stage.withhold(n2, n1, since=acknowledges_beyond(known + 2))
    stage.reach(lambda: stage.node(n1)._journal[0][1] == known + 2)
    stage.release(n2, n1)
    stage.reach(lambda: is_done(*written))
    stage.write_each(n1, SMALL)
    stage.reconnect(n1, n2)
    stage.withhold(n1, n2, since=appends_behind(known + 2))
    stage.reach(lambda: stage.node(n2).applied_index >= known + 2)
    stage.go_on(n2, n3)


@scenario("whole-before-count", Setup(3, compact_bytes=200_000, trailing_entries=0))
def a_deposed_leader_gets_a_snapshot(stage: Stage) -> None:
    """A leader that was cut off holds entries nobody else has when the first piece of a snapshot reaches it."""
    n1, n2, _ = stage.ids
    stage.quick_snapshots()
    stage.cut(n1)
    stage.write_each(n1, SMALL, SMALL, SMALL)
    stage.lead(n2)
    stage.write_each(n2, *(60 * [30_000]))
    stage.reconnect(n1, n2)
    stage.run(0.5)


@scenario("loaded-before-acknowledged", COMPACTS)
def a_damaged_snapshot(stage: Stage) -> None:
    """A leader's snapshot was damaged on its disk, and a node whose log went astray needs it."""
    n1, n2, n3 = stage.ids
    stage.quick_snapshots()
    stage.cut(n1)
    stage.ticks(n1, 100)
    stage.lead(n2)
    stage.write_through(n2)
    stage.write_each(n2, LARGE, LARGE)
    stage.reach(lambda: stage.cluster.nodes[n2].disk.snapshot is not None)
    stage.run(0.2)
    disk = stage.cluster.nodes[n2].disk
    disk.snapshot = disk.snapshot[:-1] + b"?" if disk.snapshot else None
    stage.withhold(n2, n3)
    stage.reconnect(n1, n2)
    stage.run(0.2)
    stage.write(n2)
    stage.run(0.3)
    stage.go_on(n3, n1)


@scenario("kept-at-restart", Setup(3, compact_bytes=3_000, trailing_entries=20))
def a_restart_behind_a_snapshot(stage: Stage) -> None:
    """A node restarts with a snapshot, and with entries behind it that only it and the leader hold."""
    n1, n2, n3 = stage.ids
    stage.quick_snapshots()
    stage.cut(n3)
    written = stage.write_each(n1, LARGE, LARGE, SMALL, SMALL)
    stage.reach(lambda: is_done(*written) and stage.cluster.nodes[n2].disk.snapshot is not None)
    stage.run(0.2)
    stage.write_through(n1)
    stage.cluster.crash(n2, wipe=False)
    stage.cluster.start(n2)
    stage.go_on(n2, n3)


@scenario("dropped-when-finished", COMPACTS)
def a_crash_while_a_snapshot_is_made(stage: Stage) -> None:
    """All nodes crash while their snapshots are made."""
    n1 = stage.ids[0]
    for node in stage.cluster.nodes.values():
        node.disk.making_s = 1_000.0
    stage.write_each(n1, LARGE, LARGE, SMALL)
    stage.write_through(n1)
    stage.run(10 * SLOWLY_S)
    for node_id in stage.ids:
        stage.cluster.crash(node_id, wipe=False)
    stage.run(0.1)
    for node_id in stage.ids:
        stage.cluster.start(node_id)


@scenario("exactly-once", KEEPS_ALL)
def a_proposal_that_is_sent_again(stage: Stage) -> None:
    """A follower does not see its proposal committed, and gives it to the next leader too."""
    n1, n2, n3 = stage.ids
    stage.withhold(n1, n2)
    asked = stage.write(n2)
    before = stage.node(n3).applied_index
    stage.reach(lambda: stage.node(n3).applied_index > before)
    stage.cut(n1)
    stage.lead(n3)
    stage.reach(lambda: is_done(asked))
    stage.run(0.3)


@scenario("memory-before-vote", Setup(3, durable=False))
def a_node_that_forgot(stage: Stage) -> None:
    """In memory only: one of the two nodes that know of a job restarts, and the third one stands for leader."""
    n1, n2, n3 = stage.ids
    stage.cut(n3)
    stage.write_through(n1)
    stage.cluster.crash(n2, wipe=True)
    stage.cut(n1)
    stage.cluster.start(n2)
    stage.go_on(n3, n2)


@scenario("whole-is-kept", KEEPS_ALL)
def a_node_that_forgot_and_crashed(stage: Stage) -> None:
    """A node lost its disk, and crashes while it is being filled again: it has a log then, but not all of it."""
    n1, n2, n3 = stage.ids
    stage.cut(n3)
    stage.write_through(n1)
    stage.cluster.crash(n2, wipe=True)
    stage.cut(n1)
    stage.cluster.start(n2)
    stage.run(0.1)
    stage.cluster.crash(n2, wipe=False)
    stage.cluster.start(n2)
    stage.go_on(n3, n2)
