"""What is remembered of one job: its changes, and the room that all of it takes.

Changes that the job's own fields tell (its enqueue, its last hand-out, its conclusion) are not
stored: most jobs have no others.
"""

from __future__ import annotations

from cqueue.core import limits
from cqueue.core.jobs import IN_PROGRESS, Change, Job


def size(job: Job) -> int:
    """What a job is taken to take up, in bytes."""
    taken = limits.JOB_BYTES + len(job.payload) + len(job.result or b"")
    if job.extras is not None:
        taken += sum(len(name) + len(value) for name, value in job.tags.items())
        taken += sum(len(change.error or "") for change in job.extras.changes) + len(job.extras.note or "")
    return taken


def remember(job: Job, change: Change) -> int:
    """Remember a change, and forget the oldest one if there are too many; by how much `size` grows."""
    extras = job.with_extras()
    # A tuple, not a list: the garbage collector has nothing to look at in it, among a million jobs.
    extras.changes += (change,)
    grown = len(change.error or "")
    if len(extras.changes) > limits.CHANGES_KEPT_MAX:
        grown -= len(extras.changes[0].error or "")
        extras.changes = extras.changes[1:]
        extras.changes_forgotten += 1
    return grown


def remember_hand_out(job: Job) -> int:
    """Remember the hand-out that is about to be over, or to be followed by something else; see `remember`."""
    for change in reversed(job.with_extras().changes):
        if change.event == "hand_out":
            if change.lease_token == job.lease_token:
                return 0
            break
    attempt, token, consumer = job.attempt, job.lease_token, job.consumer
    return remember(job, Change("hand_out", IN_PROGRESS, job.started_ms, job.started_index, attempt, token, consumer))
