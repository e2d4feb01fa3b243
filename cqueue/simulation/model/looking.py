"""How the naive model and the real machine are compared: the same words for what both answer.

`show` says a result of the machine as the model does, but for what happened to a queue lately, which
is `lately`. `look` is the model's answer to a query.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import asdict

from cqueue.core.jobs import Extras, Job
from cqueue.core.queries import Explain, GetHistory, GetJob, GetStats, ListJobs, ListQueues, LookWithin, Query
from cqueue.core.reach import Reach
from cqueue.core.results import (
    Accepted,
    Dequeued,
    Done,
    Enqueued,
    Explanation,
    Found,
    History,
    Page,
    Queues,
    QueueState,
    Refusal,
    Result,
    Settled,
    Stats,
)
from cqueue.simulation.model.records import (
    FINISHED,
    SETTINGS,
    WAITING,
    Records,
    Words,
    has_tags,
    is_reached,
    remembered,
    show_job,
    untold,
)

STATUSES: Final = (*WAITING, "IN_PROGRESS", *FINISHED)
NO_EXTRAS: Final = Extras()


# -- the machine's answers -------------------------------------------------------------------------


def show(result: Result) -> Words:
    """A result of the machine as the model shows it."""
    shown: Words = _SHOWN[type(result)](result)
    return shown


def _job(job: Job | None) -> Words | None:
    if job is None:
        return None
    shown = asdict(job)
    del shown["extras"]
    shown.update(asdict(job.extras or NO_EXTRAS), tags=job.tags)
    del shown["changes"], shown["changes_forgotten"]
    return shown


def _settled(settled: Settled) -> Words:
    outcomes = [asdict(each) if isinstance(each, Done) else {"code": each.code} for each in settled.outcomes]
    return {"results": outcomes, "job": _job(settled.job)}


def _queue(queue: QueueState) -> Words:
    shown = asdict(queue)
    del shown["recent"], shown["recent_ms"]
    totals = {event: jobs for event, jobs in queue.totals.items() if jobs}
    shown.update(name=shown.pop("queue"), totals=totals, counts=dict(queue.counts), **asdict(shown.pop("settings")))
    return shown


_SHOWN: Final[dict[type, Callable[[Any], Any]]] = {
    Refusal: lambda refusal: {"code": refusal.code},
    Enqueued: lambda enqueued: {"ids": enqueued.ids, "duplicates": enqueued.duplicates},
    Dequeued: lambda dequeued: {"jobs": [_job(job) for job in dequeued.jobs]},
    Settled: _settled,
    Found: lambda found: _job(found.job),
    Stats: lambda stats: asdict(stats) | {"totals": {event: jobs for event, jobs in stats.totals.items() if jobs}},
    Page: lambda page: {"jobs": [_job(job) for job in page.jobs], "next": page.next, "newest": page.newest},
    History: lambda history: {"changes": [asdict(one) for one in history.changes], "forgotten": history.forgotten},
    Explanation: asdict,
    QueueState: _queue,
    Queues: lambda queues: {"queues": [_queue(queue) for queue in queues.queues], "next": queues.next},
    Accepted: lambda _: {},
}


# -- the model's answers ---------------------------------------------------------------------------


def look(model: Records, query: Query, page_end: int | None) -> Words:
    """What the query should be answered; page_end: the machine may choose where a page of jobs ends."""
    reach = None
    if isinstance(query, LookWithin):
        reach, query = query.reach, query.query
    if isinstance(query, GetJob | GetHistory | Explain):
        job = model.find(query.id)
        if job is not None and not is_reached(job["queue"], reach):
            return {"code": "not_found"}
        return {"code": model.why_missing(query.id)} if job is None else _one_job(model, query, job)
    if isinstance(query, GetStats):
        return _stats(model, query, reach)
    if isinstance(query, ListJobs):
        return _page(model, query, page_end, reach)
    if isinstance(query, ListQueues):
        return _queues(model, query, reach)
    return show_queue(model, query.queue) if model.has_queue(query.queue) else {"code": "queue_not_found"}


def _one_job(model: Records, query: GetJob | GetHistory | Explain, job: Words) -> Words:
    if isinstance(query, GetJob):
        return show_job(job)
    return _history(job) if isinstance(query, GetHistory) else _explain(model, job)


def _counts(model: Records, queue: str) -> dict[str, int]:
    return {status: len(model.jobs_of(queue, status)) for status in STATUSES}


def _stats(model: Records, query: GetStats, reach: Reach | None) -> Words:
    names = [name for name in [queue["name"] for queue in model.queues] or ["default"] if is_reached(name, reach)]
    queues = [show_queue(model, name) for name in names]
    return {
        "counts": {status: sum(queue["counts"][status] for queue in queues) for status in STATUSES},
        "queues": {queue["name"]: queue["counts"] for queue in queues} if query.by_queue else {},
        "totals": sum((Counter(queue["totals"]) for queue in queues), Counter()),
        "oldest_ms": min((queue["oldest_ms"] for queue in queues if queue["oldest_ms"]), default=0),
    }


def _page(model: Records, query: ListJobs, end: int | None, reach: Reach | None) -> Words:
    """Every job that fits, up to the end; where there are more than asked for, that is no end."""
    newest_first = query.newest_first
    fitting = [
        show_job(job)
        for job in (reversed(model.jobs) if newest_first else model.jobs)
        if job["id"] <= (query.until or model.ids_given)
        and (not query.after or (job["id"] < query.after if newest_first else job["id"] > query.after))
        and query.queue in {None, job["queue"]}
        and is_reached(job["queue"], reach)
        and (not query.statuses or job["status"] in query.statuses)
        and (not query.types or job["type"] in query.types)
        and has_tags(job, query.tags)
        and query.created_from_ms <= job["created_ms"]
        and (not query.created_before_ms or job["created_ms"] < query.created_before_ms)
    ]
    jobs = [job for job in fitting if end is None or (job["id"] >= end if newest_first else job["id"] <= end)]
    if len(jobs) > query.count:
        jobs, end = jobs[: query.count], jobs[query.count - 1]["id"]
    return {"jobs": jobs, "next": end, "newest": model.ids_given}


def _queues(model: Records, query: ListQueues, reach: Reach | None) -> Words:
    names = sorted(
        queue["name"] for queue in model.queues if queue["name"] > query.after and is_reached(queue["name"], reach)
    )
    page = names[: query.count]
    return {"queues": [show_queue(model, name) for name in page], "next": page[-1] if page != names else None}


def show_queue(model: Records, name: str) -> Words:
    """A queue as it is shown, or would be if there were one."""
    events = model.queue(name)["events"] if model.has_queue(name) else []
    settings = model.settings(name)
    return {
        "name": name,
        **{setting: settings[setting] for setting in SETTINGS},
        "counts": _counts(model, name),
        "totals": _tally([event for _, event in events]),
        "oldest_ms": min((job["created_ms"] for job in model.jobs_of(name, "QUEUED")), default=0),
        "now_ms": model.now_ms,
    }


def lately(model: Records, queue: str, recent_ms: int) -> dict[str, int]:
    """What happened to the jobs of a queue in so many ms, by event."""
    since_ms = model.now_ms - recent_ms
    return _tally([event for at_ms, event in model.queue(queue)["events"] if at_ms >= since_ms])


def _tally(events: list[str]) -> dict[str, int]:
    return {event: events.count(event) for event in events}


def _history(job: Words) -> Words:
    """Its enqueue, what is remembered, and the end of it."""
    between, kept = untold(job), remembered(job)
    changes = [job["history"][0], *kept, *job["history"][1 + len(between) :]]
    return {"changes": changes, "forgotten": len(between) - len(kept)}


def _explain(model: Records, job: Words) -> Words:
    reasons, until_ms, ahead = [], 0, 0
    status = job["status"]
    if status in FINISHED:
        reasons = ["finished"]
    elif status == "IN_PROGRESS":
        reasons, until_ms = ["held"], job["due_ms"]
        if job["cancel_requested_ms"]:
            reasons.append("cancel_requested")
    elif status == "SCHEDULED":
        has_failed = any(change["event"] == "retry" for change in job["history"])
        reasons, until_ms = ["backing_off" if has_failed else "delayed"], job["due_ms"]
    else:
        rank = (job["priority"], job["id"])
        ahead = len([o for o in model.jobs_of(job["queue"], "QUEUED") if (o["priority"], o["id"]) < rank])
        reasons = ["behind" if ahead else "next"]
        queue = model.queue(job["queue"])
        if 0 < queue["max_in_progress"] <= len(model.jobs_of(queue["name"], "IN_PROGRESS")):
            reasons.append("in_progress_limit")
        if queue["rate_milli"] and model.bucket(queue) < 1:
            reasons.append("rate_limit")
            until_ms = queue["refill_ms"]
    if status in WAITING and model.settings(job["queue"])["paused"]:
        reasons.append("queue_paused")
    return {"status": status, "reasons": reasons, "until_ms": until_ms, "ahead": ahead}
