"""The links to the other nodes: sockets, connecting, and holding messages until they may leave.

It takes the place of PySyncObj's TCP transport, which unpickles what strangers send. Of two nodes
the one with the greater id connects. Whatever a message says of this node's log (an
acknowledgement, a vote) must be true after a crash, so messages are held until the round's
transaction is committed. A link that cannot take what is sent to it is closed: Raft then starts
again from what the other end has, which it does well, while a gap inside a link it does not bear.
"""

from __future__ import annotations

import errno
import logging
import os
import random
import socket
from typing import Any, Final

from msgspec import Struct
from pysyncobj.poller import POLL_EVENT_TYPE
from pysyncobj.transport import Transport

from cqueue.errors import Unusable
from cqueue.replication.clock import Clock
from cqueue.replication.link import Link, LinkRefused, Message
from cqueue.replication.names import Resolver

log = logging.getLogger(__name__)

CONNECT_S_MAX: Final = 1.0
HANDSHAKE_S_MAX: Final = 2.0
STRANGERS_MAX: Final = 64
"""Accepted connections that have not proved themselves; more are closed at once."""
SILENCE_MS_MAX: Final = 3_000
"""Sent data that nobody confirms for this long ends the link (TCP_USER_TIMEOUT)."""
EXIT_PORT_TAKEN: Final = 3
_READ, _WRITE = POLL_EVENT_TYPE.READ, POLL_EVENT_TYPE.WRITE
_RECEIVED: Final = memoryview(bytearray(1024 * 1024))
"""Where every link's bytes arrive: a buffer made anew for each read costs three system calls."""


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


class TcpTransport(Transport):  # type: ignore[misc]
    """Links over TCP, in the loop's own poller.

    links: {node id: open Socket}. attempts: {node id: Socket} on the way out, not open yet.
    strangers: accepted, not open yet. held: (node id, message) in the order they were given.

    Raises:
        Unusable: this node's address is taken or none of this machine.
    """

    def __init__(self, raft: Any, me: Any, others: set[Any], settings: LinkSettings) -> None:
        super().__init__(raft, me, others)
        self.poller = raft._poller
        self.settings = settings
        self._me = str(me.id)
        self._nodes = {str(node.id): node for node in others}
        self._held: list[tuple[str, Message]] = []
        self._links: dict[str, Socket] = {}
        self._attempts: dict[str, Socket] = {}
        self._strangers: set[Socket] = set()
        self._connect_at_s: dict[str, float] = {}
        self._listener = _listen(self._me, settings.resolver)
        self.poller.subscribe(self._listener.fileno(), self._accept, _READ)
        raft.addOnTickCallback(self._on_tick)
        for node_id in self._nodes:
            # A name that leads nowhere is said at once, whichever end is to connect.
            settings.resolver.resolve(_host(node_id))

    # -- PySyncObj's interface -----------------------------------------------------------------

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
        written: dict[Socket, None] = {}
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
        now_s = self.settings.clock.monotonic_s()
        for each in (*self._attempts.values(), *self._strangers):
            if now_s >= each.give_up_s:
                each.close("it did not prove itself in time", quietly=each.connect_to is not None)
        for node_id in self._nodes:
            if node_id < self._me and node_id not in self._links and node_id not in self._attempts:
                self._connect(node_id, now_s)

    def _connect(self, node_id: str, now_s: float) -> None:
        if now_s < self._connect_at_s.get(node_id, 0):
            return
        address = self.settings.resolver.resolve(_host(node_id))
        if address is None:
            return
        # The others may be waiting for the same node to come back: not all at the same moment.
        self._connect_at_s[node_id] = now_s + self.settings.retry_s * random.uniform(0.5, 1)  # noqa: S311
        connecting = socket.socket(_family(address), socket.SOCK_STREAM)
        connecting.setblocking(False)
        if connecting.connect_ex((address, _port(node_id))) not in {0, errno.EINPROGRESS}:
            connecting.close()
            return
        self._attempts[node_id] = Socket(self, connecting, self._link(node_id), now_s + CONNECT_S_MAX, node_id)

    def _accept(self, _descriptor: int, _events: int) -> None:
        try:
            accepted, address = self._listener.accept()
        except OSError as error:  # out of descriptors, or it hung up: the port stays open
            log.warning("link_not_accepted error=%r", str(error))
            return
        if len(self._strangers) >= STRANGERS_MAX:
            log.warning("link_refused from=%s reason='too many that have not proved themselves'", address[0])
            accepted.close()
            return
        accepted.setblocking(False)
        give_up_s = self.settings.clock.monotonic_s() + HANDSHAKE_S_MAX
        self._strangers.add(Socket(self, accepted, self._link(None), give_up_s, None))

    def _link(self, connect_to: str | None) -> Link:
        return Link(
            self.settings.secret.encode(),
            self._me,
            {node_id for node_id in self._nodes if node_id > self._me},
            nonce=os.urandom(32),
            frame_bytes_max=self.settings.buffer_bytes_max,
            connect_to=connect_to,
        )

    # -- what sockets tell ---------------------------------------------------------------------

    def opened(self, peer: str, link: Socket) -> None:
        """The other end proved to be `peer`: `link` is the link to it from now on."""
        self._strangers.discard(link)
        self._attempts.pop(peer, None)
        older = self._links.get(peer)
        if older is not None:
            older.close("it connected again", quietly=True)
        self._links[peer] = link
        log.info("link_opened peer=%s", peer)
        self._onNodeConnected(self._nodes[peer])

    def received(self, peer: str, message: Message) -> None:
        """`peer` sent a message."""
        self._onMessageReceived(self._nodes[peer], message)

    def closed(self, link: Socket, reason: str, *, quietly: bool) -> None:
        """`link` is closed; the next tick makes a new one."""
        peer = link.link.peer
        self._strangers.discard(link)
        if link.connect_to is not None and self._attempts.get(link.connect_to) is link:
            del self._attempts[link.connect_to]
        if peer is not None and self._links.get(peer) is link:
            del self._links[peer]
            self._held = [held for held in self._held if held[0] != peer]
            log.info("link_closed peer=%s reason=%r", peer, reason)
            self._onNodeDisconnected(self._nodes[peer])
        elif not quietly:
            log.warning("link_refused from=%s reason=%r", link.address, reason)


