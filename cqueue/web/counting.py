"""What a web worker counts: requests by route as they are answered, and consumers that wait for a job.

It stands in front of all else, so that what is refused at the door is counted, too. It costs each
request one dictionary look-up and nothing more: the sums are made in the replica, which a worker
sends what it has counted once a second, and before it asks for the sums.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from cqueue import metrics
from cqueue.metrics import OTHER, Histogram, Tally
from cqueue.protocol import REPORT
from cqueue.web.link import ReplicaLink

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ROUTE: Final = "cqueue.route"
"""Where a request's environment says which route it is, as the gate found it: `PUT /jobs/enqueue`, or None."""
NO_ROUTE: Final = "none"
"""The label of what is no route, or was refused before anybody looked."""
METHODS: Final = frozenset(("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"))
"""Those with a label of their own; a caller can make up any number of others, which are `OTHER`."""

_REQUESTS: Final = "cqueue_http_requests_total"
_DURATION: Final = "cqueue_http_request_duration_seconds"
_WAITING: Final = "cqueue_consumers_waiting"
_REFUSED: Final = "503"
_SWITCHING: Final = "101"
"""The answer that a connection which has become a WebSocket got; the server does not see it."""


class Counts:
    """What this worker has counted and not reported yet.

    answers: {(route, method, status): how long each took}; levels: what is so now; reported: the same, as
    the replica was told last.
    """

    def __init__(self, link: ReplicaLink) -> None:
        self._link = link
        self._answers: dict[tuple[str | None, str, str], Histogram] = {}
        self._levels = Tally()
        self._reported: dict[metrics.Series, int] = {}
        link.on_sweep.add(self.report)
        link.on_drain.add(self.report)
        link.on_refusal.add(lambda method: self.answered(None, method, _REFUSED, 0.0))

    def answered(self, route: str | None, method: str, status: str, seconds: float) -> None:
        """A request was answered. status: as WSGI has it, such as `200 OK`."""
        durations = self._answers.get((route, method, status))
        if durations is None:
            given = route, method if method in METHODS else OTHER, status
            durations = self._answers.setdefault(given, Histogram.of(_DURATION))
        durations.observe(seconds)

    def wait(self, transport: str, consumers: int) -> None:
        """So many more consumers wait now; or fewer, if it is below 0."""
        self._levels.shift((_WAITING, transport), consumers)

    @contextmanager
    def waiting(self, transport: str) -> Iterator[None]:
        """A consumer waits for as long as this lasts."""
        self.wait(transport, 1)
        try:
            yield
        finally:
            self.wait(transport, -1)

    def report(self) -> None:
        """Tell the replica what was counted since it was last told."""
        levels = self._levels.levels
        has_news = self._answers or levels != self._reported
        if has_news and self._link.tell(REPORT, metrics.encode(self._tally())):
            self._reported = dict(levels)
            self._answers.clear()

    def _tally(self) -> Tally:
        tally = Tally(levels=self._levels.levels)
        for (route, method, status), durations in self._answers.items():
            path = NO_ROUTE if route is None else route.partition(" ")[2]
            tally.count((_REQUESTS, path, method, status[:3]), sum(durations.counts))
            if not status.startswith(_SWITCHING):
                tally.histogram((_DURATION, path, method)).add(durations)
        return tally


class Counting:
    """A WSGI application in front of `inner`, that counts its answers in `counts`."""

    def __init__(self, inner: WSGIApplication, counts: Counts) -> None:
        self._inner = inner
        self._counts = counts

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        begun_s = time.monotonic()
        has_begun = False

        def begin(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Callable[..., object]:
            nonlocal has_begun
            has_begun = True
            seconds = time.monotonic() - begun_s
            self._counts.answered(environ.get(ROUTE), environ["REQUEST_METHOD"], status, seconds)
            return start_response(status, headers, exc_info)

        body = self._inner(environ, begin)
        if not has_begun:
            # How long it was open says nothing of how long requests take.
            self._counts.answered(environ.get(ROUTE), environ["REQUEST_METHOD"], _SWITCHING, 0.0)
        return body
