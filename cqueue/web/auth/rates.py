"""How many requests a caller may send: a bucket for each, by the name of its token, or else its address.

Each web process counts for itself, as for wrong tokens: a caller with one connection has one bucket. A
request on many jobs is one request. What is said on a WebSocket is not counted.

How it is told: RFC 6585, 4 (429), and draft-ietf-httpapi-ratelimit-headers-10 (`RateLimit-Policy`, `RateLimit`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import ceil
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cqueue.core.pace import Pace
from cqueue.web.auth.failures import who_has
from cqueue.web.auth.principals import ANYBODY, known_principal_of
from cqueue.web.problems import Problem

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

CALLERS_MAX: Final = 10_000
"""Callers that are counted; the one that was quiet for longest makes room."""


class Standing(NamedTuple):
    """How a caller stands. rate: as below; left: what it may send at once; wait_s: until it may send one, if not."""

    rate: int
    may_pass: bool
    left: int
    wait_s: int

    def check(self) -> None:
        """Let the request pass, or not.

        Raises:
            Problem: too_many_requests.
        """
        if not self.may_pass:
            detail = f"you may send {self.rate} requests a second here; one on many jobs counts once"
            raise Problem("too_many_requests", detail, retry_after_s=self.wait_s)

    def telling(self, start_response: StartResponse) -> StartResponse:
        """The same, that tells the caller how it stands."""
        mine = [
            ("RateLimit-Policy", f'"caller";q={self.rate};w=1'),
            ("RateLimit", f'"caller";r={self.left};t={self.wait_s}'),
        ]

        def told(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Any:
            return start_response(status, [*headers, *mine], exc_info)

        return told


class Rates:
    """paces: {caller: its bucket}, by when it called last.

    Args:
        rate: requests a second, and at once after a second's pause.
        now_s: a clock that never goes back.
    """

    def __init__(self, rate: int, now_s: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._now_s = now_s
        self._paces: dict[str, Pace] = {}

    def take(self, environ: WSGIEnvironment) -> Standing:
        """One more request, of whomever the gate let in with it."""
        caller, now_ms = _caller_of(environ), int(self._now_s() * 1000)
        pace = self._paces.pop(caller, None) or Pace.full(self._rate * 1000, self._rate, now_ms)
        self._paces[caller] = pace
        if len(self._paces) > CALLERS_MAX:
            del self._paces[next(iter(self._paces))]
        may_pass = pace.room(now_ms) > 0
        pace.spend(int(may_pass), now_ms)
        return Standing(self._rate, may_pass, pace.room(now_ms), ceil(max(0, pace.next_ms() - now_ms) / 1000))


def _caller_of(environ: WSGIEnvironment) -> str:
    principal = known_principal_of(environ)
    if principal is None or principal is ANYBODY:
        return who_has(environ.get("REMOTE_ADDR", ""))
    return f"token {principal.name}"
