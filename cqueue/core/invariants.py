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
from cqueue.core.jobs import (
    CANCELLED,
    CONCLUDED,
    FINISHED,
    IN_PROGRESS,
    QUEUED,
    SCHEDULED,
    STATUSES,
    WAITING,
    Job,
    Status,
)
from cqueue.core.machine import StateMachine
from cqueue.core.memory import size
from cqueue.core.queues import DEFAULTS


def check(machine: StateMachine) -> list[str]:
    """One sentence for each invariant of `machine` that does not hold; empty when all is well."""
    return [sentence for invariant in INVARIANTS for sentence in invariant(machine)]


# -- jobs, each in its places ----------------------------------------------------------------------


def _ids_ascend(machine: StateMachine) -> Iterator[str]:
    """Jobs stand by ascending id, below `next_id`; what is asked for by an id has it."""
    state = machine.state
    for before, after in pairwise((0, *(job.id for job in state.jobs), state.next_id)):
        if before >= after:
            yield f"id {before} stands before id {after}"
    for job in state.jobs:
        if state.jobs.get(job.id) is not job:
            yield f"job {job.id} is not found under its id"


def _counts_add_up(machine: StateMachine) -> Iterator[str]:
    """What is counted of jobs, by queue and status and in all, is what counting them again says."""
    state = machine.state
    counted = Counter((job.queue, job.status) for job in state.jobs)
    kept = Counter({(queue.name, status): n for queue in state.queues.values() for status, n in queue.counts.items()})
    for name, status in sorted(counted.keys() | kept.keys()):
        is_n, says_n = counted[name, status], kept[name, status]
        if is_n != says_n:
            yield f"queue {name} has {is_n} jobs {status}, its count says {says_n}"
    for queue in state.queues.values():
        if tuple(queue.counts) != STATUSES:
            yield f"queue {queue.name} counts {', '.join(queue.counts)} instead of every status once"
    live = sum(job.status not in FINISHED for job in state.jobs)
    for what, is_n, says_n in (
        ("jobs", sum(1 for _ in state.jobs), len(state.jobs)),
        ("jobs that are not finished", live, state.live),
        ("bytes", sum(map(size, state.jobs)), state.bytes),
    ):
        if is_n != says_n:
            yield f"there are {is_n} {what}, their number says {says_n}"


def _every_job_is_where_its_status_says(machine: StateMachine) -> Iterator[str]:
    """A job is in every place where it belongs once, and nowhere else.

    QUEUED: ready, in the line of its type and those of its tags. SCHEDULED: due when it becomes
    ready. IN_PROGRESS: due when its lease ends, so that there is one lease a job and none without
    one. Waiting: where it expires. Finished: among the finished of its queue.
    """
    found = Counter[tuple[int, str]]()
    for queue in machine.state.queues.values():
        for kind, lines in queue.ready.types.items():
            found.update((job_id, _in_line(queue.name, priority, kind)) for priority, job_id in lines)
        for (tag, value), lines in queue.ready.tags.items():
            found.update((job_id, _in_line(queue.name, priority, f"{tag}={value}")) for priority, job_id in lines)
        found.update((job_id, f"finished in {queue.name}") for job_id in queue.finished)
    found.update((job_id, f"due at {due_ms}") for due_ms, job_id in machine.state.due)
    found.update((job_id, f"to expire at {due_ms}") for due_ms, job_id in machine.state.expiries)
    meant = Counter((job.id, place) for job in machine.state.jobs for place in _places(job))
    for job_id, place in found - meant:
        job = machine.state.jobs.get(job_id)
        yield f"job {job_id} is {place}, but it is {job.status if job else 'unknown'}"
    for job_id, place in meant - found:
        yield f"job {job_id} should be {place}, but it is not there"


def _places(job: Job) -> Iterator[str]:
    if job.status == QUEUED:
        yield _in_line(job.queue, job.priority, job.type)
        for tag, value in job.tags.items():
            yield _in_line(job.queue, job.priority, f"{tag}={value}")
    elif job.status in FINISHED:
        yield f"finished in {job.queue}"
    else:
        yield f"due at {job.due_ms}"
    if job.status in WAITING and job.extras is not None and job.extras.expires_ms:
        yield f"to expire at {job.extras.expires_ms}"


def _in_line(queue: str, priority: int, line: str) -> str:
    return f"ready in {queue} at {priority} in the line of {line}"


