"""Whether a history can be explained at all: the search of Wing and Gong, with Lowe's memory.

A history is linearizable if each call can be given one moment between its start and its end so that,
in the order of these moments, every answer is the one a sequential queue gives (Herlihy, Wing 1990).
The search tries orders: next may come any call that began before the first unexplained one ended. A
call without an answer may have happened at any time after its start, or never. It knows neither the
log nor what is called: unlike the other checkers it needs no witness, and it takes far longer, so it
is for short histories.

Sources: Wing, Gong 1993, "Testing and Verifying Concurrent Objects"; Lowe 2017, "Testing for
linearizability": what was reached once, the same calls done and the same state, is not tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from math import inf
from typing import Any, Final, TypeVar

State = TypeVar("State", bound=Hashable)

STATES_MAX: Final = 5_000
"""States the search looks at before it gives up."""


class Undecided(Exception):
    """The search gave up: it looked at `STATES_MAX` states."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call. Times share one clock; ended: infinity where it was never answered."""

    what: Any
    began: float
    ended: float = inf
    answer: Any = None


def is_linearizable(calls: Iterable[Call], start: State, step: Callable[[State, Any], tuple[State, Any]]) -> bool:
    """Whether some order of `calls` explains every answer.

    Args:
        calls: in any order.
        start: the state before all of them; it can be hashed, and equal states do the same.
        step: the sequential object: (state, what) → (state after it, answer). It changes no state.

    Raises:
        Undecided: it would take too long to tell.
    """
    order = sorted(calls, key=lambda call: call.began)
    answered = sum(1 << number for number, call in enumerate(order) if call.ended < inf)
    if not answered:
        return True
    seen: set[tuple[int, State]] = {(0, start)}
    # The path that is being tried: what was reached, as (calls done as bits, state), and what may come next.
    path = [(0, start, _next(order, 0))]
    while path:
        done, state, choices = path[-1]
        number = next(choices, None)
        if number is None:
            path.pop()
            continue
        call = order[number]
        after, answer = step(state, call.what)
        then_done = done | 1 << number
        if call.ended < inf:
            if answer != call.answer:
                continue
        elif after == state:
            # As good as never.
            continue
        if (then_done, after) in seen:
            continue
        if then_done & answered == answered:
            return True
        if len(seen) == STATES_MAX:
            raise Undecided
        seen.add((then_done, after))
        path.append((then_done, after, _next(order, then_done)))
    return False


def _next(order: list[Call], done: int) -> Iterator[int]:
    """Which calls may come next: none of those still open ended before they began.

    The one that ended first is the likeliest to have come first.
    """
    first = (~done & (done + 1)).bit_length() - 1
    still_open = [number for number in range(first, len(order)) if not done >> number & 1]
    first_end = min((order[number].ended for number in still_open), default=inf)
    begun = takewhile(lambda number: order[number].began <= first_end, still_open)
    return iter(sorted(begun, key=lambda number: order[number].ended))
