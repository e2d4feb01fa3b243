"""Adding jobs: all of a request or none of it."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from sys import intern

from cqueue.core import limits
from cqueue.core.jobs import QUEUED, SCHEDULED, Extras, Job
from cqueue.core.operations import Enqueue, NewJob, Options
from cqueue.core.results import Enqueued, Refusal
from cqueue.core.state import State


def enqueue(state: State, operation: Enqueue) -> Enqueued | Refusal:
    """Add the jobs, but for those whose unique key is taken: they are answered with who took it."""
    with_keys = [new for new in operation.jobs if new.options is not None and new.options.unique is not None]
    known = _already_there(state, operation.jobs) if with_keys else {}
    news = [new for position, new in enumerate(operation.jobs) if position not in known] if known else operation.jobs
    refusal = _why_not(state, news, len(with_keys) - len(known)) if news else None
    if refusal is not None:
        return refusal
    added = _new_jobs(state, news)
    if added:
        state.admit(added)
    if not known:
        return Enqueued([job.id for job in added])
    ids: list[int] = []
    new_ids = (job.id for job in added)
    for position in range(len(operation.jobs)):
        # What is known is a job's id, or where in this request the job stands that takes the key.
        other = known.get(position)
        ids.append(next(new_ids) if other is None else other if other > 0 else ids[-other])
    return Enqueued(ids, sorted(known))


def _new_jobs(state: State, news: list[NewJob]) -> list[Job]:
    added: list[Job] = []
    now_ms, index = state.now_ms, state.index
    queue = kind = ""
    priority = max_attempts = lease_ms = 0
    for job_id, new in enumerate(news, state.next_id):
        if new.type != kind or new.queue != queue:
            queue, kind, priority, max_attempts, lease_ms = _defaults(state, new.queue, new.type)
        job = Job(job_id, kind, QUEUED, queue, priority, new.payload, now_ms, index, max_attempts, lease_ms)
        if new.options is not None:
            _apply_options(state, job, new.options)
        added.append(job)
    return added


def _defaults(state: State, queue: str, kind: str) -> tuple[str, str, int, int, int]:
    settings = state.queue_of(queue).settings
    priority = settings.priorities.get(kind, limits.PRIORITY_DEFAULT)
    return intern(queue), intern(kind), priority, settings.max_attempts, settings.lease_ms


def _apply_options(state: State, job: Job, options: Options) -> None:
    if options.priority is not None:
        job.priority = options.priority
    job.max_attempts = options.max_attempts or job.max_attempts
    job.lease_ms = options.lease_ms or job.lease_ms
    run_at_ms = max(state.now_ms + options.delay_ms, options.run_at_ms)
    if run_at_ms > state.now_ms:
        job.status, job.due_ms = SCHEDULED, run_at_ms
    else:
        run_at_ms = 0
    unique = options.unique
    if unique is not None:
        until_ms = state.now_ms + unique.window_ms if unique.scope == "window" else 0
        state.uniques.take(job.queue, unique.key, job.id, until_ms)
    expires_ms = state.now_ms + options.expires_in_ms if options.expires_in_ms else 0
    if run_at_ms or expires_ms or unique is not None or options.tags or options.backoff is not None:
        job.extras = Extras(options.tags or None, options.backoff, unique, run_at_ms, expires_ms)


def _already_there(state: State, news: list[NewJob]) -> dict[int, int]:
    """Positions of jobs that are there already: {position: id, or minus the position of the job it is}."""
    known: dict[int, int] = {}
    first: dict[tuple[str, str], int] = {}
    for position, new in enumerate(news):
        if new.options is None or new.options.unique is None:
            continue
        unique = new.options.unique
        holder = state.uniques.holder(new.queue, unique.key, state.now_ms)
        if holder is not None:
            known[position] = holder
        elif (new.queue, unique.key) in first:
            known[position] = -first[new.queue, unique.key]
        else:
            first[new.queue, unique.key] = position
    return known


def _why_not(state: State, news: list[NewJob], keys: int) -> Refusal | None:
    """Why these jobs, of which so many take a unique key, cannot be added; None: they can."""
    if state.live + len(news) > state.max_jobs:
        return Refusal("queue_full", f"the cluster holds its maximum of {state.max_jobs} jobs that are not finished")
    by_queue = Counter([new.queue for new in news])
    added_bytes = sum([len(new.payload) for new in news]) + len(news) * limits.JOB_BYTES
    for name, count in by_queue.items():
        queue = state.queues.get(name)
        if queue is not None and 0 < queue.settings.max_depth < queue.depth + count:
            return Refusal("queue_full", f"the queue {name} holds its maximum of {queue.settings.max_depth} jobs")
    if len(state.queues) + sum(name not in state.queues for name in by_queue) > limits.QUEUES_MAX:
        return Refusal("too_many_queues", f"there are {limits.QUEUES_MAX} queues, no more can be made")
    if keys and len(state.uniques) + keys > limits.UNIQUE_KEYS_MAX:
        return Refusal("queue_full", f"{limits.UNIQUE_KEYS_MAX} unique keys are taken, the most there may be")
    if not _make_room(state, added_bytes):
        return Refusal("queue_full", f"the jobs of the cluster take up {state.max_bytes} bytes, the most they may")
    return None


def _make_room(state: State, added_bytes: int) -> bool:
    """Forget finished jobs, where there are most of them, until so many bytes fit in; whether they do."""
    forgotten = 0
    while state.bytes + added_bytes > state.max_bytes and forgotten < limits.ROOM_JOBS_MAX:
        queue = max(state.queues.values(), key=lambda queue: (len(queue.finished), queue.name), default=None)
        if queue is None or not queue.finished:
            break
        for job_id in list(islice(queue.finished, limits.SWEEP_JOBS_MAX)):
            if state.bytes + added_bytes <= state.max_bytes:
                break
            state.forget(state.jobs[job_id])
            forgotten += 1
    return state.bytes + added_bytes <= state.max_bytes
