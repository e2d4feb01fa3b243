"""One state machine, fed as a replica feeds it: with encoded, stamped entries at growing indexes."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from cqueue.core import entry
from cqueue.core.jobs import DEFAULT_QUEUE, Change, Extras, Job, Status
from cqueue.core.machine import Applied, StateMachine
from cqueue.core.operations import (
    Cancel,
    Conclude,
    Conclusion,
    Dequeue,
    Enqueue,
    Extend,
    Extension,
    Fail,
    FailedAttempt,
    Held,
    NewJob,
    Operation,
    Options,
    PerJob,
    Progress,
    Purge,
    Redrive,
    Release,
    Report,
    SetQueue,
)
from cqueue.core.queries import Explain, GetHistory, GetJob, GetQueue, GetStats, ListJobs
from cqueue.core.results import (
    Dequeued,
    Enqueued,
    Explanation,
    Found,
    History,
    Outcome,
    Page,
    QueueState,
    Refusal,
    Settled,
    Stats,
)

SESSION: Final = 7
START_MS: Final = 1_000_000
LEASE_MS: Final = 60_000

encode = msgspec.msgpack.Encoder().encode


def batch(number: int, *operations: Operation, session: int = SESSION, done_below: int = 0) -> bytes:
    """An entry as a follower encodes it, not stamped yet."""
    return entry.encode(session, number, done_below, [encode(operation) for operation in operations])


def word(outcome: Outcome) -> str:
    """The status, or the code of the refusal."""
    return outcome.code if isinstance(outcome, Refusal) else outcome.status


class Driver:
    """Speaks for one consumer after the other; `log` keeps every entry, for replays."""

    def __init__(self) -> None:
        self.machine = StateMachine()
        self.now_ms = START_MS
        self.number = 0
        self.log: list[bytes] = []

    # -- the log -------------------------------------------------------------------------------

    def apply(self, data: bytes, stamp_ms: int | None = None) -> Applied:
        """Append the entry at the log's end, stamped with the driver's time or the one given."""
        stamped = entry.stamp(data, self.now_ms if stamp_ms is None else stamp_ms)
        self.log.append(stamped)
        return self.machine.apply(len(self.log), stamped)

    def perform(self, *operations: Operation) -> list[Any]:
        """The results of a batch with the session's next number."""
        self.number += 1
        results = self.apply(batch(self.number, *operations, done_below=self.number)).results
        assert results is not None
        return list(results)

    def pass_time(self, ms: int) -> None:
        """Let time go by until a tick is applied."""
        self.now_ms += ms
        self.apply(entry.TICK)

    def restart(self) -> None:
        """Go on from a snapshot."""
        self.machine = StateMachine.restore(self.machine.snapshot())

    # -- jobs come and go out ------------------------------------------------------------------

    def enqueue(self, *types: str, payload: bytes = b"null", queue: str = DEFAULT_QUEUE, **options: Any) -> list[int]:
        """Add one job of each type, with `options` (see `operations.Options`); their ids."""
        said = Options(**options) if options else None
        [result] = self.perform(Enqueue([NewJob(type_, payload, queue, said) for type_ in types]))
        assert isinstance(result, Enqueued)
        return result.ids

    def dequeue(self, count: int = 1, *, lease_ms: int = LEASE_MS, consumer: str | None = None, **of: Any) -> list[Job]:
        """The jobs handed out; `of`: queues, types, tags."""
        [result] = self.perform(Dequeue(count, lease_ms, consumer, **of))
        assert isinstance(result, Dequeued)
        return result.jobs

    def dequeue_ids(self, count: int = 1, **of: Any) -> list[int]:
        """The ids of the jobs handed out."""
        return [job.id for job in self.dequeue(count, **of)]

    # -- one job, by id ------------------------------------------------------------------------

    def settle(self, operation: PerJob) -> str:
        """The outcome for the only job of `operation`: its status, or the code of the refusal."""
        [settled] = self.perform(operation)
        assert isinstance(settled, Settled)
        [outcome] = settled.outcomes
        return word(outcome)

    def conclude(self, job_id: int, lease_token: int | None = None, result: bytes | None = None) -> str:
        """Say that it is done."""
        return self.settle(Conclude([Conclusion(job_id, lease_token, result)]))

    def fail(self, job_id: int, lease_token: int | None = None, error: str | None = None, **how: Any) -> str:
        """Say that it failed; `how`: retryable, retry_in_ms."""
        return self.settle(Fail([FailedAttempt(job_id, lease_token, error, **how)]))

    def release(self, job_id: int, lease_token: int | None = None) -> str:
        """Give it back."""
        return self.settle(Release([Held(job_id, lease_token)]))

    def extend(self, job_id: int, lease_token: int | None = None, lease_ms: int = LEASE_MS) -> str:
        """Hold it longer."""
        return self.settle(Extend([Extension(job_id, lease_token, lease_ms)]))

    def progress(
        self, job_id: int, lease_token: int | None = None, percent: int | None = None, note: str | None = None
    ) -> str:
        """Say how far it is."""
        return self.settle(Progress([Report(job_id, lease_token, percent, note)]))

    def cancel(self, job_id: int) -> str:
        """Ask that it be not done."""
        return self.settle(Cancel([job_id]))

    def redrive(self, job_id: int) -> str:
        """Ask for it to be tried again after all."""
        return self.settle(Redrive([job_id]))

    def purge(self, job_id: int) -> str:
        """Ask for it to be forgotten."""
        return self.settle(Purge([job_id]))

    # -- queues --------------------------------------------------------------------------------

    def set_queue(self, queue: str = DEFAULT_QUEUE, **settings: Any) -> QueueState:
        """Change some settings (see `operations.SetQueue`)."""
        [result] = self.perform(SetQueue(queue, **settings))
        assert isinstance(result, QueueState)
        return result

    # -- look ----------------------------------------------------------------------------------

    def get(self, job_id: int) -> Job | Refusal:
        """The job as it is now, or why there is none."""
        answer = self.machine.query(GetJob(job_id))
        if isinstance(answer, Found):
            return answer.job
        assert isinstance(answer, Refusal)
        return answer

    def job(self, job_id: int) -> Job:
        """The job as it is now; there must be one."""
        job = self.get(job_id)
        assert isinstance(job, Job)
        return job

    def extras(self, job_id: int) -> Extras:
        """What the job has that most have not."""
        return self.job(job_id).extras or Extras()

    def status(self, job_id: int) -> str:
        """The job's status, or the code that says why it has none."""
        job = self.get(job_id)
        return job.code if isinstance(job, Refusal) else job.status

    def statuses(self, *job_ids: int) -> list[str]:
        """The same of several."""
        return [self.status(job_id) for job_id in job_ids]

    def stats(self, queue: str = DEFAULT_QUEUE) -> dict[str, int]:
        """The jobs of a queue by status, without the statuses that none has."""
        answer = self.machine.query(GetStats())
        assert isinstance(answer, Stats)
        return {str(status): n for status, n in answer.queues.get(queue, {}).items() if n}

    def queue_state(self, queue: str = DEFAULT_QUEUE) -> QueueState:
        """A queue as it is now; there must be one."""
        answer = self.machine.query(GetQueue(queue))
        assert isinstance(answer, QueueState)
        return answer

    def has_queue(self, queue: str) -> bool:
        """Whether there is such a queue."""
        answer = self.machine.query(GetQueue(queue))
        assert isinstance(answer, QueueState) or answer.code == "queue_not_found"
        return isinstance(answer, QueueState)

    def changes(self, job_id: int) -> list[Change]:
        """The history of a job."""
        answer = self.machine.query(GetHistory(job_id))
        assert isinstance(answer, History)
        return answer.changes

    def events(self, job_id: int) -> list[str]:
        """What happened to a job, in order."""
        return [change.event for change in self.changes(job_id)]

    def explain(self, job_id: int) -> Explanation:
        """Why a job is not running."""
        answer = self.machine.query(Explain(job_id))
        assert isinstance(answer, Explanation)
        return answer

    def page(self, **of: Any) -> Page:
        """A page of jobs; `of`: see `queries.ListJobs`."""
        answer = self.machine.query(ListJobs(**of))
        assert isinstance(answer, Page)
        return answer


def given_a_dead_job(queue: Driver, **options: Any) -> int:
    """One that failed for good; it was handed out before all others."""
    [job_id] = queue.enqueue("mail", priority=0, **options)
    queue.dequeue(queues=(options.get("queue", DEFAULT_QUEUE),))
    queue.fail(job_id, error="broken", retryable=False)
    return job_id


def given_a_job(queue: Driver, status: Status) -> int:
    """A job that got to `status` by a way the queue has; if it was handed out, it was so once, before all others."""
    if status == "DEAD":
        return given_a_dead_job(queue)
    is_out = status in {"IN_PROGRESS", "CONCLUDED"}
    options: dict[str, Any] = {"SCHEDULED": {"delay_ms": 1_000}, "EXPIRED": {"expires_in_ms": 1_000}}.get(status, {})
    [job_id] = queue.enqueue("mail", priority=0 if is_out else None, **options)
    if status == "EXPIRED":
        queue.pass_time(1_000)
    if status == "CANCELLED":
        queue.cancel(job_id)
    if is_out:
        queue.dequeue()
    if status == "CONCLUDED":
        queue.conclude(job_id)
    assert queue.status(job_id) == status
    return job_id
