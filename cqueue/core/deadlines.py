"""Which jobs are due when. It does not know what time it is; the caller says.

Many jobs share a millisecond (one batch, one lease), and most leases end before they are due, so
ids live in buckets by due time: adding and discarding cost a dict operation each, and an emptied
bucket's time is dropped when it comes up, or sooner when such times outnumber the live ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from itertools import islice

_STALE_TIMES_MAX = 1_024


class Deadlines:
    """Job ids by due time in ms.

    buckets: {due_ms: {job_id: None}}; times: heap of due_ms, smallest first, emptied ones included.
    """

    __slots__ = ("_buckets", "_sorted_ms", "_times")

    def __init__(self) -> None:
        self._buckets: dict[int, dict[int, None]] = {}
        self._times: list[int] = []
        self._sorted_ms = -1

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Every `(due_ms, job_id)`, in no particular order; takes nothing out."""
        for due_ms, bucket in self._buckets.items():
            for job_id in bucket:
                yield due_ms, job_id

    def add(self, due_ms: int, job_ids: list[int]) -> None:
        """Remember that all of `job_ids` are due at `due_ms`."""
        if not job_ids:
            return
        bucket = self._buckets.get(due_ms)
        if bucket is None:
            self._buckets[due_ms] = dict.fromkeys(job_ids)
            heappush(self._times, due_ms)
        else:
            bucket.update(dict.fromkeys(job_ids))
            if due_ms == self._sorted_ms:
                self._sorted_ms = -1

    def discard(self, due_ms: int, job_id: int) -> None:
        """Forget one deadline that was added with the same arguments and was not taken since."""
        bucket = self._buckets[due_ms]
        del bucket[job_id]
        if not bucket:
            del self._buckets[due_ms]
            if len(self._times) > 2 * len(self._buckets) + _STALE_TIMES_MAX:
                self._times = list(self._buckets)
                heapify(self._times)

    def next_ms(self) -> int | None:
        """When the earliest job is due, or None."""
        times = self._times
        while times and times[0] not in self._buckets:
            heappop(times)
        return times[0] if times else None

    def take_due(self, now_ms: int, count_max: int) -> list[int]:
        """Take out up to `count_max` ids due at or before `now_ms`: earliest first, then by id."""
        ids: list[int] = []
        while len(ids) < count_max and (due_ms := self.next_ms()) is not None and due_ms <= now_ms:
            bucket = self._buckets[due_ms]
            if due_ms != self._sorted_ms:
                # Order of insertion is not kept by a snapshot, order of ids is: sort, once a bucket.
                bucket = self._buckets[due_ms] = dict.fromkeys(sorted(bucket))
                self._sorted_ms = due_ms
            taken = list(islice(bucket, count_max - len(ids)))
            if len(taken) == len(bucket):
                del self._buckets[due_ms]
            else:
                for job_id in taken:
                    del bucket[job_id]
            ids += taken
        return ids
