"""Certificates and keys in the PEM files that settings name, and whether they can be used together.

It knows no socket, and nothing of what is said over one. What is wrong is said with flag and file.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from msgspec import Struct

from cqueue.config import EXIT_CONFIG, Settings
from cqueue.errors import Unusable

CERT, KEY, CA = 0, 1, 2
_RAFT: Final = ("--raft-tls-cert", "--raft-tls-key", "--raft-tls-ca")
_HTTP: Final = ("--tls-cert", "--tls-key", "--tls-client-ca")


class Chain(NamedTuple):
    """own: the certificate itself. between: what is between it and its CA. authorities: those of the CA's file."""

    own: x509.Certificate
    between: list[x509.Certificate]
    authorities: list[x509.Certificate]


class TlsFiles(Struct, frozen=True):
    """Paths of PEM files: a certificate (with what is between it and its CA), its key, and a CA.

    ca: who signs the certificates that the other end has to show; "": it has to show none.
    flags: the settings the three come from.
    """

    cert: str
    key: str
    ca: str = ""
    flags: tuple[str, str, str] = _RAFT

    @classmethod
    def of_http(cls, settings: Settings) -> TlsFiles:
        """Those of the HTTP port, which speaks TLS if --tls-cert is set."""
        return cls(settings.tls_cert, settings.tls_key, settings.tls_client_ca, _HTTP)

    def look(self) -> list[tuple[int, int, int] | None]:
        """What tells one state of the files from another."""
        seen: list[tuple[int, int, int] | None] = []
        for path in (self.cert, self.key, self.ca):
            try:
                stat = Path(path).stat()
            except OSError:
                seen.append(None)
            else:
                seen.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
        return seen

    def check(self, now: datetime, uses: Iterable[x509.ObjectIdentifier]) -> Chain:
        """What is in the files, if it can be used now, and for these uses.

        Raises:
            Unusable: it cannot.
        """
        own, *between = self._certificates(CERT)
        if complaint := _complaint(own, now):
            raise self.wrong(CERT, complaint)
        authorities = self._certificates(CA) if self.ca else []
        complaints = [_complaint(authority, now) for authority in authorities]
        if authorities and all(complaints):
            raise self.wrong(CA, str(complaints[0]))
        if self._key().public_key() != own.public_key():
            raise self.wrong(KEY, f"is not the key of the certificate in {self.cert}")
        missing = [use for use in uses if not _is_for_use(own, use)]
        if missing:
            raise self.wrong(CERT, f"is not for {' and '.join(use._name for use in missing)}: see extendedKeyUsage")
        return Chain(own, between, authorities)

    def check_serves(self, now: datetime) -> Chain:
        """As `check`, for an end that accepts connections only."""
        return self.check(now, (ExtendedKeyUsageOID.SERVER_AUTH,))

    def equip(self, context: ssl.SSLContext) -> None:
        """Have an end of TLS prove itself with the certificate, and ask for those of the CA, if there is one.

        Raises:
            Unusable: OpenSSL does not take them.
        """
        try:
            if self.ca:
                context.verify_mode = ssl.CERT_REQUIRED
                # The CA is whom the operator trusts, be it a root or not.
                context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
                context.load_verify_locations(self.ca)
            context.load_cert_chain(self.cert, self.key, password=str)  # never asks a terminal
        except OSError as error:
            raise self.wrong(CERT, f"cannot be used with its key and CA: {error}") from error

    def wrong(self, which: int, what: str) -> Unusable:
        """The error that says so: `which` is CERT, KEY or CA."""
        return Unusable(f"{self.flags[which]}: {self._path(which)}: {what}", exit_code=EXIT_CONFIG)

    def _path(self, which: int) -> str:
        return (self.cert, self.key, self.ca)[which]

    def _read(self, which: int) -> bytes:
        try:
            return Path(self._path(which)).read_bytes()
        except OSError as error:
            raise self.wrong(which, f"cannot be read: {error.strerror}") from error

    def _certificates(self, which: int) -> list[x509.Certificate]:
        try:
            return x509.load_pem_x509_certificates(self._read(which))
        except ValueError as error:
            raise self.wrong(which, f"holds no certificate in PEM: {error}") from error

    def _key(self) -> Any:
        try:
            return serialization.load_pem_private_key(self._read(KEY), None)
        except TypeError as error:
            raise self.wrong(KEY, "is encrypted, and there is nobody to ask for its password") from error
        except ValueError as error:
            raise self.wrong(KEY, f"holds no private key in PEM: {error}") from error


def is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether an authority signed a certificate, or is that certificate itself."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return certificate == authority
    return True


def is_for(certificate: x509.Certificate, host: str) -> bool:
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


def reason_of(error: ssl.SSLError) -> str:
    """Why a handshake failed, as seen from this end."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not count: {error.verify_message}"
    reason = str(error.reason or error).lower().replace("_", " ")
    return f"it refused the TLS handshake: {reason}" if "alert" in reason else f"the TLS handshake failed: {reason}"


def _is_for_use(certificate: x509.Certificate, use: x509.ObjectIdentifier) -> bool:
    try:
        return use in certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True


def _complaint(certificate: x509.Certificate, now: datetime) -> str | None:
    if certificate.not_valid_after_utc < now:
        return f"expired at {certificate.not_valid_after_utc.isoformat()}"
    if certificate.not_valid_before_utc > now:
        return f"is not valid before {certificate.not_valid_before_utc.isoformat()}"
    return None
