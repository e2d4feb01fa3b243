"""Exactly once for clients: what was done under which Idempotency-Key.

A key is remembered for `limits.KEY_MS`, in log time, and never less: when no more can be
remembered, operations under new keys are refused. What is kept is a *receipt*: enough to give the
same answer again from the jobs, without keeping a second copy of their payloads.

Source: the Idempotency-Key header, draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

from collections import deque

from msgspec import Struct

from cqueue.core import limits
from cqueue.core.results import Outcome
from cqueue.core.shards import Shards


class Added(Struct, array_like=True, frozen=True, gc=False, tag=1):
    """An enqueue that added all its jobs: `count` of them from id `first` on."""

    first: int
    count: int


class HandedOut(Struct, array_like=True, frozen=True, gc=False, tag=2):
    """A dequeue: (id, attempt, lease token, end of lease in ms) of each job, and who took them."""

    jobs: list[tuple[int, int, int, int]]
    consumer: str | None
    started_ms: int
    started_index: int


class Said(Struct, array_like=True, frozen=True, gc=False, tag=3):
    """An operation on jobs by id: what was answered; `job_id`: the one whose job was shown, or 0."""

    outcomes: list[Outcome]
    job_id: int


class AddedSome(Struct, array_like=True, frozen=True, gc=False, tag=4):
    """An enqueue that found some of its jobs there already."""

    ids: list[int]
    duplicates: list[int]


class Changed(Struct, array_like=True, frozen=True, gc=False, tag=5):
    """An operation on a queue, whose state is shown; none: there is nothing to show."""

    queue: str


Receipt = Added | HandedOut | Said | AddedSome | Changed


class Remembered(Struct, array_like=True, frozen=True, gc=False):
    """One key. `since_ms`: when it was used; `weight`: how much of the bound it takes."""

    key: str
    fingerprint: bytes
    since_ms: int
    weight: int
    receipt: Receipt


class Keys:
    """order: what is remembered, oldest first, with what was replaced. weight: the sum of theirs."""

    __slots__ = ("_by_key", "_order", "_weight")

    def __init__(self) -> None:
        self._by_key: Shards[Remembered] = Shards()
        self._order: deque[Remembered] = deque()
        self._weight = 0

    def __len__(self) -> int:
        return len(self._by_key)

    def find(self, key: str, now_ms: int) -> Remembered | None:
        """What is remembered of `key`; forgets a few that are too old on the way."""
        for _ in range(limits.KEYS_FORGOTTEN_MAX):
            if not self._order or self._order[0].since_ms + limits.KEY_MS > now_ms:
                break
            oldest = self._order.popleft()
            if self._by_key.get(oldest.key) is oldest:
                self._by_key.remove(oldest.key)
                self._weight -= oldest.weight
        known = self._by_key.get(key)
        return known if known is not None and known.since_ms + limits.KEY_MS > now_ms else None

    def has_room(self, weight: int) -> bool:
        """Whether one more of `weight` can be remembered."""
        return self._weight + weight <= limits.KEYS_WEIGHT_MAX

    def remember(self, remembered: Remembered) -> None:
        """Remember one more key."""
        older = self._by_key.get(remembered.key)
        if older is not None:
            self._weight -= older.weight
        self._by_key.put(remembered.key, remembered)
        self._order.append(remembered)
        self._weight += remembered.weight

    def dump(self) -> list[Remembered]:
        """All of it for a snapshot, oldest first."""
        return [each for each in self._order if self._by_key.get(each.key) is each]

    @classmethod
    def load(cls, remembered: list[Remembered]) -> Keys:
        """Out of a snapshot."""
        keys = cls()
        for each in remembered:
            keys.remember(each)
        return keys
