"""The links to the other nodes: who connects to whom, and holding messages until they may leave.

It takes the place of PySyncObj's TCP transport, which unpickles what strangers send. Of two nodes
the one with the greater id connects. Whatever a message says of this node's log (an
acknowledgement, a vote) must be true after a crash, so messages are held until the round's
transaction is committed. A link that cannot take what is sent to it is closed: Raft then starts
again from what the other end has, which it does well, while a gap inside a link it does not bear.
Whoever is not known yet gets little of this node's memory, time and log (docs/links.md).
"""

from __future__ import annotations

import errno
import os
import random
import socket
from typing import Any, Final

from msgspec import Struct
from pysyncobj.transport import Transport

from cqueue import logs
from cqueue.errors import Unusable
from cqueue.refusals import Refusals
from cqueue.replication.clock import Clock
from cqueue.replication.connection import READ, Connection
from cqueue.replication.link import Link, Message
from cqueue.replication.names import Resolver, host_of, port_of
from cqueue.replication.tls import Certificates

log = logs.of(__name__)

CONNECT_S_MAX: Final = 1.0
HANDSHAKE_S_MAX: Final = 2.0
STRANGERS_MAX: Final = 64
"""Accepted connections that have not proved themselves; one more, and the oldest is closed."""
ACCEPTED_MAX: Final = 16
"""Connections accepted in one round: strangers must not hold it up, and nodes must not wait behind them."""
BACKLOG: Final = 256
DEAF_S: Final = 1.0
"""How long the port rests when something is short that an accepted connection needs."""
_SHORT_OF: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
EXIT_PORT_TAKEN: Final = 3


class NoTransport(Transport):  # type: ignore[misc]
    """The transport of a node that is alone: there is nobody to send to."""

    def send(self, node: Any, message: Any) -> bool:  # noqa: ARG002 - the interface's
        """Nobody is there."""
        return False

    def flush(self) -> None:
        """Nothing was held."""


class LinkSettings(Struct, frozen=True):
    """What the links of a node are made with."""

    secret: str
    clock: Clock
    resolver: Resolver
    retry_s: float
    buffer_bytes_max: int
    """Longest frame taken from a link, and most that may wait to be written to one."""
    certificates: Certificates | None = None
    """What TLS is spoken with; None: none is."""


