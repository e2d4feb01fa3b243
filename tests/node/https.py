"""Certificates of `cqueue tls dev-ca`, and what speaks TLS with them."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any, Final

from tests.cluster.harness import CQUEUE, HOST, START_S, Node, environment

ANSWER_S: Final = 30.0
_NAME: Final = "127.0.0.1"


class DevCa:
    """A development CA, with one certificate for 127.0.0.1. It makes new files when it is made again."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        subprocess.run(
            [*CQUEUE, "tls", "dev-ca", str(directory), "--host", f"{_NAME},localhost", "--force"],
            env=environment(),
            check=True,
            capture_output=True,
            timeout=START_S,
        )
        self.ca, self.cert, self.key = (str(directory / name) for name in ("ca.pem", f"{_NAME}.pem", f"{_NAME}.key"))

    @property
    def flags(self) -> dict[str, str]:
        """The settings of a node with its certificate."""
        return {"tls_cert": self.cert, "tls_key": self.key}

    @property
    def der(self) -> bytes:
        """The certificate as it is now."""
        return ssl.PEM_cert_to_DER_cert(Path(self.cert).read_text())

    def trust(self, other: DevCa | None = None) -> ssl.SSLContext:
        """What a client speaks TLS with: it trusts this CA, and shows the certificate of `other`, if any."""
        context = ssl.create_default_context(cafile=self.ca)
        if other is not None:
            context.load_cert_chain(other.cert, other.key)
        return context


def connected(node: Node, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A TLS connection on which an end that was not said to be one is an error."""
    connection = socket.create_connection((HOST, node.port), timeout=ANSWER_S)
    return context.wrap_socket(connection, server_hostname=HOST, suppress_ragged_eofs=False)


def shown(node: Node, context: ssl.SSLContext) -> bytes:
    """The certificate that a node shows to who comes now."""
    with connected(node, context) as connection:
        return connection.getpeercert(binary_form=True) or b""


def request(method: str, path: str, body: Any = None) -> bytes:
    """A request as it is sent."""
    data = b"" if body is None else json.dumps(body).encode()
    kind = "Content-Type: application/json\r\n" if data else ""
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{kind}Content-Length: {len(data)}\r\n\r\n".encode() + data


def is_let_in(node: Node, context: ssl.SSLContext) -> bool:
    """Whether a client is answered. In TLS 1.3 it is done before the node has looked at its certificate."""
    with connected(node, context) as connection:
        connection.sendall(request("GET", "/livez"))
        return connection.recv(65_536).startswith(b"HTTP/1.1 200")


def answers(connection: ssl.SSLSocket, count: int) -> list[bytes]:
    """The status lines of the next answers."""
    lines = []
    with connection.makefile("rb") as file:
        for _ in range(count):
            lines.append(file.readline().strip())
            length = 0
            while (line := file.readline().strip()) != b"":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            file.read(length)
    return lines
