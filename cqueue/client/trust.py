"""How an end of a TLS connection is known: whom a client trusts, and what it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ssl import SSLContext


class Tls(NamedTuple):
    """Files in PEM.

    ca_file: who signs the nodes' certificates; None: as the system says. cert_file, key_file: what to show to a
    node that asks; None: nothing, and the key is in cert_file.
    """

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    def context(self) -> SSLContext | None:
        """What a connection is made with; None: as the system does.

        Raises:
            OSError: a file cannot be used.
        """
        if self == Tls():
            return None
        import ssl  # noqa: PLC0415 - who speaks no TLS needs none of it

        context = ssl.create_default_context(cafile=self.ca_file)
        if self.cert_file is not None:
            context.load_cert_chain(self.cert_file, self.key_file, password=str)  # never asks a terminal
        return context
