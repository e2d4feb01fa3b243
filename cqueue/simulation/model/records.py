"""What the naive model keeps: jobs, queues and unique keys, as lists of dicts.

Here is what becomes of one job; who asks for it, and whether it may be, is decided in `model`.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from fractions import Fraction
from math import ceil
from typing import Any, Final

from cqueue.core import limits
from cqueue.core.operations import NewJob, QueueSettings
from cqueue.core.reach import Reach

Words = dict[str, Any]
"""A job, a queue, or an answer."""

WAITING: Final = ("SCHEDULED", "QUEUED")
FINISHED: Final = ("CONCLUDED", "DEAD", "CANCELLED", "EXPIRED")
SETTINGS: Final = QueueSettings.__struct_fields__
NOT_SHOWN: Final = ("history", "finish")


def is_reached(queue: str, reach: Reach | None) -> bool:
    """Whether a caller with these patterns may know of the queue; None: of all."""
    return reach is None or any(fnmatchcase(queue, pattern) for pattern in reach)


class Records:
    """jobs: all that are still kept, by id. queues: those with jobs or settings. taken: unique keys."""

    def __init__(self) -> None:
        self.index = 0
        self.now_ms = 0
        self.jobs: list[Words] = []
        self.queues: list[Words] = []
        self.taken: list[Words] = []
        self.ids_given = 0
        self.tokens_given = 0
        self.finishes = 0
        self.jobs_max = limits.JOBS_MAX_DEFAULT
        self.bytes_max = limits.BYTES_MAX_DEFAULT

    # -- jobs ----------------------------------------------------------------------------------

    def find(self, job_id: int) -> Words | None:
        """The job, if it is kept."""
        return next((job for job in self.jobs if job["id"] == job_id), None)

    def why_missing(self, job_id: int) -> str:
        """An id that was given belongs to a job that is no longer kept."""
        return "gone" if 1 <= job_id <= self.ids_given else "not_found"

    def jobs_of(self, queue: str | None, *statuses: str) -> list[Words]:
        """Jobs of one queue, or of all, in these statuses."""
        return [job for job in self.jobs if queue in {None, job["queue"]} and job["status"] in statuses]

    def first_finished(self, queue: str) -> Words:
        """The one that is forgotten first; there must be one."""
        return min(self.jobs_of(queue, *FINISHED), key=lambda job: int(job["finish"]))

    def bytes_taken(self) -> int:
        """What all jobs are taken to take up."""
        return sum(limits.JOB_BYTES + carried_bytes(job) for job in self.jobs)

    # -- what becomes of a job -----------------------------------------------------------------

    def happens(self, job: Words, event: str, status: str, error: str | None = None) -> None:
        """A change, for the job's history and its queue's totals."""
        job["status"] = status
        job["history"].append(
            {
                "event": event,
                "status": status,
                "at_ms": self.now_ms,
                "index": self.index,
                "attempt": job["attempt"],
                "lease_token": job["lease_token"],
                "consumer": job["consumer"],
                "error": error,
            }
        )
        if event != "request_cancel":
            self.queue(job["queue"])["events"].append((self.now_ms, event))

    def wait(self, job: Words, event: str, status: str, error: str | None = None) -> None:
        """A job that did not wait waits again, and has its unique key again if nobody else took it."""
        job["due_ms"] = 0
        self.happens(job, event, status, error)
        if job["unique"] and job["unique"].scope != "window" and self.holder(job["queue"], job["unique"].key) is None:
            self.take_key(job)

    def finish(self, job: Words, event: str, status: str, error: str | None = None) -> None:
        """A job ends; only so many are kept, the newest."""
        self.finishes += 1
        job.update(due_ms=0, finished_ms=self.now_ms, finished_index=self.index, finish=self.finishes)
        self.happens(job, event, status, error)
        self.let_go_of_key(job)
        if len(self.jobs_of(job["queue"], *FINISHED)) > self.settings(job["queue"])["retention_jobs"]:
            self.forget(self.first_finished(job["queue"]))
        if self.queue(job["queue"])["look_ms"] is None:
            self.plan_look(self.queue(job["queue"]))

    def plan_look(self, queue: Words) -> None:
        """When its finished jobs are looked at again, whatever becomes of them until then."""
        finished = self.jobs_of(queue["name"], *FINISHED)
        queue["look_ms"] = None
        if len(finished) > queue["retention_jobs"]:
            queue["look_ms"] = self.now_ms
        elif finished:
            queue["look_ms"] = self.first_finished(queue["name"])["finished_ms"] + queue["retention_ms"]

    def forget(self, job: Words) -> None:
        """No trace stays of a job but that its id was given, and of a unique key's window."""
        self.jobs.remove(job)
        self.taken = [key for key in self.taken if key["until_ms"] is not None or key["job_id"] != job["id"]]
        self.forget_unused_queues()

    # -- unique keys ---------------------------------------------------------------------------

    def holder(self, queue: str, key: str) -> int | None:
        """The job that has taken the key."""
        for taken in self.taken:
            is_over = taken["until_ms"] is not None and taken["until_ms"] <= self.now_ms
            if (taken["queue"], taken["key"]) == (queue, key) and not is_over:
                return int(taken["job_id"])
        return None

    def take_key(self, job: Words) -> None:
        """The job takes its key, which nobody has; what is left of a window that is over goes."""
        unique = job["unique"]
        self.taken = [key for key in self.taken if (key["queue"], key["key"]) != (job["queue"], unique.key)]
        until_ms = self.now_ms + unique.window_ms if unique.scope == "window" else None
        self.taken.append({"queue": job["queue"], "key": unique.key, "job_id": job["id"], "until_ms": until_ms})

    def let_go_of_key(self, job: Words) -> None:
        """Unless the scope of the job's key says that it still has it."""
        held_in = {"queued": WAITING, "unfinished": (*WAITING, "IN_PROGRESS")}
        if job["unique"] and job["status"] not in held_in.get(job["unique"].scope, ()):
            self.taken = [key for key in self.taken if key["until_ms"] is not None or key["job_id"] != job["id"]]

    # -- queues --------------------------------------------------------------------------------

    def queue(self, name: str) -> Words:
        """The queue, made if it is new."""
        for queue in self.queues:
            if queue["name"] == name:
                return queue
        self.queues.append({"name": name, "events": [], "look_ms": None, "bucket": None, "refill_ms": None})
        self.queues[-1].update(default_settings())
        return self.queues[-1]

    def has_queue(self, name: str) -> bool:
        """Whether there is such a queue."""
        return any(queue["name"] == name for queue in self.queues)

    def settings(self, name: str) -> Words:
        """What the queue says, or would say if there were one."""
        return self.queue(name) if self.has_queue(name) else default_settings()

    def has_room(self, name: str) -> bool:
        """Whether the queue may hand out one job more."""
        queue = self.queue(name)
        held = len(self.jobs_of(name, "IN_PROGRESS"))
        return not 0 < queue["max_in_progress"] <= held and not (queue["rate_milli"] and self.bucket(queue) < 1)

    def bucket(self, queue: Words) -> Fraction:
        """Jobs that the queue's rate lets it hand out at once."""
        burst = queue["rate_burst"] or max(1, queue["rate_milli"] // 1_000)
        if queue["bucket"] is None:
            return Fraction(burst)
        since_ms, jobs = queue["bucket"]
        come = Fraction((self.now_ms - since_ms) * queue["rate_milli"], 1_000_000)
        return Fraction(min(burst, jobs + come))

    def put_into_bucket(self, queue: Words, jobs: Fraction) -> None:
        """So many may be handed out at once from now on; when there is none, one may be a while later."""
        queue["bucket"] = queue["refill_ms"] = None
        if queue["rate_milli"]:
            queue["bucket"] = self.now_ms, jobs
            missing = 1 - self.bucket(queue)
            queue["refill_ms"] = self.now_ms + ceil(missing * 1_000_000 / queue["rate_milli"]) if missing > 0 else None

    def forget_unused_queues(self) -> None:
        """Those that have no jobs, and for which nothing was set."""
        used = {job["queue"] for job in self.jobs}
        defaults = default_settings()
        self.queues = [
            queue
            for queue in self.queues
            if queue["name"] in used or any(queue[name] != defaults[name] for name in SETTINGS)
        ]


def default_settings() -> Words:
    """Of a queue for which nobody has set anything."""
    return {
        "paused": False,
        "require_lease_token": False,
        "lease_ms": limits.LEASE_MS_DEFAULT,
        "max_attempts": limits.ATTEMPTS_MAX_DEFAULT,
        "backoff": limits.BACKOFF_DEFAULT,
        "priorities": {"TIME_CRITICAL": 0},
        "max_depth": 0,
        "retention_jobs": limits.RETENTION_JOBS_DEFAULT,
        "retention_ms": limits.RETENTION_MS_DEFAULT,
        "max_in_progress": 0,
        "rate_milli": 0,
        "rate_burst": 0,
    }


def show_job(job: Words) -> Words:
    """The job as an answer carries it."""
    return {name: value for name, value in job.items() if name not in NOT_SHOWN}


def remembered(job: Words) -> list[Words]:
    """Changes that the job's own fields do not tell, oldest first: only so many are kept, the newest."""
    return list(untold(job)[-limits.CHANGES_KEPT_MAX :])


def untold(job: Words) -> list[Words]:
    """Its changes without the enqueue, and without a hand-out and a conclusion at the end."""
    changes = job["history"][1:]
    for event in ("conclude", "hand_out"):
        if changes and changes[-1]["event"] == event:
            changes = changes[:-1]
    return list(changes)


def outcome(job: Words) -> Words:
    """What one job is after it was asked for."""
    asked = job["status"] == "IN_PROGRESS" and job["cancel_requested_ms"] > 0
    return {"status": job["status"], "cancel_requested": asked}


def due(records: list[Words], field: str, now_ms: int, *then_by: str) -> list[Words]:
    """Those whose time has come, the earliest first: no more than a slice."""
    over = [record for record in records if record[field] and record[field] <= now_ms]
    over.sort(key=lambda record: [record[name] for name in (field, *then_by)])
    return over[: limits.SWEEP_JOBS_MAX]


def has_tags(job: Words, tags: dict[str, str] | None) -> bool:
    """Whether the job has all of these."""
    return all(job["tags"].get(name) == value for name, value in (tags or {}).items())


def carried_bytes(job: Words) -> int:
    """What the job carries besides what all jobs have."""
    said = [job["note"], *(change["error"] for change in remembered(job)), *job["tags"], *job["tags"].values()]
    return len(job["payload"]) + len(job["result"] or b"") + sum(len(text or "") for text in said)


def unique_key(new: NewJob) -> tuple[str, str] | None:
    """What no other live job may have."""
    unique = new.options.unique if new.options else None
    return (new.queue, unique.key) if unique else None
