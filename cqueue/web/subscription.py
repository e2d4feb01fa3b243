"""The jobs of one client of `GET /stream`: asked for as its credit allows, and known until they are settled.

One request for jobs is on its way at a time. What the client holds is known here only for its
credit and for the end of the connection; whether it still holds a job is decided in the log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import gevent
from msgspec import Raw
from msgspec.structs import replace

from cqueue.core import limits
from cqueue.core.jobs import IN_PROGRESS, Job
from cqueue.core.operations import Dequeue, Extend, Extension, Operation
from cqueue.core.results import Dequeued, Outcome, Refusal
from cqueue.errors import CqueueError
from cqueue.protocol import OPERATE, RESULT, encode
from cqueue.web import problems
from cqueue.web.asking import Desk, result_of
from cqueue.web.link import ReplicaLink, Reply
from cqueue.web.outbox import FRAME_BYTES, Outbox
from cqueue.web.problems import Problem
from cqueue.web.shapes import dequeue, job, stream

WAIT_MS: Final = 60_000
"""How long one request for jobs waits before the next one is sent."""
PUSH_JOBS: Final = 250
"""How many jobs go into one message."""

_STILL_HELD: Final = frozenset(("token_required", "in_progress", "not_dead"))
"""Refusals after which a job is in the same hands as before."""


@dataclass(slots=True)
class _Hold:
    """A job in the client's hands. due_ms: when its lease ends, on the wall clock; lease_ms: how long one lasts."""

    token: int
    lease_ms: int
    due_ms: int


