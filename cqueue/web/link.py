"""One web worker's connection to its replica: many requests, one unix socket.

Requests are told apart by their id, so answers may come in any order. What greenlets ask in one
turn of the event loop leaves in one write. It knows frames, not what is in them, and it never
repeats a request: whether that is safe is the caller's to know.

The replica may come late or go away. Meanwhile requests get `Unavailable` at once; those that were
on their way get `OutcomeUnknown` if they change something and `Unavailable` if they only look.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

import gevent
from gevent import socket
from gevent.hub import Waiter

from cqueue import logs
from cqueue.errors import CqueueError, OutcomeUnknown, Unavailable
from cqueue.protocol import CANCEL, DRAIN, OPERATE, ORDER, STOP, FrameError, FrameReader, parse_reply, request
from cqueue.web.presence import Presence
from cqueue.web.problems import KINDS

log = logs.of(__name__)

Reply = tuple[int, int, int, bytes]
"""`(request_id, outcome, log index, body)`, see cqueue.protocol."""


class Receiver(Protocol):
    """Takes what comes of one request, in the event loop, where it must not wait. gevent's `Waiter` is one."""

    def switch(self, reply: Reply) -> Any:
        """The reply."""

    def throw(self, error: CqueueError) -> Any:
        """There is none."""


READ_BYTES: Final = 256 * 1024
UNSENT_BYTES_MAX: Final = 64 * 1024 * 1024
"""Beyond this much that the replica has not taken off our hands, requests get `Unavailable`."""
REQUESTS_MIN: Final = 100
"""With fewer on their way, a node is not overloaded, however long they take."""
HELD_FACTOR: Final = 4
"""What consumers say of jobs they hold is refused when the node is so many times further behind than for new work."""
OVERLOADED_RETRY_S: Final = KINDS["overloaded"].retry_after_s or 0
OVERLOADED: Final = "this node has more to do than it does in time"
DEADLINE_MARGIN_S: Final = 2.0
"""The replica answers in time by itself; this end only makes sure that nothing waits for ever."""
RECONNECT_S_MIN: Final = 0.02
RECONNECT_S_MAX: Final = 0.5

_REQUEST_ID_MAX: Final = 2**32 - 1
_READABLE: Final = 1
_WRITABLE: Final = 2
_SWEEP_S: Final = 1.0


