"""What replicas answer besides operations, on a simulated network and clock: nothing here takes real time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import msgspec
import pytest

from cqueue import protocol
from cqueue.core.operations import Enqueue, Keyed, NewJob, Operation
from cqueue.core.queries import GetStats
from cqueue.protocol import Failure, Verdict, encode
from cqueue.replication.replica import Replica
from cqueue.simulation.cluster import REQUEST_TIMEOUT_S, Cluster, Setup
from cqueue.simulation.run import simulated
from cqueue.simulation.world import World

ENQUEUE = Enqueue([NewJob("A", b"null")])
PATIENCE_S = 10.0


class Asked:
    """One request to a simulated node. reply: (outcome, index, body), None until it came."""

    def __init__(self, cluster: Cluster, node_id: str, kind: int, body: bytes, wait_ms: int = 0) -> None:
        self.reply: tuple[int, int, bytes] | None = None
        replica_of(cluster, node_id).submit(kind, body, wait_ms, self._on_reply)
        cluster.wake(node_id)

    def _on_reply(self, outcome: int, index: int, body: bytes) -> None:
        assert self.reply is None, "answered twice"
        self.reply = outcome, index, body

    @property
    def answer(self) -> tuple[int, int, bytes]:
        """The reply, which must have come."""
        assert self.reply is not None
        return self.reply

    @property
    def failure(self) -> str:
        """The code of the failure it was answered with."""
        outcome, _, body = self.answer
        assert outcome != protocol.RESULT
        return protocol.decode_failure(body).code


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Three nodes with a leader, which make a snapshot after every few entries and keep none of those."""
    with simulated(None):
        world = World(7)
        made = Cluster(world, Setup(3, compact_bytes=2_000, trailing_entries=0))
        until(made, lambda: all(replica.status().not_ready is None for replica in replicas(made)))
        yield made


def replica_of(cluster: Cluster, node_id: str) -> Replica:
    """The replica of a node that is up."""
    replica = cluster.nodes[node_id].replica
    assert replica is not None
    return replica


def replicas(cluster: Cluster) -> list[Replica]:
    """All of them."""
    return [replica_of(cluster, node_id) for node_id in cluster.ids]


def until(cluster: Cluster, is_so: Callable[[], Any], within_s: float = PATIENCE_S) -> None:
    """Let simulated time go by until something is so."""
    end_s = cluster.world.now_s + within_s
    while not is_so():
        assert cluster.world.now_s < end_s, "still not so"
        cluster.world.run_until(cluster.world.now_s + 0.01)


def answered(cluster: Cluster, *asked: Asked) -> None:
    """Let simulated time go by until they are."""
    until(cluster, lambda: all(each.reply for each in asked))


def leader_and_others(cluster: Cluster) -> tuple[str, str, str]:
    """The leader's id first."""
    leader = replicas(cluster)[0].status().leader
    assert leader is not None
    first, second = (node_id for node_id in cluster.ids if node_id != leader)
    return leader, first, second


def keyed(key: str, operation: Enqueue) -> Keyed:
    """The operation under a key."""
    return Keyed(key, sha256(encode(operation)).digest(), operation)


def operate(cluster: Cluster, node_id: str, operation: Operation) -> Asked:
    """Ask for an operation."""
    return Asked(cluster, node_id, protocol.OPERATE, encode(operation))


# -- keys ----------------------------------------------------------------------------------------


