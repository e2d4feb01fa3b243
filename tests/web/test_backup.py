"""The routes for the whole state at once: backup and comparison."""

from __future__ import annotations

import pytest

from cqueue import protocol
from cqueue.core.machine import StateMachine
from cqueue.replication import snapshots
from tests.web.replica import EQUAL, StandInReplica
from tests.web.web import Web


def test_a_backup_is_the_state_with_its_index_and_size(web: Web) -> None:
    """What comes is a snapshot's file; its state is the queue's."""
    for _ in range(3):
        web.given_jobs(payload="x" * 200_000)
    reply = web.send("GET", "/cluster/backup")
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/octet-stream"
    assert reply.headers["Content-Length"] == str(len(reply.body))
    assert reply.headers["Content-Disposition"] == f'attachment; filename="cqueue-{reply.index}.backup"'
    index, _, state = snapshots.decode(reply.body)
    assert index == reply.index == 3
    assert StateMachine.restore(state).state.queues["default"].counts["QUEUED"] == 3


def test_a_backup_holds_what_was_acknowledged_before_it_unless_it_may_be_stale(web: Web) -> None:
    """A linearizable query comes before it; `?consistency=stale` leaves that out, and `min_index` waits."""
    for query, kinds in (
        ("", [protocol.QUERY, protocol.BACKUP]),
        ("?consistency=stale", [protocol.BACKUP]),
        ("?consistency=stale&min_index=0", [protocol.AWAIT, protocol.BACKUP]),
    ):
        web.replica.kinds.clear()
        assert web.send("GET", f"/cluster/backup{query}").status == 200
        assert web.replica.kinds == kinds


def test_a_connection_is_of_use_after_a_backup(web: Web) -> None:
    """Keep-alive goes on, one after the other."""
    for _ in range(3):
        assert web.send("GET", "/cluster/backup").status == 200
        assert web.send("GET", "/jobs/stats").status == 200


@pytest.mark.parametrize("code", ["busy", "backup_failed", "no_leader"])
def test_a_backup_that_cannot_be_made_is_503(web: Web, replica: StandInReplica, code: str) -> None:
    """With the replica's reason, and when to try again."""
    replica.failure = (protocol.UNAVAILABLE, protocol.Failure(code, "because"))
    reply = web.send("GET", "/cluster/backup?consistency=stale")
    assert (reply.status, reply.json["code"], reply.json["detail"]) == (503, code, "because")
    assert int(reply.headers["Retry-After"]) > 0


def test_head_of_a_backup_tells_its_size(web: Web) -> None:
    """As for every GET."""
    reply = web.send("HEAD", "/cluster/backup")
    assert (reply.status, reply.body) == (200, b"")
    assert int(reply.headers["Content-Length"]) > snapshots.HEADER_BYTES


def test_a_comparison_tells_each_members_part(web: Web, replica: StandInReplica) -> None:
    """The verdict as it is, differing or not: 200, since the question was answered."""
    reply = web.send("POST", "/cluster/verify")
    assert reply.status == 200
    assert reply.json == {
        "index": 7,
        "result": "equal",
        "members": [{"id": "127.0.0.1:3000", "state": "equal", "digest": "ab" * 32}],
    }
    replica.verdict = protocol.Verdict(7, "differ", [*EQUAL.members, protocol.MemberDigest("b:1", "differs", "00")])
    assert web.send("POST", "/cluster/verify", {"wait": 1.5}).json["result"] == "differ"


@pytest.mark.parametrize("body", [{"wait": -1}, {"wait": 601}, {"wait": "1"}, {"time": 1}])
def test_a_wrong_field_of_a_comparison_is_named(web: Web, body: object) -> None:
    """422 with the pointer."""
    reply = web.send("POST", "/cluster/verify", body)
    assert (reply.status, reply.json["code"]) == (422, "invalid_field")
    assert reply.json["pointer"] in {"/wait", "/time"}


@pytest.mark.parametrize(("method", "path"), [("GET", "/cluster/backup?x=1"), ("POST", "/cluster/verify?wait=1")])
def test_unknown_parameters_are_refused_here_too(web: Web, method: str, path: str) -> None:
    """422 that names them."""
    reply = web.send(method, path)
    assert (reply.status, reply.json["code"]) == (422, "invalid_field")