class ReplicaLink:
    """The client end of `cqueue.protocol`. For greenlets of one thread.

    waiting: {request_id: (receiver, kind, deadline on the monotonic clock)}; outgoing: frames of this
    turn of the loop; rest: what the last write could not place; unsent_bytes: the size of both.
    prompt: (request_id, sent at) of those that do not wait for anything to happen, oldest first; the
    first is not answered yet. on_drain: called when `drain` is; on_sweep: called about once a second.
    on_refusal: called with the method of a request that is refused unread, since there is too much to do.

    Args:
        path: of the replica's socket.
        request_timeout_s: how long the replica takes at most.
        overload_ms: how long the oldest may be on its way before new work is refused; 0: for ever.
    """

    def __init__(self, path: str, *, request_timeout_s: float, overload_ms: int = 0) -> None:
        self._path = path
        self._overload_s = overload_ms / 1000
        self._deadline_s = request_timeout_s + DEADLINE_MARGIN_S
        self._hub = gevent.get_hub()
        self._socket: Any = None
        self._watchers: tuple[Any, ...] = ()
        self._reader = FrameReader()
        self._received = memoryview(bytearray(READ_BYTES))
        self._waiting: dict[int, tuple[Receiver, int, float]] = {}
        self._prompt: deque[tuple[int, float]] = deque()
        self._outgoing: list[bytes] = []
        self._rest = memoryview(b"")
        self._unsent_bytes = 0
        self._blocked = False
        self._last_id = 0
        self._closed = False
        self.draining = False
        self.on_drain: set[Callable[[], None]] = set()
        self.on_sweep: set[Callable[[], None]] = set()
        self.on_refusal: set[Callable[[str], None]] = set()
        self._sweep = self._hub.loop.timer(_SWEEP_S, repeat=_SWEEP_S, ref=False)
        self._sweep.start(self._expire)
        self._connector = gevent.spawn(self._connect)

    # -- what routes call ----------------------------------------------------------------------

    def ask(self, kind: int, body: bytes = b"", wait_ms: int = 0, caller: Presence | None = None) -> Reply:
        """Send one request and wait for its reply `(request_id, outcome, index, body)`.

        If `caller` leaves, a request that waits is answered as if its wait were over.

        Raises:
            Unavailable: the replica is not there; nothing was done.
            OutcomeUnknown: the connection broke, or time ran out, with an OPERATE or ORDER on its way.
        """
        waiter: Waiter[Reply] = Waiter(self._hub)
        request_id = self.post(waiter, kind, body, wait_ms)
        watcher = caller and wait_ms and caller.watch(partial(self.stop, request_id))
        try:
            return waiter.get()
        except BaseException:
            # Still listed: nobody answered, this greenlet is being killed. The replica shall not go on for it.
            self._cancel(request_id)
            raise
        finally:
            if watcher:
                watcher.close()

    def post(self, receiver: Receiver, kind: int, body: bytes = b"", wait_ms: int = 0) -> int:
        """Send one request and do not wait: `receiver` gets the reply or the error. The id of the request.

        Raises:
            Unavailable: the replica is not there; nothing was done.
        """
        if self._socket is None:
            raise Unavailable("this node's replica is not answering", code="not_ready")
        if self._unsent_bytes > UNSENT_BYTES_MAX:
            raise Unavailable("this node's replica is behind with its work", code="not_ready")
        if self.draining:
            wait_ms = 0
        self._last_id = request_id = self._last_id + 1 if self._last_id < _REQUEST_ID_MAX else 1
        now_s = time.monotonic()
        self._waiting[request_id] = (receiver, kind, now_s + self._deadline_s + wait_ms / 1000)
        if not wait_ms:
            self._forget_answered()
            self._prompt.append((request_id, now_s))
        self._send(request(request_id, kind, body, wait_ms))
        return request_id

    def tell(self, kind: int, body: bytes = b"") -> bool:
        """Send what has no answer; False: the replica is not there, and it was not sent."""
        if self._socket is None:
            return False
        self._send(request(0, kind, body))
        return True

    def stop(self, request_id: int) -> None:
        """Have a request answered as if its wait were over."""
        if request_id in self._waiting and self._socket is not None:
            self._send(request(request_id, STOP))

    def is_behind(self, factor: int = 1) -> bool:
        """Whether more has been asked for than is done in time, or in `factor` times that."""
        if not self._overload_s:
            return False
        self._forget_answered()
        prompt = self._prompt
        return len(prompt) >= REQUESTS_MIN and prompt[0][1] < time.monotonic() - factor * self._overload_s

    def check_load(self, *, holds: bool = False) -> None:
        """Refuse work that this node cannot do in time; holds: it is about jobs that a consumer holds.

        Raises:
            Unavailable: it has too much to do.
        """
        if self.is_behind(HELD_FACTOR if holds else 1):
            raise Unavailable(OVERLOADED, code="overloaded", retry_after_s=OVERLOADED_RETRY_S)

    def drain(self) -> None:
        """Have all waiting dequeues answered now; later ones do not wait."""
        self.draining = True
        self.tell(DRAIN)
        for notice in tuple(self.on_drain):
            notice()

    def close(self) -> None:
        """Give the connection up; requests on their way end as when it breaks."""
        self._closed = True
        self._connector.kill()
        self._sweep.stop()
        self._sweep.close()
        self._drop("this node is shutting down")

    # -- connecting ----------------------------------------------------------------------------

    def _connect(self) -> None:
        pause_s = RECONNECT_S_MIN
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.connect(self._path)
            except OSError:
                connection.close()
                gevent.sleep(pause_s)
                pause_s = min(pause_s * 2, RECONNECT_S_MAX)
            except BaseException:
                connection.close()
                raise
            else:
                break
        connection.setblocking(False)
        self._reader = FrameReader()
        self._outgoing.clear()
        self._rest = memoryview(b"")
        self._unsent_bytes = 0
        self._blocked = False
        loop, descriptor = self._hub.loop, connection.fileno()
        self._watchers = (loop.io(descriptor, _READABLE), loop.io(descriptor, _WRITABLE))
        self._watchers[0].start(self._on_readable)
        self._socket = connection
        log.debug("replica_connected")

    def _drop(self, why: str) -> None:
        """End the connection and answer everybody who waits on it."""
        connection, self._socket = self._socket, None
        if connection is None:
            return
        for watcher in self._watchers:
            watcher.stop()
            watcher.close()
        self._watchers = ()
        connection.close()
        waiting, self._waiting = self._waiting, {}
        if not self._closed:
            log.warning("replica_disconnected", requests_on_their_way=len(waiting), why=why)
            self._connector = gevent.spawn(self._connect)
        for receiver, kind, _ in waiting.values():
            self._hub.loop.run_callback(receiver.throw, _lost(kind, why))

    # -- bytes in and out, all in the hub --------------------------------------------------------

    def _send(self, frame: bytes) -> None:
        if not self._outgoing and not self._blocked:
            self._hub.loop.run_callback(self._flush)
        self._outgoing.append(frame)
        self._unsent_bytes += len(frame)

    def _flush(self) -> None:
        while self._socket is not None:
            if not self._rest:
                if not self._outgoing:
                    return
                self._rest = memoryview(b"".join(self._outgoing))
                self._outgoing.clear()
            try:
                sent = self._socket.send(self._rest)
            except BlockingIOError:
                self._blocked = True
                self._watchers[1].start(self._on_writable)
                return
            except OSError as error:
                self._drop(str(error))
                return
            self._unsent_bytes -= sent
            self._rest = self._rest[sent:]

    def _on_writable(self) -> None:
        self._watchers[1].stop()
        self._blocked = False
        self._flush()

    def _on_readable(self) -> None:
        try:
            size = self._socket.recv_into(self._received)
        except BlockingIOError:
            return
        except OSError as error:
            self._drop(str(error))
            return
        if not size:
            self._drop("the replica closed the connection")
            return
        waiting = self._waiting
        try:
            for frame in self._reader.feed(self._received[:size]):
                reply = parse_reply(frame)
                waits = waiting.pop(reply[0], None)
                if waits is not None:
                    waits[0].switch(reply)
        except FrameError as error:
            self._drop(f"the replica sent {error}")

    def _forget_answered(self) -> None:
        prompt, waiting = self._prompt, self._waiting
        while prompt and prompt[0][0] not in waiting:
            prompt.popleft()

    # -- requests nobody answers -----------------------------------------------------------------

    def _cancel(self, request_id: int) -> None:
        if self._waiting.pop(request_id, None) is not None and self._socket is not None:
            self._send(request(request_id, CANCEL))

    def _expire(self) -> None:
        for notice in tuple(self.on_sweep):
            notice()
        now = time.monotonic()
        # In one go: thousands may wait, and this is most of what a node with nothing to do does for them.
        overdue = [
            (each, receiver, kind) for each, (receiver, kind, deadline) in self._waiting.items() if deadline <= now
        ]
        for request_id, receiver, kind in overdue:
            self._cancel(request_id)
            receiver.throw(_lost(kind, "this node's replica did not answer in time"))


def _lost(kind: int, why: str) -> CqueueError:
    if kind in {OPERATE, ORDER}:
        return OutcomeUnknown(f"it may or may not have been done: {why}")
    return Unavailable(why, code="not_ready")
