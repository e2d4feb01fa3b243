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
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final

from cqueue import logs
from cqueue.certificates import TlsFiles
from cqueue.config import Settings
from cqueue.core.entry import UnreadableEntry
from cqueue.core.machine import UnreadableSnapshot
from cqueue.errors import Unusable
from cqueue.replication.clock import Clock, SystemClock
from cqueue.replication.consensus import Consensus
from cqueue.replication.inbox import Inbox
from cqueue.replication.journal import Journal, MemoryStore, Store
from cqueue.replication.names import Resolver, host_of
from cqueue.replication.poller import LoopPoller
from cqueue.replication.raft import Timing
from cqueue.replication.replica import Replica
from cqueue.replication.snapshots import EXIT_DATA, FileSnapshots, NoSnapshots
from cqueue.replication.sqlite_store import SqliteStore
from cqueue.replication.tls import Certificates
from cqueue.replication.transport import LinkSettings, NoTransport, TcpTransport

log = logs.of(__name__)

RETRY_S: Final = 0.5
"""Between two attempts to reach a node."""
LINK_BYTES_MAX: Final = 32 * 1024 * 1024
"""Longest message between nodes, and most that may wait to be written, beyond two largest bodies."""
LEAVE_S_MAX: Final = 1.5
"""How long a leader tries to hand over before it stops all the same."""
ROUNDS_S: Final = 1.0
"""The longest round of every so many seconds is logged, for those who look for what holds a node up."""
ROUND_S_LONG: Final = 0.1
"""Such a round is worth a warning: with the default settings a heartbeat is late."""


def run(
    settings: Settings, listener: socket.socket, on_started: Callable[[], object], clock: Clock | None = None
) -> None:
    """Be the node's replica until SIGUSR1.

    Args:
        settings: the node's settings.
        listener: the listening unix socket the web workers come to.
        on_started: called once when workers are answered.
        clock: what it goes by; None: the machine's.

    Raises:
        Unusable: the node cannot start or go on; the sentence says why.
    """
    stop = _StopSignal()
    clock = clock or SystemClock()
    with _reading():
        consensus, replica, inbox = prepare(settings, listener, clock)
    stop.wake(consensus._poller)
    gc.collect()
    gc.freeze()
    log.info("replica_started", node=consensus.node_id, mode=settings.mode)
    on_started()
    try:
        with _reading():
            _serve(consensus, replica, inbox, stop)
            _leave(consensus, replica, inbox, clock)
    except sqlite3.Error as error:
        raise Unusable(f"{settings.data_dir}: the journal cannot be written: {error}", exit_code=EXIT_DATA) from error
    finally:
        inbox.close()
        consensus.destroy()
    log.info("replica_stopped", node=consensus.node_id, index=replica.index)


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except (UnreadableEntry, UnreadableSnapshot) as error:
        raise Unusable(f"what was kept cannot be read: {error}", exit_code=EXIT_DATA) from error


def prepare(settings: Settings, listener: socket.socket, clock: Clock) -> tuple[Consensus, Replica, Inbox]:
    """The parts of a node's replica, with the state restored from what was kept; arguments as above.

    Raises:
        Unusable: see above.
    """
    session = secrets.randbits(63) | 1
    replica = Replica(
        session=session,
        clock=clock,
        mode=settings.mode,
        request_timeout_s=settings.request_timeout_s,
        bounds=(settings.max_jobs, settings.max_bytes),
        events_max=settings.events_max,
        waiting_max=settings.waiting_max,
    )
    replica.tallies.labels_max = settings.metrics_labels_max
    consensus = _consensus(settings, replica, clock, session)
    replica.attach(consensus)
    return consensus, replica, Inbox(listener, consensus._poller, replica)


def _serve(consensus: Consensus, replica: Replica, inbox: Inbox, stop: _StopSignal) -> None:
    rounds = _Rounds(consensus._poller)
    while not stop.requested:
        go_round(consensus, replica, inbox)
        rounds.one_more()


def go_round(consensus: Consensus, replica: Replica, inbox: Inbox) -> None:
    """Wait for news, and do what there is to do."""
    consensus.poll(min(consensus.wait_s_max(), replica.wait_s_max()))
    _round(consensus, replica, inbox)


def turn(consensus: Consensus, replica: Replica) -> None:
    """What a node does in a round between reading and answering; the simulator drives the same."""
    replica.advance()
    consensus.tick()
    consensus.flush()


