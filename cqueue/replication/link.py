"""One authenticated link between two nodes, without its socket: bytes in, messages out.

Both ends prove that they know the cluster secret before anything of what they say is parsed; then
every frame is encrypted and authenticated under keys that only this connection has, with its
place in the stream as nonce, so that nothing can be read, changed, repeated, dropped or reordered.
docs/links.md has the protocol, the frames byte for byte and what an attacker can do.

This file knows neither sockets nor time nor TLS. Who wants what it reads in the order of the
protocol: `_on_greeting`, `_on_acceptance`, `_on_proof`, `_open`.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Container, Iterator
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAGIC: Final = b"cqueue2\n"
"""What a greeting and an acceptance begin with; another version of the protocol has another."""
KEY_BYTES: Final = 32
PROOF_BYTES: Final = 32
HANDSHAKE_BYTES_MAX: Final = 512
"""A longer frame before authentication is refused by its length alone."""

_TLS_RECORDS: Final = frozenset({0x15, 0x16})
"""First byte of what TLS says first, an alert or a handshake; no frame so long is ever right here."""
_LENGTH = struct.Struct(">I")
_COUNT = struct.Struct(">IQ")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode

Message = dict[str, Any]


class LinkRefused(Exception):
    """The other end is not a node of this cluster, or the link was tampered with. Close it."""


class Link:
    """One end of a link.

    Args:
        secret: the cluster secret.
        me: this node's id.
        peers: ids that may be at the other end.
        private_key: 32 fresh random bytes, this end's X25519 key for this one connection.
        frame_bytes_max: longest frame accepted once the other end is known.
        connect_to: the id expected at the other end, where this end connected; None: it accepted.
    """

    __slots__ = (
        "_buffer",
        "_claimed",
        "_frame_bytes_max",
        "_key",
        "_me",
        "_open_count",
        "_opener",
        "_peers",
        "_private_key",
        "_public_key",
        "_seal_count",
        "_sealer",
        "_transcript",
        "_unsent",
        "connect_to",
        "peer",
    )

    def __init__(
        self,
        secret: bytes,
        me: str,
        peers: Container[str],
        *,
        private_key: bytes,
        frame_bytes_max: int,
        connect_to: str | None = None,
    ) -> None:
        self.peer: str | None = None
        self._key = _derive(secret, b"", b"cqueue link proof")
        self._me = me
        self._peers = peers
        self._private_key = X25519PrivateKey.from_private_bytes(private_key)
        self._public_key = self._private_key.public_key().public_bytes_raw()
        self._frame_bytes_max = frame_bytes_max
        self.connect_to = connect_to
        self._buffer = bytearray()
        self._transcript = b""
        self._claimed = ("", b"")
        self._sealer: AESGCM | None = None
        self._opener: AESGCM | None = None
        self._seal_count = 0
        self._open_count = 0
        self._unsent = _frame(MAGIC + self._public_key + me.encode()) if connect_to is not None else b""

    @property
    def is_open(self) -> bool:
        """Whether the other end is known and messages may be sealed."""
        return self.peer is not None

    def take_unsent(self) -> bytes:
        """What the handshake wants sent now."""
        unsent, self._unsent = self._unsent, b""
        return unsent

    def seal(self, message: Message) -> bytes:
        """One message as the frame to send next; frames must be sent in the order they are sealed."""
        if self._sealer is None:
            raise RuntimeError("sealed before the link was open")
        sealed = self._sealer.encrypt(_COUNT.pack(0, self._seal_count), _encode(message), None)
        self._seal_count += 1
        return _frame(sealed)

    def receive(self, data: bytes | memoryview) -> Iterator[Message]:
        """Take in bytes; yield each message that is now complete.

        Raises:
            LinkRefused: the bytes are not what a node of this cluster would send here.
        """
        buffer = self._buffer
        buffer += data
        while len(buffer) >= _LENGTH.size:
            length = _LENGTH.unpack_from(buffer)[0]
            if buffer[0] in _TLS_RECORDS and not self.is_open:
                raise LinkRefused("it speaks TLS, and this node does not: --raft-tls-cert is for all nodes or none")
            if length > (self._frame_bytes_max if self.is_open else HANDSHAKE_BYTES_MAX):
                raise LinkRefused(f"a frame of {length} bytes")
            if len(buffer) < _LENGTH.size + length:
                return
            body = bytes(memoryview(buffer)[_LENGTH.size : _LENGTH.size + length])
            del buffer[: _LENGTH.size + length]
            if self.is_open:
                yield self._open(body)
            elif self.connect_to is not None:
                self._on_acceptance(body, self.connect_to)
            elif not self._transcript:
                self._on_greeting(body)
            else:
                self._on_proof(body)

    # -- handshake -----------------------------------------------------------------------------

    def _on_greeting(self, body: bytes) -> None:
        """Acceptor: the connector says who it wants to be; prove ourselves first."""
        key, peer = self._split(body, 0)
        if peer not in self._peers:
            raise LinkRefused("it claims to be a node that is no member")
        self._transcript = _transcript(key, peer, self._public_key, self._me)
        self._unsent += _frame(MAGIC + self._public_key + self._proof(b"acceptor") + self._me.encode())
        self._claimed = peer, key

    def _on_acceptance(self, body: bytes, expected: str) -> None:
        """Connector: the acceptor proved itself; prove ourselves."""
        key, peer = self._split(body, PROOF_BYTES)
        self._transcript = _transcript(self._public_key, self._me, key, peer)
        proof = body[len(MAGIC) + KEY_BYTES :][:PROOF_BYTES]
        if peer != expected or not hmac.compare_digest(proof, self._proof(b"acceptor")):
            raise LinkRefused("it does not know the cluster secret, or is another node")
        self._unsent += _frame(self._proof(b"connector"))
        self._become_open(peer, key, b"connector", b"acceptor")

    def _on_proof(self, body: bytes) -> None:
        """Acceptor: the connector proves itself."""
        if not hmac.compare_digest(body, self._proof(b"connector")):
            raise LinkRefused("it does not know the cluster secret")
        self._become_open(*self._claimed, b"acceptor", b"connector")

    def _become_open(self, peer: str, key: bytes, mine: bytes, theirs: bytes) -> None:
        """Make this connection's keys, one for each direction.

        They take both the secret and what only the two ends of this connection could agree on: who
        learns the secret later cannot read what was recorded, and who breaks X25519 cannot either.
        """
        try:
            shared = self._private_key.exchange(X25519PublicKey.from_public_bytes(key))
        except ValueError as error:  # a point of low order, which no honest end has
            raise LinkRefused("its key is none") from error
        self._sealer = AESGCM(_derive(self._key + shared, self._transcript, b"cqueue link " + mine))
        self._opener = AESGCM(_derive(self._key + shared, self._transcript, b"cqueue link " + theirs))
        self.peer = peer

    def _split(self, body: bytes, proof_bytes: int) -> tuple[bytes, str]:
        key = body[len(MAGIC) : len(MAGIC) + KEY_BYTES]
        name = body[len(MAGIC) + KEY_BYTES + proof_bytes :]
        if not body.startswith(MAGIC) or not name or key == self._public_key:
            raise LinkRefused("it does not speak this version of the protocol")
        return key, name.decode(errors="replace")

    def _proof(self, side: bytes) -> bytes:
        return hmac.digest(self._key, side + self._transcript, "sha256")

    # -- messages ------------------------------------------------------------------------------

    def _open(self, body: bytes) -> Message:
        if self._opener is None:
            raise RuntimeError("opened before the link was open")
        try:
            message = _decode(self._opener.decrypt(_COUNT.pack(0, self._open_count), body, None))
        except InvalidTag as error:
            raise LinkRefused("a frame was changed, repeated or is missing") from error
        except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
            raise LinkRefused(f"a frame is no message: {error}") from error
        if not isinstance(message, dict):
            raise LinkRefused("a frame is no message")
        self._open_count += 1
        return message


def _frame(body: bytes) -> bytes:
    return _LENGTH.pack(len(body)) + body


def _transcript(connector_key: bytes, connector: str, acceptor_key: bytes, acceptor: str) -> bytes:
    """What both ends said, and in which part; a proof is of all of it."""
    return _encode((MAGIC, connector_key, connector, acceptor_key, acceptor))


def _derive(secret: bytes, salt: bytes, label: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=salt or None, info=label).derive(secret)