class Subscription:
    """None of anything until `change`. It is the receiver of its requests; see `cqueue.web.link.Receiver`.

    held: {job id: _Hold}. asked: the request on its way. interrupted: the client was told that no jobs
    come just now. timers: {what is to be done: greenlet}. ended: no more jobs, whatever the credit.

    Args:
        desk, link: the way to the replica.
        outbox: the way to the client.
        go_on: called when a request for jobs has come to its end.
        shown: makes the JSON of a problem.
    """

    def __init__(
        self,
        desk: Desk,
        link: ReplicaLink,
        outbox: Outbox,
        go_on: Callable[[], None],
        shown: Callable[[Problem], bytes],
    ) -> None:
        self._desk = desk
        self._link = link
        self._outbox = outbox
        self._go_on = go_on
        self._shown = shown
        self._credit = 0
        self._grace_ms = 0
        self._dequeue = Dequeue(1)
        self._held: dict[int, _Hold] = {}
        self._asked: int | None = None
        self._interrupted = False
        self._timers: dict[Callable[[], None], Any] = {}
        self._ended = False

    @property
    def is_settled(self) -> bool:
        """Whether the client holds nothing, and nothing is about to come."""
        return not self._held and self._asked is None

    def change(self, said: stream.SubscribeBody, operation: Dequeue) -> None:
        """Push jobs as `said` from now on, got by `operation`."""
        self._credit, self._grace_ms, self._dequeue = said.credit, said.grace_seconds * 1000, operation
        if self._asked is not None:
            # It asks for what was wanted before.
            self._link.stop(self._asked)
        self.fill()

    def fill(self) -> None:
        """Ask for as many jobs as the client may be given, unless that is under way or of no use just now."""
        if self._ended or self._link.draining or self._asked is not None or self._resume in self._timers:
            return
        free = 0 if self._outbox.is_full else self._free()
        if free > 0:
            operation = replace(self._dequeue, count=min(free, limits.DEQUEUE_JOBS_MAX))
            try:
                self._link.check_load()
                self._asked = self._link.post(self, OPERATE, encode(operation), WAIT_MS)
            except CqueueError as error:
                self._interrupt(Problem.of(error))
            else:
                self._desk.counts.wait("websocket", 1)

    def note(self, ids: list[int], operation: Operation, outcomes: list[Outcome]) -> None:
        """What came of a verb that the client said of jobs."""
        extensions = operation.jobs if isinstance(operation, Extend) else None
        for position, (job_id, outcome) in enumerate(zip(ids, outcomes, strict=True)):
            hold = self._held.get(job_id)
            if hold is None:
                continue
            if _is_out_of_hand(outcome):
                del self._held[job_id]
            elif extensions is not None:
                hold.lease_ms = extensions[position].lease_ms or hold.lease_ms
                hold.due_ms = _now_ms() + hold.lease_ms

    def end(self) -> None:
        """No more jobs."""
        self._ended = True
        for greenlet in self._timers.values():
            greenlet.kill(block=False)
        if self._asked is not None:
            self._link.stop(self._asked)

    def give_back_unseen(self) -> None:
        """What never reached the client is others' at once."""
        unseen = [each for each in self._outbox.unseen() if self._held.pop(each.id, None)]
        if unseen:
            self._desk.give_back(unseen)

    def cut_leases(self) -> None:
        """Leave the client a while to go on elsewhere with what it holds."""
        until_ms = _now_ms() + self._grace_ms
        cut = [Extension(at, hold.token, self._grace_ms) for at, hold in self._held.items() if hold.due_ms > until_ms]
        if cut:
            with suppress(CqueueError):
                self._link.ask(OPERATE, encode(Extend(cut)))

    # -- replies ---------------------------------------------------------------------------------

    def switch(self, reply: Reply) -> None:
        """Jobs, or why there are none."""
        self._answered()
        _, outcome, index, data = reply
        try:
            if outcome != RESULT:
                raise Problem.of_failure(data, index)
            dequeued: Dequeued = result_of(dequeue.decode, data, index)
        except Problem as problem:
            self._interrupt(problem)
        else:
            self._push(dequeued.jobs, index)
        self._go_on()

    def throw(self, error: CqueueError) -> None:
        """No answer. If jobs were handed out to nobody, their leases run out."""
        self._answered()
        self._interrupt(Problem.of(error))
        self._go_on()

    def _answered(self) -> None:
        self._asked = None
        self._desk.counts.wait("websocket", -1)

    def _push(self, jobs: list[Job], index: int) -> None:
        if self._ended and jobs:
            self._desk.give_back(jobs)
            return
        self._interrupted = False
        now_ms = _now_ms()
        for each in jobs:
            self._held[each.id] = _Hold(each.lease_token, each.due_ms - now_ms, each.due_ms)
        for some in _in_parts(jobs):
            self._outbox.put(stream.Pushed(index, [job.answer_of(each) for each in some]), some)

    def _interrupt(self, problem: Problem) -> None:
        """No jobs can be had just now: say so, once, and try again later."""
        if self._ended:
            return
        if not self._interrupted:
            self._interrupted = True
            self._outbox.put(stream.Interrupted(Raw(self._shown(problem))))
        self._after((problems.retry_after_s(problem) or 1) * 1000, self._resume)

    def _resume(self) -> None:
        self.fill()

    # -- credit ----------------------------------------------------------------------------------

    def _free(self) -> int:
        """How many jobs more the client may have; those whose lease is over are not its any more."""
        if self._credit and len(self._held) >= self._credit:
            now_ms = _now_ms()
            for job_id in [job_id for job_id, hold in self._held.items() if hold.due_ms < now_ms]:
                del self._held[job_id]
            if len(self._held) >= self._credit:
                self._after(min(hold.due_ms for hold in self._held.values()) - now_ms + 1, self.fill)
        return self._credit - len(self._held)

    def _after(self, ms: int, what: Callable[[], None]) -> None:
        """Do something later, once."""

        def do() -> None:
            del self._timers[what]
            what()

        if what not in self._timers:
            self._timers[what] = gevent.spawn_later(ms / 1000, do)


def _is_out_of_hand(outcome: Outcome) -> bool:
    """Whether whoever held the job holds it no more."""
    if isinstance(outcome, Refusal):
        return outcome.code not in _STILL_HELD
    return outcome.status != IN_PROGRESS


def _in_parts(jobs: Sequence[Job]) -> Iterator[Sequence[Job]]:
    """The jobs in as many messages as it takes."""
    start, payload_bytes = 0, 0
    for position, each in enumerate(jobs):
        payload_bytes += len(each.payload)
        if position + 1 - start == PUSH_JOBS or payload_bytes > FRAME_BYTES:
            yield jobs[start : position + 1]
            start, payload_bytes = position + 1, 0
    if start < len(jobs):
        yield jobs[start:]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
