"""Handing jobs out: queues in the order the consumer gave, in each the best job first."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from cqueue.core import limits
from cqueue.core.jobs import Job
from cqueue.core.memory import size
from cqueue.core.operations import Dequeue
from cqueue.core.queues import Queue
from cqueue.core.results import Dequeued
from cqueue.core.state import State


def dequeue(state: State, operation: Dequeue) -> Dequeued:
    """Hand out up to `count` jobs, and no more payload than one answer may carry."""
    handed_out: list[Job] = []
    room = limits.DEQUEUE_PAYLOAD_BYTES_MAX
    for queue in _open_queues(state, operation):
        count = operation.count - len(handed_out)
        if queue.is_limited:
            count = min(count, queue.room(state.now_ms))
        jobs = _take(state, queue, operation, count)
        fitting = len(jobs)
        for at, job in enumerate(jobs):
            room -= len(job.payload) if job.extras is None else size(job) - limits.JOB_BYTES
            if room < 0 and (at or handed_out):
                fitting = at
                break
        for job in jobs[fitting:]:
            queue.ready.put_back(job)
        if fitting:
            state.hand_out(queue, jobs[:fitting], operation.lease_ms, operation.consumer)
            handed_out += jobs[:fitting]
        if fitting < len(jobs) or len(handed_out) == operation.count:
            break
    return Dequeued(handed_out)


def available(state: State, operation: Dequeue, count_max: int) -> int:
    """How many jobs `operation` could be handed now, whatever its `count`; at most `count_max`."""
    count = 0
    for queue in _open_queues(state, operation):
        if count >= count_max:
            break
        wanted = count_max - count
        if queue.is_limited:
            wanted = min(wanted, queue.room(state.now_ms))
        if operation.tags:
            count += len(list(islice(_matching(state, queue, operation), wanted)))
        else:
            count += min(queue.ready.count(operation.types), wanted)
    return count


def _open_queues(state: State, operation: Dequeue) -> list[Queue]:
    queues = (state.queues.get(name) for name in dict.fromkeys(operation.queues))
    return [queue for queue in queues if queue is not None and not queue.settings.paused]


def _take(state: State, queue: Queue, operation: Dequeue, count: int) -> list[Job]:
    """Take up to `count` jobs out of their lines."""
    taken: list[Job] = []
    while len(taken) < count:
        if operation.tags:
            jobs = list(islice(_matching(state, queue, operation), count - len(taken)))
            for job in jobs:
                queue.ready.discard(job)
        else:
            jobs = [state.jobs[job_id] for job_id in queue.ready.take(count - len(taken), operation.types)]
            for job in jobs:
                if job.extras is not None:
                    queue.ready.discard_tags(job)
        if not jobs:
            break
        for job in jobs:
            if job.extras is not None and 0 < job.extras.expires_ms <= state.now_ms:
                # The sweep works in slices; whether a job has expired is a matter of time, not of its turn.
                queue.ready.put_back(job)
                state.end(state.to_change(job), "expire")
            else:
                taken.append(state.to_change(job) if state.shown else job)
    return taken


def _matching(state: State, queue: Queue, operation: Dequeue) -> Iterator[Job]:
    """Ready jobs that have the tags and one of the types; it gives up after so many that have not."""
    tags = (operation.tags or {}).items()
    skipped = 0
    for job_id in queue.ready.with_tags(operation.tags or {}):
        job = state.jobs[job_id]
        if (operation.types is None or job.type in operation.types) and tags <= job.tags.items():
            yield job
        else:
            skipped += 1
            if skipped == limits.TAGGED_JOBS_SKIPPED_MAX:
                break
