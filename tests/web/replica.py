"""A replica to test the web against: the real state machine behind the real protocol, without a cluster.

It serves the unix socket from a thread, applies every operation at once and stamps it with a clock
that tests can move. Tests can also make it fall silent, refuse, break connections and go away.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from cqueue import protocol
from cqueue.core import entry
from cqueue.core.jobs import FINISHED
from cqueue.core.machine import StateMachine
from cqueue.core.operations import Dequeue, Keyed, Operation
from cqueue.core.queries import Query
from cqueue.core.results import Dequeued, Found
from cqueue.replication import snapshots
from cqueue.replication.tallies import Tallies

_decode_query = msgspec.msgpack.Decoder(Query).decode
_decode_operation = msgspec.msgpack.Decoder(Operation).decode
_POLL_S = 0.02
_EMPTY = msgspec.msgpack.encode(Dequeued([]))

READY = protocol.NodeStatus(
    node="127.0.0.1:3000",
    role="leader",
    leader="127.0.0.1:3000",
    term=3,
    commit_index=7,
    applied_index=7,
    members=[protocol.Member("127.0.0.1:3000", "self")],
    mode="memory",
    level=1,
    level_max=1,
    not_ready=None,
)


EQUAL = protocol.Verdict(7, "equal", [protocol.MemberDigest("127.0.0.1:3000", "equal", "ab" * 32)])


@dataclass
class _Parked:
    """A dequeue or a look that waits. until: on the monotonic clock."""

    connection: socket.socket
    request_id: int
    kind: int
    body: bytes
    until: float


@dataclass
class StandInReplica:
    """What tests may set and read: everything without an underscore.

    silent: take requests and answer none of them. failure: answer every request with this outcome,
    once `failure_after` more have been answered as usual.
    garbage: answer every request with these bytes as its result. verdict: of comparisons.
    clock_ahead_ms: how far log time runs ahead of the wall clock. kinds: of all requests taken in, reports aside.
    orders: those of them that were one.
    """

    path: Path
    silent: bool = False
    failure: tuple[int, protocol.Failure] | None = None
    failure_after: int = 0
    garbage: bytes | None = None
    status: protocol.NodeStatus = READY
    verdict: protocol.Verdict = EQUAL
    clock_ahead_ms: int = 0
    kinds: list[int] = field(default_factory=list)
    orders: list[protocol.Order] = field(default_factory=list)
    machine: StateMachine = field(default_factory=StateMachine)
    tallies: Tallies = field(default_factory=Tallies)
    _parked: list[_Parked] = field(default_factory=list)
    _readers: dict[socket.socket, protocol.FrameReader] = field(default_factory=dict)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _dropping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _number: int = 0

    def start(self) -> None:
        """Listen; the state is what it was."""
        self._stopping.clear()
        self.path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path))
        listener.listen(64)
        self._thread = threading.Thread(target=self._serve, args=(listener,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Break all connections and listen no more."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        self.path.unlink(missing_ok=True)

    def reset(self) -> None:
        """An empty queue again, and every wish of the last test forgotten."""
        self.machine = StateMachine()
        self.tallies = Tallies()
        self._number = 0
        self.silent, self.failure, self.failure_after, self.garbage = False, None, 0, None
        self.status, self.clock_ahead_ms = READY, 0
        self.verdict = EQUAL
        self.kinds.clear()
        self.orders.clear()

    def drop_connections(self) -> None:
        """Break all connections, go on listening."""
        self._dropping.set()

    @property
    def parked(self) -> int:
        """How many dequeues and looks wait."""
        return len(self._parked)

    def _serve(self, listener: socket.socket) -> None:
        with selectors.DefaultSelector() as selector, listener:
            selector.register(listener, selectors.EVENT_READ)
            while not self._stopping.is_set():
                for key, _ in selector.select(_POLL_S):
                    if key.fileobj is listener:
                        connection = listener.accept()[0]
                        self._readers[connection] = protocol.FrameReader()
                        selector.register(connection, selectors.EVENT_READ)
                    elif isinstance(key.fileobj, socket.socket):
                        self._read(selector, key.fileobj)
                if self._dropping.is_set():
                    self._close_all(selector)
                    self._dropping.clear()
                self._wake()
            self._close_all(selector)

    def _read(self, selector: selectors.BaseSelector, connection: socket.socket) -> None:
        try:
            data = connection.recv(1024 * 1024)
        except ConnectionError:
            data = b""
        if not data:
            self._close(selector, connection)
            return
        for frame in self._readers[connection].feed(data):
            try:
                self._take(connection, *protocol.parse_request(frame))
            except (BrokenPipeError, ConnectionError):
                self._close(selector, connection)
                return

    def _take(self, connection: socket.socket, request_id: int, kind: int, wait_ms: int, body: bytes) -> None:
        if kind == protocol.REPORT:
            # It comes when its time has come, whatever a test does.
            self.tallies.report(connection, body)
            return
        self.kinds.append(kind)
        if kind in {protocol.CANCEL, protocol.DRAIN, protocol.STOP}:
            self._end_waits(kind, request_id)
        elif self.silent:
            return
        elif self.failure is not None and not self.failure_after:
            outcome, failure = self.failure
            self._send(connection, request_id, protocol.encode(failure), outcome)
        elif self.garbage is not None:
            self._send(connection, request_id, self.garbage)
        elif kind in {protocol.AWAIT, protocol.BACKUP, protocol.VERIFY, protocol.ORDER}:
            self._run_errand(connection, request_id, kind, body)
        elif kind == protocol.STATUS:
            self._send(connection, request_id, protocol.encode(self.status))
        elif kind == protocol.TALLY:
            self._send(connection, request_id, self.tallies.encoded())
        else:
            self.failure_after = max(self.failure_after - 1, 0)
            until = time.monotonic() + wait_ms / 1000
            parked = _Parked(connection, request_id, kind, body, until)
            result = self._apply(body) if kind == protocol.OPERATE else self._look(body)
            if wait_ms and self._is_worth_waiting(parked, result):
                self._parked.append(parked)
            else:
                self._send(connection, request_id, result)
                self._wake()

    def _end_waits(self, kind: int, request_id: int) -> None:
        if kind == protocol.CANCEL:
            self._parked = [parked for parked in self._parked if parked.request_id != request_id]
        for parked in self._parked:
            if kind == protocol.DRAIN or parked.request_id == request_id:
                parked.until = 0.0
        self._wake()

    def _run_errand(self, connection: socket.socket, request_id: int, kind: int, body: bytes) -> None:
        index = self.machine.applied_index
        if kind == protocol.VERIFY:
            self._send(connection, request_id, protocol.encode(self.verdict))
        elif kind == protocol.ORDER:
            self.orders.append(protocol.decode_order(body))
            self._send(connection, request_id, protocol.encode(protocol.Ordered(["127.0.0.1:4001"], None)))
        elif kind == protocol.BACKUP:
            Path(body.decode()).write_bytes(snapshots.encode(index, 1, self.machine.snapshot()))
            self._send(connection, request_id, b"")
        elif protocol.decode_index(body) <= index:
            self._send(connection, request_id, b"")
        else:
            late = protocol.Failure("index_not_reached", "not yet", 1)
            self._send(connection, request_id, protocol.encode(late), protocol.UNAVAILABLE)

    def _look(self, query: bytes) -> bytes:
        return protocol.encode(self.machine.query(_decode_query(query)))

    def _apply(self, operation: bytes) -> bytes:
        self._number += 1
        now_ms = time.time_ns() // 1_000_000 + self.clock_ahead_ms
        data = entry.stamp(entry.encode(1, self._number, self._number, [operation]), now_ms)
        results = self.machine.apply(self._number, data).results
        assert results is not None
        return protocol.encode(results[0])

    def _wake(self) -> None:
        """Answer those whose job or whose time has come."""
        now = time.monotonic()
        for parked in list(self._parked):
            result = _EMPTY
            if parked.kind != protocol.OPERATE:
                result = self._look(parked.body)
            elif self._has_a_job_for(parked):
                result = self._apply(parked.body)
            if parked.until <= now or not self._is_worth_waiting(parked, result):
                self._parked.remove(parked)
                self._send(parked.connection, parked.request_id, result)

    def _is_worth_waiting(self, parked: _Parked, result: bytes) -> bool:
        if parked.kind == protocol.OPERATE:
            return result == _EMPTY
        found = self.machine.query(_decode_query(parked.body))
        return isinstance(found, Found) and found.job.status not in FINISHED

    def _has_a_job_for(self, parked: _Parked) -> bool:
        operation = _decode_operation(parked.body)
        if isinstance(operation, Keyed):
            operation = operation.operation
        return isinstance(operation, Dequeue) and self.machine.available(operation, 1) > 0

    def _send(self, connection: socket.socket, request_id: int, body: bytes, outcome: int = protocol.RESULT) -> None:
        connection.sendall(protocol.reply(request_id, outcome, self.machine.applied_index, body))

    def _close_all(self, selector: selectors.BaseSelector) -> None:
        for connection in list(self._readers):
            self._close(selector, connection)

    def _close(self, selector: selectors.BaseSelector, connection: socket.socket) -> None:
        selector.unregister(connection)
        del self._readers[connection]
        self._parked = [parked for parked in self._parked if parked.connection is not connection]
        self.tallies.forget(connection)
        connection.close()
