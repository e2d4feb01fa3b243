"""A client of `GET /stream`, for tests: messages as Python values."""

from __future__ import annotations

import json
import socket
import ssl
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import msgspec
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.web.web import ANSWER_S

JSON = "cqueue.v1"
MSGPACK = "cqueue.v1.msgpack"


class StreamClient:
    """Connected when made. It reads only when asked to, and takes frames of any size.

    Args:
        port: of a node on 127.0.0.1.
        subprotocol: how messages are written.
        receives_bytes: what the system may hold of what was not read; 0: as usual.
        headers: of the handshake.
        tls: what it speaks TLS with, if it does.
    """

    def __init__(
        self,
        port: int,
        subprotocol: str = JSON,
        *,
        receives_bytes: int = 0,
        headers: dict[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        connection = socket.socket()
        if receives_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives_bytes)
        connection.connect(("127.0.0.1", port))
        self.socket = connection
        self.web_socket = connect(
            f"{'ws' if tls is None else 'wss'}://127.0.0.1:{port}/stream",
            sock=connection,
            ssl=tls,
            subprotocols=[Subprotocol(subprotocol)],
            additional_headers=headers,
            compression=None,
            max_size=None,
            max_queue=1,
            close_timeout=ANSWER_S,
            legacy=True,
        )
        self._is_binary = subprotocol == MSGPACK
        self._read: deque[dict[str, Any]] = deque()
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.web_socket.close()

    def message(self, do: str, body: Any = None, **fields: Any) -> dict[str, Any]:
        """A message with the next number as its id."""
        self._number += 1
        return {"do": do, "id": self._number, **fields} | ({} if body is None else {"body": body})

    def send(self, messages: Any) -> None:
        """Send a message, or an array of them, as one frame."""
        if self._is_binary:
            self.web_socket.send(msgspec.msgpack.encode(messages))
        else:
            self.web_socket.send(json.dumps(messages))

    def say(self, do: str, body: Any = None, **fields: Any) -> int:
        """Send one message; its id."""
        message = self.message(do, body, **fields)
        self.send(message)
        return int(message["id"])

    def ask(self, do: str, body: Any = None, **fields: Any) -> dict[str, Any]:
        """Send one message; its answer. What else comes meanwhile is for later."""
        return self.answer_to(self.say(do, body, **fields))

    def answer_to(self, number: int) -> dict[str, Any]:
        """The answer to the message with this id."""
        return self._next(lambda message: message.get("re") == number)

    def event(self, name: str) -> dict[str, Any]:
        """The next message of this kind."""
        return self._next(lambda message: message.get("event") == name)

    def jobs(self, count: int) -> list[dict[str, Any]]:
        """The next `count` jobs that are pushed."""
        jobs: list[dict[str, Any]] = []
        while len(jobs) < count:
            jobs += self.event("jobs")["jobs"]
        assert len(jobs) == count
        return jobs

    def frame(self) -> list[dict[str, Any]]:
        """The messages of the next frame."""
        data = self.web_socket.recv(timeout=ANSWER_S)
        value = json.loads(data) if isinstance(data, str) else msgspec.msgpack.decode(data)
        return value if isinstance(value, list) else [value]

    def closed(self) -> tuple[int, str]:
        """How the node ends the connection: code and reason. What comes before that is dropped."""
        while True:
            try:
                self.web_socket.recv(timeout=ANSWER_S)
            except ConnectionClosed as closed:
                return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")

    def _next(self, is_meant: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        for message in self._read:
            if is_meant(message):
                self._read.remove(message)
                return message
        while True:
            self._read += self.frame()
            for message in self._read:
                if is_meant(message):
                    self._read.remove(message)
                    return message
