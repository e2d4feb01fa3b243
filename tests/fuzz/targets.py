"""Where it is sent to: each target takes one input at a time, and says what must not be in an answer."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Final, Protocol

from tests.cluster.harness import Cluster, Node
from tests.fuzz.calls import Calls
from tests.fuzz.frames import Messages, inbox_frame, link_frames

PATIENCE_S: Final = 2.0
"""How long an answer is waited for: some requests may wait for a job, and nothing is wrong with that."""
MOMENT_S: Final = 0.02
MOMENT_SHARE: Final = 0.3
_READ_BYTES: Final = 256 * 1024
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_INTERNAL: Final = re.compile(rb"HTTP/1\.1 500 |\"code\":\"internal\"|Traceback \(most")


class Upset(AssertionError):
    """An answer that nobody must ever see; the sentence has what was sent."""


class Target(Protocol):
    """Something that takes input."""

    def send(self) -> None:
        """Send one more."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Http:
    """Requests to all nodes in turn. Where it is certain where one ends, on connections that are kept."""

    def __init__(self, rng: Random, cluster: Cluster) -> None:
        self._calls = Calls(rng)
        self._rng = rng
        self._nodes = cluster.nodes
        self._kept: dict[Node, socket.socket] = {}

    def send(self) -> None:
        """See `Target`."""
        node, sent = self._rng.choice(self._nodes), self._calls.next()
        connection = self._kept.pop(node, None) if sent.is_framed else None
        if connection is None:
            connection = _connected(node)
        answer = b""
        is_kept = False
        try:
            connection.sendall(sent.data)
            if sent.is_framed:
                answer, is_kept = _one_answer(connection)
            else:
                connection.shutdown(socket.SHUT_WR)
                answer = _all_there_is(connection)
        except OSError:
            pass
        if _INTERNAL.search(answer):
            raise Upset(f"{sent.data[:3000]!r} was answered {answer[:1000]!r}")
        if is_kept and node not in self._kept:
            self._kept[node] = connection
        else:
            connection.close()

    def close(self) -> None:
        """See `Target`."""
        for connection in self._kept.values():
            connection.close()


class Stream:
    """Frames on WebSockets, one after the other, until the node has had enough of one."""

    def __init__(self, rng: Random, cluster: Cluster) -> None:
        self._rng = rng
        self._nodes = cluster.nodes
        self._messages = {is_binary: Messages(rng, is_binary=is_binary) for is_binary in (False, True)}
        self._is_binary = False
        self._connection: socket.socket | None = None

    def send(self) -> None:
        """See `Target`."""
        if self._connection is None:
            self._is_binary = self._rng.random() < 0.5
            self._connection = self._opened(self._rng.choice(self._nodes))
        frame = self._messages[self._is_binary].next()
        said = b""
        try:
            self._connection.sendall(frame)
            self._connection.settimeout(_moment(self._rng))
            said = self._connection.recv(_READ_BYTES)
            is_over = not said or self._rng.random() < 0.01
        except (BlockingIOError, TimeoutError):
            is_over = self._rng.random() < 0.05
        except OSError:
            is_over = True
        if _INTERNAL.search(said) or said.startswith(b"\x88\x02\x03\xf3"):
            raise Upset(f"{frame[:3000]!r} was answered {said[:1000]!r}")
        if is_over:
            self.close()
        else:
            self._connection.settimeout(PATIENCE_S)

    def close(self) -> None:
        """See `Target`."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _opened(self, node: Node) -> socket.socket:
        connection = _connected(node)
        name = "cqueue.v1.msgpack" if self._is_binary else "cqueue.v1"
        connection.sendall(
            b"GET /stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Protocol: " + name.encode() + b"\r\n\r\n"
        )
        said = connection.recv(_READ_BYTES)
        if not said.startswith(b"HTTP/1.1 101"):
            raise Upset(f"a handshake was answered {said!r}")
        return connection


class Inbox:
    """Frames on the unix sockets between web and replica, found through /proc."""

    def __init__(self, rng: Random, cluster: Cluster) -> None:
        self._rng = rng
        self._paths = [_inbox_of(node) for node in cluster.nodes]
        self._connection: socket.socket | None = None

    def send(self) -> None:
        """See `Target`."""
        if self._connection is None:
            self._connection = socket.socket(socket.AF_UNIX)
            self._connection.settimeout(PATIENCE_S)
            self._connection.connect(self._rng.choice(self._paths))
        is_over = self._rng.random() < 0.02
        try:
            self._connection.sendall(inbox_frame(self._rng))
            self._connection.settimeout(_moment(self._rng))
            is_over |= not self._connection.recv(_READ_BYTES)
        except (BlockingIOError, TimeoutError):
            pass
        except OSError:
            is_over = True
        self._connection.settimeout(PATIENCE_S)
        if is_over:
            self.close()

    def close(self) -> None:
        """See `Target`."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Links:
    """What an outsider says on the raft ports."""

    def __init__(self, rng: Random, cluster: Cluster) -> None:
        self._rng = rng
        self._ids = sorted(str(node.settings["raft_addr"]) for node in cluster.nodes)

    def send(self) -> None:
        """See `Target`."""
        node_id = self._rng.choice(self._ids)
        # Of two nodes the one with the greater id connects.
        host, _, port = node_id.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection, suppress(ConnectionError):
            connection.sendall(link_frames(self._rng, self._ids[-1], node_id))
            if self._rng.random() < 0.1:
                with suppress(TimeoutError):
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(_READ_BYTES)

    def close(self) -> None:
        """See `Target`."""


def _moment(rng: Random) -> float:
    """How long to see what becomes of a frame before the next one: mostly not at all, so that many arrive at once."""
    return MOMENT_S if rng.random() < MOMENT_SHARE else 0.0


def _connected(node: Node) -> socket.socket:
    return socket.create_connection((node.host, node.port), timeout=PATIENCE_S)


def _one_answer(connection: socket.socket) -> tuple[bytes, bool]:
    """The answer, or its beginning, and whether the connection can be used for the next request."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        data = connection.recv(_READ_BYTES)
        if not data:
            return answer, False
        answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    length = _LENGTH.search(head + b"\r\n")
    if length is None:
        return answer, head[9:12] == b"204" and not body
    while len(body) < int(length[1]) and (data := connection.recv(_READ_BYTES)):
        body += data
    return head + body, len(body) == int(length[1]) and b"keep-alive" in head.lower()


def _all_there_is(connection: socket.socket) -> bytes:
    answer = b""
    while data := connection.recv(_READ_BYTES):
        answer += data
    return answer


def _inbox_of(node: Node) -> str:
    """Where workers find their replica's socket: its file is open in them, and has no name any more."""
    for process in node.processes():
        for entry in Path(f"/proc/{process.pid}/fd").iterdir():
            with suppress(OSError):
                if "replica.sock" in entry.readlink().name:
                    return str(entry)
    raise AssertionError(f"{node.name} has no inbox")
