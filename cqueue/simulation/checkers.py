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
from typing import Any

from cqueue import protocol
from cqueue.core import entry, invariants
from cqueue.core.machine import StateMachine
from cqueue.core.operations import (
    Dequeue,
    Dequeued,
    Enqueue,
    Enqueued,
    GetJob,
    GetStats,
    Keyed,
    Operation,
    Query,
    Refusal,
    Result,
)
from cqueue.simulation.linearizability import Call, is_linearizable
from cqueue.simulation.model import Bounds, Model, show
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
        self.model = Model(Bounds.of_core())
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
        stamp_ms, session, number, done_below, operations = entry.decode(data)
        results = self.machine.apply(index, data).results
        expected = self.model.apply(stamp_ms, session, number, done_below, operations)
        if (None if results is None else [show(result) for result in results]) != expected:
            self.broken.append(f"the entry at index {index} was not decided as the model decides it")
        for position, (operation, result) in enumerate(zip(operations, results or (), strict=results is not None)):
            self._note(operation, result, (index, position))

    def _note(self, operation: Operation, result: Result, place: Place) -> None:
        number, encoded = number_of(operation), encode(result)
        self.answers.setdefault((number, place[0]), set()).add(self._told(operation, result))
        earlier = self.done.get(number)
        if earlier is None:
            # A dequeue that may wait is tried again each time it found nothing; the last try counts.
            self.places[number] = place
            if _has_effect(result):
                self.done[number] = encoded
                self._check_leases(number, result)
        elif not isinstance(operation, Keyed) or not _is_told_again(decode(earlier), result):
            self.broken.append(f"operation {number} took effect twice: {self.places[number]} and {place}")

    def _check_leases(self, number: int, result: Result) -> None:
        if not isinstance(result, Dequeued):
            return
        for job in result.jobs:
            if self._leases.get(job.id, 0) > self.machine.now_ms:
                self.broken.append(f"operation {number} was handed job {job.id} under another's lease")
            self._leases[job.id] = job.lease_expires_ms

    def _look(self, asked: Asked) -> None:
        query = asked.what
        if not isinstance(query, GetJob | GetStats):
            return
        result = self.machine.query(query)
        if self._told(query, result) != asked.body:
            self.broken.append(f"query {asked.number} was not answered with the state at index {asked.index}")
        if show(result) != self.model.query(query):
            self.broken.append(f"query {asked.number} was not answered as the model answers it")


def _has_effect(result: Result) -> bool:
    return not isinstance(result, Refusal) and result != Dequeued([])


def _is_told_again(earlier: Result, again: Result) -> bool:
    """Whether a second answer under a key tells of nothing but what the first one did."""
    if isinstance(earlier, Dequeued):
        return isinstance(again, Dequeued) and all(job in earlier.jobs for job in again.jobs)
    return type(again) is type(earlier) and (again == earlier or not isinstance(earlier, Enqueued))


def number_of(operation: Operation) -> int:
    """The number the workload gave an operation."""
    if isinstance(operation, Keyed):
        return number_of(operation.operation)
    if isinstance(operation, Enqueue):
        return int(operation.jobs[0].payload)
    if isinstance(operation, Dequeue):
        return int(operation.consumer or -1)
    return int(operation.jobs[0].result or b"-1")


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
    replay = Replay(log, [asked for asked in answered if isinstance(asked.what, GetJob | GetStats)], told)
    broken = replay.broken
    times_asked = Counter(asked.number for asked in history)
    for asked in history:
        if not isinstance(asked.what, GetJob | GetStats):
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


def search(history: list[Asked]) -> list[str]:
    """Look for an order that explains a short history without leases that end; the log is not asked.

    What was answered that nothing was done is no call. Times in the answers are left out: when an
    operation was stamped is the log's affair.

    Raises:
        Undecided: it would take too long to tell.
    """
    calls = []
    for asked in history:
        if asked.outcome == protocol.RESULT and asked.answered_s is not None:
            calls.append(Call(asked.what, asked.asked_s, asked.answered_s, _timeless(show(decode(asked.body)))))
        elif asked.outcome != protocol.UNAVAILABLE and not isinstance(asked.what, GetJob | GetStats):
            calls.append(Call(asked.what, asked.asked_s))
    explained = is_linearizable(calls, _Queue(Model(Bounds.of_core())), _step)
    return [] if explained else [f"no order of the {len(calls)} calls explains what was answered"]


class _Queue:
    """The model as a state: equal queues are equal and hash alike."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._bytes = encode((model.jobs, model.ids_given, model.tokens_given, model.keys))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Queue) and self._bytes == other._bytes

    def __hash__(self) -> int:
        return hash(self._bytes)


def _step(queue: _Queue, what: Operation | Query) -> tuple[_Queue, Any]:
    if isinstance(what, GetJob | GetStats):
        return queue, _timeless(queue.model.query(what))
    model = queue.model.copy()
    answer = model.perform(what)
    return _Queue(model), _timeless(answer)


def _timeless(answer: Any) -> Any:
    if isinstance(answer, list):
        return [_timeless(one) for one in answer]
    if isinstance(answer, dict):
        return {name: _timeless(value) for name, value in answer.items() if not name.endswith("_ms")}
    return answer
