"""TLS around a link, without its socket: the node's certificate, and bytes in, bytes out.

TLS 1.3 only, with certificates both ways. The node that connects asks for a certificate for the
host it connects to; the node that accepts asks for one for the host of the node the other end
claims to be. Only certificates of --raft-tls-ca count, none that the system trusts. What is in the
link stays as it is without TLS, encryption and all: that ties the proofs of the secret to the two
ends, where TLS alone would let someone with a certificate stand between them and pass the proofs on.
"""

from __future__ import annotations

import ipaddress
import logging
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from msgspec import Struct

from cqueue.config import EXIT_CONFIG
from cqueue.errors import Unusable
from cqueue.replication.clock import Clock
from cqueue.replication.link import LinkRefused

log = logging.getLogger(__name__)

_RECORDS: Final = frozenset({0x15, 0x16})
"""First byte of what the other end says first, if it speaks TLS: an alert or a handshake."""
_RECORD_BYTES_MAX: Final = 16 * 1024
_USES: Final = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


class TlsFiles(Struct, frozen=True):
    """Paths of PEM files: the node's certificate (with what is between it and the CA), its key, the CA's."""

    cert: str
    key: str
    ca: str


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
        self._seen = self._look()
        self._acceptor, self._connector = self._load()

    def accept(self) -> Tls:
        """The acceptor's end of a new connection."""
        self._reload()
        return Tls(self._acceptor, None)

    def connect(self, host: str) -> Tls:
        """The connector's end of a new connection to `host`."""
        self._reload()
        return Tls(self._connector, host)

    def _look(self) -> list[tuple[int, int, int] | None]:
        """What tells one state of the files from another."""
        seen: list[tuple[int, int, int] | None] = []
        for path in (self._files.cert, self._files.key, self._files.ca):
            try:
                stat = Path(path).stat()
            except OSError:
                seen.append(None)
            else:
                seen.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
        return seen

    def _reload(self) -> None:
        seen = self._look()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._acceptor, self._connector = self._load()
        except Unusable as error:
            log.warning("raft_tls_kept reason=%r", error.detail)

    def _load(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        own = _check(self._files, self._host, datetime.fromtimestamp(self._clock.wall_ms() / 1000, UTC))
        acceptor, connector = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        for context in (acceptor, connector):
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.verify_mode = ssl.CERT_REQUIRED
            # --raft-tls-ca is whom the operator trusts, be it a root or not.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            try:
                context.load_verify_locations(self._files.ca)
                context.load_cert_chain(self._files.cert, self._files.key, password=str)  # never asks a terminal
            except OSError as error:
                raise _wrong("cert", self._files.cert, f"cannot be used with its key and CA: {error}") from error
        # Every link is a new one: a resumed session would outlive a change of certificates.
        acceptor.num_tickets = 0
        log.info("raft_tls_loaded cert=%s valid_until=%s", self._files.cert, own.not_valid_after_utc.isoformat())
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
            raise LinkRefused(_reason(error)) from error
        return bytes(plain)

    def check_is_for(self, host: str) -> None:
        """Hold the other end's certificate to the host it claims to be.

        Raises:
            LinkRefused: it is for other hosts.
        """
        der = self._tls.getpeercert(binary_form=True)
        try:
            is_for = der is not None and _is_for(x509.load_der_x509_certificate(der), host)
        except (ValueError, x509.DuplicateExtension) as error:
            raise LinkRefused(f"its certificate cannot be read: {error}") from error
        if not is_for:
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
    own, *between = _certificates("cert", files.cert)
    authorities = _certificates("ca", files.ca)
    if complaint := _complaint(own, now):
        raise _wrong("cert", files.cert, complaint)
    complaints = [_complaint(authority, now) for authority in authorities]
    if all(complaints):
        raise _wrong("ca", files.ca, str(complaints[0]))
    if _key(files.key).public_key() != own.public_key():
        raise _wrong("key", files.key, f"is not the key of the certificate in {files.cert}")
    if not any(_is_issued_by(one, authority) for one in (own, *between) for authority in authorities):
        raise _wrong("cert", files.cert, f"is not signed by the CA in {files.ca}")
    if not _is_for(own, host):
        raise _wrong("cert", files.cert, f"is not for {host!r}, this node's host in --raft-addr: see subjectAltName")
    try:
        uses = set(own.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return own
    if not uses >= _USES:
        raise _wrong("cert", files.cert, "is not for both serverAuth and clientAuth: a node accepts and connects")
    return own


def _complaint(certificate: x509.Certificate, now: datetime) -> str | None:
    if certificate.not_valid_after_utc < now:
        return f"expired at {certificate.not_valid_after_utc.isoformat()}"
    if certificate.not_valid_before_utc > now:
        return f"is not valid before {certificate.not_valid_before_utc.isoformat()}"
    return None


def _certificates(name: str, path: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(name, path))
    except ValueError as error:
        raise _wrong(name, path, f"holds no certificate in PEM: {error}") from error


def _key(path: str) -> Any:
    try:
        return serialization.load_pem_private_key(_read("key", path), None)
    except TypeError as error:
        raise _wrong("key", path, "is encrypted, and there is nobody to ask for its password") from error
    except ValueError as error:
        raise _wrong("key", path, f"holds no private key in PEM: {error}") from error


def _read(name: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise _wrong(name, path, f"cannot be read: {error.strerror}") from error


def _is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return certificate == authority
    return True


def _is_for(certificate: x509.Certificate, host: str) -> bool:
    """Whether a certificate names a host: an address, a name, or *. in place of its first label (RFC 6125)."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    try:
        return ipaddress.ip_address(host) in names.get_values_for_type(x509.IPAddress)
    except ValueError:
        wanted = host.lower().rstrip(".")
        return not {wanted, "*." + wanted.partition(".")[2]}.isdisjoint(
            name.lower() for name in names.get_values_for_type(x509.DNSName)
        )


def _reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not count: {error.verify_message}"
    reason = str(error.reason or error).lower().replace("_", " ")
    return f"it refused the TLS handshake: {reason}" if "alert" in reason else f"the TLS handshake failed: {reason}"


def _wrong(name: str, path: str, what: str) -> Unusable:
    return Unusable(f"--raft-tls-{name}: {path}: {what}", exit_code=EXIT_CONFIG)
