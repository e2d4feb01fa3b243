"""`GET /metrics`: the figures of `cqueue.metrics.METRICS`, as Prometheus or OpenMetrics reads them.

What the replicated state knows is asked of it, queue by queue and page by page; it costs nothing
while nobody looks. The rest was counted as it happened, by the replica and all workers of the node.
No page holds up the replica, and no part of the text this worker, for more than a few milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, chain, islice
from typing import TYPE_CHECKING, Final

import gevent
from flask import Response, request
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import choose_encoder
from prometheus_client.samples import Sample

import cqueue
from cqueue import metrics
from cqueue.core.queries import ListQueues
from cqueue.core.results import QueueState
from cqueue.metrics import METRICS, Series, Tally
from cqueue.protocol import PEEK, RESULT, STATUS, TALLY, NodeStatus, decode_status
from cqueue.web.asking import Desk
from cqueue.web.contract import REPLICA, Call, Gives, promises
from cqueue.web.link import ReplicaLink
from cqueue.web.problems import Problem
from cqueue.web.shapes import queues

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment
    from flask import Flask

QUEUES_AT_A_TIME: Final = 100
"""In one look at the state."""
SAMPLES_AT_A_TIME: Final = 1_000
"""Written before others get their turn."""
TURN_S: Final = 0.001
"""A pause of 0 would let greenlets go on that can, and see none that have something to read by now."""

Samples = tuple[str, Iterable[Sample]]
"""A metric's name and its samples."""

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

_EOF: Final = b"# EOF\n"
"""The end of OpenMetrics; Prometheus' own text has none."""

METRICS_CALL: Final = Call(
    "get_metrics",
    "What there is to see of this node and its queues, for Prometheus; docs/metrics.md has each metric.",
    {200: Gives("the metrics", (), (), ("text/plain", "application/openmetrics-text"))},
    REPLICA,
)


def add_routes(app: Flask, desk: Desk, link: ReplicaLink) -> None:
    """Add the route to `app`; it asks the replica at the other end of `link`."""

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
        states = list(_queues(desk, request.environ))
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        families = chain(_of_queues(states, time.time_ns() // 1_000_000), _of_node(status), _counted(tally))
        text = b"".join(_text(families, encode))
        if content_type.startswith("application/openmetrics-text"):
            text += _EOF
        return Response(text, content_type=content_type)


def _queues(desk: Desk, environ: WSGIEnvironment) -> Iterator[QueueState]:
    """The queues that the caller may see, as this node knows them."""
    after: str | None = ""
    while after is not None:
        page, _ = desk.look(environ, queues.decode_queues, ListQueues(after, QUEUES_AT_A_TIME), PEEK)
        yield from page.queues
        after = page.next


# -- text ----------------------------------------------------------------------------------------


class _Some:
    """A registry of some samples of one metric."""

    def __init__(self, name: str, samples: list[Sample]) -> None:
        metric = METRICS[name]
        self._family = Family(name.removesuffix("_total"), metric.help, metric.kind)
        self._family.samples = samples

    def collect(self) -> Iterable[Family]:
        return (self._family,)


def _text(families: Iterable[Samples], encode: Callable[[_Some], bytes]) -> Iterator[bytes]:
    """The text, in parts; between two of them whatever else this worker does has its turn."""
    written = 0
    for name, samples in families:
        rest = iter(samples)
        part = list(islice(rest, SAMPLES_AT_A_TIME))
        text = _part(name, part, encode)
        while text:
            yield text
            written += len(part)
            if written >= SAMPLES_AT_A_TIME:
                written = 0
                gevent.sleep(TURN_S)
            part = list(islice(rest, SAMPLES_AT_A_TIME))
            # Two lines of comment belong at the beginning only.
            text = _part(name, part, encode).split(b"\n", 2)[2] if part else b""


def _part(name: str, samples: list[Sample], encode: Callable[[_Some], bytes]) -> bytes:
    return encode(_Some(name, samples)).removesuffix(_EOF)


# -- samples -------------------------------------------------------------------------------------


def _simple(name: str, values: Iterable[tuple[tuple[str, ...], float]]) -> Samples:
    """Of a counter or a gauge. values: (values of its labels, value)."""
    labels = METRICS[name].labels
    return name, (Sample(name, dict(zip(labels, given, strict=True)), value) for given, value in values)


def _of_queues(states: list[QueueState], now_ms: int) -> Iterator[Samples]:
    """What the replicated state knows. now_ms: by this node's clock."""
    yield _simple(
        "cqueue_jobs", (((each.queue, status), jobs) for each in states for status, jobs in each.counts.items())
    )
    for name, events in TOTALS.items():
        yield _simple(name, [((each.queue,), sum(each.totals.get(event, 0) for event in events)) for each in states])
    yield _simple("cqueue_queue_oldest_job_age_seconds", (((each.queue,), _age_s(each, now_ms)) for each in states))
    yield _simple("cqueue_queue_paused", (((each.queue,), each.settings.paused) for each in states))


def _age_s(state: QueueState, now_ms: int) -> float:
    # Time in the log stands still while nothing happens; jobs grow old all the same.
    return (max(now_ms, state.now_ms) - state.oldest_ms) / 1000 if state.oldest_ms else 0


def _of_node(status: NodeStatus) -> Iterator[Samples]:
    """What the node says of itself."""
    for name, value in (
        ("cqueue_raft_is_leader", status.role == "leader"),
        ("cqueue_raft_has_leader", status.leader is not None),
        ("cqueue_raft_term", status.term),
        ("cqueue_raft_commit_index", status.commit_index),
        ("cqueue_raft_applied_index", status.applied_index),
    ):
        yield _simple(name, [((), value)])
    yield _simple("cqueue_build_info", [((cqueue.__version__,), 1)])


_COUNTED: Final = (
    "cqueue_raft_leader_changes_total",
    "cqueue_raft_commit_seconds",
    "cqueue_raft_batch_operations",
    "cqueue_journal_sync_seconds",
    "cqueue_snapshot_seconds",
    "cqueue_job_wait_seconds",
    "cqueue_job_run_seconds",
    "cqueue_fenced_total",
    "cqueue_deduplicated_total",
    "cqueue_consumers_waiting",
    "cqueue_http_requests_total",
    "cqueue_http_request_duration_seconds",
)


def _counted(tally: Tally) -> Iterator[Samples]:
    """What was counted as it happened."""
    for name in _COUNTED:
        metric = METRICS[name]
        if metric.kind == "histogram":
            yield _histograms(name, tally)
        else:
            found: dict[Series, int] = tally.counts if metric.kind == "counter" else tally.levels
            values = dict.fromkeys(metric.known, 0) | {
                series[1:]: value for series, value in found.items() if series[0] == name
            }
            yield _simple(name, sorted(values.items()))


def _histograms(name: str, tally: Tally) -> Samples:
    metric = METRICS[name]
    found = {given: metrics.Histogram.of(name) for given in metric.known}
    found |= {series[1:]: histogram for series, histogram in tally.histograms.items() if series[0] == name}
    samples = []
    for given, histogram in sorted(found.items()):
        labels = dict(zip(metric.labels, given, strict=True))
        so_far = list(accumulate(histogram.counts))
        for bound, count in zip((*map(str, metric.bounds), "+Inf"), so_far, strict=True):
            samples.append(Sample(f"{name}_bucket", labels | {"le": bound}, count))
        samples.append(Sample(f"{name}_count", labels, so_far[-1]))
        samples.append(Sample(f"{name}_sum", labels, histogram.sum))
    return name, samples
