"""The queue as docs/protocol.md describes it, in the slowest way that is plainly right.

A list of dicts and linear scans: a reference to compare the state machine with, in the simulator and
in the core's own tests. It imports nothing of the machine but the shapes of what is asked and the
figures of the limits; it knows nothing of heaps, buckets, counters or snapshots. A new verb is a case
in `perform` and a method that says in words what the protocol says. Jobs are shown as the wire shows
them, except that times are milliseconds and payloads JSON text; the function `show` shows a real result so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cqueue.core import limits
from cqueue.core.jobs import Job
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

JobDict = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits that shape what the queue decides, small enough to be met in a test."""

    attempts_max: int
    dequeue_payload_bytes_max: int
    finished_jobs_max: int
    key_ms: int
    keys_weight_max: int
    live_jobs_max: int
    sessions_max: int
    sweep_jobs_max: int

    @classmethod
    def of_core(cls) -> Bounds:
        """The limits the state machine has at this moment."""
        return cls(
            attempts_max=limits.ATTEMPTS_MAX_DEFAULT,
            dequeue_payload_bytes_max=limits.DEQUEUE_PAYLOAD_BYTES_MAX,
            finished_jobs_max=limits.FINISHED_JOBS_MAX,
            key_ms=limits.KEY_MS,
            keys_weight_max=limits.KEYS_WEIGHT_MAX,
            live_jobs_max=limits.LIVE_JOBS_MAX,
            sessions_max=limits.SESSIONS_MAX,
            sweep_jobs_max=limits.SWEEP_JOBS_MAX,
        )


