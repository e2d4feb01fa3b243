"""Which jobs (or queues, or keys) are due when. It does not know what time it is; the caller says.

Most deadlines are discarded before they are due, and a million of them may be open, so they are
kept neither in one heap nor in one dict: a dict that holds a million keys stalls everything for a
tenth of a second when it grows. Time is cut into slots of 64 ms, and slots into spans of 65.536 s;
only the slot that is due next is ever sorted.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Final, Generic, TypeVar

K = TypeVar("K", int, str, tuple[str, str])

_SLOT_BITS: Final = 6
_SPAN_BITS: Final = 16


class Deadlines(Generic[K]):
    """Keys, most often job ids, by due time in ms.

    spans: {due_ms >> 16: {due_ms >> 6: {key: due_ms}}}, no slot empty; a span that is empty is dropped
    when it comes up. order: heap of the spans. sorted: (due_ms, key) of the next slot, latest first,
    with what has left it; next_slot: which one that is, -1 for none.
    """

    __slots__ = ("_next_slot", "_order", "_sorted", "_spans")

    def __init__(self) -> None:
        self._spans: dict[int, dict[int, dict[K, int]]] = {}
        self._order: list[int] = []
        self._sorted: list[tuple[int, K]] = []
        self._next_slot = -1

    def __iter__(self) -> Iterator[tuple[int, K]]:
        """Every `(due_ms, key)`, in no particular order; takes nothing out."""
        for span in self._spans.values():
            for slot in span.values():
                for key, due_ms in slot.items():
                    yield due_ms, key

    def add(self, due_ms: int, keys: list[K]) -> None:
        """Remember that each of `keys`, none of which is here, is due at `due_ms`."""
        span = self._spans.get(due_ms >> _SPAN_BITS)
        if span is None:
            span = self._spans[due_ms >> _SPAN_BITS] = {}
            heappush(self._order, due_ms >> _SPAN_BITS)
        number = due_ms >> _SLOT_BITS
        slot = span.get(number)
        if slot is None:
            slot = span[number] = {}
        slot.update(dict.fromkeys(keys, due_ms))
        if number <= self._next_slot:
            self._next_slot = -1

    def discard(self, due_ms: int, key: K) -> None:
        """Forget a deadline, if it was added with the same arguments and was not taken since."""
        span = self._spans.get(due_ms >> _SPAN_BITS)
        slot = span and span.get(due_ms >> _SLOT_BITS)
        if slot and slot.get(key) == due_ms:
            del slot[key]
            if not slot:
                del self._spans[due_ms >> _SPAN_BITS][due_ms >> _SLOT_BITS]

    def discard_all(self, due_ms: int, keys: list[K]) -> None:
        """Forget the deadlines of `keys`, each of which was added with `due_ms` and was not taken since."""
        span = self._spans[due_ms >> _SPAN_BITS]
        slot = span[due_ms >> _SLOT_BITS]
        if len(keys) == len(slot):
            del span[due_ms >> _SLOT_BITS]
            return
        for key in keys:
            del slot[key]

    def next_ms(self) -> int | None:
        """When the earliest key is due, or None."""
        if self._next_slot < 0 and not self._sort_next_slot():
            return None
        slot = self._spans.get(self._next_slot >> (_SPAN_BITS - _SLOT_BITS), {}).get(self._next_slot, {})
        run = self._sorted
        while run:
            due_ms, key = run[-1]
            if slot.get(key) == due_ms:
                return due_ms
            run.pop()
        self._next_slot = -1
        return self.next_ms()

    def take_due(self, now_ms: int, count_max: int) -> list[K]:
        """Take out up to `count_max` keys due at or before `now_ms`: earliest first, then by key."""
        taken: list[K] = []
        while len(taken) < count_max and (due_ms := self.next_ms()) is not None and due_ms <= now_ms:
            key = self._sorted[-1][1]
            self.discard(due_ms, key)
            taken.append(key)
        return taken

    def _sort_next_slot(self) -> bool:
        """Find the next slot and sort it; whether there is one."""
        order = self._order
        while order and not self._spans[order[0]]:
            del self._spans[heappop(order)]
        if not order:
            return False
        span = self._spans[order[0]]
        self._next_slot = min(span)
        self._sorted = sorted(((due_ms, key) for key, due_ms in span[self._next_slot].items()), reverse=True)
        return True
