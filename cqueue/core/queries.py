"""What can be looked at: queries change nothing, and never travel in the log.

Like operations they are msgpack arrays with an integer tag first; no tag is both. The answers are
in `results`.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from cqueue.core import limits
from cqueue.core.jobs import Amount, Status
from cqueue.core.reach import Reach

Count = Annotated[int, Meta(ge=1, le=limits.PAGE_JOBS_MAX)]


class GetJob(Struct, array_like=True, frozen=True, tag=65):
    """Answer: `Found`, or `Refusal` not_found or gone."""

    id: int


class GetStats(Struct, array_like=True, frozen=True, tag=66):
    """by_queue: with the counts of each queue; there may be many. Answer: `Stats`."""

    by_queue: bool = True


class ListJobs(Struct, array_like=True, frozen=True, tag=67):
    """Jobs by ascending id, above `after` and up to `until` (0: the newest). Answer: `Page`.

    newest_first: by descending id instead, from `until` on and below `after` (0: no bound).
    None or empty: any. created_*_ms: created at or after, and before. count: 1 to 1,000.
    One query looks at `limits.LOOK_JOBS_MAX` ids at most: a page may be short and yet not the last.
    """

    after: int = 0
    until: int = 0
    count: Count = 100
    queue: str | None = None
    statuses: tuple[Status, ...] = ()
    types: tuple[str, ...] = ()
    tags: dict[str, str] | None = None
    created_from_ms: Amount = 0
    created_before_ms: Amount = 0
    newest_first: bool = False


class GetHistory(Struct, array_like=True, frozen=True, tag=68):
    """Answer: `History`, or `Refusal` not_found or gone."""

    id: int


class Explain(Struct, array_like=True, frozen=True, tag=69):
    """Why a job is not running. Answer: `Explanation`, or `Refusal` not_found or gone."""

    id: int


class GetQueue(Struct, array_like=True, frozen=True, tag=70):
    """Answer: `QueueState`, or `Refusal` queue_not_found."""

    queue: str


class ListQueues(Struct, array_like=True, frozen=True, tag=71):
    """Queues by name, after `after`. count: 1 to 1,000. Answer: `Queues`."""

    after: str = ""
    count: Count = 100


class LookWithin(Struct, array_like=True, frozen=True, tag=72):
    """`query`, as if there were no queues but those which `reach` covers; a job in another is `not_found`."""

    reach: Reach
    query: GetJob | GetStats | ListJobs | GetHistory | Explain | ListQueues


Query = GetJob | GetStats | ListJobs | GetHistory | Explain | GetQueue | ListQueues | LookWithin
