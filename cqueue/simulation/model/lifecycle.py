"""What can be asked of the model: each rule of docs/protocol.md in a few lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from cqueue.core import limits
from cqueue.core.backoff import delay_ms
from cqueue.core.operations import (
    Cancel,
    Conclude,
    Dequeue,
    DropQueue,
    Enqueue,
    Extend,
    Fail,
    NewJob,
    Options,
    PerJob,
    Progress,
    Purge,
    Redrive,
    Release,
    SetBounds,
    SetQueue,
    Within,
)
from cqueue.core.reach import Reach
from cqueue.simulation.model.in_time import InTime
from cqueue.simulation.model.looking import show_queue
from cqueue.simulation.model.records import (
    FINISHED,
    SETTINGS,
    WAITING,
    Words,
    carried_bytes,
    has_tags,
    is_reached,
    outcome,
    show_job,
    unique_key,
)

Unkeyed = Enqueue | Dequeue | PerJob | SetQueue | DropQueue | SetBounds | Within


class Lifecycle(InTime):
    """The verbs, each with its answer."""

    def perform(self, operation: Unkeyed) -> Words:
        """One operation's answer."""
        match operation:
            case Enqueue():
                return self.enqueue(operation)
            case Dequeue():
                return {"jobs": self.dequeue(operation)}
            case SetQueue():
                return self.set_queue(operation)
            case DropQueue():
                return self.drop_queue(operation.queue)
            case SetBounds():
                self.jobs_max, self.bytes_max = operation.max_jobs, operation.max_bytes
                return {}
            case _:
                return self.settle(operation)

    # -- jobs come -----------------------------------------------------------------------------

    def enqueue(self, operation: Enqueue) -> Words:
        """All or none of those whose unique key is free."""
        # An entry of `plan`: the id of the job that is there already, or the new job's position in `news`.
        plan: list[tuple[str, int]] = []
        news: list[NewJob] = []
        for new in operation.jobs:
            unique = new.options.unique if new.options else None
            same = [n for n, other in enumerate(news) if unique and unique_key(other) == (new.queue, unique.key)]
            holder = self.holder(new.queue, unique.key) if unique else None
            if holder is not None:
                plan.append(("kept", holder))
            elif same:
                plan.append(("new", same[0]))
            else:
                plan.append(("add", len(news)))
                news.append(new)
        code = self.why_not_all(news) if news else None
        if code:
            return {"code": code}
        ids = [self.add(new) for new in news]
        return {
            "ids": [n if what == "kept" else ids[n] for what, n in plan],
            "duplicates": [position for position, (what, _) in enumerate(plan) if what != "add"],
        }

    def why_not_all(self, news: list[NewJob]) -> str | None:
        """The bound that is reached; finished jobs make room where bytes are short."""
        if len(self.jobs_of(None, *WAITING, "IN_PROGRESS")) + len(news) > self.jobs_max:
            return "queue_full"
        names = [new.queue for new in news]
        for name in names:
            depth = len(self.jobs_of(name, *WAITING)) + names.count(name)
            if 0 < self.settings(name)["max_depth"] < depth:
                return "queue_full"
        if len({queue["name"] for queue in self.queues} | set(names)) > limits.QUEUES_MAX:
            return "too_many_queues"
        uniques = len([new for new in news if unique_key(new)])
        if uniques and len(self.taken) + uniques > limits.UNIQUE_KEYS_MAX:
            return "queue_full"
        added_bytes = sum(limits.JOB_BYTES + len(new.payload) for new in news)
        return None if self.make_room(added_bytes) else "queue_full"

    def make_room(self, added_bytes: int) -> bool:
        """Forget finished jobs until there is room: a slice of those of the queue that has most of them, and so on."""
        forgotten = 0
        while self.is_short_of(added_bytes) and forgotten < limits.ROOM_JOBS_MAX:
            names = [job["queue"] for job in self.jobs_of(None, *FINISHED)]
            if not names:
                break
            fullest = max(names, key=lambda name: (names.count(name), name))
            for _ in range(min(limits.SWEEP_JOBS_MAX, names.count(fullest))):
                if self.is_short_of(added_bytes):
                    self.forget(self.first_finished(fullest))
                    forgotten += 1
        return not self.is_short_of(added_bytes)

    def is_short_of(self, added_bytes: int) -> bool:
        """Whether so many bytes more are too many."""
        return self.bytes_taken() + added_bytes > self.bytes_max

    def add(self, new: NewJob) -> int:
        """One job, as its options say or else its queue."""
        options, defaults = new.options or Options(), self.queue(new.queue)
        priority = options.priority
        if priority is None:
            priority = defaults["priorities"].get(new.type, limits.PRIORITY_DEFAULT)
        run_at_ms = max(self.now_ms + options.delay_ms, options.run_at_ms)
        waits = run_at_ms > self.now_ms
        self.ids_given += 1
        job: Words = {
            "id": self.ids_given,
            "type": new.type,
            "queue": new.queue,
            "priority": priority,
            "payload": new.payload,
            "created_ms": self.now_ms,
            "created_index": self.index,
            "max_attempts": options.max_attempts or defaults["max_attempts"],
            "lease_ms": options.lease_ms or defaults["lease_ms"],
            "due_ms": run_at_ms if waits else 0,
            "attempt": 0,
            "lease_token": 0,
            "consumer": None,
            "started_ms": 0,
            "started_index": 0,
            "finished_ms": 0,
            "finished_index": 0,
            "result": None,
            "tags": options.tags or {},
            "backoff": options.backoff,
            "unique": options.unique,
            "run_at_ms": run_at_ms if waits else 0,
            "expires_ms": self.now_ms + options.expires_in_ms if options.expires_in_ms else 0,
            "percent": None,
            "note": None,
            "progress_ms": 0,
            "cancel_requested_ms": 0,
            "history": [],
        }
        self.jobs.append(job)
        self.happens(job, "enqueue", "SCHEDULED" if waits else "QUEUED")
        if options.unique:
            self.take_key(job)
        return self.ids_given

    # -- jobs go out ---------------------------------------------------------------------------

    def dequeue(self, operation: Dequeue) -> list[Words]:
        """The best jobs, one after the other, while they fit into one answer."""
        answer: list[Words] = []
        answer_bytes = 0
        while len(answer) < operation.count:
            job = self.best(operation)
            if job is None:
                break
            if 0 < job["expires_ms"] <= self.now_ms:
                self.finish(job, "expire", "EXPIRED")
                continue
            answer_bytes += carried_bytes(job)
            if answer and answer_bytes > limits.DEQUEUE_PAYLOAD_BYTES_MAX:
                break
            self.tokens_given += 1
            job["attempt"] += 1
            job["lease_token"] = self.tokens_given
            job["due_ms"] = self.now_ms + (operation.lease_ms or job["lease_ms"])
            job["consumer"] = operation.consumer
            job["started_ms"] = self.now_ms
            job["started_index"] = self.index
            job.update(percent=None, note=None, progress_ms=0)
            self.happens(job, "hand_out", "IN_PROGRESS")
            queue = self.queue(job["queue"])
            self.put_into_bucket(queue, self.bucket(queue) - 1)
            self.let_go_of_key(job)
            answer.append(show_job(job))
        return answer

    def best(self, operation: Dequeue) -> Words | None:
        """Of the first queue that has any: the lowest priority, then the lowest id."""
        for name in operation.queues:
            fitting = [
                job
                for job in self.jobs
                if job["queue"] == name
                and job["status"] == "QUEUED"
                and (operation.types is None or job["type"] in operation.types)
                and has_tags(job, operation.tags)
            ]
            if fitting and not self.settings(name)["paused"] and self.has_room(name):
                return min(fitting, key=lambda job: (job["priority"], job["id"]))
        return None

    # -- what is said of jobs by id ------------------------------------------------------------

    def settle(self, operation: PerJob | Within) -> Words:
        """Each on its own; where one was asked for, the job itself is told too. Jobs out of reach are none."""
        reach = None
        if isinstance(operation, Within):
            reach, operation = operation.reach, operation.operation
        ids = [each if isinstance(each, int) else each.id for each in said_of(operation)]
        results = [
            self.settle_one(operation, job_id, each) if self.may_know(job_id, reach) else {"code": "not_found"}
            for job_id, each in zip(ids, said_of(operation), strict=True)
        ]
        job = self.find(ids[0]) if len(ids) == 1 and "code" not in results[0] else None
        return {"results": results, "job": job and show_job(job)}

    def may_know(self, job_id: int, reach: Reach | None) -> bool:
        """Whether nothing is there to hide, or it is not hidden."""
        job = self.find(job_id)
        return job is None or is_reached(job["queue"], reach)

    def settle_one(self, operation: PerJob, job_id: int, said: Any) -> Words:
        """The job's status now, or why not."""
        job = self.find(job_id)
        if job is None:
            return {"code": self.why_missing(job_id)}
        if job["status"] == "IN_PROGRESS" and job["due_ms"] <= self.now_ms:
            self.end_lease(job)
        if not isinstance(operation, Cancel | Redrive | Purge):
            is_done = isinstance(operation, Conclude) and job["status"] == "CONCLUDED"
            code = self.why_not_held(job, said.lease_token, is_done=is_done)
            if code or is_done:
                return {"code": code} if code else outcome(job)
        code = self.verbs[type(operation)](self, job, said)
        return {"code": code} if code else outcome(job)

    def why_not_held(self, job: Words, token: int | None, *, is_done: bool) -> str | None:
        """Why whoever shows `token` may not say anything of the job."""
        if token is None:
            if self.settings(job["queue"])["require_lease_token"]:
                return "token_required"
            return None if job["status"] == "IN_PROGRESS" or is_done else "not_in_progress"
        is_current = token == job["lease_token"] and (job["status"] == "IN_PROGRESS" or is_done)
        return None if is_current else "lease_lost"

    def conclude(self, job: Words, said: Any) -> None:
        """Done, one way or the other."""
        job["result"] = said.result
        if job["cancel_requested_ms"]:
            self.finish(job, "cancel", "CANCELLED")
        else:
            self.finish(job, "conclude", "CONCLUDED")

    def fail(self, job: Words, said: Any) -> None:
        """Again later, again now, or never again."""
        wait_ms = said.retry_in_ms
        if wait_ms is None:
            backoff = job["backoff"] or self.settings(job["queue"])["backoff"]
            wait_ms = delay_ms(backoff, job["id"], job["attempt"])
        if job["cancel_requested_ms"]:
            self.finish(job, "cancel", "CANCELLED", said.error)
        elif not said.retryable or job["attempt"] >= job["max_attempts"]:
            self.finish(job, "give_up", "DEAD", said.error)
        elif wait_ms:
            self.wait(job, "retry", "SCHEDULED", said.error)
            job["due_ms"] = self.now_ms + wait_ms
        else:
            self.wait(job, "retry_now", "QUEUED", said.error)

    def release(self, job: Words, _said: Any) -> None:
        """As if it had not been handed out."""
        if job["cancel_requested_ms"]:
            self.finish(job, "cancel", "CANCELLED")
        else:
            self.wait(job, "release", "QUEUED")
            job["attempt"] -= 1

    def extend(self, job: Words, said: Any) -> None:
        """From now on."""
        job["due_ms"] = self.now_ms + (said.lease_ms or job["lease_ms"])

    def progress(self, job: Words, said: Any) -> None:
        """What is not said stays."""
        job["percent"] = job["percent"] if said.percent is None else said.percent
        job["note"] = job["note"] if said.note is None else said.note
        job["progress_ms"] = self.now_ms

    def cancel(self, job: Words, _id: int) -> str | None:
        """At once, or as soon as its holder knows."""
        if job["status"] in WAITING:
            self.finish(job, "cancel", "CANCELLED")
        elif job["status"] == "IN_PROGRESS":
            if not job["cancel_requested_ms"]:
                job["cancel_requested_ms"] = self.now_ms
                self.happens(job, "request_cancel", "IN_PROGRESS")
        elif job["status"] != "CANCELLED":
            return "already_finished"
        return None

    def redrive(self, job: Words, _id: int) -> str | None:
        """From the dead."""
        if job["status"] != "DEAD":
            return "not_dead"
        job["attempt"] = job["finished_ms"] = job["finished_index"] = 0
        self.wait(job, "redrive", "QUEUED")
        return None

    def purge(self, job: Words, _id: int) -> str | None:
        """Out of sight."""
        if job["status"] == "IN_PROGRESS":
            return "in_progress"
        self.forget(job)
        return None

    verbs: Final[dict[type, Callable[[Lifecycle, Words, Any], str | None]]] = {
        Conclude: conclude,
        Fail: fail,
        Release: release,
        Extend: extend,
        Progress: progress,
        Cancel: cancel,
        Redrive: redrive,
        Purge: purge,
    }

    # -- queues --------------------------------------------------------------------------------

    def set_queue(self, operation: SetQueue) -> Words:
        """What is not named stays as it is."""
        if not self.has_queue(operation.queue) and len(self.queues) >= limits.QUEUES_MAX:
            return {"code": "too_many_queues"}
        queue = self.queue(operation.queue)
        named = {name: getattr(operation, name) for name in SETTINGS}
        may_go = self.bucket(queue) if queue["rate_milli"] else None
        queue.update({name: value for name, value in named.items() if value is not None})
        self.put_into_bucket(queue, self.bucket(queue) if may_go is None else may_go)
        self.plan_look(queue)
        shown = show_queue(self, operation.queue)
        self.forget_unused_queues()
        return shown

    def drop_queue(self, name: str) -> Words:
        """With its finished jobs, if they are not too many, and without any others."""
        finished = self.jobs_of(name, *FINISHED)
        if not self.has_queue(name):
            return {"code": "queue_not_found"}
        if self.jobs_of(name, *WAITING, "IN_PROGRESS") or len(finished) > limits.SETTLE_JOBS_MAX:
            return {"code": "queue_not_empty"}
        for job in finished:
            self.forget(job)
        self.queues = [queue for queue in self.queues if queue["name"] != name]
        return {}


def said_of(operation: PerJob) -> list[Any]:
    """What an operation says, one item a job: its id, or something with an id."""
    return list(operation.ids if isinstance(operation, Cancel | Redrive | Purge) else operation.jobs)
