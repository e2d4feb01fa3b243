"""The jobs and every index over them, kept in step: the one place where a job moves.

What the verbs decide (`enqueueing`, `handing_out`, `settling`) they do through the few moves here.
Each move leaves every index right: the lines of the ready, the deadlines, the unique keys, the
counts, the bytes. It does not know what time it is; each log entry says so.
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
    IN_PROGRESS,
    QUEUED,
    SCHEDULED,
    TRANSITIONS,
    WAITING,
    Change,
    Event,
    Extras,
    Job,
    Status,
    Unique,
)
from cqueue.core.memory import remember, remember_hand_out, size
from cqueue.core.queues import MINUTE_MS, Queue
from cqueue.core.ready import Tag
from cqueue.core.results import Refusal
from cqueue.core.shards import Jobs
from cqueue.core.uniqueness import UniqueKeys

Ready = tuple[str, str | Tag]
"""Something became ready: (queue, type of a job), and (queue, tag) for each of its tags."""


class State:
    """index, now_ms: of the entry that is being applied.

    live: jobs that are not finished. bytes: what the jobs take, by `size`. due: ends of leases, and
    when scheduled jobs become ready. expiries: when waiting jobs expire. retention: when finished
    jobs of a queue are looked at.
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
        self.uniques = UniqueKeys()
        self.max_jobs = limits.JOBS_MAX_DEFAULT
        self.max_bytes = limits.BYTES_MAX_DEFAULT
        self.live = 0
        self.bytes = 0
        self.ready_now: set[Ready] = set()
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

    # -- finding -------------------------------------------------------------------------------

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

    # -- moves ---------------------------------------------------------------------------------

    def admit(self, jobs: list[Job]) -> None:
        """New jobs, at least one, with the next ids: QUEUED, or SCHEDULED until their `due_ms`."""
        ready: dict[tuple[str, str, int], list[int]] = {}
        scheduled: dict[str, int] = {}
        queue_name, kind, priority = "", "", -1
        ids: list[int] = []
        self.jobs.append(self.next_id, jobs)
        added_bytes = len(jobs) * limits.JOB_BYTES
        for job in jobs:
            added_bytes += len(job.payload)
            if job.extras is not None:
                added_bytes += size(job) - len(job.payload) - limits.JOB_BYTES
                self._start_to_wait(job, job.extras)
                if job.status == SCHEDULED:
                    self.due.add(job.due_ms, [job.id])
                    scheduled[job.queue] = scheduled.get(job.queue, 0) + 1
                    continue
            if job.type is not kind or job.queue is not queue_name or job.priority != priority:
                queue_name, kind, priority = job.queue, job.type, job.priority
                ids = ready.setdefault((queue_name, kind, priority), [])
            ids.append(job.id)
        self.bytes += added_bytes
        for (name, kind, priority), ids in ready.items():
            queue = self.queues[name]
            queue.ready.append(kind, priority, ids)
            self.ready_now.add((name, kind))
            queue.counts[QUEUED] += len(ids)
            queue.totals["enqueue"] += len(ids)
        for name, count in scheduled.items():
            self.queues[name].counts[SCHEDULED] += count
            self.queues[name].totals["enqueue"] += count
        for job in jobs:
            if job.extras is not None and job.status == QUEUED:
                self.queues[job.queue].ready.append_tags(job)
                self.ready_now.update((job.queue, tag) for tag in job.tags.items())
        self.next_id += len(jobs)
        self.live += len(jobs)
        self._tell_all("enqueue", jobs)

    def hand_out(self, queue: Queue, jobs: list[Job], lease_ms: int, consumer: str | None) -> None:
        """Hand out ready jobs that were taken out of their lines; lease_ms 0: as each job says."""
        status = TRANSITIONS[QUEUED, "hand_out"]
        now_ms, index, token = self.now_ms, self.index, self.next_token
        due: dict[int, list[int]] = {}
        for job in jobs:
            if job.extras is not None:
                self._stop_to_wait(job, job.extras)
                self._clear_progress(job.extras)
            job.status = status
            job.attempt += 1
            job.lease_token = token
            job.consumer = consumer
            job.started_ms = now_ms
            job.started_index = index
            job.due_ms = due_ms = now_ms + (lease_ms or job.lease_ms)
            if due_ms in due:
                due[due_ms].append(job.id)
            else:
                due[due_ms] = [job.id]
            token += 1
        self.next_token = token
        for due_ms, ids in due.items():
            self.due.add(due_ms, ids)
        queue.counts[QUEUED] -= len(jobs)
        queue.counts[status] += len(jobs)
        queue.totals["hand_out"] += len(jobs)
        self._tell_all("hand_out", jobs)

    def extend(self, job: Job, lease_ms: int) -> None:
        """The lease of a held job ends `lease_ms` from now."""
        # From now, not from its old end: a slow consumer must not bank time.
        self.due.discard(job.due_ms, job.id)
        job.due_ms = self.now_ms + lease_ms
        self.due.add(job.due_ms, [job.id])
        self._tell("extend", job)

    def report(self, job: Job, percent: int | None, note: str | None) -> None:
        """Keep what the holder says of its progress; None leaves what it said before."""
        extras = job.with_extras()
        extras.progress_ms = self.now_ms
        if percent is not None:
            extras.percent = percent
        if note is not None:
            self.bytes += len(note) - len(extras.note or "")
            extras.note = note
        self._tell("progress", job)

    def release(self, job: Job) -> None:
        """A held job is ready again as if it had not been handed out."""
        self.wait_again(job, "release")
        job.attempt -= 1

    def wait_again(self, job: Job, event: Event, wait_ms: int = 0, error: str | None = None) -> None:
        """A job waits again, or still: held, SCHEDULED or DEAD until now. SCHEDULED for `wait_ms` from now."""
        if job.status == IN_PROGRESS:
            self.bytes += remember_hand_out(job)
        waited = job.status in WAITING
        queue = self._move(job, event)
        self.note(job, event, error)
        self._tell(event, job, error)
        if job.extras is not None and not waited:
            self._start_to_wait(job, job.extras)
            self._take_key_again(job, job.extras.unique)
        if job.status == SCHEDULED:
            job.due_ms = self.now_ms + wait_ms
            self.due.add(job.due_ms, [job.id])
        else:
            queue.ready.put_back(job)
            self.ready_now.add((job.queue, job.type))
            for tag in job.tags.items():
                self.ready_now.add((job.queue, tag))

    def redrive(self, job: Job) -> None:
        """A dead job is ready again, with all its attempts before it."""
        del self.queues[job.queue].finished[job.id]
        job.attempt = 0
        job.finished_ms = job.finished_index = 0
        self.live += 1
        self.wait_again(job, "redrive")

    def conclude(self, job: Job, result: bytes | None) -> None:
        """A held job is done."""
        queue = self._move(job, "conclude")
        self._tell("conclude", job)
        self._end(job, queue, result)

    def conclude_all(self, concluded: list[tuple[Job, bytes | None]]) -> None:
        """The same for several jobs without extras, none of them twice, at two thirds of the cost."""
        status = TRANSITIONS[IN_PROGRESS, "conclude"]
        now_ms, index = self.now_ms, self.index
        by_queue: dict[str, list[int]] = {}
        due: dict[int, list[int]] = {}
        name, end_ms = "", 0
        ids: list[int] = []
        ending: list[int] = []
        for job, result in concluded:
            job_id = job.id
            if job.queue is not name:
                name = job.queue
                ids = by_queue.setdefault(name, [])
            ids.append(job_id)
            if job.due_ms != end_ms:
                end_ms = job.due_ms
                ending = due.setdefault(end_ms, [])
            ending.append(job_id)
            job.status = status
            job.due_ms = 0
            job.finished_ms = now_ms
            job.finished_index = index
            if result is not None:
                job.result = result
                self.bytes += len(result)
        jobs = [job for job, _ in concluded]
        for end_ms, ending in due.items():
            self.due.discard_all(end_ms, ending)
        self.live -= len(jobs)
        self.finished_now += [job.id for job in jobs]
        self._tell_all("conclude", jobs)
        for name, ids in by_queue.items():
            queue = self.queues[name]
            queue.counts[IN_PROGRESS] -= len(ids)
            queue.counts[status] += len(ids)
            queue.totals["conclude"] += len(ids)
            queue.finished.update(dict.fromkeys(ids))
            self._keep_newest(queue, len(ids))

    def end(self, job: Job, event: Event, error: str | None = None, result: bytes | None = None) -> None:
        """A job ends otherwise."""
        if job.status == IN_PROGRESS:
            self.bytes += remember_hand_out(job)
        queue = self._move(job, event)
        self.note(job, event, error)
        self._tell(event, job, error)
        self._end(job, queue, result)

    def lose_lease(self, job: Job) -> None:
        """The lease of a held job ran out."""
        if job.cancel_requested:
            self.end(job, "cancel")
        elif job.attempt >= job.max_attempts:
            self.end(job, "lose_last_lease")
        else:
            self.wait_again(job, "lose_lease")

    def request_cancel(self, job: Job) -> None:
        """Whoever holds the job is to be told to stop."""
        job.with_extras().cancel_requested_ms = self.now_ms
        self.bytes += remember_hand_out(job)
        self.note(job, "request_cancel")
        self._tell("request_cancel", job)

    def purge(self, job: Job) -> None:
        """Forget a job because somebody says so."""
        self._tell("purge", job)
        self.forget(job)

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
        self._drop_job(job, queue)
        if queue.is_forgettable:
            self.drop(queue)

    def drop(self, queue: Queue) -> None:
        """Forget a queue that has no jobs."""
        self.retention.discard(queue.retention_due_ms, queue.name)
        del self.queues[queue.name]

    def note(self, job: Job, event: Event | Literal["request_cancel"], error: str | None = None) -> None:
        """Remember a change of `job` that its own fields will not tell."""
        attempt, token, consumer = job.attempt, job.lease_token, job.consumer
        change = Change(event, job.status, self.now_ms, self.index, attempt, token, consumer, error)
        self.bytes += remember(job, change)

    # -- what time does ------------------------------------------------------------------------

    def next_due_ms(self) -> int | None:
        """When the next change by time alone is due (log time), or None; it may be over already."""
        times = (each.next_ms() for each in (self.due, self.expiries, self.retention, self.uniques.windows))
        return min((due_ms for due_ms in times if due_ms is not None), default=None)

    def sweep(self) -> None:
        """Do what is due, at most `limits.SWEEP_JOBS_MAX` of each kind."""
        now_ms, count_max = self.now_ms, limits.SWEEP_JOBS_MAX
        for job_id in self.due.take_due(now_ms, count_max):
            job = self.jobs[job_id]
            if job.status == IN_PROGRESS:
                self.lose_lease(job)
            else:
                self.wait_again(job, "become_due")
        for job_id in self.expiries.take_due(now_ms, count_max):
            self.end(self.jobs[job_id], "expire")
        for name in self.retention.take_due(now_ms, 1):
            self._retain(self.queues[name])
        self.uniques.sweep(now_ms, count_max)

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

    def _tell(self, event: Told, job: Job, error: str | None = None) -> None:
        if self.feed is not None:
            self.feed.tell(self.index, self.now_ms, event, [job], error)

    def _tell_all(self, event: Told, jobs: list[Job]) -> None:
        if self.feed is not None:
            self.feed.tell(self.index, self.now_ms, event, jobs)

    # -- parts of moves ------------------------------------------------------------------------

    def _move(self, job: Job, event: Event) -> Queue:
        """Take a job out of the places of its old status and give it the new one."""
        to = TRANSITIONS[job.status, event]
        queue = self.queues[job.queue]
        if job.due_ms:
            self.due.discard(job.due_ms, job.id)
            job.due_ms = 0
        if job.status in WAITING:
            self._leave_wait(job, queue, to)
        queue.counts[job.status] -= 1
        queue.counts[to] += 1
        queue.totals[event] += 1
        job.status = to
        return queue

    def _leave_wait(self, job: Job, queue: Queue, to: Status | None) -> None:
        if job.status == QUEUED:
            queue.ready.discard(job)
        if job.extras is not None and to not in WAITING:
            self._stop_to_wait(job, job.extras)

    def _clear_progress(self, extras: Extras) -> None:
        self.bytes -= len(extras.note or "")
        extras.percent = extras.note = None
        extras.progress_ms = 0

    def _start_to_wait(self, job: Job, extras: Extras) -> None:
        if extras.expires_ms:
            self.expiries.add(extras.expires_ms, [job.id])

    def _stop_to_wait(self, job: Job, extras: Extras) -> None:
        if extras.expires_ms:
            self.expiries.discard(extras.expires_ms, job.id)
        if extras.unique is not None and extras.unique.scope == "queued":
            self.uniques.give_back(job.queue, extras.unique.key, job.id)

    def _end(self, job: Job, queue: Queue, result: bytes | None) -> None:
        job.finished_ms, job.finished_index = self.now_ms, self.index
        if result is not None:
            job.result = result
            self.bytes += len(result)
        self.live -= 1
        self.finished_now.append(job.id)
        if job.extras is not None:
            self._give_back_key(job)
        queue.finished[job.id] = None
        self._keep_newest(queue, 1)

    def _keep_newest(self, queue: Queue, added: int) -> None:
        """So many finished jobs came: as many may go, the first to finish first, while there are more than wanted."""
        finished = queue.finished
        for _ in range(min(len(finished) - queue.settings.retention_jobs, added)):
            self._drop_job(self.jobs[finished.popitem(last=False)[0]], queue)
        if not queue.retention_due_ms:
            self.plan_retention(queue)

    def _drop_job(self, job: Job, queue: Queue) -> None:
        """Keep nothing of a job that is in no place any more."""
        self.jobs.remove(job.id)
        queue.counts[job.status] -= 1
        if job.extras is None:
            self.bytes -= limits.JOB_BYTES + len(job.payload) + len(job.result or b"")
        else:
            self.bytes -= size(job)

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
