"""The one place where a job moves.

What the verbs decide (`enqueueing`, `handing_out`, `settling`) they do through the few moves here.
Each leaves every index in step: the lines of the ready, the deadlines, the unique keys, the counts,
the bytes.
"""

from __future__ import annotations

from cqueue.core import limits
from cqueue.core.jobs import (
    IN_PROGRESS,
    QUEUED,
    SCHEDULED,
    TRANSITIONS,
    WAITING,
    Event,
    Extras,
    Job,
)
from cqueue.core.memory import remember_hand_out, size
from cqueue.core.places import Places
from cqueue.core.queues import Queue


class State(Places):
    """The moves; each leaves every index right."""

    def admit(self, jobs: list[Job]) -> None:
        """New jobs, at least one, with the next ids: QUEUED, or SCHEDULED until their `due_ms`."""
        ready: dict[tuple[str, str, int], list[int]] = {}
        self.jobs.append(self.next_id, jobs)
        self.bytes += sum([len(job.payload) for job in jobs]) + len(jobs) * limits.JOB_BYTES
        # Most jobs are like the one before: they are filed by the run.
        start, run = self.next_id, jobs[0]
        for job in jobs:
            if job.extras is not None:
                _file(ready, run, start, job.id)
                start, run = job.id + 1, job
                if self._admit_with_extras(job, job.extras):
                    _file(ready, job, job.id, job.id + 1)
            elif job.type is not run.type or job.queue is not run.queue or job.priority != run.priority:
                _file(ready, run, start, job.id)
                start, run = job.id, job
        self.next_id += len(jobs)
        _file(ready, run, start, self.next_id)
        for (name, kind, priority), ids in ready.items():
            queue = self.queues[name]
            queue.ready.append(kind, priority, ids)
            self.ready_now.add((name, kind))
            queue.counts[QUEUED] += len(ids)
            queue.totals["enqueue"] += len(ids)
        self.live += len(jobs)
        self._tell_all("enqueue", jobs)

    def _admit_with_extras(self, job: Job, extras: Extras) -> bool:
        """What is more to do for such a job, but for its line; whether it stands in one."""
        self.bytes += size(job) - len(job.payload) - limits.JOB_BYTES
        self._start_to_wait(job, extras)
        queue = self.queues[job.queue]
        if job.status == SCHEDULED:
            self.due.add(job.due_ms, [job.id])
            queue.counts[SCHEDULED] += 1
            queue.totals["enqueue"] += 1
            return False
        queue.ready.append_tags(job)
        self.ready_now.update((job.queue, tag) for tag in job.tags.items())
        return True

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
        if queue.pace is not None:
            queue.pace.spend(len(jobs), now_ms)
            self.plan_refill(queue)
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
            if queue.is_limited:
                self.open(queue)
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

    # -- what time does ------------------------------------------------------------------------------

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
        for name in self.refills.take_due(now_ms, count_max):
            self._refill(self.queues[name])
        self.uniques.sweep(now_ms, count_max)

    # -- parts of moves ------------------------------------------------------------------------------

    def _move(self, job: Job, event: Event) -> Queue:
        """Take a job out of the places of its old status and give it the new one."""
        to = TRANSITIONS[job.status, event]
        queue = self.queues[job.queue]
        if job.due_ms:
            self.due.discard(job.due_ms, job.id)
            job.due_ms = 0
        if job.status in WAITING:
            self._leave_wait(job, queue, to)
        elif job.status == IN_PROGRESS and queue.is_limited:
            self.open(queue)
        queue.counts[job.status] -= 1
        queue.counts[to] += 1
        queue.totals[event] += 1
        job.status = to
        return queue

    def _refill(self, queue: Queue) -> None:
        settings = queue.settings
        queue.pace = queue.pace and queue.pace.changed(settings.rate_milli, settings.rate_burst, self.now_ms)
        self.plan_refill(queue)
        self.open(queue)

    def _clear_progress(self, extras: Extras) -> None:
        self.bytes -= len(extras.note or "")
        extras.percent = extras.note = None
        extras.progress_ms = 0

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


def _file(ready: dict[tuple[str, str, int], list[int]], like: Job, start: int, end: int) -> None:
    """File the ids from `start` up to `end`, of jobs that are all like one of them."""
    if start < end:
        ready.setdefault((like.queue, like.type, like.priority), []).extend(range(start, end))
