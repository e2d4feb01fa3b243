"""The port between nodes, attacked: each attack costs its own connection and one line, and nothing else.

Real sockets; the timers are moved by hand, so what takes seconds takes none here.
"""

from __future__ import annotations

import hashlib
import os
import resource
import socket
import struct
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from cqueue import refusals
from cqueue.replication import transport
from cqueue.replication.link import Message
from tests.replication.linked import (
    ATTACKER,
    BUFFER_BYTES_MAX,
    Caller,
    LinkClock,
    Linked,
    given_connection,
    given_link,
    given_nodes,
    is_hung_up,
    third_of,
    turn_until,
)

Pair = tuple[Linked, Linked]
Logs = pytest.LogCaptureFixture


@pytest.fixture
def clock() -> LinkClock:
    """The nodes' timers."""
    return LinkClock()


@pytest.fixture
def nodes(clock: LinkClock) -> Iterator[Pair]:
    """Two nodes with a link between them."""
    with given_nodes(clock) as pair:
        turn_until(pair, lambda: pair[0].peers and pair[1].peers)
        yield pair


def refused(logs: Logs, host: str = ATTACKER) -> list[str]:
    """The lines about `host`."""
    return [line for line in logs.messages if line.startswith(f"link_refused host={host} ")]


def assert_they_talk(nodes: Pair) -> None:
    """A message and its answer pass between the honest nodes."""
    a, b = nodes
    before = len(a.received), len(b.received)
    a.tell(b.node_id, {"type": "question"})
    b.tell(a.node_id, {"type": "answer"})
    turn_until(nodes, lambda: (len(a.received), len(b.received)) == (before[0] + 1, before[1] + 1))
    assert (a.received[-1], b.received[-1]) == ((b.node_id, {"type": "answer"}), (a.node_id, {"type": "question"}))


def test_messages_arrive_in_their_order(nodes: Pair) -> None:
    """However many and large they are, each way."""
    a, b = nodes
    messages: list[Message] = [{"type": "n", "n": number, "data": b"x" * (number * 997)} for number in range(40)]
    for message in messages:
        a.tell(b.node_id, message)
        b.tell(a.node_id, message)
    turn_until(nodes, lambda: len(a.received) == len(b.received) == len(messages))
    assert a.received == [(b.node_id, message) for message in messages]
    assert b.received == [(a.node_id, message) for message in messages]


def test_messages_wait_for_the_flush(nodes: Pair) -> None:
    """What a message says must be on the disk first; the loop says when it is."""
    a, b = nodes
    a.tell(b.node_id, {"type": "vote"})
    for _ in range(20):
        b.turn(0.001)
    assert b.received == []
    turn_until(nodes, lambda: b.received)


# -- whoever is no node ------------------------------------------------------------------------


def scan(node: Linked) -> socket.socket:
    """A port scanner: connects, and is gone."""
    connection = given_connection(node)
    connection.shutdown(socket.SHUT_RDWR)
    return connection


def scan_and_reset(node: Linked) -> socket.socket:
    """A faster one: it takes its connection back with a reset, maybe before it was accepted."""
    connection = given_connection(node)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    return connection


def say_random_bytes(node: Linked) -> socket.socket:
    """Noise."""
    connection = given_connection(node)
    connection.send(b"".join(hashlib.sha256(bytes([n])).digest() for n in range(200)))
    return connection


def speak_http(node: Linked) -> socket.socket:
    """A client that has the wrong port."""
    connection = given_connection(node)
    connection.send(b"GET /jobs/stats HTTP/1.1\r\nHost: node\r\n\r\n")
    return connection


def announce_a_gigabyte(node: Linked) -> socket.socket:
    """A frame that would fill the memory, from a stranger."""
    connection = given_connection(node)
    connection.send(struct.pack(">I", 1 << 30) + b"x" * 1000)
    return connection


def claim_to_be_a_stranger(node: Linked) -> socket.socket:
    """It has the secret and is no member."""
    return Caller(node, "127.0.0.9:4000").connection


def pose_without_the_secret(node: Linked) -> socket.socket:
    """It says it is a member, and guesses the proof."""
    member = max(str(peer.id) for peer in node._others)
    caller = Caller(node, member, secret="w" * 32)
    caller.say(struct.pack(">I", 32) + b"p" * 32)
    return caller.connection


