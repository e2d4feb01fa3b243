"""The state machine: log entries in, decisions out.

It has three verbs, `apply`, `snapshot` and `restore`, and a way to look: `query`. It does not know
what time it is (entries tell it), who leads, or who asked. It never raises on a request and never
half-changes: each operation decides first and mutates last, and a refusal is a value.

Results refer to live jobs: encode them before the next `apply`.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from cqueue.core import entry, limits
from cqueue.core.deadlines import Deadlines
from cqueue.core.jobs import (
    CONCLUDED,
    DEFAULT_QUEUE,
    FINISHED,
    IN_PROGRESS,
    QUEUED,
    STATUSES,
    TRANSITIONS,
    Event,
    Job,
    Status,
)
from cqueue.core.keys import Added, Concluded, HandedOut, Keys, Receipt, Remembered
from cqueue.core.operations import (
    Conclude,
    Conclusion,
    Dequeue,
    Dequeued,
    Enqueue,
    Enqueued,
    Found,
    GetJob,
    Keyed,
    Operation,
    Query,
    Refusal,
    Result,
    Settled,
    Stats,
)
from cqueue.core.ready import ReadyJobs
from cqueue.core.sessions import Sessions, SessionState

SNAPSHOT_FORMAT: Final = 1


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
    jobs: list[Job]
    finished: list[int]
    sessions: list[SessionState]
    keys: list[Remembered]


_encode = msgspec.msgpack.Encoder().encode
_decode_snapshot = msgspec.msgpack.Decoder(Snapshot).decode


class StateMachine:
    """The replicated queue.

    jobs: {id: Job}, ascending. ready: ids to hand out. leases: ids by the end of their lease.
    finished: ids in the order they finished. counts: {queue: {status: jobs}}.
    _entry_token: lease tokens from here on were given by the entry that is being applied.
    """

    def __init__(self) -> None:
        self.applied_index = 0
        self.now_ms = 0
        self.next_id = 1
        self.next_token = 1
        self.jobs: dict[int, Job] = {}
        self.ready = ReadyJobs()
        self.leases = Deadlines()
        self.finished: deque[int] = deque()
        self.sessions = Sessions()
        self.keys = Keys()
        self.counts: dict[str, dict[Status, int]] = {}
        self._entry_token = 1

    # -- apply ---------------------------------------------------------------------------------

    def apply(self, index: int, data: bytes) -> Applied:
        """Apply the log entry `data` at `index` and return what it did.

        Raises:
            UnreadableEntry: the entry is not of this format; nothing was changed.
        """
        stamp_ms, session, number, done_below, operations = entry.decode(data)
        self.applied_index = index
        # A new leader's clock may be behind the old one's: time in the log never runs backwards.
        self.now_ms = max(self.now_ms, stamp_ms)
        self._sweep()
        self._entry_token = self.next_token
        if session and not self.sessions.accept(session, number, done_below):
            return Applied(session, number, None)
        return Applied(session, number, [self._perform(operation) for operation in operations])

    def _perform(self, operation: Operation) -> Result:
        if isinstance(operation, Enqueue):
            return self._enqueue(operation)
        if isinstance(operation, Dequeue):
            return self._dequeue(operation)
        if isinstance(operation, Conclude):
            return self._conclude(operation)
        return self._perform_once(operation)

    def _enqueue(self, operation: Enqueue) -> Result:
        news = operation.jobs
        if len(self.jobs) - len(self.finished) + len(news) > limits.LIVE_JOBS_MAX:
            return Refusal("queue_full", f"the queue holds its maximum of {limits.LIVE_JOBS_MAX} jobs")
        first = self.next_id
        ids = list(range(first, first + len(news)))
        self.next_id = first + len(news)
        now_ms, jobs, priority_of = self.now_ms, self.jobs, limits.PRIORITY_BY_TYPE.get
        by_priority: dict[int, list[int]] = {}
        for job_id, new in zip(ids, news, strict=True):
            priority = priority_of(new.type, limits.PRIORITY_DEFAULT)
            jobs[job_id] = Job(
                job_id,
                new.type,
                QUEUED,
                DEFAULT_QUEUE,
                priority,
                new.payload,
                now_ms,
                max_attempts=limits.ATTEMPTS_MAX_DEFAULT,
            )
            by_priority.setdefault(priority, []).append(job_id)
        for priority, ranked in by_priority.items():
            self.ready.add(priority, ranked)
        self._count(DEFAULT_QUEUE)[QUEUED] += len(news)
        return Enqueued(ids)

    def _dequeue(self, operation: Dequeue) -> Dequeued:
        ready, jobs = self.ready, self.jobs
        expires_ms = self.now_ms + operation.lease_ms
        handed_out: list[Job] = []
        payload_bytes = 0
        for _ in range(min(operation.count, len(ready))):
            priority, job_id = ready.pop()
            job = jobs[job_id]
            payload_bytes += len(job.payload)
            if payload_bytes > limits.DEQUEUE_PAYLOAD_BYTES_MAX and handed_out:
                ready.put_back(priority, job_id)
                break
            self._move(job, "hand_out")
            job.attempt += 1
            job.lease_token = self.next_token
            job.lease_expires_ms = expires_ms
            job.consumer = operation.consumer
            self.next_token += 1
            handed_out.append(job)
        self.leases.add(expires_ms, [job.id for job in handed_out])
        return Dequeued(handed_out)

    def _conclude(self, operation: Conclude) -> Settled:
        return Settled([self._conclude_one(conclusion) for conclusion in operation.jobs])

    def _conclude_one(self, conclusion: Conclusion) -> Job | Refusal:
        job = self.jobs.get(conclusion.id)
        if job is None:
            return self._missing(conclusion.id)
        if job.lease_token >= self._entry_token:
            # Handed out by this same entry: the answer that shows it so is not encoded yet.
            job = self.jobs[job.id] = replace(job)
        if job.status == IN_PROGRESS and job.lease_expires_ms <= self.now_ms:
            # The sweep works in slices; whether a lease holds is a matter of time, not of its turn.
            self.leases.discard(job.lease_expires_ms, job.id)
            self._expire(job)
        if conclusion.lease_token is not None and conclusion.lease_token != job.lease_token:
            return Refusal("lease_lost", f"lease token {conclusion.lease_token} of job {job.id} is no longer current")
        if job.status == CONCLUDED:
            return job
        if job.status != IN_PROGRESS:
            if conclusion.lease_token is not None:
                return Refusal("lease_lost", f"the lease of job {job.id} ran out")
            return Refusal("not_in_progress", f"job {job.id} is {job.status}: nobody holds it")
        self.leases.discard(job.lease_expires_ms, job.id)
        job.result = conclusion.result
        self._finish(job, "conclude")
        return job

    # -- once under a key ----------------------------------------------------------------------

    def _perform_once(self, keyed: Keyed) -> Result:
        known = self.keys.find(keyed.key, self.now_ms)
        if known is not None:
            if known.fingerprint != keyed.fingerprint:
                return Refusal("key_reused", f"the key {keyed.key!r} was used for another request")
            return self._redeem(known.receipt)
        operation = keyed.operation
        weight = 1 + (operation.count if isinstance(operation, Dequeue) else len(operation.jobs))
        if not self.keys.has_room(weight):
            return Refusal("keys_full", "no more Idempotency-Keys can be remembered at the moment")
        result = self._perform(operation)
        receipt = _receipt(operation, result)
        if receipt is not None:
            self.keys.remember(Remembered(keyed.key, keyed.fingerprint, self.now_ms, weight, receipt))
        return result

    def _redeem(self, receipt: Receipt) -> Result:
        """The answer a receipt stands for. Jobs that are no longer kept are left out, or `gone`."""
        if isinstance(receipt, Added):
            return Enqueued(list(range(receipt.first, receipt.first + receipt.count)))
        if isinstance(receipt, HandedOut):
            return Dequeued([job for taken in receipt.jobs if (job := self._as_handed_out(*taken, receipt.consumer))])
        return Settled(
            [
                outcome if isinstance(outcome, Refusal) else self.jobs.get(outcome) or self._missing(outcome)
                for outcome in receipt.outcomes
            ]
        )

    def _as_handed_out(
        self, job_id: int, attempt: int, token: int, expires_ms: int, consumer: str | None
    ) -> Job | None:
        job = self.jobs.get(job_id)
        if job is None:
            return None
        return replace(
            job,
            status=IN_PROGRESS,
            attempt=attempt,
            lease_token=token,
            lease_expires_ms=expires_ms,
            consumer=consumer,
            finished_ms=0,
            result=None,
        )

    # -- what time does ------------------------------------------------------------------------

    def next_due_ms(self) -> int | None:
        """When the next change by time alone is due (log time), or None."""
        return self.leases.next_ms()

    def _sweep(self) -> None:
        for job_id in self.leases.take_due(self.now_ms, limits.SWEEP_JOBS_MAX):
            self._expire(self.jobs[job_id])

    def _expire(self, job: Job) -> None:
        """End a lease that ran out; its deadline is already taken."""
        if job.attempt >= job.max_attempts:
            self._finish(job, "expire_last")
        else:
            self._move(job, "expire")
            self.ready.put_back(job.priority, job.id)

    # -- moving jobs ---------------------------------------------------------------------------

    def _move(self, job: Job, event: Event) -> None:
        to = TRANSITIONS[job.status, event]
        count = self.counts[job.queue]
        count[job.status] -= 1
        count[to] += 1
        job.status = to

    def _finish(self, job: Job, event: Event) -> None:
        self._move(job, event)
        job.finished_ms = self.now_ms
        self.finished.append(job.id)
        if len(self.finished) > limits.FINISHED_JOBS_MAX:
            forgotten = self.jobs.pop(self.finished.popleft())
            self.counts[forgotten.queue][forgotten.status] -= 1

    def _count(self, queue: str) -> dict[Status, int]:
        count = self.counts.get(queue)
        if count is None:
            count = self.counts[queue] = dict.fromkeys(STATUSES, 0)
        return count

    def _missing(self, job_id: int) -> Refusal:
        if 0 < job_id < self.next_id:
            return Refusal("gone", f"job {job_id} finished and is no longer kept")
        return Refusal("not_found", f"there is no job {job_id}")

    # -- look ----------------------------------------------------------------------------------

    def query(self, query: Query) -> Result:
        """Answer from the state as it is; changes nothing."""
        if isinstance(query, GetJob):
            job = self.jobs.get(query.id)
            return self._missing(query.id) if job is None else Found(job)
        return Stats(self.counts or {DEFAULT_QUEUE: dict.fromkeys(STATUSES, 0)})

    # -- snapshot, restore ---------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """The whole state as bytes; equal states give equal bytes."""
        return _encode(
            Snapshot(
                SNAPSHOT_FORMAT,
                self.applied_index,
                self.now_ms,
                self.next_id,
                self.next_token,
                list(self.jobs.values()),
                list(self.finished),
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
            state = _decode_snapshot(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UnreadableSnapshot(f"damaged snapshot: {error}") from error
        if state.format != SNAPSHOT_FORMAT:
            raise UnreadableSnapshot(f"snapshot format {state.format}, this version reads {SNAPSHOT_FORMAT}")
        machine = cls()
        machine.applied_index = state.applied_index
        machine.now_ms = state.now_ms
        machine.next_id = state.next_id
        machine.next_token = state.next_token
        machine.finished = deque(state.finished)
        machine.sessions = Sessions.load(state.sessions)
        machine.keys = Keys.load(state.keys)
        for job in state.jobs:
            machine.jobs[job.id] = job
            machine._count(job.queue)[job.status] += 1
            if job.status == QUEUED:
                machine.ready.add(job.priority, [job.id])
            elif job.status not in FINISHED:
                machine.leases.add(job.lease_expires_ms, [job.id])
        return machine


def _receipt(operation: Operation, result: Result) -> Receipt | None:
    """What to remember of an operation; None where doing it again is what the client wants."""
    if isinstance(result, Enqueued):
        return Added(result.ids[0], len(result.ids))
    if isinstance(result, Dequeued) and result.jobs:
        taken = [(job.id, job.attempt, job.lease_token, job.lease_expires_ms) for job in result.jobs]
        return HandedOut(taken, result.jobs[0].consumer)
    if isinstance(result, Settled) and isinstance(operation, Conclude):
        pairs = zip(operation.jobs, result.outcomes, strict=True)
        return Concluded([outcome if isinstance(outcome, Refusal) else said.id for said, outcome in pairs])
    return None
