"""Queues and their settings: each call of docs/protocol.md about them as a function that makes a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict, Unpack

from cqueue.client.call import Again, Call, encode, nothing, path, query, reader
from cqueue.client.jobs import BackoffOptions, sweep
from cqueue.client.looking import Freshness
from cqueue.client.results import Queue, QueuePage, Status, Swept


class Settings(TypedDict, total=False):
    """What can be set of a queue; what is not said stays as it is."""

    paused: bool
    require_lease_token: bool
    lease_seconds: int
    max_attempts: int
    backoff: BackoffOptions
    priorities: Mapping[str, int]
    max_depth: int
    retention_jobs: int
    retention_seconds: float
    max_in_progress: int
    rate_per_second: float
    rate_burst: int


_read_queue = reader(Queue)
_read_page = reader(QueuePage)


def get_queue(name: str, **freshness: Unpack[Freshness]) -> Call[Queue]:
    """One queue: its settings, its jobs by status, its totals and rates."""
    return Call("GET", query(path("queues", name), freshness), _read_queue)


def list_queues(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    consistency: Literal["linearizable", "stale"] | None = None,
) -> Call[QueuePage]:
    """One page of queues, by name; cursor: the `next` of the page before."""
    parameters = {"limit": limit, "cursor": cursor, "consistency": consistency}
    return Call("GET", query("/queues", parameters), _read_page)


def configure_queue(name: str, *, key: str | None = None, **settings: Unpack[Settings]) -> Call[Queue]:
    """Change settings of a queue, which is made if it is new."""
    return Call("PATCH", path("queues", name), _read_queue, encode(settings), key=key)


def delete_queue(name: str, *, key: str | None = None) -> Call[None]:
    """Forget a queue that is empty: its settings, its totals, its finished jobs."""
    return Call("DELETE", path("queues", name), nothing, None, Again.WITH_KEY, key)


def pause_queue(name: str, *, key: str | None = None) -> Call[Queue]:
    """Hand out no more jobs of a queue."""
    return Call("POST", path("queues", name, "pause"), _read_queue, key=key)


def resume_queue(name: str, *, key: str | None = None) -> Call[Queue]:
    """Hand out jobs of a queue again."""
    return Call("POST", path("queues", name, "resume"), _read_queue, key=key)


def purge_queue(name: str, *, statuses: Sequence[Status] | None = None) -> Call[Swept]:
    """Forget jobs of a queue, those that wait unless told otherwise."""
    return sweep(path("queues", name, "purge"), None if statuses is None else encode({"statuses": statuses}))


def redrive_queue(name: str) -> Call[Swept]:
    """Give all dead jobs of a queue their attempts again."""
    return sweep(path("queues", name, "redrive"), None)
