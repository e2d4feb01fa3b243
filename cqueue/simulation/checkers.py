"""What a simulation must not show. Checkers know the log and the history; they know no replica.

The witness of an operation is its place in the log: (index, position). The log is replayed, in
order, through a fresh state machine and through the naive model; then
  - the machine decided every entry, and answers every query, as the model does;
  - every answered operation is in the log where its answer says, and was answered with what the
    replay says;
  - what was answered "nothing was done" is not in the log;
  - no operation took effect twice; one sent again under its key was only answered again;
  - an operation that began after another was answered stands behind it: with the rules above that
    is linearizability (Herlihy, Wing 1990), since the log is the sequential history;
  - a query shows the state at an index no older than anything answered before it was asked;
  - a job is handed out again only when its lease is over, ids are dense, invariants hold.
`search` asks the same of a short history without looking at the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from cqueue import protocol
from cqueue.core import entry, invariants
from cqueue.core.jobs import IN_PROGRESS
from cqueue.core.machine import StateMachine
from cqueue.core.operations import Cancel, Dequeue, Held, Keyed, Operation, PerJob, Purge, Redrive, Release
from cqueue.core.queries import Query
from cqueue.core.results import Dequeued, Done, Enqueued, Page, Refusal, Result, Settled
from cqueue.simulation.choices import number_of
from cqueue.simulation.linearizability import Call, is_linearizable
from cqueue.simulation.model import Model, show, show_job
from cqueue.simulation.workload import Asked, decode, encode

Place = tuple[int, int]
Told = Callable[[Operation | Query, Result], bytes]


class Replay:
    """The log, replayed.

    places: {operation number: where it took effect, or else where it was tried last}.
    answers: {(operation number, index): what was told}; one that was sent twice under its key may stand in an
    entry twice. done: {operation number: result with effect}.
    """

    def __init__(self, log: dict[int, bytes], queries: list[Asked], told: Told) -> None:
        self._told = told
        self.machine = StateMachine()
        self.model = Model()
        self.places: dict[int, Place] = {}
        self.answers: dict[tuple[int, int], set[bytes]] = {}
        self.done: dict[int, bytes] = {}
        self.broken: list[str] = []
        self._leases: dict[int, int] = {}
        by_index: dict[int, list[Asked]] = {}
        for asked in queries:
            by_index.setdefault(asked.index, []).append(asked)
        for index in sorted({*log, *by_index}):
            if index in log:
                self._apply(index, log[index])
            for asked in by_index.get(index, ()):
                self._look(asked)
        self.broken += invariants.check(self.machine)

    def _apply(self, index: int, data: bytes) -> None:
        operations = entry.decode(data)[4]
        results = self.machine.apply(index, data).results
        expected = self.model.apply(index, data)
        if (None if results is None else [show(result) for result in results]) != expected:
            self.broken.append(f"the entry at index {index} was not decided as the model decides it")
        for position, (operation, result) in enumerate(zip(operations, results or (), strict=results is not None)):
            if number_of(operation):
                self._note(operation, result, (index, position))
            else:
                self._check_leases(operation, result)

    def _note(self, operation: Operation, result: Result, place: Place) -> None:
        number, encoded = number_of(operation), encode(result)
        self.answers.setdefault((number, place[0]), set()).add(self._told(operation, result))
        earlier = self.done.get(number)
        if earlier is None:
            # A dequeue that may wait is tried again each time it found nothing; the last try counts.
            self.places[number] = place
            if _has_effect(result):
                self.done[number] = encoded
                self._check_leases(operation, result)
        elif not isinstance(operation, Keyed) or not _is_told_again(decode(earlier), result):
            self.broken.append(f"operation {number} took effect twice: {self.places[number]} and {place}")

    def _check_leases(self, operation: Operation, result: Result) -> None:
        what = operation.operation if isinstance(operation, Keyed) else operation
        if isinstance(result, Dequeued):
            for job in result.jobs:
                if self._leases.get(job.id, 0) > self.machine.now_ms:
                    self.broken.append(f"operation {number_of(what)} was handed job {job.id} under another's lease")
                self._leases[job.id] = job.due_ms
        elif isinstance(result, Settled) and isinstance(what, PerJob):
            said: list[Any] = list(what.ids if isinstance(what, Cancel | Redrive | Purge) else what.jobs)
            for each, outcome in zip(said, result.outcomes, strict=True):
                job_id = each if isinstance(each, int) else each.id
                kept = self.machine.state.jobs.get(job_id)
                if isinstance(outcome, Done):
                    # It was let go, or the lease ends at another time now.
                    self._leases[job_id] = 0 if outcome.status != IN_PROGRESS or kept is None else kept.due_ms

    def _look(self, asked: Asked) -> None:
        query = asked.what
        if not isinstance(query, Query):
            return
        result = self.machine.query(query)
        if self._told(query, result) != asked.body:
            self.broken.append(f"query {asked.number} was not answered with the state at index {asked.index}")
        if show(result) != self.model.query(query, result.next if isinstance(result, Page) else None):
            self.broken.append(f"query {asked.number} was not answered as the model answers it")


def _has_effect(result: Result) -> bool:
    return not isinstance(result, Refusal) and result != Dequeued([])


def _is_told_again(earlier: Result, again: Result) -> bool:
    """Whether a second answer under a key tells of nothing but what the first one did."""
    if isinstance(earlier, Dequeued):
        # What was long before the hand-out may be forgotten meanwhile: of that the newest is kept.
        told = [replace(job, extras=None) for job in earlier.jobs]
        return isinstance(again, Dequeued) and all(replace(job, extras=None) in told for job in again.jobs)
    return type(again) is type(earlier) and (again == earlier or not isinstance(earlier, Enqueued))


def _as_encoded(_what: Operation | Query, result: Result) -> bytes:
    return encode(result)


def check(log: dict[int, bytes], history: list[Asked], told: Told = _as_encoded) -> list[str]:
    """What is broken, in words; nothing if all is well.

    Args:
        log: {index: entry} of all that was committed.
        history: all that was asked.
        told: what `Asked.body` is when something asked for came to a result.
    """
    answered = [asked for asked in history if asked.outcome == protocol.RESULT]
    replay = Replay(log, [asked for asked in answered if isinstance(asked.what, Query)], told)
    broken = replay.broken
    times_asked = Counter(asked.number for asked in history)
    for asked in history:
        if not isinstance(asked.what, Query):
            broken += _check_operation(asked, replay, asked_once=times_asked[asked.number] == 1)
    return broken + _check_real_time(answered)


def _check_operation(asked: Asked, replay: Replay, *, asked_once: bool) -> list[str]:
    place = replay.places.get(asked.number)
    who = f"operation {asked.number} at {place}"
    if asked.outcome == protocol.UNAVAILABLE:
        return [f"{who} was answered that nothing was done"] if asked_once and asked.number in replay.done else []
    if asked.outcome != protocol.RESULT:
        return []
    if place is None:
        return [f"{who}, which is nowhere, was acknowledged: lost"]
    answers = replay.answers.get((asked.number, asked.index))
    if answers is None:
        return [f"{who} was answered as of index {asked.index}"]
    return [] if asked.body in answers else [f"{who} was answered with something else than it did"]


def _check_real_time(answered: list[Asked]) -> list[str]:
    """Nothing answered may stand, or look, before what was answered before it was asked."""
    broken = []
    by_answer = sorted(answered, key=lambda asked: asked.answered_s or 0.0)
    newest, seen = 0, 0
    for asked in sorted(answered, key=lambda asked: asked.asked_s):
        while seen < len(by_answer) and (by_answer[seen].answered_s or 0.0) < asked.asked_s:
            newest = max(newest, by_answer[seen].index)
            seen += 1
        if asked.index < newest:
            broken.append(
                f"operation {asked.number} saw index {asked.index}, older than {newest}, answered before it began"
            )
    return broken


def search(history: list[Asked], bounds: tuple[int, int] | None = None) -> list[str]:
    """Look for an order that explains a short history without leases that end; the log is not asked.

    What was answered that nothing was done is no call. Times and indexes are left out of the answers:
    when an operation was stamped, and where it stands, is the log's affair.

    Args:
        history: all that was asked.
        bounds: the jobs and bytes the cluster takes in, if not as many as by default.

    Raises:
        Undecided: it would take too long to tell.
    """
    calls = []
    for asked in history:
        if asked.outcome == protocol.RESULT and asked.answered_s is not None:
            calls.append(Call(asked.what, asked.asked_s, asked.answered_s, _timeless(show(decode(asked.body)))))
        elif asked.outcome != protocol.UNAVAILABLE and not isinstance(asked.what, Query):
            calls.append(Call(asked.what, asked.asked_s))
            if isinstance(asked.what, Dequeue):
                calls.append(Call(_GiveBack(asked.what.consumer), asked.asked_s))
    start = Model()
    start.jobs_max, start.bytes_max = bounds or (start.jobs_max, start.bytes_max)
    explained = is_linearizable(calls, _Queue(start), _step)
    return [] if explained else [f"no order of the {len(calls)} calls explains what was answered"]


class _Queue:
    """The model as a state: queues that go on alike are equal and hash alike. Histories make no difference."""

    def __init__(self, model: Model) -> None:
        self.model = model
        jobs = [_timeless(show_job(job)) for job in model.jobs]
        self._bytes = encode((jobs, model.ids_given, model.tokens_given, model.keys))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Queue) and self._bytes == other._bytes

    def __hash__(self) -> int:
        return hash(self._bytes)


@dataclass(frozen=True, slots=True)
class _GiveBack:
    """What a replica does with the jobs of a dequeue whose client hung up, once it has them."""

    consumer: str | None


def _step(queue: _Queue, what: Operation | Query | _GiveBack) -> tuple[_Queue, Any]:
    if isinstance(what, Query):
        return queue, _timeless(queue.model.query(what))
    model = queue.model.copy()
    if isinstance(what, _GiveBack):
        of_the_lost = [job for job in model.jobs if job["status"] == IN_PROGRESS and job["consumer"] == what.consumer]
        if not of_the_lost:
            return queue, None
        what = Release([Held(job["id"], job["lease_token"]) for job in of_the_lost])
    answer = model.perform_any(what)
    return _Queue(model), _timeless(answer)


def _timeless(answer: Any) -> Any:
    if isinstance(answer, list):
        return [_timeless(one) for one in answer]
    if isinstance(answer, dict):
        return {name: _timeless(value) for name, value in answer.items() if not name.endswith(("_ms", "_index"))}
    return answer
