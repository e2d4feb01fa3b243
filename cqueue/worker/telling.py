"""What is said to the queue of the jobs that are held: progress, endings, and that they are held longer.

What is ready goes out at once, in one request for each verb; what becomes ready meanwhile goes out together when
that is answered. So a lone job waits for nobody, and a thousand take a few requests. Every line has its lease
token, so that it is safe to say again; nobody but the queue decides whether it came in time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from cqueue import logs
from cqueue.client import jobs
from cqueue.client.asynchronous import AsyncClient
from cqueue.client.results import Outcome
from cqueue.errors import CqueueError, Refused
from cqueue.worker import endings
from cqueue.worker.context import Attempt
from cqueue.worker.endings import Verb

log = logs.of(__name__)

TOLD_JOBS_MAX: Final = 1_000
"""Jobs in one request."""
TOLD_BYTES_MAX: Final = 524_288
"""Results and errors in one request, a single larger one aside: half of what a node takes by default."""
PAUSE_S: Final = 1.0
"""Before the same is said again, where no node could be told for all of a client's patience."""

_VERBS: Final = {"conclude": jobs.conclude_many, "fail": jobs.fail_many, "release": jobs.release_many}

Heard = Callable[[Attempt, Outcome], None]


class Teller:
    """Says what is to be said.

    Args:
        client: by which.
        settled: called with each attempt that is over for the queue, and with how.
        heard: called with each job that is held on, and with what the queue said of it.
    """

    def __init__(self, client: AsyncClient, settled: Heard, heard: Heard) -> None:
        self._client, self._settled, self._heard = client, settled, heard
        self._ended: deque[Attempt] = deque()
        self._unsaid: dict[Attempt, None] = {}
        self._something = asyncio.Event()

    def ended(self, attempt: Attempt) -> None:
        """Say what became of it."""
        self._ended.append(attempt)
        self._something.set()

    def progressed(self, attempt: Attempt) -> None:
        """Say how far it is."""
        self._unsaid[attempt] = None
        self._something.set()

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            await self._something.wait()
            self._something.clear()
            await self._say_progress()
            by_verb: dict[Verb, list[Attempt]] = {}
            for attempt in self._next():
                if attempt.ending is not None:
                    by_verb.setdefault(attempt.ending.verb, []).append(attempt)
            await asyncio.gather(*(self._settle(verb, attempts) for verb, attempts in by_verb.items()))
            if self._ended:
                self._something.set()

    async def extend(self, attempts: Sequence[Attempt], lease_seconds: int) -> None:
        """Hold all of these longer, by one request."""
        # A lease counts from when the queue gets to it, which is later than this.
        asked_s = asyncio.get_running_loop().time()
        try:
            outcomes = await self._client.extend_many(
                [attempt.line({}) for attempt in attempts], lease_seconds=lease_seconds
            )
        except CqueueError as error:
            log.warning("extending_failed", jobs=len(attempts), code=error.code)
            return
        for attempt, outcome in zip(attempts, outcomes, strict=True):
            if outcome.code is None:
                attempt.taken_s = asked_s
            self._heard(attempt, outcome)

    def _next(self) -> Iterable[Attempt]:
        """The endings of the next request."""
        count = weight_bytes = 0
        while self._ended and count < TOLD_JOBS_MAX:
            attempt = self._ended[0]
            weight_bytes += attempt.ending.weight_bytes if attempt.ending else 0
            if count and weight_bytes > TOLD_BYTES_MAX:
                return
            self._ended.popleft()
            if not attempt.context.lease_lost:
                count += 1
                attempt.is_told = True
                yield attempt

    async def _settle(self, verb: Verb, attempts: Sequence[Attempt]) -> None:
        said = [attempt.line(attempt.ending.fields) for attempt in attempts if attempt.ending]
        try:
            outcomes = await self._client.run(_VERBS[verb](said))
        except Refused as error:
            await self._refused(verb, attempts, error)
        except CqueueError as error:
            # Their leases are kept meanwhile, as far as that is possible.
            log.warning("settling_failed", verb=verb, jobs=len(attempts), code=error.code)
            await asyncio.sleep(PAUSE_S)
            self._again(attempts)
        else:
            for attempt, outcome in zip(attempts, outcomes, strict=True):
                self._settled(attempt, outcome)

    async def _refused(self, verb: Verb, attempts: Sequence[Attempt], error: Refused) -> None:
        """One line of it was wrong, or all together were too much: find out which by halves."""
        if len(attempts) > 1:
            half = len(attempts) // 2
            await self._settle(verb, attempts[:half])
            await self._settle(verb, attempts[half:])
            return
        (attempt,) = attempts
        if verb == "conclude":
            attempt.ending = endings.refused(error.detail)
            self._again(attempts)
        else:
            self._settled(attempt, Outcome(attempt.job.id, code=error.code))

    def _again(self, attempts: Sequence[Attempt]) -> None:
        for attempt in reversed(attempts):
            attempt.is_told = False
            self._ended.appendleft(attempt)
        self._something.set()

    async def _say_progress(self) -> None:
        attempts, self._unsaid = list(self._unsaid), {}
        said = [attempt.line(attempt.context.unsaid or {}) for attempt in attempts]
        if not said:
            return
        try:
            outcomes = await self._client.progress_many(said)
        except CqueueError as error:
            # The next word on it replaces this one.
            log.warning("telling_progress_failed", jobs=len(attempts), code=error.code)
        else:
            for attempt, outcome in zip(attempts, outcomes, strict=True):
                self._heard(attempt, outcome)
