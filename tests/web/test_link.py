"""The link between web and replica: what callers hear when the replica is late, goes away or falls silent."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import gevent
import pytest

from cqueue import protocol
from cqueue.core.operations import Enqueue, NewJob
from cqueue.errors import OutcomeUnknown, Unavailable
from cqueue.web.link import ReplicaLink
from cqueue.web.shapes import enqueue
from tests.support import eventually
from tests.web.conftest import ask_until_connected
from tests.web.replica import StandInReplica
from tests.web.web import Web

ENQUEUE = protocol.encode(Enqueue([NewJob("A", b"null")]))


def test_without_its_replica_a_node_is_not_ready(own_web: Web) -> None:
    """503 with Retry-After at once, alive all the while; and all is well when the replica is back."""
    own_web.replica.stop()
    eventually(lambda: own_web.send("GET", "/readyz").status == 503)
    for method, path in (("PUT", "/jobs/enqueue"), ("GET", "/jobs/1"), ("GET", "/cluster"), ("GET", "/readyz")):
        reply = own_web.send(method, path)
        assert (reply.status, reply.json["code"], reply.headers["Retry-After"]) == (503, "not_ready", "1")
    assert own_web.send("GET", "/livez").status == 200
    own_web.replica.start()
    eventually(lambda: own_web.send("GET", "/readyz").status == 200)
    assert own_web.send("PUT", "/jobs/enqueue").json == {"id": 1}


def test_requests_on_their_way_when_the_connection_breaks(own_web: Web) -> None:
    """What changes something has an unknown outcome, 504; what only looks is 503 and may be asked again."""
    own_web.replica.silent = True
    calls = [("PUT", "/jobs/enqueue"), ("POST", "/jobs/dequeue"), ("GET", "/jobs/1"), ("GET", "/readyz")]
    with ThreadPoolExecutor(len(calls)) as threads:
        asked = len(own_web.replica.kinds)
        waiting = [threads.submit(own_web.send, *call) for call in calls]
        eventually(lambda: len(own_web.replica.kinds) == asked + len(calls))
        own_web.replica.drop_connections()
        replies = [reply.result() for reply in waiting]
    assert [(reply.status, reply.json["code"]) for reply in replies] == [
        (504, "outcome_unknown"),
        (504, "outcome_unknown"),
        (503, "not_ready"),
        (503, "not_ready"),
    ]
    assert "Retry-After" not in replies[0].headers
    own_web.replica.silent = False
    eventually(lambda: own_web.send("PUT", "/jobs/enqueue").status == 201)


def test_a_silent_replica_holds_nobody_for_ever(own_web: Web) -> None:
    """After the time-out callers hear that the outcome is unknown, and the replica that they left."""
    own_web.replica.silent = True
    with ThreadPoolExecutor(2) as threads:
        change = threads.submit(own_web.send, "PUT", "/jobs/enqueue")
        look = threads.submit(own_web.send, "GET", "/jobs/1")
        assert (change.result().status, change.result().json["code"]) == (504, "outcome_unknown")
        assert (look.result().status, look.result().json["code"]) == (503, "not_ready")
    eventually(lambda: own_web.replica.kinds.count(protocol.CANCEL) == 2)
    own_web.replica.silent = False
    assert own_web.send("PUT", "/jobs/enqueue").status == 201


# -- the class itself, on an event loop of this process (nothing is patched) ------------------------


def test_replies_find_whoever_asked(link: ReplicaLink) -> None:
    """Many greenlets over one connection, each with the answer to its own question."""
    asking = [gevent.spawn(link.ask, protocol.OPERATE, ENQUEUE) for _ in range(200)]
    gevent.joinall(asking, timeout=30, raise_error=True)
    replies = [greenlet.get() for greenlet in asking]
    assert len({reply[0] for reply in replies}) == 200
    assert [enqueue.decode(reply[3]).ids for reply in replies] == [[job_id] for job_id in range(1, 201)]


def test_a_frame_larger_than_the_sockets_buffer_arrives_whole(link: ReplicaLink, own_replica: StandInReplica) -> None:
    """What does not fit at once follows when there is room, in order."""
    payload = b'"' + b"x" * (8 * 1024 * 1024) + b'"'
    large = protocol.encode(Enqueue([NewJob("A", payload)]))
    asking = [gevent.spawn(link.ask, protocol.OPERATE, body) for body in (ENQUEUE, large, ENQUEUE, large)]
    gevent.joinall(asking, timeout=30, raise_error=True)
    assert [len(job.payload) for job in own_replica.machine.state.jobs] == [4, len(payload), 4, len(payload)]


def test_a_greenlet_that_is_killed_cancels_its_request(link: ReplicaLink, own_replica: StandInReplica) -> None:
    """The replica is told, and a late answer disturbs nobody."""
    own_replica.silent = True
    asking = gevent.spawn(link.ask, protocol.OPERATE, ENQUEUE)
    gevent.sleep(0)
    asking.kill()
    own_replica.silent = False
    link.ask(protocol.STATUS)
    assert protocol.CANCEL in own_replica.kinds


def test_closing_answers_whoever_waits(link: ReplicaLink, own_replica: StandInReplica) -> None:
    """Nobody is left waiting on a closed connection, and new requests are refused."""
    own_replica.silent = True
    asking = gevent.spawn(link.ask, protocol.OPERATE, ENQUEUE)
    gevent.sleep(0)
    link.close()
    asking.join(timeout=30)
    assert isinstance(asking.exception, OutcomeUnknown)
    with pytest.raises(Unavailable):
        link.ask(protocol.STATUS)


def test_a_frame_that_cannot_be_one_ends_the_connection(link: ReplicaLink, own_replica: StandInReplica) -> None:
    """The link starts anew rather than guess where the next frame begins."""
    own_replica.garbage = b"x" * protocol.FRAME_BYTES_MAX
    with pytest.raises(Unavailable):
        link.ask(protocol.STATUS)
    own_replica.garbage = None
    ask_until_connected(link)