class Socket:
    """A link's socket: reads into the `Link`, writes what it seals.

    connect_to: the node it was made to reach; None: it was accepted.
    """

    def __init__(
        self, transport: TcpTransport, connection: socket.socket, link: Link, give_up_s: float, connect_to: str | None
    ) -> None:
        self.link = link
        self.give_up_s = give_up_s
        self.connect_to = connect_to
        self.address = connection.getpeername()[0] if connect_to is None else connect_to
        self._transport = transport
        self._socket = connection
        self._descriptor = connection.fileno()
        self._unwritten = bytearray(link.take_unsent())
        self._polled = 0
        for option, value in (
            (socket.TCP_NODELAY, 1),
            (socket.TCP_KEEPIDLE, 1),
            (socket.TCP_KEEPINTVL, 1),
            (socket.TCP_KEEPCNT, 2),
            (socket.TCP_USER_TIMEOUT, SILENCE_MS_MAX),
        ):
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._poll(_READ | _WRITE if self._unwritten else _READ)

    @property
    def is_closed(self) -> bool:
        """Whether it is."""
        return self._socket.fileno() == -1

    def put(self, message: Message) -> None:
        """Seal `message` to be written; a link that does not keep up is closed."""
        if self.is_closed:
            return
        self._unwritten += self.link.seal(message)
        if len(self._unwritten) > self._transport.settings.buffer_bytes_max:
            self.close("it does not keep up")

    def write(self) -> None:
        """Write what the socket takes; the rest follows when it is writable."""
        if self.is_closed:
            return
        try:
            if self._unwritten:
                sent = self._socket.send(self._unwritten)
                del self._unwritten[:sent]
        except BlockingIOError:
            pass
        except OSError as error:
            self.close(str(error.strerror))
            return
        self._poll(_READ | _WRITE if self._unwritten else _READ)

    def close(self, reason: str, *, quietly: bool = False) -> None:
        """Close the socket and say so, once."""
        if self.is_closed:
            return
        self._transport.poller.unsubscribe(self._descriptor)
        self._socket.close()
        self._unwritten.clear()
        self._transport.closed(self, reason, quietly=quietly)

    def _on_event(self, _descriptor: int, events: int) -> None:
        if self.connect_to is not None and not self.link.is_open:
            code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self.close(os.strerror(code), quietly=True)
                return
        if events & _READ or not events & _WRITE:
            self._read()
        if events & _WRITE:
            self.write()

    def _read(self) -> None:
        try:
            size = self._socket.recv_into(_RECEIVED)
        except BlockingIOError:
            return
        except OSError as error:
            self.close(str(error.strerror), quietly=self.connect_to is not None)
            return
        if not size:
            self.close("the other end closed it", quietly=self.connect_to is not None)
            return
        try:
            self._take(_RECEIVED[:size])
        except LinkRefused as error:
            self.close(str(error))

    def _take(self, data: memoryview) -> None:
        """Let the link have what came; tell the transport who is there, then what it said."""
        is_known = self.link.is_open
        for message in self.link.receive(data):
            if not is_known:
                is_known = True
                self._transport.opened(str(self.link.peer), self)
            self._transport.received(str(self.link.peer), message)
            if self.is_closed:
                return
        self._unwritten += self.link.take_unsent()
        self.write()
        if self.link.is_open and not is_known and not self.is_closed:
            self._transport.opened(str(self.link.peer), self)

    def _poll(self, events: int) -> None:
        if events != self._polled:
            self._polled = events
            self._transport.poller.subscribe(self._descriptor, self._on_event, events)


def _listen(node_id: str, resolver: Resolver) -> socket.socket:
    address = resolver.resolve_now(_host(node_id))
    if address is None:
        raise Unusable(
            f"--raft-addr: {_host(node_id)!r} is no name or address of this machine", exit_code=EXIT_PORT_TAKEN
        )
    listener = socket.socket(_family(address), socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, _port(node_id)))
        listener.listen(STRANGERS_MAX)
    except OSError as error:
        listener.close()
        why = "it is taken" if error.errno == errno.EADDRINUSE else error.strerror
        raise Unusable(f"--raft-addr: cannot listen on {node_id}: {why}", exit_code=EXIT_PORT_TAKEN) from error
    listener.setblocking(False)
    return listener


def _host(node_id: str) -> str:
    return node_id.rpartition(":")[0].strip("[]")


def _port(node_id: str) -> int:
    return int(node_id.rpartition(":")[2])


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
