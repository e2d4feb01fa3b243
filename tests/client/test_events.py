"""`Client.events`: every change in order, whatever becomes of the connection."""

from __future__ import annotations

import json
from contextlib import closing

import pytest

from cqueue import Client
from cqueue.client.carrying import Answer, Carrier, Lost, NotSent, Reply
from cqueue.client.following import Follower
from cqueue.client.results import Event
from cqueue.errors import Refused, Unavailable
from tests.cluster.fixtures import StartCluster, StartNode


def told(place: str, job_id: int) -> bytes:
    """An event as a node writes it."""
    data = {"event": "enqueue", "id": job_id, "status": "QUEUED", "queue": "q", "type": "t",
            "at": "2026-01-02T03:04:05.678Z"}  # fmt: skip
    return f"id: {place}\ndata: {json.dumps(data)}\n\n".encode()


def ended(code: str) -> bytes:
    """The end of a stream as a node writes it."""
    return b"event: end\ndata: " + json.dumps({"code": code, "detail": "so it is"}).encode() + b"\n\n"


GONE = Answer(410, {}, b'{"code":"events_gone","detail":"no longer kept"}')
STOPPING = Answer(503, {"retry-after": "1"}, b'{"code":"shutting_down","detail":"stops"}')


class Time:
    """A clock that only tests move."""

    now_s = 0.0


@pytest.fixture
def time() -> Time:
    """At 0."""
    return Time()


@pytest.fixture
def follower(time: Time) -> Follower:
    """Of two nodes, for half a minute."""
    return Follower(Carrier(("a", "b"), timeout_s=30, clock=lambda: time.now_s), {"queue": "q"})


def take(follower: Follower, *parts: bytes) -> list[Event]:
    """The events in these parts of one connection."""
    follower.request()
    return [event for part in parts for event in follower.take(part)]


def test_parts_may_end_anywhere(follower: Follower) -> None:
    """What is told is the same."""
    whole = b"retry: 1000\n\n" + told("17.0", 1) + told("17.1", 2) + b": so far\nid: 18.0\n\n"
    events = take(follower, *(whole[at : at + 1] for at in range(len(whole))))
    assert [(event.place, event.id) for event in events] == [("17.0", 1), ("17.1", 2)]
    assert follower.place == "18.0"


def test_the_next_connection_goes_on_after_the_last_place_on_another_node(follower: Follower) -> None:
    """Also where nothing was told but how far the node is."""
    assert "Last-Event-ID" not in follower.request().headers
    take(follower, told("17.0", 1), b": so far\nid: 19.0\n\n", b"id: 20.0\ndata: {half")
    follower.pause_s()
    request = follower.request()
    assert (request.node, request.target) == ("http://b", "/events?queue=q")
    assert request.headers["Last-Event-ID"] == "19.0"
    assert take(follower, told("20.0", 3))[0].id == 3


def test_what_the_caller_never_got_comes_again(follower: Follower) -> None:
    """A place is taken on only after its event was taken."""
    follower.request()
    events = follower.take(told("17.0", 1) + told("17.1", 2))
    next(events)
    next(events)
    assert follower.place == "17.0"


def test_a_node_that_no_longer_has_the_events_is_not_the_last_word(follower: Follower) -> None:
    """Another one may run for longer; when none has them, the error says so."""
    assert list(follower.take(GONE)) == []
    follower.pause_s()
    assert len(take(follower, told("17.0", 1))) == 1
    assert take(follower, ended("events_gone")) == []
    with pytest.raises(Refused) as caught:
        list(follower.take(GONE))
    assert caught.value.code == "events_gone"


def test_what_is_refused_is_raised_at_once(follower: Follower) -> None:
    """No other node would say otherwise."""
    with pytest.raises(Refused):
        list(follower.take(Answer(422, {}, b'{"code":"invalid_field","detail":"no"}')))


@pytest.mark.parametrize("failure", [NotSent("refused"), Lost("reset"), STOPPING])
def test_it_goes_on_until_nobody_told_anything_for_long(follower: Follower, time: Time, failure: Reply) -> None:
    """The time begins with the first failure, however long it went well before."""
    assert list(follower.take(b": so far\nid: 1.0\n\n")) == []
    time.now_s = 58
    assert list(follower.take(failure)) == []
    time.now_s = 87
    assert list(follower.take(failure)) == []
    time.now_s = 89
    with pytest.raises(Unavailable):
        list(follower.take(failure))


def test_pauses_grow_up_to_a_bound(follower: Follower) -> None:
    """And begin anew when a node told something."""
    pauses_s = [follower.pause_s() for _ in range(3000)]
    assert pauses_s[0] < 0.2
    assert max(pauses_s) == 2.0
    take(follower, b": so far\nid: 1.0\n\n")
    assert follower.pause_s() < 0.2


@pytest.mark.cluster
def test_events_come_in_order_and_as_they_happen(start_node: StartNode) -> None:
    """With what is wanted of them; asked for without a place, from now on."""
    node = start_node()
    with Client(f"{node.host}:{node.port}") as client:
        client.enqueue(queue="mail")
        client.enqueue(queue="other")
        client.cancel(1)
        with closing(client.events(after="0.0", queue="mail", status=["QUEUED", "CANCELLED"])) as events:
            seen = [next(events), next(events)]
            client.enqueue(queue="mail")
            seen.append(next(events))
    assert [(event.event, event.id) for event in seen] == [("enqueue", 1), ("cancel", 1), ("enqueue", 3)]


@pytest.mark.cluster
def test_a_follower_whose_nodes_die_misses_and_repeats_nothing(start_cluster: StartCluster) -> None:
    """SIGKILL of the node that tells them; the next one goes on after the last that was told."""
    cluster = start_cluster()
    doomed, *others = cluster.nodes
    seen = []
    with (
        Client(*(f"{node.host}:{node.port}" for node in cluster.nodes)) as follower,
        Client(*(f"{node.host}:{node.port}" for node in others)) as producer,
        closing(follower.events(after="0.0")) as events,
    ):
        producer.enqueue_many([{}] * 10)
        seen += [next(events).id for _ in range(5)]
        doomed.kill()
        producer.enqueue_many([{}] * 10)
        seen += [next(events).id for _ in range(15)]
    assert seen == list(range(1, 21))
