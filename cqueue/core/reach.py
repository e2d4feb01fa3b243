"""Which queues a caller reaches: patterns of names, in which `*` stands for any characters, or none.

Nothing else in a pattern is special, so that every version of every node reads it in the same way. A
caller that reaches all queues has no patterns: what it asks for is not looked at here.
"""

from __future__ import annotations

from functools import lru_cache

Reach = tuple[str, ...]
"""Patterns: a queue is reached if one of them fits its name. None at all: no queue is."""


@lru_cache(maxsize=10_000)
def reaches(reach: Reach, queue: str) -> bool:
    """Whether the queue of this name is among them."""
    return any(_fits(pattern, queue) for pattern in reach)


def _fits(pattern: str, name: str) -> bool:
    start, *parts = pattern.split("*")
    if not parts:
        return pattern == name
    if not name.startswith(start):
        return False
    at = len(start)
    for part in parts[:-1]:
        at = name.find(part, at)
        if at < 0:
            return False
        at += len(part)
    # What is left has to hold the end; it may not reach back into what a part has taken.
    return name.endswith(parts[-1], at)
