"""Looking at jobs: each read of docs/protocol.md as a function that makes a call.

Reads are linearizable unless `consistency="stale"` is said. `min_index` is the index of an earlier
answer (`Client.index`): the read is not older than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, TypedDict, Unpack

from cqueue.client.call import Call, WhichJob, id_of, path, query, reader
from cqueue.client.results import Explanation, History, Job, Page, Stats, Status


class Freshness(TypedDict, total=False):
    """How new the answer to a read has to be."""

    consistency: Literal["linearizable", "stale"]
    min_index: int


class JobFilter(TypedDict, total=False):
    """Which jobs to list. type and status: one or several; tags: all of these; order: which first; limit: of a page."""

    queue: str
    status: Status | Sequence[Status]
    type: str | Sequence[str]
    tags: dict[str, str]
    created_from: datetime | str
    created_before: datetime | str
    order: Literal["oldest", "newest"]
    limit: int
    consistency: Literal["linearizable", "stale"]


_read_job = reader(Job)
_read_page = reader(Page)
_read_history = reader(History)
_read_explanation = reader(Explanation)
_read_stats = reader(Stats)


def get(job: WhichJob, **freshness: Unpack[Freshness]) -> Call[Job]:
    """What the queue knows of one job."""
    return Call("GET", query(path("jobs", id_of(job)), freshness), _read_job)


def history(job: WhichJob, **freshness: Unpack[Freshness]) -> Call[History]:
    """Every change of a job."""
    return Call("GET", query(path("jobs", id_of(job), "history"), freshness), _read_history)


def explain(job: WhichJob, **freshness: Unpack[Freshness]) -> Call[Explanation]:
    """Why a job is not running."""
    return Call("GET", query(path("jobs", id_of(job), "explain"), freshness), _read_explanation)


def list_jobs(*, cursor: str | None = None, **which: Unpack[JobFilter]) -> Call[Page]:
    """One page of jobs, by when they came; cursor: the `next` of the page before."""
    parameters: dict[str, object] = {**which, "cursor": cursor}
    tags = which.get("tags", {})
    parameters.pop("tags", None)
    parameters["tag"] = [f"{name}:{value}" for name, value in tags.items()]
    return Call("GET", query("/jobs", parameters), _read_page)


def stats(**freshness: Unpack[Freshness]) -> Call[Stats]:
    """How many jobs there are, by status and queue."""
    return Call("GET", query("/jobs/stats", freshness), _read_stats)
