"""Nodes that are nothing but their links, on real sockets of 127.0.0.0/8, driven by hand.

Each node has an address of its own, and so has whoever attacks them: the log tells them apart.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from cqueue.replication.link import Link, Message
from cqueue.replication.names import Resolver, host_of, port_of
from cqueue.replication.poller import LoopPoller
from cqueue.replication.raft import Peer
from cqueue.replication.tls import Certificates
from cqueue.replication.transport import LinkSettings, TcpTransport
from tests.replication.media import ManualClock
from tests.support import eventually

SECRET: Final = "s" * 32
ATTACKER: Final = "127.0.0.66"
BUFFER_BYTES_MAX: Final = 1024 * 1024


class LinkClock(ManualClock):
    """Timers stand still until they are moved; the date is the real one, which certificates need."""

    def wall_ms(self) -> int:
        """See `cqueue.replication.clock.Clock`."""
        return time.time_ns() // 1_000_000


class Engine:
    """All that a transport asks of PySyncObj: a poller, and to be called every round."""

    def __init__(self) -> None:
        self._poller = LoopPoller()
        self.on_tick: list[Callable[[], None]] = []

    def addOnTickCallback(self, callback: Callable[[], None]) -> None:  # noqa: N802 - PySyncObj's name
        """See PySyncObj."""
        self.on_tick.append(callback)


class Linked:
    """A node. peers: ids it has a link to. received: (id, message) in their order.

    callers: sockets that tests connected to it; they are closed with it.
    """

    def __init__(
        self,
        node_id: str,
        others: tuple[str, ...],
        clock: LinkClock,
        *,
        secret: str = SECRET,
        certificates: Certificates | None = None,
    ) -> None:
        self.node_id = node_id
        self.clock = clock
        self.peers: set[str] = set()
        self.received: list[tuple[str, Message]] = []
        self.callers: list[socket.socket] = []
        self._engine = Engine()
        self._others = {Peer(other) for other in others}
        settings = LinkSettings(secret, clock, Resolver(), 0.5, BUFFER_BYTES_MAX, certificates)
        self.transport = TcpTransport(self._engine, Peer(node_id), self._others, settings)
        self.transport.setOnMessageReceivedCallback(lambda node, message: self.received.append((node.id, message)))
        self.transport.setOnNodeConnectedCallback(lambda node: self.peers.add(node.id))
        self.transport.setOnNodeDisconnectedCallback(lambda node: self.peers.discard(node.id))

    def close(self) -> None:
        """End it, and whoever called it."""
        self.transport.destroy()
        for caller in self.callers:
            caller.close()

    def turn(self, wait_s: float = 0.0) -> None:
        """One round of the loop."""
        self._engine._poller.wait(wait_s)
        for callback in self._engine.on_tick:
            callback()
        self.transport.flush()

    def tell(self, other: str, message: Message) -> None:
        """Send a message to a node there is a link to."""
        assert self.transport.send(Peer(other), message)


def turn_until(nodes: tuple[Linked, ...], predicate: Callable[[], Any]) -> None:
    """Drive the nodes until `predicate` is true; their timers do not move."""

    def asked() -> bool:
        for node in nodes:
            node.turn()
        return bool(predicate())

    eventually(asked)


def free_ports(*hosts: str) -> tuple[str, ...]:
    """An address with a free port for each host."""
    with contextlib.ExitStack() as held:
        found = []
        for host in hosts:
            one = held.enter_context(socket.socket())
            one.bind((host, 0))
            found.append(f"{host}:{one.getsockname()[1]}")
        return tuple(found)


@contextlib.contextmanager
def given_nodes(
    clock: LinkClock,
    *,
    certificates: Callable[[str], Certificates | None] = lambda _host: None,
    secrets: tuple[str, str] = (SECRET, SECRET),
) -> Iterator[tuple[Linked, Linked]]:
    """Two nodes, a and b, of which b connects; each expects a third, c, that is not there."""
    ids = free_ports("127.0.0.1", "127.0.0.2", "127.0.0.3")
    nodes = [
        Linked(
            ids[place],
            tuple(other for other in ids if other != ids[place]),
            clock,
            secret=secrets[place],
            certificates=certificates(host_of(ids[place])),
        )
        for place in range(2)
    ]
    try:
        yield nodes[0], nodes[1]
    finally:
        for node in nodes:
            node.close()


def third_of(one: Linked, other: Linked) -> str:
    """The id both nodes expect a link to and that nobody has."""
    (third,) = {str(peer.id) for peer in one._others} - {other.node_id}
    return third


def given_connection(node: Linked, host: str = ATTACKER) -> socket.socket:
    """A connection to a node's port, from `host`; nothing on it blocks."""
    connection = socket.socket()
    node.callers.append(connection)
    connection.bind((host, 0))
    connection.connect((host_of(node.node_id), port_of(node.node_id)))
    connection.setblocking(False)
    return connection


def is_hung_up(connection: socket.socket) -> bool:
    """Whether the node has closed a connection; takes in what it said before."""
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True


def given_link(me: str, node: Linked, *, secret: str = SECRET) -> Link:
    """A connector's link to `node`, its socket aside."""
    return Link(
        secret.encode(), me, set(), private_key=os.urandom(32), frame_bytes_max=1 << 20, connect_to=node.node_id
    )


class Caller:
    """Somebody who speaks the protocol on a socket of its own. sent: all bytes it said."""

    def __init__(self, node: Linked, me: str, *, secret: str = SECRET) -> None:
        self.connection = given_connection(node)
        self.link = given_link(me, node, secret=secret)
        self.sent = b""
        self._node = node
        self.say(self.link.take_unsent())

    def say(self, data: bytes) -> None:
        """Send bytes."""
        self.connection.sendall(data)
        self.sent += data

    def open(self) -> None:
        """Go through the handshake, as far as both ends let it come."""

        def heard() -> bool:
            self._node.turn()
            with contextlib.suppress(BlockingIOError):
                assert list(self.link.receive(self.connection.recv(65536))) == []
            self.say(self.link.take_unsent())
            return self.link.is_open

        eventually(heard)
