"""Requests by aiohttp, with pooled connections of one event loop. It sends each once and judges nothing.

aiohttp is imported with the first request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Final, TypeVar

from cqueue.client.carrying import CONNECT_S_MAX, Answer, Lost, NotSent, Pause, Reply, Send, Steps
from cqueue.client.trust import Tls

if TYPE_CHECKING:
    from ssl import SSLContext

    import aiohttp

T = TypeVar("T")

_OK: Final = 200


async def drive(steps: Steps[T], send: Callable[[Send], Awaitable[Reply]]) -> T:
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
                await asyncio.sleep(seconds)
            case Send():
                reply = await send(step)


class Http:
    """Connections to all nodes. tls: how they are known."""

    def __init__(self, tls: Tls) -> None:
        self.tls = tls.context
        self._session: aiohttp.ClientSession | None = None

    async def send(self, request: Send) -> Reply:
        """Send a request; what came of it."""
        async with self._open(request) as opened:
            return opened if isinstance(opened, NotSent | Lost) else await _answer(opened)

    async def follow(self, request: Send) -> AsyncGenerator[bytes | Reply, None]:
        """Send a request; the parts of a good answer as they come, then or instead how it failed."""
        from aiohttp import ClientError  # noqa: PLC0415

        async with self._open(request) as opened:
            if isinstance(opened, NotSent | Lost):
                yield opened
            elif opened.status != _OK:
                yield await _answer(opened)
            else:
                try:
                    async for part in opened.content.iter_any():
                        yield part
                except (ClientError, TimeoutError) as error:
                    yield Lost(str(error))

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def _open(self, request: Send) -> AsyncIterator[aiohttp.ClientResponse | NotSent | Lost]:
        import aiohttp  # noqa: PLC0415

        if self._session is None:
            self._session = _session(self.tls())
        opened: aiohttp.ClientResponse | NotSent | Lost
        try:
            opened = await self._session.request(
                request.method,
                request.node + request.target,
                data=_data_of(request.body),
                headers=request.headers,
                timeout=aiohttp.ClientTimeout(sock_connect=CONNECT_S_MAX, sock_read=request.answer_s),
                allow_redirects=False,
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            opened = NotSent(str(error))
        except (aiohttp.ClientError, TimeoutError) as error:
            opened = Lost(str(error) or type(error).__name__)
        try:
            yield opened
        finally:
            if isinstance(opened, aiohttp.ClientResponse):
                opened.release()


def _data_of(body: bytes | None) -> bytes | BytesIO | None:
    from aiohttp.payload import TOO_LARGE_BYTES_BODY  # noqa: PLC0415

    # It warns of bytes that it has to write in one piece; of these it writes a part at a time.
    return body if body is None or len(body) <= TOO_LARGE_BYTES_BODY else BytesIO(body)


def _session(tls: SSLContext | None) -> aiohttp.ClientSession:
    import aiohttp  # noqa: PLC0415

    # How many wait at once is for the caller to bound.
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, ssl=tls or True), auto_decompress=False)
    # It would send a PUT twice by itself, and there is no public way to tell it not to.
    session._retry_connection = False
    return session


async def _answer(opened: aiohttp.ClientResponse) -> Reply:
    from aiohttp import ClientError  # noqa: PLC0415

    try:
        body = await opened.read()
    except (ClientError, TimeoutError) as error:
        return Lost(str(error) or type(error).__name__)
    return Answer(opened.status, {name.lower(): value for name, value in opened.headers.items()}, body)
