"""Tickets: what a browser shows where it cannot send a header, as with EventSource and WebSocket.

A ticket is short-lived and good for following and streaming only. It holds who its caller is and an
HMAC over that, so that any process that has the key knows it again; nothing is kept of it. In a cluster
the key comes from the cluster's secret and every node has it. A single node draws one at its start.
"""

from __future__ import annotations

import binascii
import hmac
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from cqueue.web.auth.principals import Principal

TICKET_S: Final = 30
"""How long a ticket is good: for one connection to be made, and for clocks that differ a little."""
TICKET_CHARS_MAX: Final = 3_072

Ticket = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=TICKET_CHARS_MAX,
        description="who calls, for half a minute",
        examples=["eyJhbGciOiJIUzI1NiJ9Z4Yl0"],
    ),
]

_KEY_BYTES: Final = 32
_MAC_BYTES: Final = 32
_LABEL: Final = b"cqueue tickets 1"
_encode = msgspec.msgpack.Encoder(order="deterministic").encode


class _Claims(Struct, array_like=True, frozen=True):
    expires_ms: int
    principal: Principal


_decode = msgspec.msgpack.Decoder(_Claims).decode


class Tickets:
    """Makes tickets and knows them again.

    Args:
        cluster_secret: what the nodes share; "": this node is alone.
    """

    def __init__(self, cluster_secret: str = "") -> None:
        secret = cluster_secret.encode() or secrets.token_bytes(_KEY_BYTES)
        self._key = hmac.digest(secret, _LABEL, "sha256")

    def issue(self, principal: Principal) -> tuple[str, int]:
        """A ticket, and until when it is good, in ms since the Unix epoch."""
        expires_ms = time.time_ns() // 1_000_000 + TICKET_S * 1000
        claims = _encode(_Claims(expires_ms, principal))
        return urlsafe_b64encode(self._mac(claims) + claims).decode().rstrip("="), expires_ms

    def redeem(self, ticket: str) -> Principal | None:
        """Whose ticket it is; None: it is none, or no longer."""
        if len(ticket) > TICKET_CHARS_MAX:
            return None
        try:
            data = urlsafe_b64decode(ticket.encode("ascii") + b"=" * (-len(ticket) % 4))
        except (binascii.Error, UnicodeError):
            return None
        mac, claims = data[:_MAC_BYTES], data[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(claims)):
            return None
        known = _decode(claims)
        return known.principal if time.time_ns() // 1_000_000 < known.expires_ms else None

    def _mac(self, claims: bytes) -> bytes:
        return hmac.digest(self._key, claims, "sha256")
