"""How a connection ends so that the other end has read what it was sent."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any, Final

import gevent

_READ_BYTES: Final = 64 * 1024


def see_off(connection: Any, within_s: float) -> None:
    """End this direction of a connection, and give the other end that long to read what it was sent and to end its own.

    To close with something unread would make the system take back what the other end has not read.
    """
    with suppress(OSError, gevent.Timeout), gevent.Timeout(within_s):
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(_READ_BYTES):
            pass
