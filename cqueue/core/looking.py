"""Answers to queries: they look at the state and change nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from cqueue.core import limits
from cqueue.core.jobs import CONCLUDED, DEFAULT_QUEUE, FINISHED, IN_PROGRESS, QUEUED, SCHEDULED, STATUSES, Change, Job
from cqueue.core.memory import size
from cqueue.core.queries import Explain, GetHistory, GetJob, GetQueue, GetStats, ListJobs, ListQueues, LookWithin, Query
from cqueue.core.queues import COUNTED, MINUTE_MS, Queue
from cqueue.core.reach import Reach, reaches
from cqueue.core.results import Explanation, Found, History, Page, Queues, QueueState, Refusal, Result, Stats
from cqueue.core.state import State


def look(state: State, query: Query) -> Result:
    """Answer from the state as it is."""
    return _ANSWERS[type(query)](state, query)


def out_of_reach(job_id: int) -> Refusal:
    """What is said of a job that is there, but not for this caller."""
    return Refusal("not_found", f"there is no job {job_id} in the queues that are yours")


def _within(state: State, within: LookWithin) -> Result:
    query, reach = within.query, within.reach
    if isinstance(query, GetStats):
        return _stats(state, query, reach)
    if isinstance(query, ListJobs):
        return _page(state, query, reach)
    if isinstance(query, ListQueues):
        return _queues(state, query, reach)
    job = state.jobs.get(query.id)
    return look(state, query) if job is None or reaches(reach, job.queue) else out_of_reach(query.id)


def _job(state: State, query: GetJob) -> Found | Refusal:
    job = state.jobs.get(query.id)
    return state.missing(query.id) if job is None else Found(job)


def _stats(state: State, query: GetStats, reach: Reach | None = None) -> Stats:
    queues = [
        queue
        for queue in state.queues.values() or (Queue(DEFAULT_QUEUE),)
        if (reach is None or reaches(reach, queue.name))
    ]
    return Stats(
        {status: sum([queue.counts[status] for queue in queues]) for status in STATUSES},
        {queue.name: queue.counts for queue in queues} if query.by_queue else {},
        {event: sum([queue.totals[event] for queue in queues]) for event in COUNTED},
        min((oldest_ms for queue in queues if (oldest_ms := _oldest_ms(state, queue))), default=0),
    )


def _oldest_ms(state: State, queue: Queue) -> int:
    oldest = queue.ready.oldest()
    return 0 if oldest is None else state.jobs[oldest].created_ms


# -- lists -----------------------------------------------------------------------------------------


def _page(state: State, query: ListJobs, reach: Reach | None = None) -> Page:
    newest = state.next_id - 1
    until = min(query.until or newest, newest)
    step = -1 if query.newest_first else 1
    last = 1 if query.newest_first else until
    jobs: list[Job] = []
    room = limits.DEQUEUE_PAYLOAD_BYTES_MAX
    for looked, job_id in enumerate(_ids(state, query, until), 1):
        job = state.jobs.get(job_id)
        if job is not None and _fits(job, query) and (reach is None or reaches(reach, job.queue)):
            room -= size(job) - limits.JOB_BYTES
            if room < 0 and jobs:
                return Page(jobs, job_id - step, newest)
            jobs.append(job)
        if len(jobs) == query.count or looked == limits.LOOK_JOBS_MAX:
            return Page(jobs, job_id if job_id != last else None, newest)
    return Page(jobs, None, newest)


def _ids(state: State, query: ListJobs, until: int) -> Iterator[int]:
    """Those that a list looks at, in its order."""
    if query.newest_first:
        return state.jobs.ids_down(min(query.after - 1, until) if query.after else until)
    return state.jobs.ids(query.after + 1, until + 1)


def _fits(job: Job, query: ListJobs) -> bool:
    return (
        (query.queue is None or job.queue == query.queue)
        and (not query.statuses or job.status in query.statuses)
        and (not query.types or job.type in query.types)
        and query.created_from_ms <= job.created_ms
        and (not query.created_before_ms or job.created_ms < query.created_before_ms)
        and (not query.tags or query.tags.items() <= job.tags.items())
    )


def _queue(state: State, query: GetQueue) -> QueueState | Refusal:
    queue = state.queues.get(query.queue)
    if queue is None:
        return Refusal("queue_not_found", f"there is no queue {query.queue}")
    return queue_state(state, queue)


def _queues(state: State, query: ListQueues, reach: Reach | None = None) -> Queues:
    names = sorted(name for name in state.queues if name > query.after and (reach is None or reaches(reach, name)))
    shown = [queue_state(state, state.queues[name]) for name in names[: query.count]]
    return Queues(shown, names[query.count - 1] if len(names) > query.count else None)


def queue_state(state: State, queue: Queue) -> QueueState:
    """A queue as it is shown."""
    return QueueState(
        queue.name,
        queue.settings,
        dict(queue.counts),
        dict(queue.totals),
        queue.recent(),
        MINUTE_MS + state.now_ms % MINUTE_MS,
        _oldest_ms(state, queue),
        state.now_ms,
    )


# -- one job ---------------------------------------------------------------------------------------


def _history(state: State, query: GetHistory) -> History | Refusal:
    job = state.jobs.get(query.id)
    if job is None:
        return state.missing(query.id)
    extras = job.extras
    changes = [
        Change("enqueue", SCHEDULED if extras and extras.run_at_ms else QUEUED, job.created_ms, job.created_index)
    ]
    if extras is not None:
        changes += extras.changes
    if job.status in (IN_PROGRESS, CONCLUDED) and not any(
        change.event == "hand_out" and change.lease_token == job.lease_token for change in changes
    ):
        changes.append(_of(job, "hand_out", IN_PROGRESS, job.started_ms, job.started_index))
    if job.status == CONCLUDED:
        changes.append(_of(job, "conclude", CONCLUDED, job.finished_ms, job.finished_index))
    return History(changes, extras.changes_forgotten if extras else 0)


def _of(job: Job, event: Any, status: Any, at_ms: int, index: int) -> Change:
    return Change(event, status, at_ms, index, job.attempt, job.lease_token, job.consumer)


def _explain(state: State, query: Explain) -> Explanation | Refusal:
    job = state.jobs.get(query.id)
    if job is None:
        return state.missing(query.id)
    queue = state.queues[job.queue]
    reasons = []
    until_ms = ahead = 0
    if job.status in FINISHED:
        reasons.append("finished")
    elif job.status == IN_PROGRESS:
        reasons.append("held")
        until_ms = job.due_ms
        if job.cancel_requested:
            reasons.append("cancel_requested")
    elif job.status == SCHEDULED:
        reasons.append("backing_off" if job.attempt else "delayed")
        until_ms = job.due_ms
    else:
        ahead = queue.ready.ahead_of(job)
        reasons.append("behind" if ahead else "next")
        if 0 < queue.settings.max_in_progress <= queue.counts[IN_PROGRESS]:
            reasons.append("in_progress_limit")
        if queue.pace is not None and not queue.pace.room(state.now_ms):
            reasons.append("rate_limit")
            until_ms = queue.pace.next_ms()
    if queue.settings.paused and job.status not in FINISHED and job.status != IN_PROGRESS:
        reasons.append("queue_paused")
    return Explanation(job.status, reasons, until_ms, ahead)


_ANSWERS: Final[dict[type, Callable[[State, Any], Result]]] = {
    GetJob: _job,
    GetStats: _stats,
    ListJobs: _page,
    GetHistory: _history,
    Explain: _explain,
    GetQueue: _queue,
    ListQueues: _queues,
    LookWithin: _within,
}