def _the_best_is_first(machine: StateMachine) -> Iterator[str]:
    """In each line jobs stand by priority, then by id, and a queue knows how many are ready."""
    for queue in machine.state.queues.values():
        ready = queue.ready
        for lines in (*ready.types.values(), *ready.tags.values()):
            order = list(lines)
            for before, after in pairwise(order):
                if before >= after:
                    yield f"(priority, id) {before} is to be handed out before {after}"
            if not 0 < len(order) == len(lines):
                yield f"a line of queue {queue.name} has {len(order)} jobs, its number says {len(lines)}"
        in_all = sum(map(len, ready.types.values()))
        if in_all != len(ready):
            yield f"{in_all} jobs of queue {queue.name} are ready, their number says {len(ready)}"


# -- what a job says of itself ---------------------------------------------------------------------


def _tokens_are_unique(machine: StateMachine) -> Iterator[str]:
    """A token was given once, to one job, and is below `next_token`; a job in progress has one.

    Fencing rests on this: whoever shows the greater token was handed its job later.
    """
    jobs = list(machine.state.jobs)
    for token, n in Counter(job.lease_token for job in jobs if job.lease_token).items():
        if n > 1:
            yield f"{n} jobs have the lease token {token}"
        if not 0 < token < machine.state.next_token:
            yield f"lease token {token} was never given, the next one is {machine.state.next_token}"
    for job in jobs:
        if job.status == IN_PROGRESS and not job.lease_token:
            yield f"job {job.id} is IN_PROGRESS without a lease token"


def _attempts_are_bounded(machine: StateMachine) -> Iterator[str]:
    """A job is handed out `max_attempts` times at most; one that has had them all does not wait."""
    for job in machine.state.jobs:
        if not 0 <= job.attempt <= job.max_attempts or (job.status in WAITING and job.attempt == job.max_attempts):
            yield f"job {job.id} is {job.status} on attempt {job.attempt} of {job.max_attempts}"


def _nothing_is_of_the_future(machine: StateMachine) -> Iterator[str]:
    """What has happened is not later than now, and only a finished job has an end and a result."""
    now_ms, index = machine.now_ms, machine.applied_index
    for job in machine.state.jobs:
        if max(job.created_ms, job.started_ms, job.finished_ms) > now_ms:
            yield f"job {job.id} is of {job.created_ms}, {job.started_ms} and {job.finished_ms}, later than {now_ms}"
        if max(job.created_index, job.started_index, job.finished_index) > index:
            yield f"job {job.id} was changed by an entry above {index}"
        if (job.status in FINISHED) != (job.finished_index > 0):
            yield f"job {job.id} is {job.status}, but it {'has an' if job.finished_index else 'is without'} end"
        if job.result is not None and job.status not in {CONCLUDED, CANCELLED}:
            yield f"job {job.id} is {job.status}, but it has a result"


def _only_what_waits_for_time_is_due(machine: StateMachine) -> Iterator[str]:
    """SCHEDULED and IN_PROGRESS jobs have a time at which that is over, others have none."""
    for job in machine.state.jobs:
        if (job.due_ms > 0) != (job.status in {SCHEDULED, IN_PROGRESS}):
            yield f"job {job.id} is {job.status}, but it is due at {job.due_ms}"


def _cancel_is_asked_of_held_jobs(machine: StateMachine) -> Iterator[str]:
    """A job that was asked to stop is still held, or it is CANCELLED: it comes to no other end."""
    for job in machine.state.jobs:
        if job.cancel_requested and job.status not in {IN_PROGRESS, CANCELLED}:
            yield f"job {job.id} was asked to stop, but it is {job.status}"


def _histories_are_bounded(machine: StateMachine) -> Iterator[str]:
    """A job's changes stand in the order of the log, no more than may be kept."""
    for job in machine.state.jobs:
        changes = job.extras.changes if job.extras is not None else ()
        if len(changes) > limits.CHANGES_KEPT_MAX:
            yield f"job {job.id} has {len(changes)} changes, the limit is {limits.CHANGES_KEPT_MAX}"
        for before, after in pairwise(changes):
            if before.index > after.index or before.at_ms > after.at_ms:
                yield f"job {job.id} has {before.event} of {before.index} before {after.event} of {after.index}"


# -- queues, keys and what is due ------------------------------------------------------------------


def _queues_are_of_use(machine: StateMachine) -> Iterator[str]:
    """A queue is kept under its name for its jobs or for its settings; every job's queue is kept."""
    for name, queue in machine.state.queues.items():
        if name != queue.name:
            yield f"queue {queue.name} is kept under the name {name}"
        if not any(queue.counts.values()) and queue.settings == DEFAULTS:
            yield f"queue {queue.name} is kept for nothing"
    for name in sorted({job.queue for job in machine.state.jobs} - machine.state.queues.keys()):
        yield f"queue {name} has jobs, but it is not kept"