class Model:
    """All jobs that are still kept, in `jobs`; all sessions that are remembered, in `sessions`."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.now_ms = 0
        self.jobs: list[JobDict] = []
        self.ids_given = 0
        self.tokens_given = 0
        self.finishes = 0
        self.sessions: list[dict[str, Any]] = []
        self.batches = 0
        self.keys: list[dict[str, Any]] = []

    def copy(self) -> Model:
        """Another model in the same state."""
        twin = Model(self.bounds)
        vars(twin).update(vars(self))
        twin.jobs = [dict(job) for job in self.jobs]
        twin.sessions = [{**session, "applied": list(session["applied"])} for session in self.sessions]
        twin.keys = list(self.keys)
        return twin

    # -- an entry of the log -------------------------------------------------------------------

    def apply(
        self, stamp_ms: int, session: int, number: int, done_below: int, operations: list[Operation]
    ) -> list[Any] | None:
        """What the batch answers, one answer an operation; None if it is not to be applied."""
        self.now_ms = max(self.now_ms, stamp_ms)
        overdue = [job for job in self.jobs if self.lease_is_over(job)]
        overdue.sort(key=lambda job: (job["lease_expires_ms"], job["id"]))
        for job in overdue[: self.bounds.sweep_jobs_max]:
            self.end_lease(job)
        if session != 0 and not self.is_new(session, number, done_below):
            return None
        return [self.perform(operation) for operation in operations]

    def is_new(self, session: int, number: int, done_below: int) -> bool:
        """Whether this batch of the session is applied for the first time."""
        self.batches += 1
        known = [s for s in self.sessions if s["id"] == session]
        if known:
            [state] = known
            if number < state["done_below"] or number in state["applied"]:
                return False
        elif number != 1:
            return False
        else:
            if len(self.sessions) == self.bounds.sessions_max:
                self.sessions.remove(min(self.sessions, key=lambda s: s["last_batch"]))
            state = {"id": session, "done_below": 1, "applied": []}
            self.sessions.append(state)
        state["applied"].append(number)
        state["done_below"] = max(state["done_below"], done_below)
        state["applied"] = [n for n in state["applied"] if n >= state["done_below"]]
        state["last_batch"] = self.batches
        return True

    def has_applied(self, session: int, number: int) -> bool:
        """Whether the session is remembered and says so."""
        return any(s["id"] == session and (number < s["done_below"] or number in s["applied"]) for s in self.sessions)

    def perform(self, operation: Operation) -> Any:
        """One operation's answer."""
        match operation:
            case Enqueue():
                return self.enqueue(operation)
            case Dequeue():
                return {"jobs": self.dequeue(operation)}
            case Conclude():
                return {"results": [self.conclude(one) for one in operation.jobs]}
            case Keyed():
                return self.perform_once(operation)

    def perform_once(self, keyed: Keyed) -> Any:
        """What was done under the key before is only told again, from the jobs as far as they are kept."""
        self.keys = [known for known in self.keys if known["since_ms"] + self.bounds.key_ms > self.now_ms]
        for known in self.keys:
            if known["key"] == keyed.key:
                if known["operation"] != keyed.operation:
                    return {"code": "key_reused"}
                return self.tell_again(known["answer"])
        operation = keyed.operation
        weight = 1 + (operation.count if isinstance(operation, Dequeue) else len(operation.jobs))
        if sum(known["weight"] for known in self.keys) + weight > self.bounds.keys_weight_max:
            return {"code": "keys_full"}
        answer = self.perform(operation)
        if "code" not in answer and answer != {"jobs": []}:
            ids = [job.id for job in operation.jobs] if isinstance(operation, Conclude) else []
            self.keys.append(
                {
                    "key": keyed.key,
                    "operation": operation,
                    "since_ms": self.now_ms,
                    "weight": weight,
                    "answer": {**answer, "of": ids},
                }
            )
        return answer

    def tell_again(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The same answer; forgotten jobs are left out of a dequeue's and are gone in a conclude's."""
        if "jobs" in answer:
            return {"jobs": [job for job in answer["jobs"] if self.find(job["id"])]}
        if "results" in answer:
            pairs = zip(answer["of"], answer["results"], strict=True)
            return {"results": [result if "code" in result else self.get(job_id) for job_id, result in pairs]}
        return {"ids": answer["ids"]}

    # -- the three verbs -----------------------------------------------------------------------

    def enqueue(self, operation: Enqueue) -> dict[str, Any]:
        """All or none."""
        live = [job for job in self.jobs if job["status"] in ("QUEUED", "IN_PROGRESS")]
        if len(live) + len(operation.jobs) > self.bounds.live_jobs_max:
            return {"code": "queue_full"}
        ids = []
        for new in operation.jobs:
            self.ids_given += 1
            self.jobs.append(
                {
                    "id": self.ids_given,
                    "type": new.type,
                    "status": "QUEUED",
                    "queue": "default",
                    "priority": 0 if new.type == "TIME_CRITICAL" else 500,
                    "payload": new.payload,
                    "created_ms": self.now_ms,
                    "attempt": 0,
                    "max_attempts": self.bounds.attempts_max,
                    "lease_token": None,
                }
            )
            ids.append(self.ids_given)
        return {"ids": ids}

    def dequeue(self, operation: Dequeue) -> list[JobDict]:
        """The best jobs, one after the other, while they fit into one answer."""
        answer: list[JobDict] = []
        payload_bytes = 0
        while len(answer) < operation.count:
            queued = [job for job in self.jobs if job["status"] == "QUEUED"]
            if not queued:
                break
            best = min(queued, key=lambda job: (job["priority"], job["id"]))
            payload_bytes += len(best["payload"])
            if answer and payload_bytes > self.bounds.dequeue_payload_bytes_max:
                break
            self.tokens_given += 1
            best["status"] = "IN_PROGRESS"
            best["attempt"] += 1
            best["lease_token"] = self.tokens_given
            best["lease_expires_ms"] = self.now_ms + operation.lease_ms
            best["consumer"] = operation.consumer
            answer.append(self.show(best))
        return answer

    def conclude(self, conclusion: Conclusion) -> dict[str, Any]:
        """The job, or why not."""
        job = self.find(conclusion.id)
        if job is None:
            return {"code": self.why_missing(conclusion.id)}
        if self.lease_is_over(job):
            self.end_lease(job)
        token = conclusion.lease_token
        if token is not None and (token != job["lease_token"] or job["status"] in ("QUEUED", "DEAD")):
            return {"code": "lease_lost"}
        if job["status"] in ("QUEUED", "DEAD"):
            return {"code": "not_in_progress"}
        if job["status"] == "IN_PROGRESS":
            job["result"] = conclusion.result
            self.finish(job, "CONCLUDED")
        return self.show(job)

    # -- what time does ------------------------------------------------------------------------

    def lease_is_over(self, job: JobDict) -> bool:
        """A lease of n milliseconds is over n milliseconds later, not one after that."""
        return bool(job["status"] == "IN_PROGRESS" and job["lease_expires_ms"] <= self.now_ms)

    def end_lease(self, job: JobDict) -> None:
        """Back into the queue, or dead after the last attempt."""
        if job["attempt"] == job["max_attempts"]:
            self.finish(job, "DEAD")
        else:
            job["status"] = "QUEUED"

    def next_due_ms(self) -> int | None:
        """When the next lease ends."""
        return min((job["lease_expires_ms"] for job in self.jobs if job["status"] == "IN_PROGRESS"), default=None)

    def finish(self, job: JobDict, status: str) -> None:
        """Only the newest finished jobs are kept."""
        self.finishes += 1
        job["status"] = status
        job["finished_ms"] = self.now_ms
        job["finish"] = self.finishes
        finished = [other for other in self.jobs if "finish" in other]
        if len(finished) > self.bounds.finished_jobs_max:
            self.jobs.remove(min(finished, key=lambda other: int(other["finish"])))

    # -- look ----------------------------------------------------------------------------------

    def find(self, job_id: int) -> JobDict | None:
        """The job, if it is kept."""
        return next((job for job in self.jobs if job["id"] == job_id), None)

    def why_missing(self, job_id: int) -> str:
        """An id that was given belongs to a job that is no longer kept."""
        return "gone" if 1 <= job_id <= self.ids_given else "not_found"

    def get(self, job_id: int) -> dict[str, Any]:
        """What `GET /jobs/<id>` shows."""
        job = self.find(job_id)
        return {"code": self.why_missing(job_id)} if job is None else self.show(job)

    def stats(self) -> dict[str, int]:
        """What `GET /jobs/stats` shows of the only queue."""
        return {
            status: len([job for job in self.jobs if job["status"] == status])
            for status in ("QUEUED", "IN_PROGRESS", "CONCLUDED", "DEAD")
        }

    def query(self, query: Query) -> dict[str, Any]:
        """What a query shows; changes nothing."""
        return self.get(query.id) if isinstance(query, GetJob) else {"default": self.stats()}

    def show(self, job: JobDict) -> JobDict:
        """The fields that apply in the job's status."""
        return {name: job.get(name) for name in fields_in(job["status"])}


def fields_in(status: str) -> list[str]:
    """Names of the fields that apply in a status."""
    names = ["id", "type", "status", "queue", "priority", "payload", "created_ms", "attempt", "max_attempts"]
    if status == "IN_PROGRESS":
        names += ["lease_token", "lease_expires_ms", "consumer"]
    if status in ("CONCLUDED", "DEAD"):
        names += ["finished_ms", "result"]
    return names


def show(result: Result | Job) -> dict[str, Any]:  # noqa: PLR0911 - one for each kind
    """A result of the state machine, or a job in one, as the model shows it."""
    match result:
        case Job():
            return {name: getattr(result, name) for name in fields_in(result.status)}
        case Refusal():
            return {"code": result.code}
        case Enqueued():
            return {"ids": result.ids}
        case Dequeued():
            return {"jobs": [show(job) for job in result.jobs]}
        case Settled():
            return {"results": [show(outcome) for outcome in result.outcomes]}
        case Found():
            return show(result.job)
        case Stats():
            return dict(result.queues)
