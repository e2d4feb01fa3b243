"""`GET /metrics`: the figures of `cqueue.metrics.METRICS`, as Prometheus or OpenMetrics reads them.

What the replicated state knows is asked of it, queue by queue and page by page; it costs nothing
while nobody looks. The rest was counted as it happened, by the replica and all workers of the node.
No page holds up the replica, and no part of the text this worker, for more than a few milliseconds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeVar

import gevent
from flask import Response, request
from msgspec import structs

import cqueue
from cqueue import metrics
from cqueue.core.queries import ListQueues
from cqueue.core.reach import Reach, reaches
from cqueue.core.results import QueueState
from cqueue.metrics import METRICS, OTHER, Histogram, Series, Tally
from cqueue.protocol import PEEK, RESULT, STATUS, TALLY, NodeStatus, decode_status
from cqueue.web import exposition
from cqueue.web.asking import Desk
from cqueue.web.auth.principals import principal_of
from cqueue.web.contract import REPLICA, Call, Gives, promises
from cqueue.web.exposition import Values
from cqueue.web.link import ReplicaLink
from cqueue.web.problems import Problem
from cqueue.web.shapes import queues

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment
    from flask import Flask

T = TypeVar("T")

QUEUES_AT_A_TIME: Final = 100
"""In one look at the state."""
TEXT_CHARS_AT_A_TIME: Final = 65_536
"""Written before others get their turn."""
TURN_S: Final = 0.001
"""A pause of 0 would let greenlets go on that can, and see none that have something to read by now."""

Simple = tuple[str, Iterable[tuple[Values, float]]]
"""The name of a counter or a gauge, and its samples."""

TOTALS: Final[dict[str, tuple[str, ...]]] = {
    "cqueue_jobs_enqueued_total": queues.EVENTS["enqueued"],
    "cqueue_jobs_dequeued_total": queues.EVENTS["dequeued"],
    "cqueue_jobs_concluded_total": queues.EVENTS["concluded"],
    "cqueue_jobs_failed_total": queues.EVENTS["failed"],
    "cqueue_jobs_retried_total": ("retry", "retry_now", "lose_lease"),
    "cqueue_jobs_dead_total": queues.EVENTS["died"],
    "cqueue_leases_expired_total": queues.EVENTS["leases_lost"],
}
"""What the totals of a queue are called here, and the events each counts."""

METRICS_CALL: Final = Call(
    "get_metrics",
    "What there is to see of this node and its queues, for Prometheus; docs/metrics.md has each metric.",
    {200: Gives("the metrics", (), (), ("text/plain", "application/openmetrics-text"))},
    REPLICA,
)


def add_routes(app: Flask, desk: Desk, link: ReplicaLink, *, labels_max: int, data_dir: str) -> None:
    """Add the route to `app`; it asks the replica at the other end of `link`.

    labels_max: how many queues are shown by their names. data_dir: the node's; empty: it has none.
    """

    def ask(kind: int) -> bytes:
        _, outcome, index, data = link.ask(kind)
        if outcome != RESULT:
            raise Problem.of_failure(data, index)
        return data

    @app.get("/metrics")
    @promises(METRICS_CALL)
    def show() -> Response:
        desk.counts.report()
        tally, status = metrics.decode(ask(TALLY)), decode_status(ask(STATUS))
        states = _queues(desk, request.environ, labels_max)
        simple = chain(
            _of_queues(states, time.time_ns() // 1_000_000), _of_node(status), _of_disk(data_dir), _counted(tally)
        )
        histograms = _histograms(tally, principal_of(request.environ).reach)
        form = exposition.format_of(request.headers.get("Accept", ""))
        text = _in_turns(
            chain(
                chain.from_iterable(exposition.simple(name, METRICS[name], samples, form) for name, samples in simple),
                chain.from_iterable(
                    exposition.histograms(name, METRICS[name], samples, form) for name, samples in histograms
                ),
            )
        )
        return Response(text + exposition.END if form.is_open else text, content_type=form.content_type)


def _in_turns(parts: Iterable[str]) -> str:
    """All of it; now and then whatever else this worker does has its turn."""
    text: list[str] = []
    chars = 0
    for part in parts:
        text.append(part)
        chars += len(part)
        if chars >= TEXT_CHARS_AT_A_TIME:
            chars = 0
            gevent.sleep(TURN_S)
    return "".join(text)


# -- of queues -----------------------------------------------------------------------------------


def _queues(desk: Desk, environ: WSGIEnvironment, labels_max: int) -> list[QueueState]:
    """The queues that the caller may see, as this node knows them; beyond so many the last by name are one."""
    shown: list[QueueState] = []
    rest: QueueState | None = None
    after: str | None = ""
    while after is not None:
        page, _ = desk.look(environ, queues.decode_queues, ListQueues(after, QUEUES_AT_A_TIME), PEEK)
        for state in page.queues:
            # A queue that has the name of the rest is part of it: no sample may be there twice.
            if state.queue != OTHER and len(shown) < labels_max:
                shown.append(state)
            else:
                rest = state if rest is None else _together(rest, state)
        after = page.next
    return shown if rest is None else [*shown, structs.replace(rest, queue=OTHER)]


def _together(one: QueueState, other: QueueState) -> QueueState:
    """Two queues as if they were one, which is paused if one of them is."""
    return structs.replace(
        one,
        settings=other.settings if other.settings.paused else one.settings,
        counts={status: jobs + other.counts[status] for status, jobs in one.counts.items()},
        totals={event: one.totals.get(event, 0) + other.totals.get(event, 0) for event in one.totals | other.totals},
        oldest_ms=min(one.oldest_ms or other.oldest_ms, other.oldest_ms or one.oldest_ms),
        now_ms=max(one.now_ms, other.now_ms),
    )


def _of_queues(states: list[QueueState], now_ms: int) -> Iterator[Simple]:
    """What the replicated state knows. now_ms: by this node's clock."""
    yield "cqueue_jobs", (((each.queue, status), jobs) for each in states for status, jobs in each.counts.items())
    for name, events in TOTALS.items():
        yield name, [((each.queue,), sum([each.totals.get(event, 0) for event in events])) for each in states]
    yield "cqueue_queue_oldest_job_age_seconds", (((each.queue,), _age_s(each, now_ms)) for each in states)
    yield "cqueue_queue_paused", (((each.queue,), int(each.settings.paused)) for each in states)


