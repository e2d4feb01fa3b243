"""What a simulation must not show. Checkers know the log and the history; they know no replica.

The witness of an operation is its place in the log: (index, position). The log is replayed, in
order, through a fresh state machine; then
  - every answered operation is in the log once, and was answered with what the replay says;
  - what was answered "nothing was done" is not in the log;
  - no operation took effect twice; one sent again under its key was only answered again, the same;
  - an operation that began after another was answered stands behind it: with the two rules above
    that is linearizability (Herlihy, Wing 1990), since the log is the sequential history;
  - a query shows the state at an index no older than anything answered before it was asked;
  - a job is handed out again only when its lease is over, ids are dense, invariants hold.
"""

from __future__ import annotations

from collections import Counter

import msgspec

from cqueue import protocol
from cqueue.core import entry, invariants
from cqueue.core.machine import StateMachine
from cqueue.core.operations import Dequeue, Dequeued, Enqueue, GetJob, GetStats, Keyed, Operation, Result
from cqueue.simulation.workload import Asked

_encode = msgspec.msgpack.Encoder().encode

_NOTHING = _encode(Dequeued([]))

Place = tuple[int, int]


class Replay:
    """The log, replayed. places: {operation number: its place}; results: {number: encoded result}."""

    def __init__(self, log: dict[int, bytes], queries: list[Asked]) -> None:
        self.machine = StateMachine()
        self.places: dict[int, Place] = {}
        self.results: dict[int, bytes] = {}
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
        if results is None:
            return
        for position, (operation, result) in enumerate(zip(operations, results, strict=True)):
            number = number_of(operation)
            # A dequeue that may wait is tried again each time it found nothing; the last try counts.
            if number in self.places and self.results[number] != _NOTHING:
                if isinstance(operation, Keyed) and _encode(result) == self.results[number]:
                    continue
                self.broken.append(
                    f"operation {number} took effect twice: {self.places[number]} and {(index, position)}"
                )
            self.places[number] = (index, position)
            self.results[number] = _encode(result)
            self._check_leases(number, result)

    def _check_leases(self, number: int, result: Result) -> None:
        if not isinstance(result, Dequeued):
            return
        for job in result.jobs:
            if self._leases.get(job.id, 0) > self.machine.now_ms:
                self.broken.append(f"operation {number} was handed job {job.id} under another's lease")
            self._leases[job.id] = job.lease_expires_ms

    def _look(self, asked: Asked) -> None:
        if isinstance(asked.what, GetJob | GetStats) and _encode(self.machine.query(asked.what)) != asked.body:
            self.broken.append(f"query {asked.number} was not answered with the state at index {asked.index}")


def number_of(operation: Operation) -> int:
    """The number the workload gave an operation."""
    if isinstance(operation, Keyed):
        return number_of(operation.operation)
    if isinstance(operation, Enqueue):
        return int(operation.jobs[0].payload)
    if isinstance(operation, Dequeue):
        return int(operation.consumer or -1)
    return int(operation.jobs[0].result or b"-1")


def check(log: dict[int, bytes], history: list[Asked]) -> list[str]:
    """What is broken, in words; nothing if all is well."""
    answered = [asked for asked in history if asked.outcome == protocol.RESULT]
    queries = [asked for asked in answered if isinstance(asked.what, GetJob | GetStats)]
    replay = Replay(log, queries)
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
        was_done = asked_once and place is not None and replay.results[asked.number] != _NOTHING
        return [f"{who} was answered that nothing was done"] if was_done else []
    if asked.outcome != protocol.RESULT:
        return []
    if place is None:
        return [f"{who}, which is nowhere, was acknowledged: lost"]
    broken = []
    if replay.results[asked.number] != asked.body:
        broken.append(f"{who} was answered with something else than it did")
    if asked_once and place[0] != asked.index:
        broken.append(f"{who} was answered as of index {asked.index}")
    return broken


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
