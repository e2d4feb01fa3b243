"""One state machine, fed as a replica feeds it: with encoded, stamped entries at growing indexes."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from cqueue.core import entry
from cqueue.core.jobs import Job
from cqueue.core.machine import Applied, StateMachine
from cqueue.core.operations import (
    Conclude,
    Conclusion,
    Dequeue,
    Dequeued,
    Enqueue,
    Enqueued,
    Found,
    GetJob,
    GetStats,
    NewJob,
    Operation,
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


class Driver:
    """Speaks for one consumer after the other; `log` keeps every entry, for replays."""

    def __init__(self) -> None:
        self.machine = StateMachine()
        self.now_ms = START_MS
        self.number = 0
        self.log: list[bytes] = []

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

    def enqueue(self, *types: str, payload: bytes = b"null") -> list[int]:
        """Add one job of each type; their ids."""
        [result] = self.perform(Enqueue([NewJob(type_, payload) for type_ in types]))
        assert isinstance(result, Enqueued)
        return result.ids

    def dequeue(self, count: int = 1, *, lease_ms: int = LEASE_MS, consumer: str | None = None) -> list[Job]:
        """The jobs handed out."""
        [result] = self.perform(Dequeue(count, lease_ms, consumer))
        assert isinstance(result, Dequeued)
        return result.jobs

    def dequeue_ids(self, count: int = 1) -> list[int]:
        """The ids of the jobs handed out."""
        return [job.id for job in self.dequeue(count)]

    def conclude(self, job_id: int, lease_token: int | None = None, result: bytes | None = None) -> Job | Refusal:
        """The outcome for one job."""
        [settled] = self.perform(Conclude([Conclusion(job_id, lease_token, result)]))
        assert isinstance(settled, Settled)
        [outcome] = settled.outcomes
        return outcome

    def refusal(self, job_id: int, lease_token: int | None = None) -> str:
        """The code with which a conclude is refused."""
        outcome = self.conclude(job_id, lease_token)
        assert isinstance(outcome, Refusal)
        return outcome.code

    def pass_time(self, ms: int) -> None:
        """Let time go by until a tick is applied."""
        self.now_ms += ms
        self.apply(entry.TICK)

    def get(self, job_id: int) -> Job | Refusal:
        """The job as it is now, or why there is none."""
        answer = self.machine.query(GetJob(job_id))
        if isinstance(answer, Found):
            return answer.job
        assert isinstance(answer, Refusal)
        return answer

    def status(self, job_id: int) -> str:
        """The job's status, or the code that says why it has none."""
        job = self.get(job_id)
        return job.code if isinstance(job, Refusal) else job.status

    def stats(self) -> dict[str, int]:
        """The jobs of the default queue by status."""
        answer = self.machine.query(GetStats())
        assert isinstance(answer, Stats)
        return {str(status): n for status, n in answer.queues["default"].items()}
