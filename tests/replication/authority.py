"""Certificates for tests: an authority whose files are in a directory, out of their time or for odd uses if need be."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import serialization

from cqueue import authority
from cqueue.authority import BOTH_USES
from cqueue.certificates import TlsFiles

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

DAY: Final = timedelta(days=1)


def pem_of(key: ec.EllipticCurvePrivateKey, password: bytes | None = None) -> bytes:
    """The key's file."""
    protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        protection = serialization.BestAvailableEncryption(password)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


class Authority:
    """A CA. `directory` is where it puts its files; days: valid from and until, counted from now."""

    def __init__(self, directory: Path, name: str = "ca", *, days: tuple[int, int] = (-1, 1)) -> None:
        self._directory = directory
        self._authority = authority.Authority(name, days=days[1] - days[0], since=_since(days))
        self.path = directory / f"{name}.pem"
        self.path.write_bytes(self._authority.issued.cert)

    def given_files(
        self,
        *hosts: str,
        name: str = "node",
        days: tuple[int, int] = (-1, 1),
        uses: Sequence[x509.ObjectIdentifier] = BOTH_USES,
    ) -> TlsFiles:
        """Files of a node with these hosts."""
        issued = self._authority.issue(hosts, days=days[1] - days[0], since=_since(days), uses=uses)
        files = TlsFiles(str(self._directory / f"{name}.pem"), str(self._directory / f"{name}.key"), str(self.path))
        Path(files.cert).write_bytes(issued.cert)
        Path(files.key).write_bytes(issued.key)
        return files


def _since(days: tuple[int, int]) -> datetime:
    return datetime.now(UTC) + days[0] * DAY