def test_a_keyed_operation_is_answered_by_a_node_that_got_past_it_by_a_snapshot(cluster: Cluster) -> None:
    """Its receipt knows what it did. Without a key nobody can tell: 504."""
    leader, asked, _ = leader_and_others(cluster)
    with_key = operate(cluster, asked, keyed("k", ENQUEUE))
    without = operate(cluster, asked, ENQUEUE)
    cluster.network.stops[leader, asked] = lambda message: message["type"] in {"append_entries", "committed"}
    until(cluster, lambda: replica_of(cluster, leader).machine.state.next_id == 3)
    for _ in range(60):
        answered(cluster, operate(cluster, leader, ENQUEUE))
    until(cluster, lambda: cluster.nodes[leader].disk.snapshot is not None)
    cluster.network.stops.clear()
    cluster.network.stalled.clear()
    cluster.network.disconnect(leader, asked)

    answered(cluster, with_key, without)

    outcome, index, body = with_key.answer
    assert (outcome, msgspec.msgpack.decode(body)) == (protocol.RESULT, [2, [1], []])
    assert index == replica_of(cluster, asked).index > 60
    assert without.failure == "outcome_unknown"


# -- waiting for an index --------------------------------------------------------------------------


def test_a_request_waits_for_an_index_on_every_node(cluster: Cluster) -> None:
    """It is answered as of that index or a later one, at once where the node is there already."""
    leader, *others = leader_and_others(cluster)
    wanted = replica_of(cluster, leader).index + 3
    waiting = [Asked(cluster, node_id, protocol.AWAIT, encode(wanted)) for node_id in cluster.ids]
    assert [each.reply for each in waiting] == [None] * 3
    for _ in range(3):
        answered(cluster, operate(cluster, others[0], ENQUEUE))
    answered(cluster, *waiting)
    assert all(each.answer[0] == protocol.RESULT and each.answer[1] >= wanted for each in waiting)
    assert Asked(cluster, leader, protocol.AWAIT, encode(wanted)).answer[0] == protocol.RESULT


def test_waiting_for_an_index_ends_with_the_requests_time(cluster: Cluster) -> None:
    """503, and nothing of it is kept; one that nobody wants any more is not answered."""
    node_id = cluster.ids[0]
    late = Asked(cluster, node_id, protocol.AWAIT, encode(2**63 - 1))
    replies: list[object] = []
    replica = replica_of(cluster, node_id)
    unwanted = replica.submit(protocol.AWAIT, encode(10_000), 0, lambda *reply: replies.append(reply))
    replica.cancel(unwanted)
    cluster.world.run_until(cluster.world.now_s + REQUEST_TIMEOUT_S - 0.5)
    assert late.reply is None
    cluster.world.run_until(cluster.world.now_s + 1.0)
    assert late.failure == "index_not_reached"
    assert replies == []


# -- comparing -------------------------------------------------------------------------------------


def verdict_of(asked: Asked) -> Verdict:
    """The verdict it was answered with."""
    outcome, _, body = asked.answer
    assert outcome == protocol.RESULT
    return protocol.decode_verdict(body)


def test_nodes_that_are_asked_at_once_tell_the_same(cluster: Cluster) -> None:
    """Each comparison at an index of its own, or, where two marks met, with a node that was busy."""
    for _ in range(5):
        operate(cluster, cluster.ids[0], ENQUEUE)
    asked = [Asked(cluster, node_id, protocol.VERIFY, b"", 5_000) for node_id in cluster.ids]
    answered(cluster, *asked)
    verdicts = [verdict_of(each) for each in asked]
    assert {verdict.result for verdict in verdicts} <= {"equal", "incomplete"}
    assert len({verdict.index for verdict in verdicts}) == 3
    again = Asked(cluster, cluster.ids[1], protocol.VERIFY, b"", 5_000)
    answered(cluster, again)
    assert verdict_of(again).result == "equal"


def test_a_digest_that_got_lost_is_asked_for_again(cluster: Cluster) -> None:
    """The link between two followers breaks before and after the mark; the leader's hold."""
    _, asking, silent = leader_and_others(cluster)
    cluster.network.disconnect(asking, silent)
    asked = Asked(cluster, asking, protocol.VERIFY, b"", 5_000)
    cluster.network.stops[silent, asking] = lambda message: message["type"] == "digest"
    until(cluster, lambda: (silent, asking) in cluster.network.stalled)
    cluster.network.stalled.clear()
    cluster.network.disconnect(asking, silent)
    answered(cluster, asked)
    assert verdict_of(asked).result == "equal"


