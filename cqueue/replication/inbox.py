"""The replica's unix socket: frames from the node's web workers in, answers out.

It subscribes its connections to the poller of the Raft loop, so there is one loop and no lock.
Answers are collected and written once a round. It knows frames, not what they mean.
"""

from __future__ import annotations

import socket
from functools import partial
from typing import Any, Final

from pysyncobj.poller import POLL_EVENT_TYPE

from cqueue import logs, protocol
from cqueue.replication.replica import Replica
from cqueue.replication.requests import Request
from cqueue.replication.soundness import fault_of

log = logs.of(__name__)

_READ, _WRITE = POLL_EVENT_TYPE.READ, POLL_EVENT_TYPE.WRITE
_RECEIVED: Final = memoryview(bytearray(256 * 1024))
"""Where every worker's bytes arrive: a buffer made anew for each read costs three system calls."""


class Inbox:
    """Accepts workers on `listener`, which is bound and listening.

    connections: those that are open; unwritten: of these, with answers to write at the end of this round.
    """

    def __init__(self, listener: socket.socket, poller: Any, replica: Replica) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._poller = poller
        self._replica = replica
        self.connections: set[Connection] = set()
        self.unwritten: set[Connection] = set()
        poller.subscribe(listener.fileno(), self._accept, _READ)

    def _accept(self, _descriptor: int, _events: int) -> None:
        try:
            accepted, _ = self._listener.accept()
        except OSError as error:  # out of descriptors, or the worker gave up: the next one may succeed
            log.warning("worker_not_accepted", error=str(error))
            return
        accepted.setblocking(False)
        self.connections.add(Connection(accepted, self._poller, self._replica, self))

    def flush(self) -> None:
        """Write what was answered in this round."""
        while self.unwritten:
            self.unwritten.pop().write()

    def close(self) -> None:
        """Accept nobody any more, and leave those that are there."""
        self._poller.unsubscribe(self._listener.fileno())
        self._listener.close()
        for connection in tuple(self.connections):
            connection.close()


class Connection:
    """One worker. requests: {its request id: Request} not answered yet."""

    def __init__(self, worker: socket.socket, poller: Any, replica: Replica, inbox: Inbox) -> None:
        self._socket = worker
        self._descriptor = worker.fileno()
        self._poller = poller
        self._replica = replica
        self._inbox = inbox
        self._frames = protocol.FrameReader()
        self._answers: list[bytes] = []
        self._unwritten = b""
        self._requests: dict[int, Request | None] = {}
        self._is_draining = False
        poller.subscribe(self._descriptor, self._on_event, _READ)

    def _on_event(self, _descriptor: int, events: int) -> None:
        if events & _WRITE:
            self._inbox.unwritten.add(self)
        if not events & _READ:
            if not events & _WRITE:
                self.close()
            return
        try:
            size = self._socket.recv_into(_RECEIVED)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        if not size:
            self.close()
            return
        try:
            for frame in self._frames.feed(_RECEIVED[:size]):
                self._on_frame(*protocol.parse_request(frame))
        except protocol.FrameError as error:
            log.warning("worker_frame_refused", error=str(error))
            self.close()

    def _on_frame(self, request_id: int, kind: int, wait_ms: int, body: bytes) -> None:
        if kind == protocol.CANCEL:
            request = self._requests.pop(request_id, None)
            if request is not None:
                self._replica.cancel(request)
        elif kind == protocol.STOP:
            request = self._requests.get(request_id)
            if request is not None:
                self._replica.stop_waiting(request)
        elif kind == protocol.DRAIN:
            self._is_draining = True
            for request in list(self._requests.values()):
                if request is not None:
                    self._replica.stop_waiting(request)
        else:
            self._on_request(request_id, kind, wait_ms, body)

    def _on_request(self, request_id: int, kind: int, wait_ms: int, body: bytes) -> None:
        self._requests[request_id] = None
        answer = partial(self._answer, request_id)
        fault = fault_of(kind, body)
        if kind == protocol.REPORT and fault is None:
            del self._requests[request_id]
            self._replica.tallies.report(self, body)
            return
        if fault is not None:
            log.warning("worker_request_refused", why=fault)
            answer(protocol.REFUSED, self._replica.index, protocol.encode(protocol.Failure("internal", fault)))
            return
        request = self._replica.submit(kind, body, 0 if self._is_draining else wait_ms, answer)
        if request_id in self._requests:
            self._requests[request_id] = request

    def _answer(self, request_id: int, outcome: int, index: int, body: bytes) -> None:
        if self._requests.pop(request_id, self) is not self:
            self._answers.append(protocol.reply(request_id, outcome, index, body))
            self._inbox.unwritten.add(self)

    def write(self) -> None:
        """Write what the socket takes; the rest follows when it is writable."""
        was_waiting = bool(self._unwritten)
        data = b"".join((self._unwritten, *self._answers))
        self._answers.clear()
        try:
            sent = self._socket.send(data) if data else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        self._unwritten = data[sent:]
        if bool(self._unwritten) != was_waiting:
            self._poller.subscribe(self._descriptor, self._on_event, _READ | _WRITE if self._unwritten else _READ)

    def close(self) -> None:
        """Nobody is there any more who could be answered."""
        if self._socket.fileno() == -1:
            return
        self._poller.unsubscribe(self._descriptor)
        self._socket.close()
        self._inbox.connections.discard(self)
        self._inbox.unwritten.discard(self)
        self._replica.tallies.forget(self)
        for request in self._requests.values():
            if request is not None:
                self._replica.cancel(request)
        self._requests.clear()
