"""Settings: of one queue, and the bounds of the cluster."""

from __future__ import annotations

from cqueue.core import limits
from cqueue.core.looking import queue_state
from cqueue.core.operations import DropQueue, SetBounds, SetQueue
from cqueue.core.results import Accepted, QueueState, Refusal
from cqueue.core.state import State


def set_queue(state: State, operation: SetQueue) -> QueueState | Refusal:
    """Change what `operation` names; a queue that is new is made."""
    if operation.queue not in state.queues and len(state.queues) >= limits.QUEUES_MAX:
        return Refusal("too_many_queues", f"there are {limits.QUEUES_MAX} queues, no more can be made")
    queue = state.queue_of(operation.queue)
    queue.change(operation, state.now_ms)
    state.plan_retention(queue)
    state.plan_refill(queue)
    if not queue.settings.paused:
        # It may have been paused until now, or limited, with all this in it.
        state.open(queue)
    shown = queue_state(state, queue)
    if queue.is_forgettable:
        state.drop(queue)
    return shown


def drop_queue(state: State, operation: DropQueue) -> Accepted | Refusal:
    """Forget a queue in which nothing waits and nothing runs."""
    queue = state.queues.get(operation.queue)
    if queue is None:
        return Refusal("queue_not_found", f"there is no queue {operation.queue}")
    if not queue.is_idle:
        return Refusal("queue_not_empty", f"the queue {queue.name} has jobs that are not finished")
    if len(queue.finished) > limits.SETTLE_JOBS_MAX:
        return Refusal("queue_not_empty", f"the queue {queue.name} keeps too many finished jobs: purge them first")
    for job_id in list(queue.finished):
        state.forget(state.jobs[job_id])
    if queue.name in state.queues:
        state.drop(queue)
    return Accepted()


def set_bounds(state: State, operation: SetBounds) -> Accepted:
    """From now on the cluster takes in so much; what it holds already stays."""
    state.max_jobs, state.max_bytes = operation.max_jobs, operation.max_bytes
    return Accepted()
