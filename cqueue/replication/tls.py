"""TLS around a link, without its socket: the node's certificate, and bytes in, bytes out.

TLS 1.3 only, with certificates both ways. The node that connects asks for a certificate for the
host it connects to; the node that accepts asks for one for the host of the node the other end
claims to be. Only certificates of --raft-tls-ca count, none that the system trusts. What is in the
link stays as it is without TLS, encryption and all: that ties the proofs of the secret to the two
ends, where TLS alone would let someone with a certificate stand between them and pass the proofs on.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from cqueue import logs
from cqueue.certificates import CERT, TlsFiles, is_for, is_issued_by, reason_of
from cqueue.errors import Unusable
from cqueue.replication.clock import Clock
from cqueue.replication.link import LinkRefused

log = logs.of(__name__)

_RECORDS: Final = frozenset({0x15, 0x16})
"""First byte of what the other end says first, if it speaks TLS: an alert or a handshake."""
_RECORD_BYTES_MAX: Final = 16 * 1024


class Certificates:
    """What the node proves itself with, read again when its files change.

    Links that are open keep what they were opened with. Files that cannot be used, such as a new
    certificate whose key has yet to be written, are said once, and the old ones stay in use.

    Args:
        files: where they are.
        host: this node's host, as the other nodes call it.
        clock: says whether a certificate has expired.

    Raises:
        Unusable: they cannot be used; the sentence names the flag and the file.
    """

    def __init__(self, files: TlsFiles, host: str, clock: Clock) -> None:
        self._files = files
        self._host = host
        self._clock = clock
        self._seen = files.look()
        self._acceptor, self._connector = self._load()

    def accept(self) -> Tls:
        """The acceptor's end of a new connection."""
        self._reload()
        return Tls(self._acceptor, None)

    def connect(self, host: str) -> Tls:
        """The connector's end of a new connection to `host`."""
        self._reload()
        return Tls(self._connector, host)

    def _reload(self) -> None:
        seen = self._files.look()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._acceptor, self._connector = self._load()
        except Unusable as error:
            log.warning("raft_tls_kept", reason=error.detail)

    def _load(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        own = _check(self._files, self._host, datetime.fromtimestamp(self._clock.wall_ms() / 1000, UTC))
        acceptor, connector = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        for context in (acceptor, connector):
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            self._files.equip(context)
        # Every link is a new one: a resumed session would outlive a change of certificates.
        acceptor.num_tickets = 0
        log.info("raft_tls_loaded", cert=self._files.cert, valid_until=own.not_valid_after_utc.isoformat())
        return acceptor, connector


class Tls:
    """One end of one connection.

    Args:
        context: how to prove oneself, and whom to trust.
        connect_to: the host this end connected to; None: it accepted.
    """

    __slots__ = ("_early", "_has_heard", "_incoming", "_is_ready", "_outgoing", "_tls")

    def __init__(self, context: ssl.SSLContext, connect_to: str | None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=connect_to is None, server_hostname=connect_to
        )
        self._early = b""
        self._has_heard = False
        self._is_ready = False
        if connect_to is not None:
            self._shake_hands()

    def take_unsent(self) -> bytes:
        """What is to be sent now."""
        return self._outgoing.read()

    def encrypt(self, plain: bytes) -> None:
        """Have `plain` sent, as soon as the handshake is over."""
        if not self._is_ready:
            self._early += plain
            return
        written = 0
        while written < len(plain):
            written += self._tls.write(memoryview(plain)[written:])

    def decrypt(self, data: bytes | memoryview) -> bytes:
        """Take in bytes; what the other end said with them, as far as it is complete.

        Raises:
            LinkRefused: the other end does not speak TLS, or has no certificate that counts.
        """
        if not self._has_heard and data[0] not in _RECORDS:
            raise LinkRefused("it does not speak TLS, as this node does: --raft-tls-cert is for all nodes or none")
        self._has_heard = True
        self._incoming.write(data)
        plain = bytearray()
        try:
            if self._is_ready or self._shake_hands():
                while chunk := self._tls.read(_RECORD_BYTES_MAX):
                    plain += chunk
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            raise LinkRefused(reason_of(error)) from error
        return bytes(plain)

    def check_is_for(self, host: str) -> None:
        """Hold the other end's certificate to the host it claims to be.

        Raises:
            LinkRefused: it is for other hosts.
        """
        der = self._tls.getpeercert(binary_form=True)
        try:
            fits = der is not None and is_for(x509.load_der_x509_certificate(der), host)
        except (ValueError, x509.DuplicateExtension) as error:
            raise LinkRefused(f"its certificate cannot be read: {error}") from error
        if not fits:
            raise LinkRefused(f"its certificate is not for {host}")

    def _shake_hands(self) -> bool:
        """Go on with the handshake; whether it is over."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self._is_ready = True
        self.encrypt(self._early)
        self._early = b""
        return True


def _check(files: TlsFiles, host: str, now: datetime) -> x509.Certificate:
    """The node's certificate, if the three files can be used with each other, now, by this node.

    Raises:
        Unusable: they cannot.
    """
    own, between, authorities = files.check(now, (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH))
    if not any(is_issued_by(one, authority) for one in (own, *between) for authority in authorities):
        raise files.wrong(CERT, f"is not signed by the CA in {files.ca}")
    if not is_for(own, host):
        raise files.wrong(CERT, f"is not for {host!r}, this node's host in --raft-addr: see subjectAltName")
    return own
