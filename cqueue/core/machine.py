"""The state machine: log entries in, decisions out.

It has three verbs, `apply`, `snapshot` and `restore`, and a way to look: `query`. It does not know
what time it is (entries tell it), who leads, or who asked. It never raises on a request and never
half-changes: each operation decides first and mutates last, and a refusal is a value.

Results refer to live jobs: encode them before the next `apply`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, get_args

import msgspec
from msgspec import Struct

from cqueue.core import entry, looking
from cqueue.core.enqueueing import enqueue
from cqueue.core.feed import Feed
from cqueue.core.handing_out import available, dequeue
from cqueue.core.jobs import Job
from cqueue.core.keys import Keys, Remembered
from cqueue.core.operations import Dequeue, DropQueue, Enqueue, Keyed, Operation, PerJob, SetBounds, SetQueue, Within
from cqueue.core.places import Ready
from cqueue.core.queries import Query
from cqueue.core.queueing import drop_queue, set_bounds, set_queue
from cqueue.core.queues import Queue, QueueRecord
from cqueue.core.receipts import receipt_of, redeem
from cqueue.core.results import Refusal, Result
from cqueue.core.sessions import Sessions, SessionState
from cqueue.core.settling import settle, settle_within
from cqueue.core.state import State
from cqueue.core.uniqueness import Taken, UniqueKeys

SNAPSHOT_FORMAT: Final = 3


class UnreadableSnapshot(Exception):
    """The snapshot is of another format or damaged. The node must not start from it."""


class Applied(Struct, frozen=True):
    """What one entry did. `results` is None where the entry was not (or not again) applied."""

    session: int
    number: int
    results: list[Result] | None


class Snapshot(Struct, array_like=True):
    """The whole state. Jobs stand in order of id, so equal states have equal bytes."""

    format: int
    applied_index: int
    now_ms: int
    next_id: int
    next_token: int
    max_jobs: int
    max_bytes: int
    jobs: list[Job]
    queues: list[QueueRecord]
    uniques: list[Taken]
    sessions: list[SessionState]
    keys: list[Remembered]


_encode = msgspec.msgpack.Encoder().encode
_decode_snapshot = msgspec.msgpack.Decoder(Snapshot).decode


_VERBS: Final[dict[type, Callable[[State, Any], Result]]] = {
    Enqueue: enqueue,
    Dequeue: dequeue,
    SetQueue: set_queue,
    DropQueue: drop_queue,
    SetBounds: set_bounds,
    Within: settle_within,
    **dict.fromkeys(get_args(PerJob), settle),
}


class StateMachine:
    """The replicated queue. state: the jobs and their queues; sessions, keys: what was done once.

    repeated_now: how many operations of the last entry were answered from what was remembered of their keys.
    """

    def __init__(self) -> None:
        self.state = State()
        self.sessions = Sessions()
        self.keys = Keys()
        self.repeated_now = 0

    @property
    def applied_index(self) -> int:
        """Index of the last entry that was applied."""
        return self.state.index

    @property
    def now_ms(self) -> int:
        """Log time, in ms since the Unix epoch."""
        return self.state.now_ms

    @property
    def bounds(self) -> tuple[int, int]:
        """How many jobs and bytes the cluster takes in, as the log says."""
        return self.state.max_jobs, self.state.max_bytes

    @property
    def ready_now(self) -> set[Ready]:
        """What the last entry made ready: only a dequeue that wants some of it may find what it did not find before."""
        return self.state.ready_now

    @property
    def finished_now(self) -> list[int]:
        """Ids of the jobs that the last entry finished."""
        return self.state.finished_now

    def keep_feed(self, changes_max: int) -> None:
        """Keep the newest changes from here on, so many at least, for those who follow them."""
        self.state.feed = Feed(changes_max, self.state.index)

    @property
    def feed(self) -> Feed | None:
        """What changed lately, if that is kept."""
        return self.state.feed

    def available(self, operation: Dequeue, count_max: int) -> int:
        """How many jobs `operation` could be handed now, whatever its `count`; at most `count_max`."""
        return available(self.state, operation, count_max)

    def next_due_ms(self) -> int | None:
        """When the next change by time alone is due (log time), or None; it may be over already."""
        return self.state.next_due_ms()

    # -- apply ---------------------------------------------------------------------------------

    def apply(self, index: int, data: bytes) -> Applied:
        """Apply the log entry `data` at `index` and return what it did.

        Raises:
            UnreadableEntry: the entry is not of this format; nothing was changed.
        """
        stamp_ms, session, number, done_below, operations = entry.decode(data)
        self.repeated_now = 0
        self.state.begin(index, stamp_ms)
        self.state.sweep()
        if session and not self.sessions.accept(session, number, done_below):
            return Applied(session, number, None)
        return Applied(session, number, [self._perform(operation) for operation in operations])

    def _perform(self, operation: Operation) -> Result:
        if isinstance(operation, Keyed):
            return self._perform_once(operation)
        return _VERBS[type(operation)](self.state, operation)

    def _perform_once(self, keyed: Keyed) -> Result:
        known = self.keys.find(keyed.key, self.now_ms)
        if known is not None:
            if known.fingerprint != keyed.fingerprint:
                return Refusal("key_reused", f"the key {keyed.key!r} was used for another request")
            self.repeated_now += 1
            return redeem(self.state, known.receipt)
        weight = keyed.weight
        if not self.keys.has_room(weight):
            return Refusal("keys_full", "no more Idempotency-Keys can be remembered at the moment")
        result = self._perform(keyed.operation)
        receipt = receipt_of(result)
        if receipt is not None:
            self.keys.remember(Remembered(keyed.key, keyed.fingerprint, self.now_ms, weight, receipt))
        return result

    # -- look ----------------------------------------------------------------------------------

    def query(self, query: Query) -> Result:
        """Answer from the state as it is; changes nothing."""
        return looking.look(self.state, query)

    # -- snapshot, restore ---------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """The whole state as bytes; equal states give equal bytes."""
        state = self.state
        return _encode(
            Snapshot(
                SNAPSHOT_FORMAT,
                state.index,
                state.now_ms,
                state.next_id,
                state.next_token,
                state.max_jobs,
                state.max_bytes,
                list(state.jobs),
                [queue.dump() for queue in state.queues.values()],
                state.uniques.dump(),
                self.sessions.dump(),
                self.keys.dump(),
            )
        )

    @classmethod
    def restore(cls, data: bytes) -> StateMachine:
        """The machine that made the snapshot `data`.

        Raises:
            UnreadableSnapshot: another format, or damaged.
        """
        try:
            snapshot = _decode_snapshot(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UnreadableSnapshot(f"damaged snapshot: {error}") from error
        if snapshot.format != SNAPSHOT_FORMAT:
            raise UnreadableSnapshot(f"snapshot format {snapshot.format}, this version reads {SNAPSHOT_FORMAT}")
        machine = cls()
        machine.sessions = Sessions.load(snapshot.sessions)
        machine.keys = Keys.load(snapshot.keys)
        state = machine.state
        state.index, state.now_ms = snapshot.applied_index, snapshot.now_ms
        state.next_id, state.next_token = snapshot.next_id, snapshot.next_token
        state.max_jobs, state.max_bytes = snapshot.max_jobs, snapshot.max_bytes
        state.uniques = UniqueKeys.load(snapshot.uniques)
        state.queues = {record.name: Queue.load(record) for record in snapshot.queues}
        try:
            state.load(snapshot.jobs)
        except KeyError as error:
            raise UnreadableSnapshot(f"damaged snapshot: a job is of a queue it does not hold, {error}") from error
        return machine
