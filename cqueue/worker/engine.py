"""One event loop that takes jobs, puts them into lanes, keeps their leases, and gives back what it cannot finish.

    take      as many as there is room for: `concurrency` that run, and `prefetch` that wait
    keep      every sixth of a lease: extend what was not extended for a sixth of it, so at a third at the latest
    lose      what the queue says is not ours any more, or whose lease has run out here: its end is not told
    stop      take nothing, give back what has not begun, wait for the rest, have it stop, give it back

Whether a lease still holds is the queue's to say. The clock here only says when it cannot any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cqueue import logs
from cqueue.client.asynchronous import AsyncClient
from cqueue.client.jobs import Wish
from cqueue.client.results import Job, Outcome
from cqueue.errors import OutcomeUnknown, Unavailable
from cqueue.worker import handling
from cqueue.worker.context import Around, Attempt, Entry, Reason
from cqueue.worker.endings import RELEASED, Ending
from cqueue.worker.lanes import Lane, LoopLane, ThreadLane
from cqueue.worker.pace import Pace
from cqueue.worker.telling import TOLD_JOBS_MAX, Teller

log = logs.of(__name__)

WAIT_S: Final = 20.0
"""How long a node is asked to wait for a job."""
TAKEN_JOBS_MAX: Final = 1_000
"""Jobs taken at a time. Source: docs/protocol.md#limits."""
PAUSE_S: Final = 1.0
"""Before jobs are asked for again, where no node gave an answer for all of a client's patience."""
LAST_ANSWER_S: Final = 0.3
"""When it stops: how long it waits for jobs that it has asked for. What comes later comes back when its lease ends."""
WIND_UP_S: Final = 10.0
"""After the grace period: for handlers to end that were told to, and for their jobs to be given back."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run, and how; docs/worker.md#settings. entries: {type: its handler}, None for all other types.

    wish: which jobs to take, under which lease, and how long to wait for them. prefetch: None: as the pace says.
    """

    entries: dict[str | None, Entry]
    middleware: tuple[Around, ...]
    wish: Wish
    lease_seconds: int
    concurrency: int
    prefetch: int | None
    grace_s: float
    until_empty: bool


