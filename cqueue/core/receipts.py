"""What is remembered of an operation under a key, and the answer it stands for when asked again."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from cqueue.core.jobs import IN_PROGRESS, Extras, Job
from cqueue.core.keys import Added, AddedSome, Changed, HandedOut, Receipt, Said
from cqueue.core.looking import queue_state
from cqueue.core.queues import Queue
from cqueue.core.results import Accepted, Dequeued, Enqueued, QueueState, Result, Settled
from cqueue.core.state import State

_NO_EXTRAS: Final = Extras()


def receipt_of(result: Result) -> Receipt | None:
    """What to remember; None where doing it again is what the client wants."""
    if isinstance(result, Enqueued):
        if result.duplicates:
            return AddedSome(result.ids, result.duplicates)
        return Added(result.ids[0], len(result.ids))
    if isinstance(result, Dequeued) and result.jobs:
        first = result.jobs[0]
        taken = [(job.id, job.attempt, job.lease_token, job.due_ms) for job in result.jobs]
        return HandedOut(taken, first.consumer, first.started_ms, first.started_index)
    if isinstance(result, Settled):
        return Said(result.outcomes, 0 if result.job is None else result.job.id)
    if isinstance(result, QueueState):
        return Changed(result.queue)
    return Changed("") if isinstance(result, Accepted) else None


def redeem(state: State, receipt: Receipt) -> Result:
    """The answer a receipt stands for. Jobs that are no longer kept are left out, or None."""
    if isinstance(receipt, Added):
        return Enqueued(list(range(receipt.first, receipt.first + receipt.count)))
    if isinstance(receipt, AddedSome):
        return Enqueued(receipt.ids, receipt.duplicates)
    if isinstance(receipt, HandedOut):
        jobs = (_as_handed_out(state, receipt, taken) for taken in receipt.jobs)
        return Dequeued([job for job in jobs if job is not None])
    if isinstance(receipt, Said):
        state.shown.add(receipt.job_id)
        return Settled(receipt.outcomes, state.jobs.get(receipt.job_id))
    if not receipt.queue:
        return Accepted()
    return queue_state(state, state.queues.get(receipt.queue) or Queue(receipt.queue))


def _as_handed_out(state: State, receipt: HandedOut, taken: tuple[int, int, int, int]) -> Job | None:
    job_id, attempt, token, due_ms = taken
    job = state.jobs.get(job_id)
    if job is None:
        return None
    extras = job.extras
    if extras is not None:
        # As it was handed out: without what was said and done since.
        before = tuple(change for change in extras.changes if change.lease_token < token)
        extras = replace(extras, changes=before, percent=None, note=None, progress_ms=0, cancel_requested_ms=0)
        extras = None if extras == _NO_EXTRAS else extras
    return replace(
        job,
        extras=extras,
        status=IN_PROGRESS,
        attempt=attempt,
        lease_token=token,
        due_ms=due_ms,
        consumer=receipt.consumer,
        started_ms=receipt.started_ms,
        started_index=receipt.started_index,
        finished_ms=0,
        finished_index=0,
        result=None,
    )