def _round(consensus: Consensus, replica: Replica, inbox: Inbox) -> None:
    turn(consensus, replica)
    inbox.flush()


def _leave(consensus: Consensus, replica: Replica, inbox: Inbox, clock: Clock) -> None:
    """Answer what is on its way, then hand leadership over."""
    replica.drain()
    until_s = clock.monotonic_s() + LEAVE_S_MAX
    while clock.monotonic_s() < until_s and not (replica.is_idle and consensus.leave()):
        consensus.poll(min(consensus.wait_s_max(), 0.01))
        _round(consensus, replica, inbox)


def _consensus(settings: Settings, replica: Replica, clock: Clock, life: int) -> Consensus:
    """The node's consensus, with the state restored from what was kept."""
    timing = Timing(settings.election_ms_min / 1000, settings.election_ms_max / 1000, settings.heartbeat_ms / 1000)
    store: Store = MemoryStore()
    snapshots: FileSnapshots | NoSnapshots = NoSnapshots()
    restored = None
    if settings.data_dir:
        directory = Path(settings.data_dir)
        store = SqliteStore(
            directory, settings.raft_addr or "single", settings.fsync, clock, replica.tallies.journal_synced
        )
        snapshots = FileSnapshots(directory, sync=settings.fsync != "never", on_made=replica.tallies.snapshot_made)
        kept = snapshots.load()
        if kept is not None:
            replica.restore(kept[2])
            restored = snapshots.latest
    elif settings.is_cluster:
        snapshots = FileSnapshots(None, sync=False, on_made=replica.tallies.snapshot_made)
    links = LinkSettings(
        settings.cluster_secret,
        clock,
        Resolver(),
        RETRY_S,
        LINK_BYTES_MAX + 2 * settings.body_bytes_max,
        _certificates(settings, clock),
    )
    return Consensus(
        settings.node_id,
        settings.peers,
        life=life,
        journal=Journal(store),
        snapshots=snapshots,
        timing=timing,
        clock=clock,
        transport=partial(TcpTransport, settings=links) if settings.is_cluster else NoTransport,
        on_apply=replica.on_apply,
        on_install=replica.restore,
        state=replica.state,
        restored=restored,
    )


def _certificates(settings: Settings, clock: Clock) -> Certificates | None:
    """What the links speak TLS with; None where they do not."""
    if not (settings.raft_tls_cert and settings.is_cluster):
        return None
    files = TlsFiles(settings.raft_tls_cert, settings.raft_tls_key, settings.raft_tls_ca)
    return Certificates(files, host_of(settings.raft_addr), clock)


class _Rounds:
    """Says how long rounds take: the longest of each second, as a warning if it made a heartbeat late.

    In a long round of little CPU time the process stood still: the disk, or other processes, were slow.
    """

    def __init__(self, poller: LoopPoller) -> None:
        self._poller = poller
        self._said_s = time.monotonic()
        self._longest_s = self._cpu_s = 0.0
        self._cpu_before_s = time.thread_time()

    def one_more(self) -> None:
        """A round has ended just now."""
        now_s, cpu_s = time.monotonic(), time.thread_time()
        took_s = now_s - self._poller.woke_s
        if took_s > self._longest_s:
            self._longest_s, self._cpu_s = took_s, cpu_s - self._cpu_before_s
        self._cpu_before_s = cpu_s
        if now_s - self._said_s >= ROUNDS_S:
            level = logging.WARNING if self._longest_s >= ROUND_S_LONG else logging.DEBUG
            log.log(level, "round_longest", ms=round(self._longest_s * 1000, 1), cpu_ms=round(self._cpu_s * 1000, 1))
            self._said_s, self._longest_s = now_s, 0.0


class _StopSignal:
    """The supervisor's word to stop, as something the loop can wait for.

    It is SIGUSR1. SIGTERM and SIGINT may reach every process of a node at once (Ctrl-C, a service
    manager), and the replica must outlive the web workers that are still answering.
    """

    def __init__(self) -> None:
        self.requested = False
        self._reader, self._writer = socket.socketpair()
        for end in (self._reader, self._writer):
            end.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGUSR1, self._on_signal)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True

    def wake(self, poller: LoopPoller) -> None:
        """Let the signal end the poller's wait."""
        poller.subscribe(self._reader.fileno(), lambda _descriptor, _events: self._reader.recv(64), 1)