def test_a_state_that_differs_is_found(cluster: Cluster) -> None:
    """One bit of it, in the memory of one node."""
    answered(cluster, operate(cluster, cluster.ids[0], ENQUEUE))
    _, wrong, _ = leader_and_others(cluster)
    until(cluster, lambda: replica_of(cluster, wrong).machine.state.jobs)
    replica_of(cluster, wrong).machine.state.jobs[1].attempt = 1
    asked = Asked(cluster, cluster.ids[0], protocol.VERIFY, b"", 5_000)
    answered(cluster, asked)
    verdict = verdict_of(asked)
    assert verdict.result == "differ"
    assert [member.id for member in verdict.members if member.state == "differs"] == [wrong]


def test_one_comparison_at_a_time_at_a_node(cluster: Cluster) -> None:
    """The second is told so at once."""
    first = Asked(cluster, cluster.ids[0], protocol.VERIFY, b"", 5_000)
    second = Asked(cluster, cluster.ids[0], protocol.VERIFY, b"", 5_000)
    assert second.failure == "busy"
    answered(cluster, first)
    assert verdict_of(first).result == "equal"


def test_a_comparison_without_a_leader_says_so(cluster: Cluster) -> None:
    """503 after its time: the mark got nowhere."""
    leader, left, other = leader_and_others(cluster)
    for node_id in (leader, other):
        cluster.crash(node_id, wipe=False)
    asked = Asked(cluster, left, protocol.VERIFY, b"", 3_000)
    answered(cluster, asked)
    assert asked.failure == "no_leader"


def test_a_restart_does_not_answer_old_marks(cluster: Cluster) -> None:
    """The journal is applied again; what was compared then is over."""
    asked = Asked(cluster, cluster.ids[0], protocol.VERIFY, b"", 5_000)
    answered(cluster, asked)
    for node_id in cluster.ids:
        cluster.crash(node_id, wipe=False)
    for node_id in cluster.ids:
        cluster.start(node_id)
    until(cluster, lambda: all(replica.status().not_ready is None for replica in replicas(cluster)))
    again = Asked(cluster, cluster.ids[0], protocol.VERIFY, b"", 5_000)
    answered(cluster, again)
    assert verdict_of(again).result == "equal"


# -- backups ---------------------------------------------------------------------------------------


def test_a_backup_that_cannot_be_written_says_why(cluster: Cluster) -> None:
    """503 with the system's words; the next one is free to try."""
    for _ in range(2):
        asked = Asked(cluster, cluster.ids[0], protocol.BACKUP, b"/nowhere/at/all", 5_000)
        answered(cluster, asked)
        assert asked.failure == "backup_failed"
        assert "No such file" in protocol.decode_failure(asked.answer[2]).detail


def test_an_errand_ends_when_its_worker_is_about_to_stop(cluster: Cluster) -> None:
    """Waiting for an index, comparing: both are answered at once."""
    replica = replica_of(cluster, cluster.ids[0])
    codes: list[str] = []

    def reply(outcome: int, _index: int, body: bytes) -> None:
        assert outcome == protocol.UNAVAILABLE
        codes.append(msgspec.msgpack.decode(body, type=Failure).code)

    waiting = replica.submit(protocol.AWAIT, encode(10_000), 0, reply)
    comparing = replica.submit(protocol.VERIFY, b"", 60_000, reply)
    for request in (waiting, comparing):
        replica.stop_waiting(request)
    cluster.wake(cluster.ids[0])
    until(cluster, lambda: len(codes) == 2, within_s=1.0)
    assert codes == ["index_not_reached", "no_leader"]
    answered(cluster, Asked(cluster, cluster.ids[0], protocol.QUERY, encode(GetStats())))
