"""What is true of a state machine after every entry, in prose beside the code that checks it.

It only looks, and it looks at everything: slow on purpose, for tests and the simulator, never on
the path of a request. A broken invariant is a bug of ours; it is named, not mended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Final

from cqueue.core import limits
from cqueue.core.jobs import FINISHED, IN_PROGRESS, QUEUED, STATUSES, Job
from cqueue.core.machine import StateMachine


def check(machine: StateMachine) -> list[str]:
    """One sentence for each invariant of `machine` that does not hold; empty when all is well."""
    return [sentence for invariant in INVARIANTS for sentence in invariant(machine)]


def _ids_are_dense(machine: StateMachine) -> Iterator[str]:
    """Ids are 1, 2, 3 … below `next_id`, and `jobs` holds them ascending.

    An id that is missing belonged to a finished job that was forgotten, and none is forgotten
    before as many are kept as may be kept.
    """
    for job_id, job in machine.jobs.items():
        if job_id != job.id:
            yield f"job {job.id} is kept under the id {job_id}"
    for before, after in pairwise((0, *machine.jobs, machine.next_id)):
        if before >= after:
            yield f"id {before} stands before id {after}"
    missing = machine.next_id - 1 - len(machine.jobs)
    if missing > 0 and len(machine.finished) < limits.FINISHED_JOBS_MAX:
        yield f"{missing} ids below {machine.next_id} have no job, though no job needed to be forgotten yet"


def _counts_add_up(machine: StateMachine) -> Iterator[str]:
    """`counts` says of each queue and status what counting the jobs again says."""
    counted = Counter((job.queue, job.status) for job in machine.jobs.values())
    kept = Counter({(queue, status): n for queue, of in machine.counts.items() for status, n in of.items()})
    for queue, status in sorted(counted.keys() | kept.keys()):
        is_n, says_n = counted[queue, status], kept[queue, status]
        if is_n != says_n:
            yield f"queue {queue} has {is_n} jobs {status}, its count says {says_n}"
    for queue, of in machine.counts.items():
        if tuple(of) != STATUSES:
            yield f"queue {queue} counts {', '.join(of)} instead of every status once"


def _every_job_is_where_its_status_says(machine: StateMachine) -> Iterator[str]:
    """A job is in one place once.

    QUEUED: ready, at its priority. IN_PROGRESS: in leases, at the end of its lease, so there is no
    lease without a job in progress. CONCLUDED or DEAD: in finished.
    """
    found = Counter[tuple[int, str]]()
    found.update((job_id, f"ready at priority {priority}") for priority, job_id in machine.ready)
    found.update((job_id, f"leases until {due_ms}") for due_ms, job_id in machine.leases)
    found.update((job_id, "finished") for job_id in machine.finished)
    meant = Counter((job.id, _place(job)) for job in machine.jobs.values())
    for job_id, place in found - meant:
        job = machine.jobs.get(job_id)
        yield f"job {job_id} is in {place}, but it is {job.status if job else 'unknown'}"
    for job_id, place in meant - found:
        yield f"job {job_id} belongs in {place}, but it is not there"


def _place(job: Job) -> str:
    if job.status == QUEUED:
        return f"ready at priority {job.priority}"
    if job.status == IN_PROGRESS:
        return f"leases until {job.lease_expires_ms}"
    return "finished"


def _the_best_is_first(machine: StateMachine) -> Iterator[str]:
    """Jobs are handed out by priority, then by id, and `ready` knows how many there are."""
    order = list(machine.ready)
    for before, after in pairwise(order):
        if before >= after:
            yield f"(priority, id) {before} is to be handed out before {after}"
    if len(machine.ready) != len(order):
        yield f"{len(order)} jobs are ready, their number says {len(machine.ready)}"


def _the_next_due_is_the_earliest(machine: StateMachine) -> Iterator[str]:
    """Time alone changes something next when the first lease ends, and never without a lease."""
    earliest_ms = min((due_ms for due_ms, _ in machine.leases), default=None)
    if machine.next_due_ms() != earliest_ms:
        yield f"the next change is due at {machine.next_due_ms()}, the earliest lease ends at {earliest_ms}"


def _tokens_are_unique(machine: StateMachine) -> Iterator[str]:
    """A token was given once, to one job, and is below `next_token`; a job in progress has one.

    Fencing rests on this: whoever shows the greater token was handed its job later.
    """
    jobs = machine.jobs.values()
    for token, n in Counter(job.lease_token for job in jobs if job.lease_token).items():
        if n > 1:
            yield f"{n} jobs have the lease token {token}"
        if not 0 < token < machine.next_token:
            yield f"lease token {token} was never given, the next one is {machine.next_token}"
    for job in jobs:
        if job.status == IN_PROGRESS and not job.lease_token:
            yield f"job {job.id} is IN_PROGRESS without a lease token"


def _attempts_are_bounded(machine: StateMachine) -> Iterator[str]:
    """A job is handed out `max_attempts` times at most; one that has had them all is not QUEUED."""
    for job in machine.jobs.values():
        if not 0 <= job.attempt <= job.max_attempts or (job.status == QUEUED and job.attempt == job.max_attempts):
            yield f"job {job.id} is {job.status} on attempt {job.attempt} of {job.max_attempts}"


def _nothing_is_of_the_future(machine: StateMachine) -> Iterator[str]:
    """What has happened is not later than now, and only a finished job has an end and a result."""
    for job in machine.jobs.values():
        if job.created_ms > machine.now_ms or job.finished_ms > machine.now_ms:
            yield f"job {job.id} is of {job.created_ms} and {job.finished_ms}, later than {machine.now_ms}"
        if job.status not in FINISHED and (job.finished_ms or job.result is not None):
            yield f"job {job.id} is {job.status}, but it has an end or a result"


def _finished_jobs_stand_in_order(machine: StateMachine) -> Iterator[str]:
    """Jobs stand in `finished` once, in the order they finished, so that the oldest is forgotten first."""
    for job_id in _repeats(machine.finished):
        yield f"job {job_id} is finished twice"
    ended = [machine.jobs[job_id] for job_id in machine.finished if job_id in machine.jobs]
    for before, after in pairwise(ended):
        if before.finished_ms > after.finished_ms:
            yield f"job {before.id} stands before job {after.id}, but finished later"


def _all_is_bounded(machine: StateMachine) -> Iterator[str]:
    """Live jobs, finished jobs and sessions stay within their limits."""
    live = len(machine.jobs) - len(machine.finished)
    for n, n_max, what in (
        (live, limits.LIVE_JOBS_MAX, "jobs are not finished"),
        (len(machine.finished), limits.FINISHED_JOBS_MAX, "finished jobs are kept"),
        (len(machine.sessions.dump()), limits.SESSIONS_MAX, "sessions are remembered"),
    ):
        if n > n_max:
            yield f"{n} {what}, the limit is {n_max}"


def _sessions_remember_only_their_window(machine: StateMachine) -> Iterator[str]:
    """A session lists batches it has applied above its mark, once each; those below are settled anyway."""
    for session in machine.sessions.dump():
        for number in _repeats(session.applied):
            yield f"session {session.id} has applied batch {number} twice"
        for number in session.applied:
            if number < session.done_below:
                yield f"session {session.id} lists batch {number}, all below {session.done_below} are settled"


def _repeats(numbers: Iterable[int]) -> list[int]:
    return [number for number, n in Counter(numbers).items() if n > 1]


def _keys_are_in_order(machine: StateMachine) -> Iterator[str]:
    """Idempotency-Keys stand oldest first, and weigh no more together than may be remembered."""
    remembered = machine.keys.dump()
    for before, after in pairwise(remembered):
        if before.since_ms > after.since_ms:
            yield f"key {before.key} stands before the older key {after.key}"
    weight = sum(each.weight for each in remembered)
    if weight > limits.KEYS_WEIGHT_MAX:
        yield f"keys weigh {weight}, more than {limits.KEYS_WEIGHT_MAX}"
    elif not machine.keys.has_room(limits.KEYS_WEIGHT_MAX - weight):
        yield f"keys weigh {weight}, and are taken to weigh more"


INVARIANTS: Final[tuple[Callable[[StateMachine], Iterator[str]], ...]] = (
    _ids_are_dense,
    _counts_add_up,
    _every_job_is_where_its_status_says,
    _the_best_is_first,
    _the_next_due_is_the_earliest,
    _tokens_are_unique,
    _attempts_are_bounded,
    _nothing_is_of_the_future,
    _finished_jobs_stand_in_order,
    _all_is_bounded,
    _sessions_remember_only_their_window,
    _keys_are_in_order,
)
