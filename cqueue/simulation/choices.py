"""What simulated clients come up with: operations of every kind, each with its number in it.

An operation carries its number where the log shows it, so that checkers find it there without asking
a replica: an enqueue in its payloads, a dequeue as its consumer, a conclude in the results, a fail as
the error, progress as the note, settings as the priority of a type. What has no room for a number
names one job more, that never was; a queue is dropped under a key only, which is the number.
"""

from __future__ import annotations

from random import Random
from typing import Any, Final, cast

from msgspec.structs import replace

from cqueue.core.jobs import DEFAULT_QUEUE, Backoff, Unique
from cqueue.core.operations import (
    Cancel,
    Conclude,
    Conclusion,
    Dequeue,
    DropQueue,
    Enqueue,
    Extend,
    Extension,
    Fail,
    FailedAttempt,
    Held,
    Keyed,
    NewJob,
    Operation,
    Options,
    Progress,
    Purge,
    Redrive,
    Release,
    Report,
    SetQueue,
)
from cqueue.core.queries import Explain, GetHistory, GetJob, GetQueue, GetStats, ListJobs, ListQueues, Query
from cqueue.core.results import Dequeued, Enqueued, Result

LEASES_MS: Final = (1_000, 3_000, 300_000)
QUEUES: Final = (DEFAULT_QUEUE, DEFAULT_QUEUE, "a", "b")
UNUSED: Final = "unused"
TYPES: Final = ("A", "A", "B", "TIME_CRITICAL")
TAGS: Final = ({"to": "ann"}, {"to": "bob"}, {"to": "ann", "tier": "1"})
UNIQUES: Final = (Unique("k", "queued"), Unique("k"), Unique("l"), Unique("m", "window", 1_500))
BACKOFF: Final = Backoff("exponential", 200, 2_000, 50)
NOBODY: Final = 1_000_000_000
"""Above every id there is: an operation that names the job NOBODY + n has the number n."""
REMEMBERED: Final = 60
"""Ids a client remembers of what was added."""
TEXT_OF: Final[dict[type, str]] = {Enqueue: "payload", Conclude: "result", Fail: "error", Progress: "note"}
"""Where each job of an operation has the number."""


