"""One socket of a link: reads into the `Link`, writes what it seals, through TLS where there is any.

It belongs to a transport, which it tells when the other end is known, what that says, and when it
is over. It does not know who connects to whom, nor when to give up.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Any, Final, Protocol

from pysyncobj.poller import POLL_EVENT_TYPE

from cqueue.replication.link import Link, LinkRefused, Message
from cqueue.replication.names import host_of
from cqueue.replication.tls import Tls

SILENCE_MS_MAX: Final = 3_000
"""Sent data that nobody confirms for this long ends the link (TCP_USER_TIMEOUT)."""
READ, WRITE = POLL_EVENT_TYPE.READ, POLL_EVENT_TYPE.WRITE
_RECEIVED: Final = memoryview(bytearray(1024 * 1024))
"""Where every link's bytes arrive: a buffer made anew for each read costs three system calls."""
_OPTIONS: Final = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE_MS_MAX),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
)


class Owner(Protocol):
    """What a connection's transport is to it."""

    poller: Any
    buffer_bytes_max: int
    """Most that may wait to be written."""

    def opened(self, peer: str, connection: Connection) -> None:
        """The other end proved to be `peer`."""
        ...

    def received(self, peer: str, message: Message) -> None:
        """`peer` sent a message."""
        ...

    def closed(self, connection: Connection, reason: str, *, quietly: bool) -> None:
        """It is closed."""
        ...


class Connection:
    """A link and its socket.

    Args:
        owner: its transport.
        connected: the socket, non-blocking; accepted, or on its way to the other end.
        link: the link; its `connect_to` says which.
        tls: what is around the link, if anything.
        host: who is at the other end, as far as it is known: an address, or a node's id.
        give_up_s: when its owner is to close it if it is not open by then, in monotonic seconds.
    """

    def __init__(
        self, owner: Owner, connected: socket.socket, link: Link, tls: Tls | None, *, host: str, give_up_s: float
    ) -> None:
        self.link = link
        self.host = host
        self.give_up_s = give_up_s
        self.is_reached = link.connect_to is None
        """Whether there is somebody at the other end."""
        self._owner = owner
        self._socket = connected
        self._descriptor = connected.fileno()
        self._tls = tls
        self._unwritten = bytearray()
        self._is_announced = False
        self._polled = 0
        for level, option, value in _OPTIONS:
            with suppress(OSError):  # it hung up already, which the first read will tell
                connected.setsockopt(level, option, value)
        self._queue(link.take_unsent())
        self._poll(READ | WRITE if self._unwritten else READ)

    @property
    def is_closed(self) -> bool:
        """Whether it is."""
        return self._socket.fileno() == -1

    def put(self, message: Message) -> None:
        """Seal `message` to be written; a link that does not keep up is closed."""
        if self.is_closed:
            return
        self._queue(self.link.seal(message))
        if len(self._unwritten) > self._owner.buffer_bytes_max:
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
            self._hung_up(str(error.strerror))
            return
        self._poll(READ | WRITE if self._unwritten else READ)

    def close(self, reason: str, *, quietly: bool = False) -> None:
        """Close the socket and say so, once."""
        if self.is_closed:
            return
        self._owner.poller.unsubscribe(self._descriptor)
        self._socket.close()
        self._unwritten.clear()
        self._owner.closed(self, reason, quietly=quietly)

    def _on_event(self, _descriptor: int, events: int) -> None:
        if self.is_closed:  # by what another socket told in the same round
            return
        if not self.is_reached:
            code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self.close(os.strerror(code), quietly=True)
                return
            self.is_reached = True
        if events & READ or not events & WRITE:
            self._read()
        if events & WRITE:
            self.write()

    def _read(self) -> None:
        try:
            size = self._socket.recv_into(_RECEIVED)
        except BlockingIOError:
            return
        except OSError as error:
            self._hung_up(str(error.strerror))
            return
        if not size:
            self._hung_up("it closed the connection")
            return
        try:
            self._take(_RECEIVED[:size])
        except LinkRefused as error:
            if self._tls is not None:
                # TLS may have last words, by which the other end learns what was wrong with it.
                with suppress(OSError):
                    self._socket.send(self._tls.take_unsent())
            self.close(str(error))

    def _take(self, data: memoryview | bytes) -> None:
        """Let the link have what came; tell the owner who is there, then what it said."""
        if self._tls is not None:
            data = self._tls.decrypt(data)
        for message in self.link.receive(data):
            self._announce()
            if not self.is_closed:
                self._owner.received(str(self.link.peer), message)
            if self.is_closed:
                return
        self._announce()
        self._queue(self.link.take_unsent())
        self.write()

    def _announce(self) -> None:
        peer = self.link.peer
        if peer is None or self._is_announced:
            return
        if self._tls is not None:
            self._tls.check_is_for(host_of(peer))
        self._is_announced = True
        self._owner.opened(peer, self)

    def _hung_up(self, reason: str) -> None:
        if self.link.connect_to is not None and not self.link.is_open:
            reason += " before it proved itself; its log may say why"
        self.close(reason)

    def _queue(self, plain: bytes) -> None:
        if self._tls is None:
            self._unwritten += plain
            return
        if plain:
            self._tls.encrypt(plain)
        self._unwritten += self._tls.take_unsent()

    def _poll(self, events: int) -> None:
        if events != self._polled:
            self._polled = events
            self._owner.poller.subscribe(self._descriptor, self._on_event, events)
