"""Messages on their way to one client of `GET /stream`: in order, many small ones in one frame, not without bound."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from gevent.event import Event

from cqueue.core.jobs import Job
from cqueue.web.shapes import stream
from cqueue.web.websocket import WebSocket

FRAME_BYTES: Final = 256 * 1024
"""How much goes into one frame, unless one message is larger by itself."""
UNSENT_BYTES_MAX: Final = 1024 * 1024
"""Of what the client has not taken. Beyond it no more messages are read and no jobs asked for."""


class Outbox:
    """unsent: (message, the jobs in it). A message stays until the system has taken it whole.

    Args:
        socket: where they go.
        codec: how they are written.
        on_written: called after each frame.
    """

    def __init__(self, socket: WebSocket, codec: stream.Json, on_written: Callable[[], None]) -> None:
        self._socket = socket
        self._codec = codec
        self._on_written = on_written
        self._unsent: deque[tuple[bytes, Sequence[Job]]] = deque()
        self._bytes = 0
        self._something = Event()

    def __bool__(self) -> bool:
        """Whether there is anything left to write."""
        return bool(self._unsent)

    @property
    def is_full(self) -> bool:
        """Whether the client is behind."""
        return self._bytes > UNSENT_BYTES_MAX

    def put(self, message: Any, jobs: Sequence[Job] = ()) -> None:
        """Send `message`, a shape, which hands these jobs to the client."""
        data = stream.encode(message)
        self._unsent.append((data, jobs))
        self._bytes += len(data)
        self._something.set()

    def write(self) -> None:
        """Write whatever comes, until the client takes nothing any more or is gone."""
        while self._something.wait():
            self._something.clear()
            while self._unsent:
                messages = self._next_frame()
                if not self._socket.send(self._codec.written(messages)):
                    return
                for message in messages:
                    self._unsent.popleft()
                    self._bytes -= len(message)
                self._on_written()

    def unseen(self) -> Iterator[Job]:
        """The jobs that have not been written, or not to the end."""
        for _, jobs in self._unsent:
            yield from jobs

    def _next_frame(self) -> list[bytes]:
        messages: list[bytes] = []
        size = 0
        for message, _ in self._unsent:
            size += len(message)
            if messages and size > FRAME_BYTES:
                break
            messages.append(message)
        return messages
