"""Whether the caller of a request is still there: no job is kept from others for someone who has left.

A caller has left when its connection was closed or reset. One that says that it will send no more,
but goes on reading, looks the same from here, and counts as gone: HTTP clients do not do that. Over
TLS a caller leaves with what TLS says of it, too; a socket that can be read proves nothing then.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import gevent

from cqueue.web.tls import TlsSocket

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_READABLE: Final = 1
_PEEK: Final = socket.MSG_PEEK | socket.MSG_DONTWAIT


class Presence:
    """The caller of one request, by the connection that gunicorn read it from; behind another server it is there."""

    __slots__ = ("_connection", "_socket")

    def __init__(self, environ: WSGIEnvironment) -> None:
        # The socket below gevent's: to look into it must not make a greenlet wait.
        self._connection: Any = environ.get("gunicorn.socket")
        self._socket: Any = self._connection and self._connection._sock

    def is_there(self) -> bool:
        """Look."""
        if self._socket is None:
            return True
        try:
            return bool(self._peek())
        except BlockingIOError:
            return True
        except OSError:
            return False

    def give_up_after(self, seconds: float) -> None:
        """Let writing to the caller fail once it has taken nothing for so long."""
        if self._connection is not None:
            self._connection.settimeout(seconds)

    def watch(self, on_left: Callable[[], None]) -> Any:
        """Call `on_left` in the event loop as soon as the caller leaves; `close()` what this returns, if anything.

        A caller that sends its next request meanwhile is there, and is not watched any more.
        """
        if self._socket is None:
            return None
        watcher = gevent.get_hub().loop.io(self._socket.fileno(), _READABLE)

        def look() -> None:
            try:
                said = self._peek()
            except BlockingIOError:
                # A part of a TLS record, or one that is about TLS itself.
                return
            except OSError:
                said = b""
            watcher.stop()
            if not said:
                on_left()

        watcher.start(look)
        return watcher

    def _peek(self) -> bytes:
        """What the caller says next, in part; nothing: it has left.

        Raises:
            BlockingIOError: it says nothing at the moment.
            OSError: the connection is broken.
        """
        if isinstance(self._connection, TlsSocket):
            return self._connection.peek()
        return bytes(self._socket.recv(1, _PEEK))
