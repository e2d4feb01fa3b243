"""The loop's one place to wait."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from pysyncobj.poller import POLL_EVENT_TYPE

from cqueue.replication.poller import LoopPoller

READ, WRITE = POLL_EVENT_TYPE.READ, POLL_EVENT_TYPE.WRITE


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets."""
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def test_it_calls_back_for_what_is_ready_and_was_asked_for(pair: tuple[socket.socket, socket.socket]) -> None:
    """Writable at once, readable when something came, and no more once nobody asks."""
    one, other = pair
    poller = LoopPoller()
    seen: list[int] = []
    poller.subscribe(one.fileno(), lambda _descriptor, events: seen.append(events), READ | WRITE)
    poller.wait(0)
    other.send(b"x")
    poller.subscribe(one.fileno(), lambda _descriptor, events: seen.append(events), READ)
    poller.wait(1)
    poller.unsubscribe(one.fileno())
    poller.wait(0)
    assert seen == [WRITE, READ]


def test_pysyncobjs_own_poll_reads_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    """What it read at the end of a tick would wait for the next round."""
    one, _ = pair
    poller = LoopPoller()
    seen: list[int] = []
    poller.subscribe(one.fileno(), lambda _descriptor, events: seen.append(events), WRITE)
    poller.poll(1.0)
    assert seen == []


def test_a_descriptor_that_was_let_go_in_the_same_wait_is_not_called_back(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """Both were ready; what the first does to the second counts."""
    one, other = pair
    poller = LoopPoller()
    seen: list[int] = []

    def take_both_away(descriptor: int, _events: int) -> None:
        seen.append(descriptor)
        poller.unsubscribe(one.fileno())
        poller.unsubscribe(other.fileno())

    for each in pair:
        poller.subscribe(each.fileno(), take_both_away, WRITE)
    poller.wait(0)
    assert len(seen) == 1


def test_letting_go_twice_is_no_error(pair: tuple[socket.socket, socket.socket]) -> None:
    """Whoever closes need not know whether it was subscribed."""
    one, _ = pair
    LoopPoller().unsubscribe(one.fileno())
