"""The image's health check: exit code 0 if the node in this container says that it is ready, otherwise 1.

It asks with a bare socket, as Python's HTTP client takes three times as long to load. A node that speaks TLS answers a
plain request with 400, and is asked again over TLS. Its certificate is not checked: it is for the names that clients
use, and the node is told nothing. Where it wants certificates of its clients, CQUEUE_CERT and CQUEUE_KEY name one, as
for cqueue's commands.
"""

import os
import socket

ANSWER_S = 4
"""Less than the time-out of HEALTHCHECK."""


def ask(*, over_tls: bool) -> bytes:
    """The status that `GET /readyz` is answered with, as its three digits; empty if there is no answer."""
    address = ("127.0.0.1", int(os.environ.get("CQUEUE_PORT", "3000")))
    with socket.create_connection(address, ANSWER_S) as plain:
        node = secured(plain) if over_tls else plain
        node.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
        return node.recv(12)[9:]


def secured(plain: socket.socket) -> socket.socket:
    """The same connection with TLS on it."""
    import ssl  # noqa: PLC0415 - most nodes speak plainly, and this is half of the time that the check takes

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if "CQUEUE_CERT" in os.environ:
        context.load_cert_chain(os.environ["CQUEUE_CERT"], os.environ.get("CQUEUE_KEY"))
    return context.wrap_socket(plain)


def is_ready() -> bool:
    """Whether the node says so, whichever way it speaks."""
    status = ask(over_tls=False)
    return (ask(over_tls=True) if status == b"400" else status) == b"200"


if __name__ == "__main__":
    try:
        raise SystemExit(not is_ready())
    except OSError as error:
        # One line for `docker inspect`, instead of a traceback every five seconds.
        raise SystemExit(f"no answer: {error}") from None
