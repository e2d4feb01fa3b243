"""Wrong tokens, counted by the address they come from: an address that goes on guessing is told to wait.

Each process counts for itself. Who shows a token that is known already is let in whatever the count:
those who share an address with someone who guesses must not suffer for it.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Callable
from typing import Final

from cqueue import logs

log = logs.of(__name__)

FAILURES_MAX: Final = 10
"""That an address has for free."""
FORGIVEN_S: Final = 6
"""After so long one of them is forgiven."""
ADDRESSES_MAX: Final = 10_000
"""Addresses that are counted; the one that failed longest ago makes room."""
SAID_S: Final = 10
"""One line in so long says who was told to wait, and how many others were."""
_PREFIX_BITS: Final = 64
"""Of an IPv6 address: below that, one caller has as many as it likes."""


class Failures:
    """forgiven_at: {address: when all its failures are forgiven}, by when it failed last.

    Args:
        now_s: a clock that never goes back.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._forgiven_at: dict[str, float] = {}
        self._unsaid = 0
        self._say_at = float("-inf")

    def wait_s(self, address: str) -> int:
        """How many seconds an address has to wait before it may try again; 0: none."""
        debt_s = self._forgiven_at.get(who_has(address), 0.0) - self._now_s()
        return max(0, math.ceil(debt_s - (FAILURES_MAX - 1) * FORGIVEN_S))

    def count(self, address: str) -> None:
        """One more failure."""
        who, now_s = who_has(address), self._now_s()
        self._forgiven_at[who] = max(self._forgiven_at.pop(who, 0.0), now_s) + FORGIVEN_S
        if len(self._forgiven_at) > ADDRESSES_MAX:
            del self._forgiven_at[next(iter(self._forgiven_at))]
        if self.wait_s(address):
            self._say(who)

    def _say(self, who: str) -> None:
        if self._now_s() < self._say_at:
            self._unsaid += 1
            return
        log.warning("callers_told_to_wait", address=who, others=self._unsaid)
        self._unsaid, self._say_at = 0, self._now_s() + SAID_S


def who_has(address: str) -> str:
    """Whom an address stands for: itself, or its network where one caller has as many as it likes."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address.partition("%")[0], _PREFIX_BITS), strict=False))
    except ValueError:
        return address
