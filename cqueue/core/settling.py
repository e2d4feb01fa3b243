"""What is said of jobs by their ids: conclude, fail, release, extend, progress, cancel, redrive, purge.

Each job of an operation is answered on its own: a refusal of one changes nothing of the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from cqueue.core.backoff import delay_ms
from cqueue.core.jobs import CANCELLED, CONCLUDED, DEAD, FINISHED, IN_PROGRESS, Job
from cqueue.core.looking import out_of_reach
from cqueue.core.operations import (
    Cancel,
    Conclude,
    Conclusion,
    Extend,
    Extension,
    Fail,
    FailedAttempt,
    Held,
    PerJob,
    Progress,
    Purge,
    Redrive,
    Release,
    Report,
    Within,
)
from cqueue.core.reach import reaches
from cqueue.core.results import Done, Outcome, Refusal, Settled
from cqueue.core.state import State

_CONCLUDED: Final = Done(CONCLUDED)


def settle(state: State, operation: PerJob) -> Settled:
    """Do what `operation` says to each of its jobs, in order."""
    if isinstance(operation, Conclude):
        return _settled(state, operation.jobs, _conclude_all(state, operation.jobs))
    verb, said = _VERBS[type(operation)], _said(operation)
    return _settled(state, said, [verb(state, each) for each in said])


def settle_within(state: State, within: Within) -> Settled:
    """The same for those of its jobs that the caller reaches."""
    verb, said = _VERBS[type(within.operation)], _said(within.operation)
    outcomes: list[Outcome] = []
    for each in said:
        job_id = _id(each)
        job = state.jobs.get(job_id)
        is_reached = job is None or reaches(within.reach, job.queue)
        outcomes.append(verb(state, each) if is_reached else out_of_reach(job_id))
    return _settled(state, said, outcomes)


def _said(operation: PerJob) -> list[Any]:
    return operation.ids if isinstance(operation, Cancel | Redrive | Purge) else operation.jobs


def _id(said: Any) -> int:
    job_id: int = said if isinstance(said, int) else said.id
    return job_id


def _settled(state: State, said: list[Any], outcomes: list[Outcome]) -> Settled:
    job = None
    if len(outcomes) == 1 and isinstance(outcomes[0], Done):
        job_id = _id(said[0])
        job = state.jobs.get(job_id)
        state.shown.add(job_id)
    return Settled(outcomes, job)


def _conclude_all(state: State, said: list[Conclusion]) -> list[Outcome]:
    """What nearly all conclusions are is done together; each of the others in its turn, which comes to the same."""
    outcomes: list[Outcome] = []
    together: dict[int, tuple[Job, bytes | None]] = {}
    now_ms, entry_token = state.now_ms, state.entry_token
    for each in said:
        job = state.jobs.get(each.id)
        if (
            job is not None
            and job.status == IN_PROGRESS
            and job.lease_token == each.lease_token
            and job.due_ms > now_ms
            and job.extras is None
            and job.lease_token < entry_token
            and not state.shown
            and job.id not in together
        ):
            together[job.id] = job, each.result
            outcomes.append(_CONCLUDED)
        else:
            if together:
                state.conclude_all(list(together.values()))
                together.clear()
            outcomes.append(_conclude(state, each))
    if together:
        state.conclude_all(list(together.values()))
    return outcomes


def _conclude(state: State, said: Conclusion) -> Outcome:
    held = _held(state, said.id, said.lease_token)
    if isinstance(held, Refusal):
        return held
    if held.status == CONCLUDED:
        return _CONCLUDED
    if held.cancel_requested:
        state.end(held, "cancel", result=said.result)
        return Done(CANCELLED)
    state.conclude(held, said.result)
    return _CONCLUDED


def _fail(state: State, said: FailedAttempt) -> Outcome:
    job = _held(state, said.id, said.lease_token, now=True)
    if isinstance(job, Refusal):
        return job
    if job.cancel_requested:
        state.end(job, "cancel", said.error)
    elif not said.retryable or job.attempt >= job.max_attempts:
        state.end(job, "give_up", said.error)
    else:
        wait_ms = said.retry_in_ms
        if wait_ms is None:
            backoff = (job.extras and job.extras.backoff) or state.queues[job.queue].settings.backoff
            wait_ms = delay_ms(backoff, job.id, job.attempt)
        state.wait_again(job, "retry" if wait_ms else "retry_now", wait_ms, said.error)
    return Done(job.status)


def _release(state: State, said: Held) -> Outcome:
    job = _held(state, said.id, said.lease_token, now=True)
    if isinstance(job, Refusal):
        return job
    if job.cancel_requested:
        state.end(job, "cancel")
    else:
        state.release(job)
    return Done(job.status)


def _extend(state: State, said: Extension) -> Outcome:
    job = _held(state, said.id, said.lease_token, now=True)
    if isinstance(job, Refusal):
        return job
    state.extend(job, said.lease_ms or job.lease_ms)
    return Done(job.status, job.cancel_requested)


def _progress(state: State, said: Report) -> Outcome:
    job = _held(state, said.id, said.lease_token, now=True)
    if isinstance(job, Refusal):
        return job
    state.report(job, said.percent, said.note)
    return Done(job.status, job.cancel_requested)


def _cancel(state: State, job_id: int) -> Outcome:
    job = _kept(state, job_id)
    if isinstance(job, Refusal):
        return job
    if job.status == IN_PROGRESS:
        if not job.cancel_requested:
            state.request_cancel(job)
    elif job.status not in FINISHED:
        state.end(job, "cancel")
    elif job.status != CANCELLED:
        return Refusal("already_finished", f"job {job_id} is {job.status}")
    return Done(job.status, job.status == IN_PROGRESS)


def _redrive(state: State, job_id: int) -> Outcome:
    job = _kept(state, job_id)
    if isinstance(job, Refusal):
        return job
    if job.status != DEAD:
        return Refusal("not_dead", f"job {job_id} is {job.status}, only a dead job can be redriven")
    state.redrive(job)
    return Done(job.status)


def _purge(state: State, job_id: int) -> Outcome:
    job = _kept(state, job_id)
    if isinstance(job, Refusal):
        return job
    if job.status == IN_PROGRESS:
        return Refusal("in_progress", f"job {job_id} is held by a consumer: cancel it instead")
    state.purge(job)
    return Done(job.status)


def _kept(state: State, job_id: int) -> Job | Refusal:
    """The job as of this moment: a lease that ran out is over."""
    job = state.jobs.get(job_id)
    if job is None:
        return state.missing(job_id)
    if job.lease_token >= state.entry_token or state.shown:
        job = state.to_change(job)
    if job.status == IN_PROGRESS and job.due_ms <= state.now_ms:
        # The sweep works in slices; whether a lease holds is a matter of time, not of its turn.
        state.lose_lease(job)
    return job


def _held(state: State, job_id: int, token: int | None, *, now: bool = False) -> Job | Refusal:
    """The job, if whoever shows `token` (None: nobody shows one) holds it, or, unless `now`, concluded it."""
    job = _kept(state, job_id)
    if isinstance(job, Refusal):
        return job
    if token is None:
        if state.queues[job.queue].settings.require_lease_token:
            return Refusal("token_required", f"the queue {job.queue} wants the lease token of job {job_id}")
    elif token != job.lease_token:
        return Refusal("lease_lost", f"lease token {token} of job {job_id} is no longer current")
    if job.status == IN_PROGRESS or (job.status == CONCLUDED and not now):
        return job
    if token is not None:
        return Refusal("lease_lost", f"the lease of job {job_id} is over: it is {job.status}")
    return Refusal("not_in_progress", f"job {job_id} is {job.status}: nobody holds it")


_VERBS: Final[dict[type, Callable[[State, Any], Outcome]]] = {
    Conclude: _conclude,
    Fail: _fail,
    Release: _release,
    Extend: _extend,
    Progress: _progress,
    Cancel: _cancel,
    Redrive: _redrive,
    Purge: _purge,
}
