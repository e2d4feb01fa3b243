"""Mends, switched off: what each is worth.

A name here takes one mend away while a seed runs (`cqueue simulate --without NAME`). A simulator
that finds nothing wrong without a mend says nothing about it: tests/simulation holds, for each mend
whose absence a seed has shown, that seed. The others wait for a scenario made for them; dozens of
seeds of twenty seconds did not miss them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from cqueue.core.sessions import Sessions
from cqueue.replication.appends import Appends
from cqueue.replication.consensus import Consensus
from cqueue.replication.elections import Elections
from cqueue.replication.journal import Journal
from cqueue.replication.membership import Recovery


def _answer_of_any_term(self: Any, node: Any, message: Any) -> bool:
    counts = self.is_leader and node in self._SyncObj__otherNodes
    if counts:
        self._SyncObj__lastResponseTime[node] = self._clock.monotonic_s()
    return bool(counts and message is not None)


def _flush_before_commit(self: Any) -> None:
    self._SyncObj__transport.flush()
    self._journal.commit()


def _start_over_with_nothing(self: Any, index: int, term: int) -> None:
    self.clear()
    self.add(b"\x01", index, term)


def _always(answer: object) -> Callable[..., object]:
    return lambda *_args, **_fields: answer


_OFF: Final[dict[str, tuple[Any, str, Any]]] = {
    "answers-in-their-term": (Appends, "_is_answer", _answer_of_any_term),
    "exactly-once": (Sessions, "accept", _always(True)),
    "journal-before-word": (Consensus, "flush", _flush_before_commit),
    "known-entries-stay": (Appends, "_nothing_new", _always(False)),
    "memory-before-vote": (Recovery, "is_over", _always(True)),
    "newer-state-stays": (Appends, "_is_behind", _always(False)),
    "one-vote-each": (Elections, "_on_response_vote", _always(True)),
    "pre-vote": (Elections, "_pre_vote", _always(None)),
    "tail-behind-snapshot": (Journal, "start_over", _start_over_with_nothing),
    "whole-is-kept": (Journal, "is_whole", property(len, lambda _self, _value: None)),
}

MENDS: Final = tuple(_OFF)


@contextmanager
def without(name: str | None) -> Iterator[None]:
    """Take the mend `name` away for a while; None takes none."""
    if name is None:
        yield
        return
    owner, attribute, replacement = _OFF[name]
    with patch.object(owner, attribute, replacement, create=attribute not in vars(owner)):
        yield
