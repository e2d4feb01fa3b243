"""Which unique keys are taken, and by which job: one live job per key and queue.

How long a key stays taken is its scope (`jobs.Unique`). Those of a window may outlive their job.
"""

from __future__ import annotations

from msgspec import Struct

from cqueue.core.deadlines import Deadlines
from cqueue.core.shards import Shards


class Taken(Struct, array_like=True, frozen=True, gc=False):
    """One taken key. until_ms: when its window is over; 0: it has none."""

    queue: str
    key: str
    job_id: int
    until_ms: int


class UniqueKeys:
    """taken: by `_name` of queue and key. windows: such names by the end of their window."""

    __slots__ = ("_taken", "windows")

    def __init__(self) -> None:
        self._taken: Shards[Taken] = Shards()
        self.windows: Deadlines[str] = Deadlines()

    def __len__(self) -> int:
        return len(self._taken)

    def holder(self, queue: str, key: str, now_ms: int) -> int | None:
        """The job that has taken `key`, or None."""
        taken = self._taken.get(_name(queue, key))
        # The sweep works in slices; whether a window is over is a matter of time, not of its turn.
        if taken is None or (taken.until_ms and taken.until_ms <= now_ms):
            return None
        return taken.job_id

    def take(self, queue: str, key: str, job_id: int, until_ms: int) -> None:
        """`job_id` takes `key`, which nobody has, or whose window is over."""
        name = _name(queue, key)
        over = self._taken.get(name)
        if over is not None:
            self.windows.discard(over.until_ms, name)
        self._taken.put(name, Taken(queue, key, job_id, until_ms))
        if until_ms:
            self.windows.add(until_ms, [name])

    def give_back(self, queue: str, key: str, job_id: int) -> None:
        """`job_id` lets go of `key`, if it is the one that has it."""
        name = _name(queue, key)
        taken = self._taken.get(name)
        if taken is not None and taken.job_id == job_id:
            self._taken.remove(name)

    def sweep(self, now_ms: int, count_max: int) -> None:
        """Let go of up to `count_max` keys whose window is over."""
        for name in self.windows.take_due(now_ms, count_max):
            self._taken.remove(name)

    def dump(self) -> list[Taken]:
        """All of it for a snapshot, by queue and key."""
        return self._taken.values()

    @classmethod
    def load(cls, taken: list[Taken]) -> UniqueKeys:
        """Out of a snapshot."""
        keys = cls()
        for each in taken:
            keys.take(each.queue, each.key, each.job_id, each.until_ms)
        return keys


def _name(queue: str, key: str) -> str:
    # Neither a queue's name nor a key has a control character in it.
    return f"{queue}\0{key}"
