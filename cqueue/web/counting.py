"""What a web worker counts: requests by route as they are answered, and consumers that wait for a job.

It stands in front of all else, so that what is refused at the door is counted, too. It costs each
request a few dictionary look-ups and nothing more: the sums are made in the replica, which a worker
sends what it has counted once a second, and before it asks for the sums.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from cqueue import metrics
from cqueue.metrics import OTHER, Tally
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

    reported: the levels that the replica was told last.
    """

    def __init__(self, link: ReplicaLink) -> None:
        self._link = link
        self._tally = Tally()
        self._reported: dict[metrics.Series, int] = {}
        link.on_sweep.add(self.report)
        link.on_drain.add(self.report)
        link.on_refusal.add(lambda method: self.answered(None, method, _REFUSED, None))

    def answered(self, route: str | None, method: str, code: str, seconds: float | None) -> None:
        """A request was answered; seconds: None where its time means nothing."""
        path = NO_ROUTE if route is None else route.partition(" ")[2]
        if method not in METHODS:
            method = OTHER
        self._tally.count((_REQUESTS, path, method, code))
        if seconds is not None:
            self._tally.observe((_DURATION, path, method), seconds)

    def wait(self, transport: str, consumers: int) -> None:
        """So many more consumers wait now; or fewer, if it is below 0."""
        self._tally.shift((_WAITING, transport), consumers)

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
        tally = self._tally
        has_news = tally.counts or tally.levels != self._reported
        if has_news and self._link.tell(REPORT, metrics.encode(tally)):
            self._reported = dict(tally.levels)
            tally.counts.clear()
            tally.histograms.clear()


class Counting:
    """A WSGI application in front of `inner`, that counts its answers in `counts`."""

    def __init__(self, inner: WSGIApplication, counts: Counts) -> None:
        self._inner = inner
        self._counts = counts

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        answer = _Answer(environ, start_response, self._counts)
        body = self._inner(environ, answer)
        if not answer.has_begun:
            self._counts.answered(environ.get(ROUTE), environ["REQUEST_METHOD"], _SWITCHING, None)
        return body


class _Answer:
    """Counts an answer as it begins. begun_s: when its request came."""

    __slots__ = ("_begun_s", "_counts", "_environ", "_start_response", "has_begun")

    def __init__(self, environ: WSGIEnvironment, start_response: StartResponse, counts: Counts) -> None:
        self._environ = environ
        self._start_response = start_response
        self._counts = counts
        self._begun_s = time.monotonic()
        self.has_begun = False

    def __call__(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Callable[..., object]:
        self.has_begun = True
        environ = self._environ
        seconds = time.monotonic() - self._begun_s
        self._counts.answered(environ.get(ROUTE), environ["REQUEST_METHOD"], status[:3], seconds)
        return self._start_response(status, headers, exc_info)