def _finished_jobs_stand_in_order(machine: StateMachine) -> Iterator[str]:
    """The finished jobs of a queue stand in the order they finished; when they are looked at is planned once."""
    planned = Counter(machine.state.retention)
    for queue in machine.state.queues.values():
        ended = [job for job_id in queue.finished if (job := machine.state.jobs.get(job_id)) is not None]
        for before, after in pairwise(ended):
            if before.finished_index > after.finished_index or before.finished_ms > after.finished_ms:
                yield f"job {before.id} stands before job {after.id}, but finished later"
        if queue.retention_due_ms:
            planned[queue.retention_due_ms, queue.name] -= 1
        if ended and not queue.retention_due_ms:
            yield f"queue {queue.name} has finished jobs, but nobody will look at them"
    for (due_ms, name), n in planned.items():
        if n:
            yield f"queue {name} is {'not ' if n < 0 else ''}looked at at {due_ms}, against its plan"


def _limited_queues_open_again(machine: StateMachine) -> Iterator[str]:
    """Where a pace leaves no room for a job, the time at which it does is planned, once; it never owes anything."""
    planned = Counter(machine.state.refills)
    for queue in machine.state.queues.values():
        if (queue.pace is not None) != (queue.settings.rate_milli > 0):
            yield f"queue {queue.name} has {'no ' if queue.pace is None else 'a '}pace, against its settings"
        if queue.pace is not None and queue.pace.parts < 0:
            yield f"queue {queue.name} has handed out more than its rate allows"
        if queue.refill_due_ms != (0 if queue.pace is None else queue.pace.next_ms()):
            yield f"queue {queue.name} may hand out again at another time than {queue.refill_due_ms}"
        if queue.refill_due_ms:
            planned[queue.refill_due_ms, queue.name] -= 1
    for (due_ms, name), n in planned.items():
        if n:
            yield f"queue {name} is {'not ' if n < 0 else ''}opened at {due_ms}, against its plan"


def _unique_keys_belong_to_somebody(machine: StateMachine) -> Iterator[str]:
    """A key is taken by a job that says so itself and is in the scope, or for a window that will be over."""
    held_in: dict[str, frozenset[Status]] = {"queued": WAITING, "unfinished": WAITING | {IN_PROGRESS}}
    windows = Counter(due_ms for due_ms, _ in machine.state.uniques.windows)
    for taken in machine.state.uniques.dump():
        if taken.until_ms:
            windows[taken.until_ms] -= 1
            continue
        job = machine.state.jobs.get(taken.job_id)
        unique = job.extras.unique if job is not None and job.extras is not None else None
        if job is None or unique is None or (job.queue, unique.key) != (taken.queue, taken.key):
            yield f"unique key {taken.key} is taken by job {taken.job_id}, which knows nothing of it"
        elif job.status not in held_in.get(unique.scope, ()):
            yield f"unique key {taken.key} ({unique.scope}) is taken by job {job.id}, which is {job.status}"
    for until_ms, n in windows.items():
        if n:
            yield f"{abs(n)} unique keys until {until_ms} {'would never be let go' if n < 0 else 'belong to nobody'}"


def _the_next_due_is_the_earliest(machine: StateMachine) -> Iterator[str]:
    """Time alone changes something next when the first of all that is due is."""
    state = machine.state
    due = (state.due, state.expiries, state.retention, state.refills, state.uniques.windows)
    earliest_ms = min((due_ms for each in due for due_ms, _ in each), default=None)
    if machine.next_due_ms() != earliest_ms:
        yield f"the next change is due at {machine.next_due_ms()}, the earliest at {earliest_ms}"


# -- what is done once -----------------------------------------------------------------------------


def _all_is_bounded(machine: StateMachine) -> Iterator[str]:
    """Queues and sessions stay within their limits."""
    for n, n_max, what in (
        (len(machine.state.queues), limits.QUEUES_MAX, "queues are kept"),
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
    _ids_ascend,
    _counts_add_up,
    _every_job_is_where_its_status_says,
    _the_best_is_first,
    _tokens_are_unique,
    _attempts_are_bounded,
    _nothing_is_of_the_future,
    _only_what_waits_for_time_is_due,
    _cancel_is_asked_of_held_jobs,
    _histories_are_bounded,
    _queues_are_of_use,
    _finished_jobs_stand_in_order,
    _limited_queues_open_again,
    _unique_keys_belong_to_somebody,
    _the_next_due_is_the_earliest,
    _all_is_bounded,
    _sessions_remember_only_their_window,
    _keys_are_in_order,
)