ATTACKS = [
    scan,
    scan_and_reset,
    say_random_bytes,
    speak_http,
    announce_a_gigabyte,
    claim_to_be_a_stranger,
    pose_without_the_secret,
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_an_attack_costs_a_closed_connection_and_one_line(
    nodes: Pair, caplog: Logs, attack: Callable[[Linked], socket.socket]
) -> None:
    """The link between the honest nodes does not notice."""
    connection = attack(nodes[0])
    turn_until(nodes, lambda: refused(caplog))
    if connection.fileno() != -1:
        turn_until(nodes, lambda: is_hung_up(connection))
    assert_they_talk(nodes)
    assert len(refused(caplog)) == 1
    assert nodes[0].transport._strangers == {}
    assert nodes[0].peers == {nodes[1].node_id}


def test_a_member_that_is_known_cannot_announce_a_gigabyte_either(nodes: Pair, caplog: Logs) -> None:
    """Not even the secret makes a node hold more than its limit."""
    a, b = nodes
    caplog.set_level("INFO")
    caller = Caller(a, third_of(a, b))
    caller.open()
    turn_until(nodes, lambda: caller.link.is_open and third_of(a, b) in a.peers)
    caller.say(struct.pack(">I", 1 << 30))
    turn_until(nodes, lambda: is_hung_up(caller.connection))
    assert [line for line in caplog.messages if "a frame of 1073741824 bytes" in line]
    assert_they_talk(nodes)


def test_a_recorded_session_cannot_be_played_again(nodes: Pair, caplog: Logs) -> None:
    """Byte for byte what a member said before: the message in it is not received twice."""
    a, b = nodes
    caller = Caller(a, third_of(a, b))
    caller.open()
    caller.say(caller.link.seal({"type": "append_entries", "entries": [b"once"]}))
    turn_until(nodes, lambda: len(a.received) == 1)
    caller.connection.close()
    turn_until(nodes, lambda: a.peers == {b.node_id})

    replay = given_connection(a)
    replay.send(caller.sent)
    turn_until(nodes, lambda: is_hung_up(replay))

    assert len(a.received) == 1
    assert refused(caplog) == [f"link_refused host={ATTACKER} reason='it does not know the cluster secret'"]
    assert_they_talk(nodes)


def test_who_connects_to_another_acceptor_learns_nothing_to_connect_with(nodes: Pair, caplog: Logs) -> None:
    """A proof made for one node is none for the other: both ids and both keys are in it."""
    a, b = nodes
    third = third_of(a, b)
    caller = Caller(a, third)
    caller.open()
    other = given_connection(b)
    other.send(given_link(third, b).take_unsent() + caller.sent[-36:])
    turn_until(nodes, lambda: is_hung_up(other))
    assert "it does not know the cluster secret" in refused(caplog)[0]


# -- those who take their time -----------------------------------------------------------------


@pytest.mark.parametrize("said", ["nothing", "half a length", "half a greeting", "a greeting"])
def test_a_stranger_that_does_not_go_on_is_closed_in_time(
    nodes: Pair, clock: LinkClock, caplog: Logs, said: str
) -> None:
    """Half open, or a byte now and then: the time is for the whole handshake."""
    a, b = nodes
    greeting = given_link(third_of(a, b), a).take_unsent()
    data = {"nothing": b"", "half a length": b"\0\0", "half a greeting": greeting[:20], "a greeting": greeting}[said]
    connection = given_connection(a)
    turn_until(nodes, lambda: a.transport._strangers)
    for place in range(len(data)):
        connection.send(data[place : place + 1])
        clock.now_s += (transport.HANDSHAKE_S_MAX - 0.1) / len(data)
        a.turn(0.001)
    assert refused(caplog) == []
    clock.now_s += transport.HANDSHAKE_S_MAX
    turn_until(nodes, lambda: is_hung_up(connection))
    assert refused(caplog) == [f"link_refused host={ATTACKER} reason='it did not prove itself in time'"]
    assert_they_talk(nodes)


def test_a_node_that_never_answers_is_given_up_and_called_again(clock: LinkClock, caplog: Logs) -> None:
    """Something listens where the other node should be, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        there = f"127.0.0.1:{silent.getsockname()[1]}"
        caller = Linked("127.0.0.2:0", (there,), clock)
        turn_until((caller,), lambda: [one for one in caller.transport._attempts.values() if one.is_reached])
        clock.now_s += transport.CONNECT_S_MAX
        caller.turn()
        clock.now_s += 1
        turn_until((caller,), lambda: caller.transport._attempts)
        assert refused(caplog, there) == [f"link_refused host={there} reason='it did not prove itself in time'"]
        caller.transport.destroy()


def test_strangers_make_room_for_those_who_come_after_them(nodes: Pair, caplog: Logs) -> None:
    """With the port full of silent connections, a node that proves itself gets its link."""
    a, b = nodes
    crowd = [given_connection(a)]
    while not is_hung_up(crowd[0]):
        crowd.append(given_connection(a))
        turn_until(nodes, lambda: a.transport._strangers)
    turn_until(nodes, lambda: len(a.transport._strangers) == transport.STRANGERS_MAX)
    assert not is_hung_up(crowd[-1])

    caller = Caller(a, third_of(a, b))
    caller.open()
    turn_until(nodes, lambda: third_of(a, b) in a.peers)

    assert len(refused(caplog)) == 1
    assert_they_talk(nodes)


def test_a_flood_is_one_line_a_host_and_interval(nodes: Pair, clock: LinkClock, caplog: Logs) -> None:
    """Whoever reaches the port could fill the disk; the rest is counted."""
    a, _ = nodes
    for _ in range(50):
        connection = given_connection(a)
        connection.send(b"x" * 8)
        turn_until(nodes, partial(is_hung_up, connection))
    assert len(refused(caplog)) == 1

    clock.now_s += refusals.INTERVAL_S
    a.turn()
    assert "links_refused_too count=49 seconds=10" in caplog.messages
    given_connection(a).close()
    turn_until(nodes, lambda: len(refused(caplog)) == 2)


def test_hosts_beyond_the_limit_are_counted_only(clock: LinkClock, caplog: Logs) -> None:
    """A network full of attackers is as few lines as a host."""
    said = refusals.Refusals("link", clock.monotonic_s)
    for number in range(refusals.HOSTS_MAX + 5):
        said.say(f"10.0.0.{number}", "noise")
    clock.now_s += refusals.INTERVAL_S
    said.tell()
    assert len(caplog.messages) == refusals.HOSTS_MAX + 1
    assert caplog.messages[-1] == "links_refused_too count=5 seconds=10"


def test_a_node_that_is_out_of_descriptors_rests_and_accepts_again(nodes: Pair, clock: LinkClock, caplog: Logs) -> None:
    """It neither loses its port nor spins on it; links that are open go on."""
    a, _ = nodes
    with socket.socket() as connection:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
        try:
            host, _, port = a.node_id.rpartition(":")
            connection.connect((host, int(port)))
            turn_until(nodes, lambda: [line for line in caplog.messages if line.startswith("link_not_accepted")])
            assert_they_talk(nodes)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        clock.now_s += transport.DEAF_S
        turn_until(nodes, lambda: a.transport._strangers)
        assert len([line for line in caplog.messages if line.startswith("link_not_accepted")]) == 1


# -- nodes that are slow, gone, or others ------------------------------------------------------


def test_a_member_that_does_not_read_is_closed_when_its_buffer_is_full(nodes: Pair, caplog: Logs) -> None:
    """What waits for it never grows beyond the limit and one message."""
    a, b = nodes
    caplog.set_level("INFO")
    caller = Caller(a, third_of(a, b))
    caller.open()
    turn_until(nodes, lambda: third_of(a, b) in a.peers)
    link = a.transport._links[third_of(a, b)]
    message = {"type": "n", "data": bytes(100_000)}
    while a.transport.send(*_to(a, third_of(a, b), message)):
        a.turn()
        assert len(link._unwritten) <= BUFFER_BYTES_MAX + 110_000
    assert [line for line in caplog.messages if line.startswith("link_closed") and "does not keep up" in line]
    assert len(link._unwritten) == 0
    assert_they_talk(nodes)


def _to(node: Linked, other: str, message: Message) -> tuple[object, Message]:
    return next(peer for peer in node._others if peer.id == other), message


def test_two_nodes_with_different_secrets_say_so_and_no_more(clock: LinkClock, caplog: Logs) -> None:
    """The one that connects sees it first, as the other shows its proof first; it tries again, quietly."""
    with given_nodes(clock, secrets=("s" * 32, "t" * 32)) as nodes:
        a, b = nodes
        for _ in range(5):
            turn_until(nodes, lambda: b.transport._attempts or b.transport._strangers or refused(caplog, a.node_id))
            turn_until(nodes, lambda: not b.transport._attempts)
            clock.now_s += 0.6
        assert refused(caplog, a.node_id) == [
            f"link_refused host={a.node_id} reason='it does not know the cluster secret, or is another node'"
        ]
        assert len(refused(caplog, "127.0.0.1")) <= 1
        assert (a.peers, b.peers) == (set(), set())


def test_a_node_that_connects_again_takes_the_place_of_its_old_link(nodes: Pair) -> None:
    """It was cut off and knows; the other end does not yet."""
    a, b = nodes
    third = third_of(a, b)
    first, second = Caller(a, third), Caller(a, third)
    first.open()
    second.open()
    turn_until(nodes, lambda: is_hung_up(first.connection))
    assert third in a.peers
    second.say(second.link.seal({"type": "n"}))
    turn_until(nodes, lambda: a.received)


def test_a_node_that_is_dropped_while_it_proves_itself_is_refused(nodes: Pair, caplog: Logs) -> None:
    """It was a member when it said hello."""
    a, b = nodes
    third = third_of(a, b)
    caller = Caller(a, third)
    turn_until(nodes, lambda: a.transport._strangers)
    turn_until(nodes, lambda: next(iter(a.transport._strangers)).link._transcript)
    a.transport.dropNode(_to(a, third, {})[0])
    caller.open()
    caller.say(caller.link.seal({"type": "n"}))
    turn_until(nodes, lambda: is_hung_up(caller.connection))
    assert refused(caplog) == [f"link_refused host={ATTACKER} reason='it is no member any more'"]
    assert a.received == []


def test_links_follow_the_members(nodes: Pair) -> None:
    """A node that is dropped is closed and refused; one that is added is let in."""
    a, b = nodes
    peer = next(node for node in a._others if node.id == b.node_id)
    a.transport.dropNode(peer)
    turn_until(nodes, lambda: not a.peers and not b.peers)
    b.clock.now_s += 1
    turn_until(nodes, lambda: b.transport._attempts)
    turn_until(nodes, lambda: not b.transport._attempts)
    assert a.peers == set()
    a.transport.addNode(peer)
    b.clock.now_s += 1
    turn_until(nodes, lambda: a.peers and b.peers)
    assert_they_talk(nodes)
