"""Requests by urllib3, with pooled connections that threads may share. It sends each once and judges nothing.

urllib3 is imported with the first request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Final, TypeVar

from cqueue.client.carrying import CONNECT_S_MAX, Answer, Lost, NotSent, Pause, Reply, Send, Steps
from cqueue.client.trust import Tls

if TYPE_CHECKING:
    import urllib3

CONNECTIONS_MAX: Final = 32
"""Idle connections kept to each node; more are opened as threads need them, and closed after their call."""

T = TypeVar("T")

_OK: Final = 200


def drive(steps: Steps[T], send: Callable[[Send], Reply]) -> T:
    """Do what a carrier says, by `send`, until there is a result."""
    reply: Reply | None = None
    while True:
        try:
            step = steps.send(reply)
        except StopIteration as done:
            result: T = done.value
            return result
        reply = None
        match step:
            case Pause(seconds):
                time.sleep(seconds)
            case Send():
                reply = send(step)


class Http:
    """Connections to all nodes. tls: how they are known."""

    def __init__(self, tls: Tls) -> None:
        self.tls = tls.context
        self._pools: urllib3.PoolManager | None = None

    def send(self, request: Send) -> Reply:
        """Send a request; what came of it."""
        opened = self._open(request)
        return opened if isinstance(opened, NotSent | Lost) else _answer(opened)

    def follow(self, request: Send) -> Generator[bytes | Reply, None, None]:
        """Send a request; the parts of a good answer as they come, then or instead how it failed."""
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        opened = self._open(request)
        if isinstance(opened, NotSent | Lost):
            yield opened
            return
        try:
            if opened.status != _OK:
                yield _answer(opened)
                return
            yield from opened.stream()
        except HTTPError as error:
            yield Lost(str(error))
        finally:
            opened.close()

    def close(self) -> None:
        """Close what is idle."""
        if self._pools is not None:
            self._pools.clear()

    def _open(self, request: Send) -> urllib3.BaseHTTPResponse | NotSent | Lost:
        import urllib3  # noqa: PLC0415
        from urllib3 import exceptions  # noqa: PLC0415

        if self._pools is None:
            self._pools = urllib3.PoolManager(maxsize=CONNECTIONS_MAX, retries=False, ssl_context=self.tls())
        try:
            return self._pools.request(
                request.method,
                request.node + request.target,
                body=request.body,
                # It leaves as Latin-1, and shall arrive as UTF-8.
                headers={name: value.encode().decode("latin-1") for name, value in request.headers.items()},
                timeout=urllib3.Timeout(connect=CONNECT_S_MAX, read=request.answer_s),
                redirect=False,
                preload_content=False,
            )
        except exceptions.NewConnectionError as error:
            # Without the names of urllib3's own objects before it.
            return NotSent(str(error).rpartition("] ")[2])
        except exceptions.ConnectTimeoutError as error:
            return NotSent(str(error))
        except exceptions.HTTPError as error:
            # Any other fault of TLS may come with the answer, when the request was done.
            return NotSent(str(error)) if _is_untrusted(error) else Lost(str(error))


def _is_untrusted(error: Exception) -> bool:
    """Whether the node's certificate was not taken, so that it was told nothing."""
    import ssl  # noqa: PLC0415

    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in error.args)


def _answer(opened: urllib3.BaseHTTPResponse) -> Reply:
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    try:
        # To its end, which also gives the connection back to its pool.
        body = opened.read()
    except HTTPError as error:
        opened.close()
        return Lost(str(error))
    return Answer(opened.status, {name.lower(): value for name, value in opened.headers.items()}, body)
