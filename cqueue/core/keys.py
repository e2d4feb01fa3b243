"""Exactly once for clients: what was done under which Idempotency-Key.

A key is remembered for `limits.KEY_MS`, in log time, and never less: when no more can be
remembered, operations under new keys are refused. What is kept is a *receipt*: enough to give the
same answer again from the jobs, without keeping a second copy of their payloads.

Source: the Idempotency-Key header, draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

from collections import OrderedDict

from msgspec import Struct

from cqueue.core import limits
from cqueue.core.operations import Refusal


class Added(Struct, array_like=True, frozen=True, tag=1):
    """An enqueue: `count` jobs from id `first` on."""

    first: int
    count: int


class HandedOut(Struct, array_like=True, frozen=True, tag=2):
    """A dequeue: (id, attempt, lease token, end of lease in ms) of each job, and who took them."""

    jobs: list[tuple[int, int, int, int]]
    consumer: str | None


class Concluded(Struct, array_like=True, frozen=True, tag=3):
    """A conclude: for each job its id, or why not."""

    outcomes: list[int | Refusal]


Receipt = Added | HandedOut | Concluded


class Remembered(Struct, array_like=True, frozen=True):
    """One key. `since_ms`: when it was used; `weight`: how much of the bound it takes."""

    key: str
    fingerprint: bytes
    since_ms: int
    weight: int
    receipt: Receipt


class Keys:
    """{key: Remembered}, oldest first. weight: the sum of theirs."""

    __slots__ = ("_by_key", "_weight")

    def __init__(self) -> None:
        self._by_key: OrderedDict[str, Remembered] = OrderedDict()
        self._weight = 0

    def __len__(self) -> int:
        return len(self._by_key)

    def find(self, key: str, now_ms: int) -> Remembered | None:
        """What is remembered of `key`; forgets a few that are too old on the way."""
        for _ in range(limits.KEYS_FORGOTTEN_MAX):
            oldest = next(iter(self._by_key.values()), None)
            if oldest is None or oldest.since_ms + limits.KEY_MS > now_ms:
                break
            del self._by_key[oldest.key]
            self._weight -= oldest.weight
        known = self._by_key.get(key)
        return known if known is not None and known.since_ms + limits.KEY_MS > now_ms else None

    def has_room(self, weight: int) -> bool:
        """Whether one more of `weight` can be remembered."""
        return self._weight + weight <= limits.KEYS_WEIGHT_MAX

    def remember(self, remembered: Remembered) -> None:
        """Remember one more key."""
        older = self._by_key.pop(remembered.key, None)
        if older is not None:
            self._weight -= older.weight
        self._by_key[remembered.key] = remembered
        self._weight += remembered.weight

    def dump(self) -> list[Remembered]:
        """All of it for a snapshot, oldest first."""
        return list(self._by_key.values())

    @classmethod
    def load(cls, remembered: list[Remembered]) -> Keys:
        """Out of a snapshot."""
        keys = cls()
        for each in remembered:
            keys.remember(each)
        return keys
