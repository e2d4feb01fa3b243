"""The jobs and every index over them: what there is, how it is found, and how it is forgotten.

The moves of jobs between the places are in `cqueue.core.state`. It does not know what time it is;
each log entry says so.
"""

from __future__ import annotations

from itertools import islice
from typing import Literal

from msgspec.structs import replace

from cqueue.core import limits
from cqueue.core.deadlines import Deadlines
from cqueue.core.feed import Feed, Told
from cqueue.core.jobs import (
    FINISHED,
    QUEUED,
    WAITING,
    Change,
    Event,
    Extras,
    Job,
    Status,
    Unique,
)
from cqueue.core.memory import remember, size
from cqueue.core.queues import MINUTE_MS, Queue
from cqueue.core.ready import Tag
from cqueue.core.results import Refusal
from cqueue.core.shards import Jobs
from cqueue.core.uniqueness import UniqueKeys

Ready = tuple[str, str | Tag]
"""Something became ready: (queue, type of a job), and (queue, tag) for each of its tags."""


class Places:
    """index, now_ms: of the entry that is being applied.

    live: jobs that are not finished. bytes: what the jobs take, by `size`. due: ends of leases, and
    when scheduled jobs become ready. expiries: when waiting jobs expire. retention: when finished
    jobs of a queue are looked at. refills: when a queue may hand out again as far as its pace goes.
    opened_now: queues that this entry let hand out again what stood in them.
    ready_now: what this entry made ready. finished_now: ids that it finished, or forgot.
    entry_token: lease tokens from here on were given by this entry. shown: ids of other jobs that a
    result of this entry shows. feed: hears of every change, where anybody wants to know; it is no
    part of a snapshot.
    """

    def __init__(self) -> None:
        self.index = 0
        self.now_ms = 0
        self.next_id = 1
        self.next_token = 1
        self.jobs = Jobs()
        self.queues: dict[str, Queue] = {}
        self.due: Deadlines[int] = Deadlines()
        self.expiries: Deadlines[int] = Deadlines()
        self.retention: Deadlines[str] = Deadlines()
        self.refills: Deadlines[str] = Deadlines()
        self.uniques = UniqueKeys()
        self.max_jobs = limits.JOBS_MAX_DEFAULT
        self.max_bytes = limits.BYTES_MAX_DEFAULT
        self.live = 0
        self.bytes = 0
        self.ready_now: set[Ready] = set()
        self.opened_now: set[str] = set()
        self.finished_now: list[int] = []
        self.entry_token = 1
        self.shown: set[int] = set()
        self.feed: Feed | None = None

    def begin(self, index: int, stamp_ms: int) -> None:
        """A new entry, stamped by its leader."""
        self.index = index
        minute = self.now_ms // MINUTE_MS
        # A new leader's clock may be behind the old one's: time in the log never runs backwards.
        self.now_ms = max(self.now_ms, stamp_ms)
        if minutes := self.now_ms // MINUTE_MS - minute:
            for queue in self.queues.values():
                queue.turn_minutes(minutes)
        self.entry_token = self.next_token
        if self.shown:
            self.shown = set()
        if self.ready_now:
            self.ready_now = set()
        if self.opened_now:
            self.opened_now = set()
        if self.finished_now:
            self.finished_now = []

    def load(self, jobs: list[Job]) -> None:
        """The jobs out of a snapshot, ascending; the queues are there already, without them."""
        ready: dict[tuple[str, str, int], list[int]] = {}
        names: dict[str, str] = {}
        for job in jobs:
            self.jobs.append(job.id, [job])
            job.type = names.setdefault(job.type, job.type)
            job.queue = names.setdefault(job.queue, job.queue)
            self.queues[job.queue].counts[job.status] += 1
            self.bytes += size(job)
            self.live += job.status not in FINISHED
            if job.status == QUEUED:
                ready.setdefault((job.queue, job.type, job.priority), []).append(job.id)
                self.queues[job.queue].ready.append_tags(job)
            elif job.due_ms:
                self.due.add(job.due_ms, [job.id])
            if job.extras is not None and job.status in WAITING:
                self._start_to_wait(job, job.extras)
        for (name, kind, priority), ids in ready.items():
            self.queues[name].ready.append(kind, priority, ids)
        for queue in self.queues.values():
            if queue.retention_due_ms:
                self.retention.add(queue.retention_due_ms, [queue.name])
            self.plan_refill(queue)

    # -- finding -------------------------------------------------------------------------------------

    def missing(self, job_id: int) -> Refusal:
        """Why there is no such job."""
        if 0 < job_id < self.next_id:
            return Refusal("gone", f"job {job_id} is no longer kept")
        return Refusal("not_found", f"there is no job {job_id}")

    def to_change(self, job: Job) -> Job:
        """The job, or a copy in its place where an earlier result of this entry shows it as it was."""
        if job.lease_token < self.entry_token and job.id not in self.shown:
            return job
        extras = job.extras and replace(job.extras)
        job = replace(job, extras=extras)
        self.jobs.put(job)
        return job

    def queue_of(self, name: str) -> Queue:
        """The queue `name`, made if it is new."""
        queue = self.queues.get(name)
        if queue is None:
            queue = self.queues[name] = Queue(name)
        return queue

    def next_due_ms(self) -> int | None:
        """When the next change by time alone is due (log time), or None; it may be over already."""
        times = (
            each.next_ms() for each in (self.due, self.expiries, self.retention, self.refills, self.uniques.windows)
        )
        return min((due_ms for due_ms in times if due_ms is not None), default=None)

    # -- remembering ---------------------------------------------------------------------------------

    def note(self, job: Job, event: Event | Literal["request_cancel"], error: str | None = None) -> None:
        """Remember a change of `job` that its own fields will not tell."""
        attempt, token, consumer = job.attempt, job.lease_token, job.consumer
        change = Change(event, job.status, self.now_ms, self.index, attempt, token, consumer, error)
        self.bytes += remember(job, change)

    def _tell(self, event: Told, job: Job, error: str | None = None) -> None:
        if self.feed is not None:
            self.feed.tell(self.index, self.now_ms, event, [job], error)

    def _tell_all(self, event: Told, jobs: list[Job]) -> None:
        if self.feed is not None:
            self.feed.tell(self.index, self.now_ms, event, jobs)

    # -- forgetting ----------------------------------------------------------------------------------

    def forget(self, job: Job) -> None:
        """Keep nothing of a job that nobody holds."""
        queue = self.queues[job.queue]
        if job.status in FINISHED:
            del queue.finished[job.id]
        else:
            self.due.discard(job.due_ms, job.id)
            self._leave_wait(job, queue, None)
            self._give_back_key(job)
            self.live -= 1
            self.finished_now.append(job.id)
        self._drop_jobs([job.id], queue)
        if queue.is_forgettable:
            self.drop(queue)

    def drop(self, queue: Queue) -> None:
        """Forget a queue that has no jobs."""
        self.retention.discard(queue.retention_due_ms, queue.name)
        self.refills.discard(queue.refill_due_ms, queue.name)
        del self.queues[queue.name]

    # -- limits of a queue ---------------------------------------------------------------------------

    def open(self, queue: Queue) -> None:
        """What is ready in `queue` may be handed out from now on, as it could not before."""
        if queue.name not in self.opened_now:
            self.opened_now.add(queue.name)
            self.ready_now.update((queue.name, kind) for kind in queue.ready.types)
            self.ready_now.update((queue.name, tag) for tag in queue.ready.tags)

    def plan_refill(self, queue: Queue) -> None:
        """Look at `queue` again when its pace lets it hand out again, if it does not now."""
        if queue.refill_due_ms:
            self.refills.discard(queue.refill_due_ms, queue.name)
        queue.refill_due_ms = 0 if queue.pace is None else queue.pace.next_ms()
        if queue.refill_due_ms:
            self.refills.add(queue.refill_due_ms, [queue.name])

    def plan_retention(self, queue: Queue) -> None:
        """Look at the finished jobs of `queue` again when its settings say so.

        When the first of them leaves earlier, the plan stays: it is looked at in vain, and planned anew.
        """
        self.retention.discard(queue.retention_due_ms, queue.name)
        queue.retention_due_ms = 0
        if queue.finished:
            due_ms = self.now_ms
            if len(queue.finished) <= queue.settings.retention_jobs:
                due_ms = self.jobs[queue.first_finished].finished_ms + queue.settings.retention_ms
            queue.retention_due_ms = due_ms
            self.retention.add(due_ms, [queue.name])

    def _retain(self, queue: Queue) -> None:
        settings = queue.settings
        for job_id in list(islice(queue.finished, limits.SWEEP_JOBS_MAX)):
            job = self.jobs[job_id]
            too_many = len(queue.finished) > settings.retention_jobs
            if not too_many and job.finished_ms + settings.retention_ms > self.now_ms:
                break
            self.forget(job)
        if queue.name in self.queues:
            self.plan_retention(queue)

    def _keep_newest(self, queue: Queue, added: int) -> None:
        """So many finished jobs came: as many may go, the first to finish first, while there are more than wanted."""
        finished = queue.finished
        over = min(len(finished) - queue.settings.retention_jobs, added)
        if over > 0:
            self._drop_jobs([finished.popitem(last=False)[0] for _ in range(over)], queue)
        if not queue.retention_due_ms:
            self.plan_retention(queue)

    def _drop_jobs(self, job_ids: list[int], queue: Queue) -> None:
        """Keep nothing of jobs that are in no place any more."""
        dropped_bytes = 0
        counts = queue.counts
        for job in self.jobs.take(job_ids):
            counts[job.status] -= 1
            if job.extras is None:
                dropped_bytes += limits.JOB_BYTES + len(job.payload) + len(job.result or b"")
            else:
                dropped_bytes += size(job)
        self.bytes -= dropped_bytes

    # -- parts of moves ------------------------------------------------------------------------------

    def _leave_wait(self, job: Job, queue: Queue, to: Status | None) -> None:
        if job.status == QUEUED:
            queue.ready.discard(job)
        if job.extras is not None and to not in WAITING:
            self._stop_to_wait(job, job.extras)

    def _start_to_wait(self, job: Job, extras: Extras) -> None:
        if extras.expires_ms:
            self.expiries.add(extras.expires_ms, [job.id])

    def _stop_to_wait(self, job: Job, extras: Extras) -> None:
        if extras.expires_ms:
            self.expiries.discard(extras.expires_ms, job.id)
        if extras.unique is not None and extras.unique.scope == "queued":
            self.uniques.give_back(job.queue, extras.unique.key, job.id)

    def _take_key_again(self, job: Job, unique: Unique | None) -> None:
        """A job that waits again takes back its key, unless another has it, or it never let go of it."""
        if unique is None or unique.scope == "window":
            return
        if self.uniques.holder(job.queue, unique.key, self.now_ms) is None:
            self.uniques.take(job.queue, unique.key, job.id, 0)

    def _give_back_key(self, job: Job) -> None:
        unique = job.extras and job.extras.unique
        if unique and unique.scope != "window":
            self.uniques.give_back(job.queue, unique.key, job.id)
