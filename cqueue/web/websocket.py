"""One WebSocket (RFC 6455): whole messages in and out, over the connection that gunicorn read a request from.

The framing is a library's (websockets, its layer without I/O). This module moves its bytes with
gevent: frames go out whole and one at a time, a message is refused before it is read if it is too
large, silence is met with a ping, and nobody is waited for without end.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import gevent
from gevent.lock import RLock
from websockets.datastructures import Headers
from websockets.exceptions import InvalidUpgrade
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN, SERVER, Protocol
from websockets.server import ServerProtocol

from cqueue.web.parting import see_off
from cqueue.web.problems import Problem

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

READ_BYTES: Final = 64 * 1024
SEND_BUFFER_BYTES: Final = 256 * 1024
"""What the system may hold of what a client has not taken yet; by itself it would hold megabytes."""
CLOSE_S: Final = 2.0
"""How long a client may take to read the end of a connection."""
REASON_BYTES_MAX: Final = 123

_HEADERS: Final = ("Connection", "Upgrade", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Protocol")
_OF_MESSAGES: Final = frozenset((Opcode.TEXT, Opcode.BINARY, Opcode.CONT))
_quiet: Final = logging.getLogger("cqueue.web.frames")
_quiet.setLevel(logging.WARNING)


def handshake(environ: WSGIEnvironment, subprotocols: list[str]) -> tuple[str, bytes]:
    """The subprotocol, and the answer that opens the connection.

    Raises:
        Problem: it is no handshake, or not for one of `subprotocols`.
    """
    headers = Headers()
    for name in _HEADERS:
        value = environ.get(f"HTTP_{name.upper().replace('-', '_')}")
        if value is not None:
            headers[name] = value
    protocol = ServerProtocol(subprotocols=subprotocols, logger=_quiet)  # type: ignore[arg-type]
    request = Request(environ["PATH_INFO"], headers, environ["REQUEST_METHOD"], environ["SERVER_PROTOCOL"])
    response = protocol.accept(request)
    error = protocol.handshake_exc
    if isinstance(error, InvalidUpgrade):
        raise Problem("upgrade_required", "this is a WebSocket (RFC 6455); ask for it with Upgrade: websocket")
    if error is not None or protocol.subprotocol is None:
        raise Problem("invalid_handshake", f"{error}; the subprotocols here are {' and '.join(subprotocols)}")
    return protocol.subprotocol, response.serialize()


class WebSocket:
    """The server's end, after the handshake. One greenlet reads; any may send.

    rest: what the system has not taken yet of what was sent. parts: the beginning of a message in fragments.

    Args:
        connection: gevent's socket.
        is_binary: whether messages are binary ones; others are refused.
        message_bytes_max: larger messages are refused.
        silence_s: how long the other side may be silent until it is pinged, how long it may take to
            answer that, and how long it may take nothing of what is sent.
    """

    def __init__(self, connection: Any, *, is_binary: bool, message_bytes_max: int, silence_s: float) -> None:
        self._socket = connection
        self._is_binary = is_binary
        self._protocol = Protocol(SERVER, state=OPEN, max_size=message_bytes_max, logger=_quiet)
        self._writing = RLock()
        self._rest = memoryview(b"")
        self._parts: list[bytes] = []
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            # What is true of other answers need not be of this one: `silence_s` says how long nothing may be taken.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 0)
        connection.settimeout(silence_s)

    @property
    def is_open(self) -> bool:
        """Whether messages can still be sent."""
        return self._protocol.state is OPEN

    def messages(self) -> Iterator[bytes]:
        """What comes, until either side ends it; what does not belong here ends it, too."""
        was_silent = False
        while self.is_open:
            try:
                data = self._socket.recv(READ_BYTES)
            except TimeoutError:
                if was_silent:
                    return
                was_silent = True
                self._protocol.send_ping(b"")
            except OSError:
                return
            else:
                if not data:
                    return
                was_silent = False
                self._protocol.receive_data(data)
                for frame in self._protocol.events_received():
                    if isinstance(frame, Frame) and frame.opcode in _OF_MESSAGES:
                        yield from self._message(frame)
            if not self._flush():
                return

    def send(self, message: bytes) -> bool:
        """Send a message; whether the system has taken it whole. It waits while the client takes nothing."""
        if not self.is_open:
            return False
        if self._is_binary:
            self._protocol.send_binary(message)
        else:
            self._protocol.send_text(message)
        return self._flush()

    def close(self, code: int, reason: str = "") -> None:
        """End it, unless it is over. `reason` is cut to what a frame holds."""
        if self.is_open:
            self._protocol.fail(code, reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore"))
            gevent.get_hub().cancel_wait(self._socket._read_event, ConnectionAbortedError())

    def part(self) -> None:
        """Send what is left and leave: the other side gets a moment to read it."""
        with suppress(OSError, gevent.Timeout), gevent.Timeout(CLOSE_S):
            self._flush()
            see_off(self._socket, CLOSE_S)

    def _message(self, frame: Frame) -> Iterator[bytes]:
        if frame.opcode is not Opcode.CONT and (frame.opcode is Opcode.BINARY) != self._is_binary:
            self.close(CloseCode.UNSUPPORTED_DATA, f"messages are {'binary' if self._is_binary else 'text'} here")
        if not self.is_open:
            return
        if frame.data:
            self._parts.append(bytes(frame.data))
        if frame.fin:
            message = b"".join(self._parts)
            self._parts.clear()
            yield message

    def _flush(self) -> bool:
        with self._writing:
            data = b"".join((self._rest, *self._protocol.data_to_send()))
            self._rest = memoryview(data)
            try:
                while self._rest:
                    self._rest = self._rest[self._socket.send(self._rest) :]
            except TimeoutError:
                return False
            except OSError:
                self._rest = memoryview(b"")
                return False
            return True
