"""One authenticated link between two nodes, without its socket: bytes in, messages out.

Both ends prove that they know the cluster secret before anything of what they say is parsed; then
every frame is encrypted and authenticated under keys that only this connection has, with its
place in the stream as nonce, so that nothing can be read, changed, repeated, dropped or reordered.

    connector → acceptor   MAGIC · nonce (32) · own id
    acceptor → connector   MAGIC · nonce (32) · proof (32) · own id
    connector → acceptor   proof (32)
    then, both ways        AES-256-GCM(key of the direction, nonce = count of frames before, message)

Each is a frame: length u32 (big-endian) and that many bytes. A proof is the HMAC-SHA-256 of both
nonces and ids under a key made from the secret, with a label for the side, so that neither can be
used for the other. Keys come from the secret and the same transcript by HKDF. Messages are msgpack.
Sources: HMAC RFC 2104, HKDF RFC 5869, AES-GCM NIST SP 800-38D. Someone who learns the secret later
can read recorded traffic: for forward secrecy put the links inside a tunnel.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Container, Iterator
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAGIC: Final = b"cqueue1\n"
NONCE_BYTES: Final = 32
PROOF_BYTES: Final = 32
HANDSHAKE_BYTES_MAX: Final = 512
"""A longer frame before authentication is refused by its length alone."""

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
        nonce: 32 fresh random bytes.
        frame_bytes_max: longest frame accepted once the other end is known.
        connect_to: the id expected at the other end, where this end connected; None: it accepted.
    """

    __slots__ = (
        "_buffer",
        "_claimed",
        "_connect_to",
        "_frame_bytes_max",
        "_key",
        "_me",
        "_nonce",
        "_open_count",
        "_opener",
        "_peers",
        "_seal_count",
        "_sealer",
        "_transcript",
        "_unsent",
        "peer",
    )

    def __init__(
        self,
        secret: bytes,
        me: str,
        peers: Container[str],
        *,
        nonce: bytes,
        frame_bytes_max: int,
        connect_to: str | None = None,
    ) -> None:
        self.peer: str | None = None
        self._key = _derive(secret, b"", b"cqueue link proof")
        self._me = me
        self._peers = peers
        self._nonce = nonce
        self._frame_bytes_max = frame_bytes_max
        self._connect_to = connect_to
        self._buffer = bytearray()
        self._transcript = b""
        self._sealer: AESGCM | None = None
        self._opener: AESGCM | None = None
        self._seal_count = 0
        self._open_count = 0
        self._unsent = _frame(MAGIC + nonce + me.encode()) if connect_to is not None else b""

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
            if length > (self._frame_bytes_max if self.is_open else HANDSHAKE_BYTES_MAX):
                raise LinkRefused(f"a frame of {length} bytes")
            if len(buffer) < _LENGTH.size + length:
                return
            body = bytes(memoryview(buffer)[_LENGTH.size : _LENGTH.size + length])
            del buffer[: _LENGTH.size + length]
            if self.is_open:
                yield self._open(body)
            elif self._connect_to is not None:
                self._on_acceptance(body, self._connect_to)
            elif not self._transcript:
                self._on_greeting(body)
            else:
                self._on_proof(body)

    # -- handshake -----------------------------------------------------------------------------

    def _on_greeting(self, body: bytes) -> None:
        """Acceptor: the connector says who it wants to be; prove ourselves first."""
        nonce, peer = self._split(body, 0)
        if peer not in self._peers:
            raise LinkRefused("it claims to be a node that is no member")
        self._transcript = _transcript(nonce, peer, self._nonce, self._me)
        self._unsent += _frame(MAGIC + self._nonce + self._proof(b"acceptor") + self._me.encode())
        self._claimed = peer

    def _on_acceptance(self, body: bytes, expected: str) -> None:
        """Connector: the acceptor proved itself; prove ourselves."""
        nonce, peer = self._split(body, PROOF_BYTES)
        self._transcript = _transcript(self._nonce, self._me, nonce, peer)
        proof = body[len(MAGIC) + NONCE_BYTES :][:PROOF_BYTES]
        if peer != expected or not hmac.compare_digest(proof, self._proof(b"acceptor")):
            raise LinkRefused("it does not know the cluster secret, or is another node")
        self._unsent += _frame(self._proof(b"connector"))
        self._become_open(peer, b"connector", b"acceptor")

    def _on_proof(self, body: bytes) -> None:
        if not hmac.compare_digest(body, self._proof(b"connector")):
            raise LinkRefused("it does not know the cluster secret")
        self._become_open(self._claimed, b"acceptor", b"connector")

    def _become_open(self, peer: str, mine: bytes, theirs: bytes) -> None:
        self._sealer = AESGCM(_derive(self._key, self._transcript, b"cqueue link " + mine))
        self._opener = AESGCM(_derive(self._key, self._transcript, b"cqueue link " + theirs))
        self.peer = peer

    def _split(self, body: bytes, proof_bytes: int) -> tuple[bytes, str]:
        nonce = body[len(MAGIC) : len(MAGIC) + NONCE_BYTES]
        name = body[len(MAGIC) + NONCE_BYTES + proof_bytes :]
        if not body.startswith(MAGIC) or not name or nonce == self._nonce:
            raise LinkRefused("it does not speak this protocol")
        return nonce, name.decode(errors="replace")

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
        except msgspec.MsgspecError as error:
            raise LinkRefused(f"a frame is no message: {error}") from error
        if not isinstance(message, dict):
            raise LinkRefused("a frame is no message")
        self._open_count += 1
        return message


def _frame(body: bytes) -> bytes:
    return _LENGTH.pack(len(body)) + body


def _transcript(connector_nonce: bytes, connector: str, acceptor_nonce: bytes, acceptor: str) -> bytes:
    return _encode((connector_nonce, connector, acceptor_nonce, acceptor))


def _derive(secret: bytes, salt: bytes, label: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=salt or None, info=label).derive(secret)
