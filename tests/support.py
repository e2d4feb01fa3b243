"""What tests of several rooms need. It knows nothing of cqueue."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_POLL_S = 0.02


def eventually(
    predicate: Callable[[], T],
    *,
    within_s: float = 10.0,
    ignoring: type[Exception] | tuple[type[Exception], ...] = (),
) -> T:
    """Ask `predicate` until its answer is true, and return that answer.

    It is asked at least once, and once more after the time has run out, so that a machine that
    slept in between does not fail a test. An exception listed in `ignoring` counts as "not yet".

    Raises:
        AssertionError: the answer was still not true after `within_s` seconds.
    """
    deadline_s = time.monotonic() + within_s
    last: T | Exception | None = None
    while True:
        over = time.monotonic() > deadline_s
        try:
            last = answer = predicate()
            if answer:
                return answer
        except ignoring as error:
            last = error
        if over:
            name = getattr(predicate, "__qualname__", repr(predicate))
            raise AssertionError(f"still not so after {within_s} s: {name} (last: {last!r})")
        time.sleep(_POLL_S)
