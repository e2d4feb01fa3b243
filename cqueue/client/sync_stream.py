"""`Stream`: one WebSocket on which jobs come by themselves. Threads may share it.

A thread of its own keeps the connection and takes what comes; others wait until it has what they want.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Self, TypeVar

from cqueue.client import failures, jobs
from cqueue.client.blocking import drive
from cqueue.client.call import Call
from cqueue.client.carrying import CONNECT_S_MAX, NotSent, Reply, Send
from cqueue.client.conversing import SUBPROTOCOL, Conversation
from cqueue.client.results import Job

if TYPE_CHECKING:
    from ssl import SSLContext

    from websockets.sync.client import ClientConnection

P = ParamSpec("P")
T = TypeVar("T")


def _verb(make: Callable[P, Call[T]]) -> Callable[Concatenate[Stream, P], T]:
    """The method that makes a call and sees it through."""

    @wraps(make)
    def verb(self: Stream, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return drive(self._talk.carrier.carry(make(*args, **kwargs)), self._send)

    return verb


class Stream:
    """Iterate over it for jobs, and say what becomes of them by its methods. Use it in a `with` statement."""

    def __init__(self, talk: Conversation, tls: SSLContext | None) -> None:
        self._talk, self._tls = talk, tls
        self._changed = threading.Condition()
        self._connection: ClientConnection | None = None
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="cqueue-stream", daemon=True)

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

    def __enter__(self) -> Self:
        self._keeper.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Job:
        with self._changed:
            self._changed.wait_for(lambda: self._talk.jobs or self._talk.failure or self._closing.is_set())
            if self._talk.jobs:
                return self._talk.jobs.popleft()
            if self._talk.failure is not None:
                raise self._talk.failure
            raise StopIteration

    def close(self) -> None:
        """End the connection: jobs that were not taken come again, those that were stay for `grace_seconds`."""
        with self._changed:
            self._closing.set()
            self._changed.notify_all()
            connection = self._connection
        if connection is not None:
            connection.close()
        self._keeper.join()

    def _send(self, send: Send) -> Reply:
        from websockets.exceptions import ConnectionClosed  # noqa: PLC0415

        with self._changed:
            connection = self._connection
            if connection is None:
                if self._talk.failure is not None:
                    raise self._talk.failure
                return NotSent("there is no connection just now")
            message, frame = self._talk.message(send)
        try:
            connection.send(frame)
        except ConnectionClosed:
            with self._changed:
                return self._talk.taken(message)
        with self._changed:
            self._changed.wait_for(lambda: self._talk.answers[message], send.answer_s)
            return self._talk.taken(message)

    def _keep(self) -> None:
        """Keep a connection until the stream is closed or fails for good."""
        while not self._closing.is_set() and self._talk.failure is None:
            self._converse()
            with self._changed:
                self._connection = None
                pause_s = self._talk.pause_s()
                self._changed.notify_all()
            self._closing.wait(pause_s)

    def _converse(self) -> None:
        from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException  # noqa: PLC0415
        from websockets.sync.client import connect  # noqa: PLC0415
        from websockets.typing import Subprotocol  # noqa: PLC0415

        talk = self._talk
        try:
            with connect(
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
                connection.send(talk.hello())
                with self._changed:
                    self._connection = connection
                    if self._closing.is_set():
                        return
                while True:
                    frame = connection.recv()
                    with self._changed:
                        talk.take(frame)
                        self._changed.notify_all()
        except ConnectionClosed as error:
            with self._changed:
                talk.closed(error)
        except InvalidStatus as error:
            answer = error.response
            headers = {name.lower(): value for name, value in answer.headers.raw_items()}
            with self._changed:
                talk.failed(failures.failure_of(answer.status_code, headers, bytes(answer.body or b"")))
        except (OSError, WebSocketException) as error:
            with self._changed:
                talk.lost(str(error))
