"""What comes in on one HTTP connection: read in time or not at all, and refused unread when there is too much.

Whoever sends a head or a body slowly would hold a connection for as long as it likes. So a head has its time
from its first byte on, and so has a body, which gets a second more for every `BODY_BYTES_PER_S_MIN` bytes
that came. It knows bytes and time; what is in a request, gunicorn's parser knows, which reads through it.
"""

from __future__ import annotations

import time
from typing import Any, Final

import gevent
from gunicorn.http.unreader import SocketUnreader

from cqueue.errors import Refused
from cqueue.web.link import OVERLOADED_RETRY_S
from cqueue.web.overload import Overload

BODY_BYTES_PER_S_MIN: Final = 1_000
"""A body that comes in more slowly than this, its first seconds aside, is not waited for."""


class TooSlow(Refused):
    """What the client has begun to send, or may still send, is not there in time: the connection has to end."""

    default_code = "too_slow"


class Reader(SocketUnreader):  # type: ignore[misc] # gunicorn has no types
    """See `gunicorn.http.unreader.Unreader`.

    until_s: when what is waited for must be there, on the monotonic clock; None: from the next read on.
    request: the one whose body is read, a gunicorn request; None: a head is. has_begun: some of the head came.

    Args:
        connection: gevent's socket.
        read_timeout_s: how long a head may take, and a body, its bytes aside.
        overload: refuses requests; None: nothing does.
    """

    def __init__(self, connection: Any, read_timeout_s: float, overload: Overload | None) -> None:
        super().__init__(connection)
        self._read_timeout_s = read_timeout_s
        self._overload = overload
        self._request: Any = None
        self._until_s: float | None = None
        self._idle_s = read_timeout_s
        self._rests_until_s = 0.0
        self.has_begun = False

    def await_head(self) -> None:
        """A request is to begin: a new connection has the time for a head until then, one that is kept has `idle_s`."""
        self._request = None
        self._until_s = time.monotonic() + self._idle_s
        self.has_begun = False

    def await_body(self, request: Any, idle_s: float) -> None:
        """The head of `request` was read; from now on the connection may be idle for `idle_s` between requests."""
        self._request = request
        self._until_s = None
        self._idle_s = idle_s

    def read(self, size: int | None = None, read_ahead: int | None = None) -> bytes:
        """The next bytes, `size` of them or those there are; none, or fewer, at the end.

        Raises:
            TooSlow: they were not there in time.
        """
        data: bytes = super().read(size, read_ahead)
        if self._request is not None or self.has_begun:
            return data
        return self._begin(data)

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Of the socket alone; see `read`."""
        now_s = time.monotonic()
        if self._until_s is None:
            self._until_s = now_s + self._read_timeout_s
        timeout = gevent.Timeout(self._until_s - now_s)
        try:
            with timeout:
                data: bytes = super().chunk(size_hint)
        except gevent.Timeout as late:
            if late is not timeout:
                raise
            raise self._too_slow() from None
        if self._request is not None:
            self._until_s += len(data) / BODY_BYTES_PER_S_MIN
        return data

    def _begin(self, data: bytes) -> bytes:
        """`data`, or what comes after it, if that is a request to refuse."""
        while data:
            self.has_begun = True
            self._until_s = time.monotonic() + self._read_timeout_s
            if self._overload is None or not self._overload.refuses(data):
                break
            rest_s = self._rests_until_s - time.monotonic()
            if rest_s > 0:
                # It was told when to come again, and came at once. To tell it so again and again would take
                # the time of those who can be served.
                gevent.sleep(rest_s)
                if not self._overload.is_lasting():
                    break
            refusal = self._overload.refusal(data)
            if refusal is None:
                break
            if not self._skip(refusal.size - len(data)):
                return b""
            self.sock.sendall(refusal.answer)
            self._rests_until_s = time.monotonic() + OVERLOADED_RETRY_S
            if refusal.closes:
                return b""
            self.await_head()
            data = data[refusal.size :] or super().read()
        return data

    def _skip(self, count: int) -> bool:
        """Take in `count` bytes, if it is more than none; whether they came."""
        while count > 0:
            data = self.chunk(count)
            if not data:
                return False
            count -= len(data)
        return True

    def _too_slow(self) -> TooSlow:
        if self._request is None:
            return TooSlow(f"the head of the request was not there within {self._read_timeout_s:g} seconds")
        self._request.force_close()
        return TooSlow(
            f"the body came in too slowly: {self._read_timeout_s:g} seconds, "
            f"and one more for each {BODY_BYTES_PER_S_MIN:,} bytes, were over"
        )
