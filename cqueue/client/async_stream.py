"""`AsyncStream`: one WebSocket on which jobs come by themselves. Tasks of one event loop may share it.

A task of its own keeps the connection and takes what comes; others wait until it has what they want.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Self, TypeVar

from cqueue.client import failures, jobs
from cqueue.client.awaiting import drive
from cqueue.client.call import Call
from cqueue.client.carrying import CONNECT_S_MAX, NotSent, Reply, Send
from cqueue.client.conversing import SUBPROTOCOL, Conversation
from cqueue.client.results import Job

if TYPE_CHECKING:
    from ssl import SSLContext

    from websockets.asyncio.client import ClientConnection

P = ParamSpec("P")
T = TypeVar("T")


def _verb(make: Callable[P, Call[T]]) -> Callable[Concatenate[AsyncStream, P], Awaitable[T]]:
    """The method that makes a call and sees it through."""

    @wraps(make)
    def verb(self: AsyncStream, /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        return drive(self._talk.carrier.carry(make(*args, **kwargs)), self._send)

    return verb


class AsyncStream:
    """Iterate over it for jobs, and say what becomes of them by its methods. Use it in an `async with` statement."""

    def __init__(self, talk: Conversation, tls: SSLContext | None) -> None:
        self._talk, self._tls = talk, tls
        self._changed = asyncio.Condition()
        self._connection: ClientConnection | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._closing = False

    enqueue = _verb(jobs.enqueue)
    enqueue_many = _verb(jobs.enqueue_many)
    conclude_many = _verb(jobs.conclude_many)
    fail_many = _verb(jobs.fail_many)
    release_many = _verb(jobs.release_many)
    extend_many = _verb(jobs.extend_many)
    progress_many = _verb(jobs.progress_many)
    cancel_many = _verb(jobs.cancel_many)
    redrive_many = _verb(jobs.redrive_many)
    purge_many = _verb(jobs.purge_many)

    async def __aenter__(self) -> Self:
        self._keeper = asyncio.create_task(self._keep(), name="cqueue-stream")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Job:
        async with self._changed:
            await self._changed.wait_for(lambda: self._talk.jobs or self._talk.failure or self._closing)
            if self._talk.jobs:
                return self._talk.jobs.popleft()
            if self._talk.failure is not None:
                raise self._talk.failure
            raise StopAsyncIteration

    async def close(self) -> None:
        """End the connection: jobs that were not taken come again, those that were stay for `grace_seconds`."""
        self._closing = True
        await self._tell()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait((self._keeper,))

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _send(self, send: Send) -> Reply:
        from websockets.exceptions import ConnectionClosed  # noqa: PLC0415

        if self._connection is None:
            if self._talk.failure is not None:
                raise self._talk.failure
            return NotSent("there is no connection just now")
        message, frame = self._talk.message(send)
        try:
            await self._connection.send(frame)
            async with asyncio.timeout(send.answer_s), self._changed:
                await self._changed.wait_for(lambda: self._talk.answers[message])
        except (ConnectionClosed, TimeoutError):
            pass
        finally:
            reply = self._talk.taken(message)
        return reply

    async def _keep(self) -> None:
        """Keep a connection until the stream is closed or fails for good."""
        while self._talk.failure is None:
            try:
                await self._converse()
            finally:
                self._connection = None
            pause_s = self._talk.pause_s()
            await self._tell()
            await asyncio.sleep(pause_s)

    async def _converse(self) -> None:
        from websockets.asyncio.client import connect  # noqa: PLC0415
        from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException  # noqa: PLC0415
        from websockets.typing import Subprotocol  # noqa: PLC0415

        talk = self._talk
        try:
            async with connect(
                talk.address,
                ssl=self._tls if talk.address.startswith("wss") else None,
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                additional_headers=talk.carrier.headers,
                compression=None,
                proxy=None,
                open_timeout=CONNECT_S_MAX,
                close_timeout=CONNECT_S_MAX,
                max_size=None,
            ) as connection:
                await connection.send(talk.hello())
                self._connection = connection
                while True:
                    talk.take(await connection.recv())
                    await self._tell()
        except ConnectionClosed as error:
            talk.closed(error)
        except InvalidStatus as error:
            answer = error.response
            headers = {name.lower(): value for name, value in answer.headers.raw_items()}
            talk.failed(failures.failure_of(answer.status_code, headers, bytes(answer.body or b"")))
        except (OSError, WebSocketException) as error:
            talk.lost(str(error))
