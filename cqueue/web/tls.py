"""TLS on the HTTP port: TLS 1.3, or 1.2 with forward secrecy and authenticated encryption, and nothing older.

The files are read at the start and on SIGHUP. A connection keeps what it was opened with.
"""

from __future__ import annotations

import errno
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final

import gevent
import gevent.ssl

from cqueue import logs
from cqueue.certificates import TlsFiles, reason_of
from cqueue.errors import Unusable
from cqueue.refusals import Refusals
from cqueue.web.parting import see_off

log = logs.of(__name__)

HANDSHAKE_S_MAX: Final = 5.0
"""For all of it, however slowly it comes."""
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2; those of 1.3 are all good."""
_PARTING_S_MAX: Final = 1.0
"""For who was refused to read why."""
_PLAIN: Final = "HTTP_REQUEST"
"""What OpenSSL calls a client that does not speak TLS."""
_SPEAK_TLS: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 39\r\nConnection: close\r\n\r\n"
    b"this port speaks TLS: say https://...\r\n"
)


class TlsSocket(gevent.ssl.SSLSocket):
    """One connection, of which one can see whether its other end is there, and which ends as TLS wants it.

    ahead: what was read to see that.
    """

    _ahead = b""
    _sock: Any
    _sslobj: Any

    def peek(self) -> bytes:
        """The first of what is there to be read; nothing: the other end has said that no more will come.

        Raises:
            BlockingIOError: nothing is there at the moment.
            OSError: the connection is broken.
        """
        if not self._ahead:
            try:
                self._ahead = self._sslobj.read(1)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise BlockingIOError from None
        return self._ahead

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """As of any socket."""
        if self._ahead and buflen:
            ahead, self._ahead = self._ahead, b""
            return ahead
        with _broken_is_reset():
            return bytes(super().recv(buflen, flags))

    def send(self, *args: Any, **kwargs: Any) -> int:
        """As of any socket."""
        with _broken_is_reset():
            return int(super().send(*args, **kwargs))

    def shutdown(self, how: int) -> None:
        """End one direction, or both."""
        self._say_that_it_ends()
        super().shutdown(how)

    def close(self) -> None:
        """End it."""
        self._say_that_it_ends()
        super().close()

    def _say_that_it_ends(self) -> None:
        """Without this word the other end has to suspect that something was cut off (RFC 8446, 6.1)."""
        if self._sslobj is not None:
            # It waits for nothing: what is asked for the other end's word, too, is refused.
            with suppress(OSError, ValueError):
                self._sslobj.shutdown()


@contextmanager
def _broken_is_reset() -> Iterator[None]:
    """What breaks TLS in the midst of a connection is to the rest of the program a reset, as without it."""
    try:
        yield
    except ssl.SSLError as error:
        raise ConnectionResetError(errno.ECONNRESET, reason_of(error)) from error


class Tls:
    """What the HTTP port proves itself with, and whom it lets in.

    Raises:
        Unusable: the files cannot be used; the sentence names the flag and the file.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._context = self._load()
        self._refusals = Refusals("handshake", time.monotonic)

    def renew(self) -> bool:
        """Read the files again; whether they could be used. If not, what was read before stays in use."""
        try:
            self._context = self._load()
        except Unusable as error:
            log.warning("tls_kept", reason=error.detail)
            return False
        return True

    def tell(self) -> None:
        """Say what is in use."""
        log.info("tls_loaded", cert=self._files.cert, valid_until=self._valid_until.isoformat())

    def accept(self, client: Any) -> TlsSocket:
        """A new connection, before its handshake; `client` is not to be used any more."""
        return TlsSocket(client, server_side=True, do_handshake_on_connect=False, _context=self._context)

    def shake_hands(self, connection: TlsSocket, host: str) -> bool:
        """Agree with `host` on how to speak; whether they do. If not, it is told so, and the connection is closed."""
        try:
            with gevent.Timeout(HANDSHAKE_S_MAX, TimeoutError(f"it took longer than {HANDSHAKE_S_MAX:.0f} s")):
                connection.do_handshake()
        except OSError as error:
            self._refuse(connection, host, error)
            return False
        return True

    def _refuse(self, connection: TlsSocket, host: str, error: OSError) -> None:
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
            self._refusals.say(host, reason_of(error))
            with suppress(OSError):
                if error.reason == _PLAIN:
                    connection._sock.send(_SPEAK_TLS)
            see_off(connection, _PARTING_S_MAX)
        elif isinstance(error, TimeoutError):
            self._refusals.say(host, str(error))
        # Else it was closed or reset: whoever did that knows.
        connection.close()

    def _load(self) -> ssl.SSLContext:
        own = self._files.check_serves(datetime.now(UTC)).own
        context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(CIPHERS)
        context.set_alpn_protocols(["http/1.1"])
        # HTTP says where a message ends, so an end without TLS's word for it cuts nothing off unseen. Otherwise
        # OpenSSL would raise an alarm with a client whose idle connection this node ends.
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_IGNORE_UNEXPECTED_EOF
        # Connections are long here: a resumed session saves little, and looks at no certificate of the client's.
        context.num_tickets = 0
        self._files.equip(context)
        self._valid_until = own.not_valid_after_utc
        return context
