"""What a node has counted since it started: its replica here, its web workers by their reports.

A worker that dies leaves what it had reported; how many of its consumers waited goes with it. What
happens to jobs is counted where the request came in, as its batch is applied: each batch is seen
once, whoever leads, and what a node replays of its journal was no batch of this life. So sums over
all nodes are right. It changes nothing, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from cqueue import metrics
from cqueue.core import entry
from cqueue.core.jobs import CONCLUDED, Job
from cqueue.core.machine import StateMachine
from cqueue.core.operations import Keyed, Within
from cqueue.core.results import Dequeued, Enqueued, Refusal, Result, Settled
from cqueue.metrics import LABELS_MAX_DEFAULT, OTHER, Histogram, Series, Tally
from cqueue.replication.batches import Batch

_LEADERS: Final[Series] = ("cqueue_raft_leader_changes_total",)
_BY_KEY: Final[Series] = ("cqueue_deduplicated_total", "idempotency_key")
_BY_UNIQUE_KEY: Final[Series] = ("cqueue_deduplicated_total", "unique_key")

_WAITS: Final = "cqueue_job_wait_seconds"
_RUNS: Final = "cqueue_job_run_seconds"
_OTHER: Final = (OTHER, OTHER)

Epoch = tuple[int, str | None]


class Tallies:
    """levels: {worker: what is so now in it}. leader: (term, id) of the last leader that was known.

    of_jobs: {(queue, type): how long such jobs waited, and ran}; `labels_max` of those that were seen first,
    and one for the rest.
    """

    def __init__(self) -> None:
        self.labels_max = LABELS_MAX_DEFAULT
        self._of_jobs: dict[tuple[str, str], tuple[Histogram, Histogram]] = {}
        self._counted = Tally()
        self._levels: dict[Hashable, dict[Series, int]] = {}
        self._leader: Epoch | None = None
        self._commits, self._batches, journal_syncs, snapshots = (
            self._counted.histogram((name,))
            for name in (
                "cqueue_raft_commit_seconds",
                "cqueue_raft_batch_operations",
                "cqueue_journal_sync_seconds",
                "cqueue_snapshot_seconds",
            )
        )
        self.journal_synced = journal_syncs.observe
        self.snapshot_made = snapshots.observe

    # -- of workers ------------------------------------------------------------------------------

    def report(self, worker: Hashable, tally: bytes) -> None:
        """What a worker has counted since it last said so."""
        told = metrics.decode(tally)
        self._counted.add(told)
        self._levels[worker] = told.levels

    def forget(self, worker: Hashable) -> None:
        """A worker is gone."""
        self._levels.pop(worker, None)

    def encoded(self) -> bytes:
        """All of it."""
        self._counted.levels = {}
        for levels in self._levels.values():
            for series, level in levels.items():
                self._counted.shift(series, level)
        return metrics.encode(self._counted)

    # -- of the replica --------------------------------------------------------------------------

    def see(self, epoch: Epoch) -> None:
        """Look who leads. The first leader is no change; the same one in another term is one."""
        if epoch == self._leader or epoch[1] is None:
            return
        if self._leader is not None:
            self._counted.count(_LEADERS)
        self._leader = epoch

    def batch_applied(self, batch: Batch, results: list[Result], machine: StateMachine, now_s: float) -> None:
        """A batch of this node's was applied just now."""
        self._commits.observe(now_s - batch.begun_s)
        self._batches.observe(len(batch.operations))
        if machine.repeated_now:
            self._counted.count(_BY_KEY, machine.repeated_now)
        has_fenced = False
        for result in results:
            if isinstance(result, Settled):
                has_fenced = has_fenced or _fenced(result) > 0
            elif isinstance(result, Dequeued):
                self._count_waits(result.jobs, machine.applied_index)
            elif isinstance(result, Enqueued) and result.duplicates:
                self._counted.count(_BY_UNIQUE_KEY, len(result.duplicates))
        if machine.finished_now:
            self._count_runs(machine)
        if has_fenced:
            self._count_fenced(batch, results)

    def _count_waits(self, jobs: list[Job], index: int) -> None:
        for job in jobs:
            extras = job.extras
            # Another attempt has not waited since its enqueue; a job shown again was not handed out again.
            if job.attempt != 1 or job.started_index != index:
                continue
            if extras is None:
                self._of(job)[0].observe((job.started_ms - job.created_ms) / 1000)
            elif not any(change.event == "hand_out" for change in extras.changes):
                self._of(job)[0].observe((job.started_ms - (extras.run_at_ms or job.created_ms)) / 1000)

    def _count_runs(self, machine: StateMachine) -> None:
        for job_id in machine.finished_now:
            job = machine.state.jobs.get(job_id)
            # The entry was this batch: whatever it concluded, the batch did.
            if job is not None and job.status == CONCLUDED:
                self._of(job)[1].observe((job.finished_ms - job.started_ms) / 1000)

    def _of(self, job: Job) -> tuple[Histogram, Histogram]:
        """Where waits and runs of jobs like this one are counted."""
        given = (job.queue, job.type)
        found = self._of_jobs.get(given)
        if found is None:
            if len(self._of_jobs) >= self.labels_max:
                given = _OTHER
            waits, runs = (self._counted.histogram((name, *given)) for name in (_WAITS, _RUNS))
            found = self._of_jobs[given] = waits, runs
        return found

    def _count_fenced(self, batch: Batch, results: list[Result]) -> None:
        for operation, result in zip(entry.decode(batch.data)[4], results, strict=True):
            times = _fenced(result)
            if times:
                inner = operation.operation if isinstance(operation, Keyed) else operation
                inner = inner.operation if isinstance(inner, Within) else inner
                self._counted.count(("cqueue_fenced_total", type(inner).__name__.lower()), times)


def _fenced(result: Result) -> int:
    """How many jobs it refuses since a lease was lost."""
    if not isinstance(result, Settled):
        return 0
    return sum([outcome.code == "lease_lost" for outcome in result.outcomes if isinstance(outcome, Refusal)])
