"""A certificate authority, and what it signs: for development and tests.

It keeps its key in memory, and writes nothing. Who signs certificates for others needs a real one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BOTH_USES: Final = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
_CLOCKS_DIFFER: Final = timedelta(hours=1)
"""Certificates are valid from this long ago: not all clocks that look at them go alike."""


class Issued(NamedTuple):
    """A certificate and its key, both in PEM."""

    cert: bytes
    key: bytes


class Authority:
    """A new CA, under a key of its own.

    Args:
        name: of whoever signs, as people see it in a certificate.
        days: how long it is valid from now.
        since: from when on it is valid, if not from now.
    """

    def __init__(self, name: str, *, days: float, since: datetime | None = None) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            self._builder(self._name, self._key.public_key(), days, since)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.issued = Issued(certificate.public_bytes(serialization.Encoding.PEM), _pem_of(self._key))
        """Its own certificate and key."""

    def issue(
        self,
        hosts: Sequence[str],
        *,
        days: float,
        since: datetime | None = None,
        uses: Sequence[x509.ObjectIdentifier] = BOTH_USES,
    ) -> Issued:
        """A certificate under a new key for these hosts, names and addresses; days, since: see the class."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name([]), key.public_key(), days, since).add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
        )
        if hosts:
            names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
            builder = builder.add_extension(names, critical=True)
        if uses:
            builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return Issued(certificate.public_bytes(serialization.Encoding.PEM), _pem_of(key))

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: float, since: datetime | None
    ) -> x509.CertificateBuilder:
        start = since or datetime.now(UTC) - _CLOCKS_DIFFER
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
