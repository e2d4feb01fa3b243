"""Every metric by its name, and counting: cheaply in one process, and put together over several.

`METRICS` is the table: what is counted under which name, with which labels. Nobody counts under
another, so the label sets are bounded: by the routes, verbs and statuses there are. Of queues, and of
pairs of queue and type, so many have labels of their own as a setting says; the rest are `OTHER`
together. A label never names a job or a consumer: there is no end of those. How metrics look outside
is in `cqueue.web.metrics`, what they mean to an operator in docs/metrics.md.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Final, Literal

import msgspec
from msgspec import Struct

Series = tuple[str, ...]
"""A metric's name and the values of its labels, in the order of the table."""

SHORT_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds, in seconds, of what a node does."""
LONG_S: Final = (0.01, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 21_600.0, 86_400.0)
"""Bounds, in seconds, of what jobs and their consumers do."""
SNAPSHOT_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
OPERATIONS: Final = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0)

LABELS_MAX_DEFAULT: Final = 1_000
"""Queues with labels of their own, and pairs of queue and type."""
OTHER: Final = "other"
"""The label of what has none of its own."""

FENCED_VERBS: Final = ("conclude", "extend", "fail", "progress", "release")
"""What only the holder of a job may say."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One line of the table.

    Args:
        kind: as Prometheus has it.
        help: a sentence.
        labels: their names.
        of: the queue: it is in the replicated state, and each node tells the same; or the node that tells it.
        bounds: of a histogram's buckets, ascending; the last bucket has none.
        known: label values that are told from the start, with nothing counted yet.
    """

    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    of: Literal["queue", "node"] = "node"
    bounds: tuple[float, ...] = ()
    known: tuple[tuple[str, ...], ...] = ((),)


def _of_queues(kind: Literal["counter", "gauge"], text: str, *labels: str) -> Metric:
    return Metric(kind, text, ("queue", *labels), of="queue", known=())


def _of_jobs(text: str) -> Metric:
    return Metric("histogram", text, ("queue", "type"), bounds=LONG_S, known=())


METRICS: Final[dict[str, Metric]] = {
    "cqueue_jobs": _of_queues("gauge", "Jobs that are kept.", "state"),
    "cqueue_jobs_enqueued_total": _of_queues("counter", "Jobs that were added."),
    "cqueue_jobs_dequeued_total": _of_queues("counter", "Jobs that were handed out, each time counted."),
    "cqueue_jobs_concluded_total": _of_queues("counter", "Jobs that were concluded."),
    "cqueue_jobs_failed_total": _of_queues("counter", "Attempts that consumers said had failed."),
    "cqueue_jobs_retried_total": _of_queues("counter", "Attempts that came to nothing and leave another one."),
    "cqueue_jobs_dead_total": _of_queues("counter", "Jobs that died."),
    "cqueue_leases_expired_total": _of_queues("counter", "Attempts whose lease ran out."),
    "cqueue_queue_oldest_job_age_seconds": _of_queues("gauge", "Age of the oldest job that can be handed out, or 0."),
    "cqueue_queue_paused": _of_queues("gauge", "Whether the queue hands out nothing: 1 or 0."),
    "cqueue_fenced_total": Metric(
        "counter",
        "Verbs on jobs that were refused since the lease was lost.",
        ("op",),
        known=tuple((verb,) for verb in FENCED_VERBS),
    ),
    "cqueue_deduplicated_total": Metric(
        "counter",
        "Jobs not added since their unique key was taken, and requests answered from their Idempotency-Key.",
        ("by",),
        known=(("idempotency_key",), ("unique_key",)),
    ),
    "cqueue_job_wait_seconds": _of_jobs("From when a job could be handed out to when it first was."),
    "cqueue_job_run_seconds": _of_jobs("From a job's last hand-out to its conclusion."),
    "cqueue_consumers_waiting": Metric(
        "gauge", "Consumers that wait for a job.", ("transport",), known=(("http",), ("websocket",))
    ),
    "cqueue_http_requests_total": Metric(
        "counter", "HTTP requests that were answered.", ("route", "method", "code"), known=()
    ),
    "cqueue_http_request_duration_seconds": Metric(
        "histogram",
        "From a request's head to the head of its answer, waiting included.",
        ("route", "method"),
        bounds=SHORT_S,
        known=(),
    ),
    "cqueue_raft_is_leader": Metric("gauge", "Whether the node takes itself for the leader: 1 or 0."),
    "cqueue_raft_has_leader": Metric("gauge", "Whether the node knows a leader: 1 or 0."),
    "cqueue_raft_term": Metric("gauge", "The Raft term."),
    "cqueue_raft_commit_index": Metric("gauge", "The newest log entry known to be on a majority."),
    "cqueue_raft_applied_index": Metric("gauge", "The newest log entry in the node's state."),
    "cqueue_raft_leader_changes_total": Metric("counter", "Leaders the node has come to know after the first."),
    "cqueue_raft_commit_seconds": Metric(
        "histogram", "From when a batch was proposed to when it was applied.", bounds=SHORT_S
    ),
    "cqueue_raft_batch_operations": Metric("histogram", "Operations in a batch.", bounds=OPERATIONS),
    "cqueue_journal_sync_seconds": Metric("histogram", "One transaction of the journal.", bounds=SHORT_S),
    "cqueue_disk_free_bytes": Metric("gauge", "Free on the file system with the data directory.", known=()),
    "cqueue_disk_size_bytes": Metric("gauge", "Size of the file system with the data directory.", known=()),
    "cqueue_snapshot_seconds": Metric("histogram", "Making one snapshot, beside the loop.", bounds=SNAPSHOT_S),
    "cqueue_build_info": Metric("gauge", "1, with the version.", ("version",), known=()),
}


class Histogram(Struct):
    """counts: by bucket, not summed up; there is one more than bounds. sum: of all values."""

    bounds: tuple[float, ...]
    counts: list[int]
    sum: float = 0.0

    @classmethod
    def of(cls, name: str) -> Histogram:
        """An empty one of the metric `name`."""
        bounds = METRICS[name].bounds
        return cls(bounds, [0] * (len(bounds) + 1))

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add(self, other: Histogram) -> None:
        """Count what `other`, of the same metric, has counted."""
        self.counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum


class Tally(Struct):
    """What was counted. levels: what is so now, such as how many wait."""

    counts: dict[Series, int] = {}
    histograms: dict[Series, Histogram] = {}
    levels: dict[Series, int] = {}

    def count(self, series: Series, times: int = 1) -> None:
        """Something happened."""
        self.counts[series] = self.counts.get(series, 0) + times

    def observe(self, series: Series, value: float) -> None:
        """Something happened, with a value."""
        self.histogram(series).observe(value)

    def histogram(self, series: Series) -> Histogram:
        """The one of these values, made if there is none yet."""
        histogram = self.histograms.get(series)
        if histogram is None:
            histogram = self.histograms[series] = Histogram.of(series[0])
        return histogram

    def shift(self, series: Series, by: int) -> None:
        """There is more of something now, or less."""
        self.levels[series] = self.levels.get(series, 0) + by

    def add(self, other: Tally) -> None:
        """Count what `other` has counted; its levels are not looked at."""
        for series, times in other.counts.items():
            self.count(series, times)
        for series, histogram in other.histograms.items():
            self.histogram(series).add(histogram)


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Tally).decode