class TcpTransport(Transport):  # type: ignore[misc]
    """Links over TCP, in the loop's own poller.

    links: {node id: open Connection}. attempts: {node id: Connection} on the way out, not open yet.
    strangers: accepted, not open yet, oldest first. held: (node id, message) in the order they were given.

    Raises:
        Unusable: this node's address is taken or none of this machine.
    """

    def __init__(self, raft: Any, me: Any, others: set[Any], settings: LinkSettings) -> None:
        super().__init__(raft, me, others)
        self.poller = raft._poller
        self.buffer_bytes_max = settings.buffer_bytes_max
        self._settings = settings
        self._me = str(me.id)
        self._nodes = {str(node.id): node for node in others}
        self._held: list[tuple[str, Message]] = []
        self._links: dict[str, Connection] = {}
        self._attempts: dict[str, Connection] = {}
        self._strangers: dict[Connection, None] = {}
        self._connect_at_s: dict[str, float] = {}
        self._deaf_until_s = float("inf")
        self._refusals = Refusals("link", settings.clock.monotonic_s)
        self._listener = _listen(self._me, settings.resolver)
        self.poller.subscribe(self._listener.fileno(), self._accept, READ)
        raft.addOnTickCallback(self._on_tick)
        for node_id in self._nodes:
            # A name that leads nowhere is said at once, whichever end is to connect.
            settings.resolver.resolve(host_of(node_id))

    # -- PySyncObj's interface -----------------------------------------------------------------

    def addNode(self, node: Any) -> None:  # noqa: N802 - PySyncObj's name
        """Have links to `node` from now on."""
        self._nodes[str(node.id)] = node

    def dropNode(self, node: Any) -> None:  # noqa: N802
        """Have none to `node` any more."""
        for connections in (self._links, self._attempts):
            if node.id in connections:
                connections[node.id].close("it is no member any more", quietly=True)
        self._nodes.pop(str(node.id), None)

    def send(self, node: Any, message: Message) -> bool:
        """Hold `message` for `node` until the flush; False where there is no link to it."""
        if node.id not in self._links:
            return False
        self._held.append((node.id, message))
        return True

    def flush(self) -> None:
        """Send everything that was held."""
        if not self._held:
            return
        held, self._held = self._held, []
        written: dict[Connection, None] = {}
        for node_id, message in held:
            link = self._links.get(node_id)
            if link is not None:
                link.put(message)
                written[link] = None
        for link in written:
            link.write()

    def destroy(self) -> None:
        """Send what was held, then close every link and the port."""
        self.flush()
        self.poller.unsubscribe(self._listener.fileno())
        self._listener.close()
        for each in (*self._links.values(), *self._attempts.values(), *self._strangers):
            each.close("this node stops", quietly=True)

    # -- coming and going ----------------------------------------------------------------------

    def _on_tick(self) -> None:
        now_s = self._settings.clock.monotonic_s()
        for each in (*self._attempts.values(), *self._strangers):
            if now_s >= each.give_up_s:
                each.close("it did not prove itself in time", quietly=not each.is_reached)
        for node_id in self._nodes:
            if node_id < self._me and node_id not in self._links and node_id not in self._attempts:
                self._connect(node_id, now_s)
        if now_s >= self._deaf_until_s:
            self._deaf_until_s = float("inf")
            self.poller.subscribe(self._listener.fileno(), self._accept, READ)
        self._refusals.tell()

    def _connect(self, node_id: str, now_s: float) -> None:
        if now_s < self._connect_at_s.get(node_id, 0):
            return
        host = host_of(node_id)
        address = self._settings.resolver.resolve(host)
        if address is None:
            return
        # The others may be waiting for the same node to come back: not all at the same moment.
        self._connect_at_s[node_id] = now_s + self._settings.retry_s * random.uniform(0.5, 1)  # noqa: S311
        connecting = socket.socket(_family(address), socket.SOCK_STREAM)
        connecting.setblocking(False)
        if connecting.connect_ex((address, port_of(node_id))) not in {0, errno.EINPROGRESS}:
            connecting.close()
            return
        certificates = self._settings.certificates
        tls = None if certificates is None else certificates.connect(host)
        link = self._link(node_id)
        self._attempts[node_id] = Connection(self, connecting, link, tls, host=node_id, give_up_s=now_s + CONNECT_S_MAX)

    def _accept(self, _descriptor: int, _events: int) -> None:
        now_s = self._settings.clock.monotonic_s()
        for _ in range(ACCEPTED_MAX):
            try:
                accepted, address = self._listener.accept()
            except OSError as error:
                if error.errno in _SHORT_OF:
                    # The connection stays where it is and would call again at once, and for ever.
                    log.warning("link_not_accepted", error=str(error))
                    self.poller.unsubscribe(self._listener.fileno())
                    self._deaf_until_s = now_s + DEAF_S
                return
            self._greet(accepted, address[0], now_s)

    def _greet(self, accepted: socket.socket, host: str, now_s: float) -> None:
        if len(self._strangers) >= STRANGERS_MAX:
            # A node proves itself at once: who has been here longest is the likeliest not to be one.
            next(iter(self._strangers)).close("too many that have not proved themselves")
        accepted.setblocking(False)
        certificates = self._settings.certificates
        tls = None if certificates is None else certificates.accept()
        stranger = Connection(self, accepted, self._link(None), tls, host=host, give_up_s=now_s + HANDSHAKE_S_MAX)
        self._strangers[stranger] = None

    def _link(self, connect_to: str | None) -> Link:
        return Link(
            self._settings.secret.encode(),
            self._me,
            {node_id for node_id in self._nodes if node_id > self._me},
            private_key=os.urandom(32),
            frame_bytes_max=self._settings.buffer_bytes_max,
            connect_to=connect_to,
        )

    # -- what connections tell -----------------------------------------------------------------

    def opened(self, peer: str, connection: Connection) -> None:
        """The other end proved to be `peer`: this is the link to it from now on."""
        self._strangers.pop(connection, None)
        self._attempts.pop(peer, None)
        if peer not in self._nodes:
            connection.close("it is no member any more")
            return
        older = self._links.get(peer)
        if older is not None:
            older.close("it connected again", quietly=True)
        self._links[peer] = connection
        log.info("link_opened", peer=peer)
        self._onNodeConnected(self._nodes[peer])

    def received(self, peer: str, message: Message) -> None:
        """`peer` sent a message."""
        self._onMessageReceived(self._nodes[peer], message)

    def closed(self, connection: Connection, reason: str, *, quietly: bool) -> None:
        """It is closed; the next tick makes a new one."""
        peer = connection.link.peer
        self._strangers.pop(connection, None)
        called = connection.link.connect_to
        if called is not None and self._attempts.get(called) is connection:
            del self._attempts[called]
        if peer is not None and self._links.get(peer) is connection:
            del self._links[peer]
            self._held = [held for held in self._held if held[0] != peer]
            log.info("link_closed", peer=peer, reason=reason)
            self._onNodeDisconnected(self._nodes[peer])
        elif not quietly:
            self._refusals.say(connection.host, reason)


def _listen(node_id: str, resolver: Resolver) -> socket.socket:
    address = resolver.resolve_now(host_of(node_id))
    if address is None:
        raise Unusable(
            f"--raft-addr: {host_of(node_id)!r} is no name or address of this machine", exit_code=EXIT_PORT_TAKEN
        )
    listener = socket.socket(_family(address), socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port_of(node_id)))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        why = "it is taken" if error.errno == errno.EADDRINUSE else error.strerror
        raise Unusable(f"--raft-addr: cannot listen on {node_id}: {why}", exit_code=EXIT_PORT_TAKEN) from error
    listener.setblocking(False)
    return listener


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