def _age_s(state: QueueState, now_ms: int) -> float:
    # Time in the log stands still while nothing happens; jobs grow old all the same.
    return (max(now_ms, state.now_ms) - state.oldest_ms) / 1000 if state.oldest_ms else 0


# -- of the node ---------------------------------------------------------------------------------


def _of_node(status: NodeStatus) -> Iterator[Simple]:
    """What the node says of itself."""
    for name, value in (
        ("cqueue_raft_is_leader", status.role == "leader"),
        ("cqueue_raft_has_leader", status.leader is not None),
        ("cqueue_raft_term", status.term),
        ("cqueue_raft_commit_index", status.commit_index),
        ("cqueue_raft_applied_index", status.applied_index),
    ):
        yield name, [((), int(value))]
    yield "cqueue_build_info", [((cqueue.__version__,), 1)]


def _of_disk(data_dir: str) -> Iterator[Simple]:
    """The file system under the data directory, as this process may use it."""
    found = os.statvfs(data_dir) if data_dir else None
    yield "cqueue_disk_free_bytes", [((), found.f_bavail * found.f_frsize)] if found else []
    yield "cqueue_disk_size_bytes", [((), found.f_blocks * found.f_frsize)] if found else []


def _counted(tally: Tally) -> Iterator[Simple]:
    """What was counted as it happened, and what is so now."""
    for name, found in (
        ("cqueue_raft_leader_changes_total", tally.counts),
        ("cqueue_fenced_total", tally.counts),
        ("cqueue_deduplicated_total", tally.counts),
        ("cqueue_http_requests_total", tally.counts),
        ("cqueue_consumers_waiting", tally.levels),
    ):
        yield name, sorted((dict.fromkeys(METRICS[name].known, 0) | _of(name, found)).items())


def _histograms(tally: Tally, reach: Reach | None) -> Iterator[tuple[str, list[tuple[Values, Histogram]]]]:
    """What was counted with a value; of jobs only where their queue is one of `reach`."""
    for name, metric in METRICS.items():
        if metric.kind == "histogram":
            found = {given: Histogram.of(name) for given in metric.known} | _of(name, tally.histograms)
            if reach is not None and "queue" in metric.labels:
                found = {given: one for given, one in found.items() if given[0] != OTHER and reaches(reach, given[0])}
            yield name, sorted(found.items())


def _of(name: str, found: dict[Series, T]) -> dict[Values, T]:
    return {series[1:]: value for series, value in found.items() if series[0] == name}
