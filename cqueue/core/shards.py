"""Maps for as many keys as there may be jobs.

A dict that grows beyond a million keys is copied in one go, and everybody waits for a tenth of a
second and more. So these are many small dicts: by the job's id in blocks, or by a text's checksum.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final, Generic, TypeVar
from zlib import crc32

from cqueue.core.jobs import Job

V = TypeVar("V")

_BLOCK_BITS: Final = 12
_SHARDS: Final = 1_024


class Jobs:
    """Jobs by id, in blocks of 4,096 ids. blocks: {id >> 12: {id: Job}}, ascending, none empty."""

    __slots__ = ("_blocks", "_size")

    def __init__(self) -> None:
        self._blocks: dict[int, dict[int, Job]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Job]:
        """Every job, by ascending id."""
        for block in self._blocks.values():
            yield from block.values()

    def __getitem__(self, job_id: int) -> Job:
        return self._blocks[job_id >> _BLOCK_BITS][job_id]

    def get(self, job_id: int) -> Job | None:
        """The job, or None if there is none."""
        block = self._blocks.get(job_id >> _BLOCK_BITS)
        return None if block is None else block.get(job_id)

    def append(self, first: int, jobs: list[Job]) -> None:
        """Add jobs with the ids `first`, `first` + 1 ..., above every one that was ever here."""
        self._size += len(jobs)
        at, end = 0, first + len(jobs)
        while first < end:
            number = first >> _BLOCK_BITS
            count = min(end, (number + 1) << _BLOCK_BITS) - first
            self._blocks.setdefault(number, {}).update(
                zip(range(first, first + count), jobs[at : at + count], strict=True)
            )
            at += count
            first += count

    def put(self, job: Job) -> None:
        """Put `job` in the place of the one with its id, which is here."""
        self._blocks[job.id >> _BLOCK_BITS][job.id] = job

    def take(self, job_ids: list[int]) -> list[Job]:
        """Take out jobs, all of which are here."""
        taken: list[Job] = []
        for job_id in job_ids:
            block = self._blocks[job_id >> _BLOCK_BITS]
            taken.append(block.pop(job_id))
            if not block:
                del self._blocks[job_id >> _BLOCK_BITS]
        self._size -= len(taken)
        return taken

    def ids(self, start: int, end: int) -> Iterator[int]:
        """Ids from `start` up to `end` that may be here; those of blocks that are gone are left out."""
        numbers = list(self._blocks)
        for number in numbers[bisect_left(numbers, start >> _BLOCK_BITS) :]:
            first = max(start, number << _BLOCK_BITS)
            if first >= end:
                break
            yield from range(first, min(end, (number + 1) << _BLOCK_BITS))

    def ids_down(self, start: int) -> Iterator[int]:
        """The same from `start` down to 1."""
        for number in reversed(self._blocks):
            first = number << _BLOCK_BITS
            yield from range(min(start, first + (1 << _BLOCK_BITS) - 1), max(first, 1) - 1, -1)


class Shards(Generic[V]):
    """Values by text."""

    __slots__ = ("_shards", "_size")

    def __init__(self) -> None:
        self._shards: list[dict[str, V]] = [{} for _ in range(_SHARDS)]
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def get(self, key: str) -> V | None:
        """The value of `key`, or None."""
        return self._shards[crc32(key.encode()) % _SHARDS].get(key)

    def put(self, key: str, value: V) -> None:
        """Give `key` a value, instead of the one it may have."""
        shard = self._shards[crc32(key.encode()) % _SHARDS]
        self._size += key not in shard
        shard[key] = value

    def remove(self, key: str) -> None:
        """Take out a key that is here."""
        del self._shards[crc32(key.encode()) % _SHARDS][key]
        self._size -= 1

    def values(self) -> list[V]:
        """Every value, by key."""
        pairs = [pair for shard in self._shards for pair in shard.items()]
        return [value for _, value in sorted(pairs)]