class Choices:
    """held: (id, token) of jobs that were handed out. added: ids.

    leases_ms: what a dequeue asks for, one of these. With `only_original` there are no operations but the
    original three, and no queries but on one job and the numbers of all.
    """

    def __init__(self, chance: Random, leases_ms: tuple[int, ...] = LEASES_MS, *, only_original: bool = False) -> None:
        self._chance = chance
        self._leases_ms = leases_ms
        self._only_original = only_original
        self._held: list[tuple[int, int]] = []
        self._added: list[int] = [1]

    def learn(self, result: Result) -> None:
        """Remember what an answer brought."""
        if isinstance(result, Dequeued):
            self._held += [(job.id, job.lease_token) for job in result.jobs]
        elif isinstance(result, Enqueued):
            self._added = [*self._added, *result.ids][-REMEMBERED:]

    def query(self) -> Query:
        """Something to look at."""
        draw = self._chance.random()
        job_id = self._chance.choice(self._added) + self._chance.randint(0, 1)
        if self._only_original:
            return GetStats() if draw < 0.5 else GetJob(job_id)  # noqa: PLR2004
        return self._chance.choice(
            (
                GetStats(by_queue=self._chance.random() < 0.5),  # noqa: PLR2004
                GetJob(job_id),
                GetHistory(job_id),
                Explain(job_id),
                GetQueue(self._queue()),
                ListQueues(),
                ListJobs(after=max(0, job_id - 20), count=9, queue=self._chance.choice((None, *QUEUES))),
                ListJobs(count=5, statuses=("DEAD", "QUEUED"), tags=self._chance.choice((None, *TAGS))),
                ListJobs(after=job_id, count=5, newest_first=True),
            )
        )

    def operation(self, number: int) -> Operation:
        """Something to do, with `number` in it; sometimes as a request under a key."""
        operation: Any = numbered(self._plain(), number)
        if isinstance(operation, DropQueue) or self._chance.random() < 0.3:  # noqa: PLR2004
            return Keyed(str(number), b"", operation)
        return cast("Operation", operation)

    def _plain(self) -> Operation:
        draw = self._chance.random()
        if draw < 0.36:  # noqa: PLR2004
            return self._enqueue()
        if draw < 0.66 or not self._held:  # noqa: PLR2004
            return self._dequeue()
        return self._say() if draw < 0.92 or self._only_original else self._manage()  # noqa: PLR2004

    # -- one of a kind -------------------------------------------------------------------------

    def _enqueue(self) -> Enqueue:
        chance = self._chance
        count = chance.choice((1, 1, 3))
        if self._only_original:
            return Enqueue([NewJob(chance.choice(TYPES), b"") for _ in range(count)])
        return Enqueue([NewJob(chance.choice(TYPES), b"", self._queue(), self._options()) for _ in range(count)])

    def _options(self) -> Options | None:
        chance = self._chance
        if chance.random() < 0.5:  # noqa: PLR2004
            return None
        return Options(
            priority=chance.choice((None, None, 0, 900)),
            delay_ms=chance.choice((0, 0, 0, 300, 2_000)),
            expires_in_ms=chance.choice((0, 0, 0, 500, 3_000)),
            max_attempts=chance.choice((0, 1, 2)),
            backoff=BACKOFF,
            unique=chance.choice((None, *UNIQUES)),
            tags=chance.choice((None, *TAGS)),
        )

    def _dequeue(self) -> Dequeue:
        chance = self._chance
        count, lease_ms = chance.choice((1, 1, 2)), chance.choice(self._leases_ms)
        if self._only_original:
            return Dequeue(count, lease_ms)
        if chance.random() < 0.2:  # noqa: PLR2004
            of = (chance.choice((None, ("B",), ("A", "TIME_CRITICAL"))), chance.choice((None, *TAGS)))
            return Dequeue(count, lease_ms, None, (self._queue(),), *of)
        return Dequeue(count, lease_ms, None, tuple(chance.sample(("a", "b", DEFAULT_QUEUE), 3)))

    def _say(self) -> Operation:
        """What holders say of one or two jobs; those that go on being held are remembered."""
        chance = self._chance
        count = min(chance.choice((1, 2)), len(self._held))
        held = [self._held.pop(chance.randrange(len(self._held))) for _ in range(count)]
        shown = [(job_id, chance.choice((token, token, None))) for job_id, token in held]
        draw = 0.0 if self._only_original else chance.random()
        if draw < 0.4:  # noqa: PLR2004
            return Conclude([Conclusion(*each) for each in shown])
        if draw < 0.65:  # noqa: PLR2004
            wait_ms, again = chance.choice((None, 0, 400)), chance.random() < 0.8  # noqa: PLR2004
            return Fail([FailedAttempt(*each, None, again, wait_ms) for each in shown])
        if draw < 0.75:  # noqa: PLR2004
            return Release([Held(*each) for each in shown])
        self._held += held
        if draw < 0.9:  # noqa: PLR2004
            return Extend([Extension(*each, chance.choice((0, *self._leases_ms))) for each in shown])
        return Progress([Report(*each, chance.randint(0, 100)) for each in shown])

    def _manage(self) -> Operation:
        """What is said of jobs and queues by those who look after them."""
        chance = self._chance
        ids = chance.sample(self._added, min(10, len(self._added)))
        return chance.choice(
            (
                Cancel(ids[:3]),
                Cancel(ids[:1]),
                Redrive(ids),
                Redrive(ids),
                Purge(ids[:2]),
                SetQueue(self._queue(), paused=chance.random() < 0.3),  # noqa: PLR2004
                SetQueue(self._queue(), retention_jobs=chance.choice((2, 20)), max_attempts=chance.choice((1, 5))),
                SetQueue("b", max_depth=chance.choice((0, 5)), require_lease_token=chance.random() < 0.5),  # noqa: PLR2004
                SetQueue(self._queue(), max_in_progress=chance.choice((0, 0, 1, 4))),
                SetQueue(
                    self._queue(), rate_milli=chance.choice((0, 0, 500, 20_000)), rate_burst=chance.choice((0, 3))
                ),
                SetQueue(UNUSED, paused=True),
                DropQueue(chance.choice((UNUSED, *QUEUES))),
            )
        )

    def _queue(self) -> str:
        return self._chance.choice(QUEUES)


def numbered(operation: Operation, number: int) -> Operation:
    """The same operation with `number` in it, instead of the one it may have."""
    text = str(number)
    if isinstance(operation, Enqueue | Conclude | Fail | Progress):
        said = text if isinstance(operation, Fail | Progress) else text.encode()
        return _with_jobs(operation, [replace(each, **{TEXT_OF[type(operation)]: said}) for each in operation.jobs])
    if isinstance(operation, Dequeue):
        return replace(operation, consumer=text)
    if isinstance(operation, SetQueue):
        return replace(operation, priorities={text: 0, "TIME_CRITICAL": 0})
    if isinstance(operation, Release | Extend):
        nobody = Held(NOBODY + number) if isinstance(operation, Release) else Extension(NOBODY + number)
        return _with_jobs(operation, [*(each for each in operation.jobs if each.id < NOBODY), nobody])
    if isinstance(operation, Cancel | Redrive | Purge):
        return replace(operation, ids=[*(job_id for job_id in operation.ids if job_id < NOBODY), NOBODY + number])
    return operation


def _with_jobs(operation: Any, jobs: list[Any]) -> Operation:
    changed: Operation = replace(operation, jobs=jobs)
    return changed


def number_of(operation: Operation) -> int:
    """The number in an operation; 0 for one that no client asked for: a replica gives back what nobody came to hold."""
    text: str | bytes | int | None = 0
    if isinstance(operation, Keyed):
        text = operation.key if isinstance(operation.operation, DropQueue) else number_of(operation.operation)
    elif isinstance(operation, Enqueue | Conclude | Fail | Progress):
        text = getattr(operation.jobs[0], TEXT_OF[type(operation)])
    elif isinstance(operation, Dequeue):
        text = operation.consumer
    elif isinstance(operation, SetQueue):
        text = next(iter(operation.priorities or ()), None)
    elif isinstance(operation, Release | Extend):
        text = operation.jobs[-1].id - NOBODY
    elif isinstance(operation, Cancel | Redrive | Purge):
        text = operation.ids[-1] - NOBODY
    return max(int(text or 0), 0)
