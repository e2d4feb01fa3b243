"""The replica's process: one thread, one loop, everything in it driven by hand.

A round: wait for news (links, workers, timers) and read it; let the replica propose; let Raft
elect, commit and apply; make the journal's changes last; send what was held; answer the workers.
Reading comes before ticking, so that a loop that was stalled hears its leader before it doubts it.
"""

from __future__ import annotations

import gc
import logging
import secrets
import signal
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

from pysyncobj.syncobj import SyncObjException

from cqueue.config import Settings
from cqueue.core.entry import UnreadableEntry
from cqueue.errors import Unusable
from cqueue.replication import names
from cqueue.replication.clock import Clock, SystemClock
from cqueue.replication.consensus import Consensus, Timing
from cqueue.replication.inbox import Inbox
from cqueue.replication.journal import Journal, MemoryStore, Store
from cqueue.replication.replica import Replica
from cqueue.replication.sqlite_store import EXIT_DATA, SqliteStore
from cqueue.replication.transport import HeldTransport, NoTransport

log = logging.getLogger(__name__)

EXIT_PORT_TAKEN: Final = 3
LEAVE_S_MAX: Final = 1.5
"""How long a leader tries to hand over before it stops all the same."""


def run(settings: Settings, listener: socket.socket, on_started: Callable[[], object]) -> None:
    """Be the node's replica until SIGTERM or SIGINT.

    Args:
        settings: the node's settings.
        listener: the listening unix socket the web workers come to.
        on_started: called once when workers are answered.

    Raises:
        Unusable: the node cannot start or go on; the sentence says why.
    """
    stop = _StopSignal()
    clock = SystemClock()
    replica = Replica(
        session=secrets.randbits(63) | 1,
        clock=clock,
        mode=settings.mode,
        request_timeout_s=settings.request_timeout_s,
    )
    consensus = _consensus(settings, replica, clock)
    replica.attach(consensus)
    inbox = Inbox(listener, consensus._poller, replica)
    stop.wake(consensus._poller)
    gc.collect()
    gc.freeze()
    log.info("replica_started node=%s mode=%s", consensus.node_id, settings.mode)
    on_started()
    try:
        _serve(consensus, replica, inbox, stop)
        _leave(consensus, replica, inbox, clock)
    except UnreadableEntry as error:
        raise Unusable(f"the log cannot be read: {error}", exit_code=EXIT_DATA) from error
    except sqlite3.Error as error:
        raise Unusable(f"{settings.data_dir}: the journal cannot be written: {error}", exit_code=EXIT_DATA) from error
    finally:
        inbox.close()
        consensus.destroy()
    log.info("replica_stopped node=%s applied_index=%d", consensus.node_id, replica.index)


def _serve(consensus: Consensus, replica: Replica, inbox: Inbox, stop: _StopSignal) -> None:
    while not stop.requested:
        consensus.poll(min(consensus.wait_s_max(), replica.wait_s_max()))
        _round(consensus, replica, inbox)


def _round(consensus: Consensus, replica: Replica, inbox: Inbox) -> None:
    replica.advance()
    consensus.tick()
    consensus.flush()
    inbox.flush()


def _leave(consensus: Consensus, replica: Replica, inbox: Inbox, clock: Clock) -> None:
    """Answer what is on its way, then hand leadership over."""
    replica.drain()
    until_s = clock.monotonic_s() + LEAVE_S_MAX
    while clock.monotonic_s() < until_s and not (replica.is_idle and consensus.leave()):
        consensus.poll(min(consensus.wait_s_max(), 0.01))
        _round(consensus, replica, inbox)


def _consensus(settings: Settings, replica: Replica, clock: Clock) -> Consensus:
    resolver = names.install()
    store: Store = MemoryStore()
    if settings.data_dir:
        store = SqliteStore(Path(settings.data_dir), settings.raft_addr or "single", settings.fsync, clock)
    if not settings.is_cluster:
        return _alone(settings, replica, clock, store)
    host = settings.raft_addr.rpartition(":")[0]
    if resolver.resolve_now(host) is None:
        raise Unusable(f"--raft-addr: {host!r} is no name or address of this machine", exit_code=EXIT_PORT_TAKEN)
    try:
        return Consensus(
            settings.raft_addr,
            settings.peers,
            journal=Journal(store),
            timing=Timing(
                settings.election_ms_min / 1000, settings.election_ms_max / 1000, settings.heartbeat_ms / 1000
            ),
            clock=clock,
            transport_class=HeldTransport,
            on_apply=replica.on_apply,
            password=settings.cluster_secret,
            entry_bytes_max=settings.body_bytes_max,
        )
    except SyncObjException as error:
        raise Unusable(
            f"--raft-addr: {settings.raft_addr} cannot be listened on: it is taken, or not an address of this machine",
            exit_code=EXIT_PORT_TAKEN,
        ) from error


def _alone(settings: Settings, replica: Replica, clock: Clock, store: Store) -> Consensus:
    return Consensus(
        settings.node_id,
        (),
        journal=Journal(store),
        timing=Timing(),
        clock=clock,
        transport_class=NoTransport,
        on_apply=replica.on_apply,
        entry_bytes_max=settings.body_bytes_max,
    )


class _StopSignal:
    """SIGTERM and SIGINT, as something the loop can wait for."""

    def __init__(self) -> None:
        self.requested = False
        self._reader, self._writer = socket.socketpair()
        for end in (self._reader, self._writer):
            end.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True

    def wake(self, poller: object) -> None:
        """Let a signal end the poller's wait."""
        poller.subscribe(self._reader.fileno(), lambda _fd, _events: self._reader.recv(64), 1)  # type: ignore[attr-defined]