class Engine:
    """Runs a plan, once."""

    def __init__(self, plan: Plan, client: AsyncClient) -> None:
        self._plan, self._client = plan, client
        self._loop = asyncio.get_running_loop()
        self._teller = Teller(client, self._settled, self._heard)
        self._lanes: dict[bool, Lane] = {}
        self._held: dict[Attempt, None] = {}
        self._in_lanes = 0
        self._pace = Pace(self._loop.time())
        self._reported: deque[tuple[Attempt, Ending]] = deque()
        self._is_called = False
        self._changed = asyncio.Event()
        self._stop_asked = asyncio.Event()

    def stop(self) -> None:
        """Stop gracefully."""
        self._stop_asked.set()

    async def run(self) -> None:
        """Go on until told to stop.

        Raises:
            Refused: a node will never give jobs to this worker.
        """
        plan = self._plan
        for is_async in {entry.is_async for entry in plan.entries.values()}:
            kind = LoopLane if is_async else ThreadLane
            self._lanes[is_async] = kind(plan.concurrency, plan.middleware, self._began, self._ended)
        steps = (self._take(), self._teller.run(), self._keep(), self._stop_asked.wait())
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(step) for step in steps]
        log.info("worker_started", queues=list(plan.wish["queues"]))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await self._stop(tasks[0])
        finally:
            for lane in self._lanes.values():
                lane.close()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        log.info("worker_stopped", jobs_left=len(self._held))
        for task in tasks:
            if not task.cancelled():
                task.result()

    # -- taking ------------------------------------------------------------------------------------

    async def _take(self) -> None:
        plan = self._plan
        while not self._stop_asked.is_set():
            self._changed.clear()
            ahead = self._pace.ahead(self._loop.time()) if plan.prefetch is None else plan.prefetch
            room = min(plan.concurrency + ahead - self._in_lanes, TAKEN_JOBS_MAX)
            if room <= 0 or len(self._held) - self._in_lanes > TOLD_JOBS_MAX:
                await self._changed.wait()
                continue
            try:
                jobs = await self._client.dequeue_many(room, **plan.wish)
            except (Unavailable, OutcomeUnknown) as error:
                log.warning("taking_failed", code=error.code)
                await asyncio.sleep(PAUSE_S)
                continue
            self._put(jobs)
            if plan.until_empty and not jobs:
                if not self._held:
                    return
                await self._changed.wait()

    def _put(self, jobs: Sequence[Job]) -> None:
        now_s, entries = self._loop.time(), self._plan.entries
        by_lane: dict[bool, list[Attempt]] = {}
        for job in jobs:
            entry = entries.get(job.type) or entries[None]
            attempt = Attempt(job, entry, now_s, self._progressed)
            by_lane.setdefault(entry.is_async, []).append(attempt)
            self._held[attempt] = None
        self._in_lanes += len(jobs)
        if self._stop_asked.is_set():
            self._give_back([attempt for attempts in by_lane.values() for attempt in attempts])
            return
        for is_async, attempts in by_lane.items():
            self._lanes[is_async].put(attempts)

    # -- what lanes report, in their threads ---------------------------------------------------------

    def _began(self, attempt: Attempt) -> None:
        if attempt.entry.timeout_s is not None:
            self._call(self._set_timer, attempt, attempt.entry.timeout_s)

    def _ended(self, attempt: Attempt, ending: Ending) -> None:
        self._reported.append((attempt, ending))
        # One call for all that end until the loop gets to it; it looks after it has said that it does.
        if not self._is_called:
            self._is_called = True
            self._call(self._take_reports)

    def _progressed(self, attempt: Attempt) -> None:
        self._call(self._teller.progressed, attempt)

    def _call(self, what: Callable[..., Any], *arguments: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(what, *arguments)

    # -- how attempts end --------------------------------------------------------------------------

    def _take_reports(self) -> None:
        self._is_called = False
        before = self._in_lanes
        while self._reported:
            attempt, ending = self._reported.popleft()
            self._in_lanes -= 1
            self._end(attempt, ending)
        self._pace.ended(before - self._in_lanes)
        self._changed.set()

    def _end(self, attempt: Attempt, ending: Ending) -> None:
        """This is what is said of it, unless something was before, or it is lost."""
        if attempt.timer is not None:
            attempt.timer.cancel()
        if attempt.ending is None and attempt in self._held:
            attempt.ending = ending
            self._teller.ended(attempt)

    def _set_timer(self, attempt: Attempt, seconds: float) -> None:
        if attempt.ending is None:
            attempt.timer = self._loop.call_later(seconds, self._time_out, attempt)

    def _time_out(self, attempt: Attempt) -> None:
        if attempt.ending is None and attempt in self._held:
            self._interrupt(attempt, "timed_out")
            if not attempt.entry.is_async:
                # Its thread goes on, and is no room for another; but the job need not wait for it.
                self._end(attempt, handling.timed_out(attempt))

    def _interrupt(self, attempt: Attempt, reason: Reason) -> None:
        """Have its handler stop; once: what it does then is not to be interrupted again."""
        if attempt.context.stop(reason):
            self._lanes[attempt.entry.is_async].interrupt(attempt)

    def _settled(self, attempt: Attempt, outcome: Outcome) -> None:
        self._forget(attempt)
        job, ending = attempt.job, attempt.ending
        level = logging.WARNING if outcome.code or ending is None or ending.verb == "fail" else logging.DEBUG
        log.log(
            level,
            "job_settled",
            id=job.id,
            type=job.type,
            attempt=job.attempt,
            lease_token=job.lease_token,
            verb=ending and ending.verb,
            outcome=outcome.status or outcome.code,
        )

    def _forget(self, attempt: Attempt) -> None:
        self._held.pop(attempt, None)
        self._changed.set()

    # -- keeping -----------------------------------------------------------------------------------

    async def _keep(self) -> None:
        lease_s = float(self._plan.lease_seconds)
        extending: asyncio.Task[None] | None = None
        while True:
            await asyncio.sleep(lease_s / 6)
            now_s = self._loop.time()
            for attempt in [each for each in self._held if now_s - each.taken_s > lease_s and each.ending is None]:
                self._lose(attempt, "ran_out_here")
            due = [attempt for attempt in self._held if now_s - attempt.taken_s >= lease_s / 6]
            # One that hangs must not keep the clock from being looked at.
            if due and (extending is None or extending.done()):
                extending = asyncio.create_task(self._teller.extend(due, self._plan.lease_seconds))

    def _heard(self, attempt: Attempt, outcome: Outcome) -> None:
        """What the queue said of a job that is held on."""
        if attempt not in self._held or attempt.is_told:
            return  # its end is on its way, and that is answered for itself
        if outcome.code is not None:
            self._lose(attempt, outcome.code)
        elif outcome.cancel_requested:
            self._interrupt(attempt, "cancelled")

    def _lose(self, attempt: Attempt, why: str) -> None:
        job = attempt.job
        log.warning("lease_lost", id=job.id, type=job.type, lease_token=job.lease_token, why=why)
        self._forget(attempt)
        self._interrupt(attempt, "lease_lost")

    # -- stopping ----------------------------------------------------------------------------------

    async def _stop(self, taking: asyncio.Task[Any]) -> None:
        self._stop_asked.set()
        log.info("worker_stopping", jobs=len(self._held))
        await asyncio.wait([taking], timeout=LAST_ANSWER_S)
        taking.cancel()
        for lane in self._lanes.values():
            self._give_back(lane.take_back())
        await self._until_none_is_held(self._plan.grace_s)
        for attempt in list(self._held):
            if attempt.ending is None:
                self._interrupt(attempt, "stopping")
        await self._until_none_is_held(WIND_UP_S / 2)
        for attempt in list(self._held):
            self._end(attempt, RELEASED)
        await self._until_none_is_held(WIND_UP_S / 2)

    def _give_back(self, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts:
            self._in_lanes -= 1
            self._end(attempt, RELEASED)

    async def _until_none_is_held(self, within_s: float) -> None:
        until_s = self._loop.time() + within_s
        while self._held and self._loop.time() < until_s:
            self._changed.clear()
            try:
                async with asyncio.timeout_at(until_s):
                    await self._changed.wait()
            except TimeoutError:
                return
