"""Clients that work while nodes die, and a record of what they were promised.

Writers enqueue, each through one node; consumers dequeue and conclude. What they note is what the
protocol lets them note: an answer is a promise, no answer is none, and 503 promises that nothing
was done. `Record.check` holds the nodes to it.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol

from tests.cluster.client import Answer, NoAnswer, NotSent
from tests.support import eventually

PAUSE_S: Final = 0.01
"""Between two requests of one client: load enough to tell, few enough jobs to look at each."""
END_S: Final = 120
PROGRESS_S: Final = 60
"""Until a client gets on; far above what an election takes, as the machine may be busy."""
HELD: Final = 5
"""One job in so many is dequeued and kept, so that leases outlive the fault too."""


class Asked(Protocol):
    """A node, as clients see it."""

    @property
    def name(self) -> str:
        """What to call it."""
        ...

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        """Send one request once; see `tests.cluster.client.Client.ask`."""
        ...

    def call(self, method: str, path: str, body: Any = None) -> Answer:
        """Send it until it is done; see `tests.cluster.client.Client.call`."""
        ...


@dataclass
class Record:
    """What clients were promised.

    written: (id, payload) of acknowledged enqueues; refused: payloads whose enqueue was answered
    "nothing was done"; handed: jobs as they were handed out; concluded: ids whose conclusion was
    acknowledged.
    """

    written: list[tuple[int, Any]] = field(default_factory=list)
    refused: list[Any] = field(default_factory=list)
    handed: list[dict[str, Any]] = field(default_factory=list)
    concluded: list[int] = field(default_factory=list)

    def check(self, nodes: Sequence[Asked]) -> dict[int, dict[str, Any]]:
        """Hold the nodes to what was promised, and to one another; no lease may have run out yet.

        Returns:
            Every job by its id, 1 to the last without a gap.
        """
        told = told_by_all(nodes)
        assert repeated(job_id for job_id, _ in self.written) == [], "an id was given twice"
        lost = {job_id: payload for job_id, payload in self.written if told.get(job_id, {}).get("payload") != payload}
        assert lost == {}, "acknowledged jobs were lost"
        there = {json.dumps(job["payload"]) for job in told.values()}
        assert [payload for payload in self.refused if json.dumps(payload) in there] == [], "503, yet it was done"
        assert repeated(job["id"] for job in self.handed) == [], "handed out twice"
        assert repeated(job["lease_token"] for job in self.handed) == [], "a lease token was given twice"
        assert {job_id: job for job_id, job in told.items() if job["attempt"] > 1} == {}, "handed out twice, unseen"
        concluded = {job_id: told[job_id]["status"] for job_id in self.concluded}
        assert set(concluded.values()) <= {"CONCLUDED"}, concluded
        for job in self.handed:
            now = told[job["id"]]
            assert now["status"] in {"IN_PROGRESS", "CONCLUDED"}, (job, now)
            assert now.get("lease_token", job["lease_token"]) == job["lease_token"], (job, now)
        return told


class _Worker(threading.Thread):
    """Does `step` until told to stop. done: {stage: how many steps begun in it came to something}."""

    def __init__(self, name: str, node: Asked, step: Callable[[int], bool]) -> None:
        super().__init__(name=name, daemon=True)
        self.node = node
        self.stage = 0
        self.done: Counter[int] = Counter()
        self.surprise: BaseException | None = None
        self._step = step
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()

    def run(self) -> None:
        number = 0
        try:
            while not self._stopped.wait(PAUSE_S):
                stage = self.stage
                number += 1
                if self._step(number):
                    self.done[stage] += 1
        except BaseException as surprise:  # noqa: BLE001 - the test's own thread raises it
            self.surprise = surprise


class Load:
    """One writer and one consumer on each of `nodes`."""

    def __init__(self, nodes: Iterable[Asked], *, label: str = "load") -> None:
        self.record = Record()
        self._label = label
        self._workers = [
            worker
            for node in nodes
            for worker in (
                _Worker(f"writer on {node.name}", node, partial(self._write, node)),
                _Worker(f"consumer on {node.name}", node, partial(self._consume, node)),
            )
        ]

    @contextmanager
    def running(self) -> Iterator[Load]:
        """Keep the clients at work; when it ends, they have all come to rest and none was surprised."""
        for worker in self._workers:
            worker.start()
        try:
            yield self
        finally:
            for worker in self._workers:
                worker.stop()
            for worker in self._workers:
                worker.join(END_S)
        for worker in self._workers:
            assert not worker.is_alive(), f"the {worker.name} did not come to rest"
            if worker.surprise is not None:
                raise AssertionError(f"the {worker.name} was surprised") from worker.surprise

    def wait_progress(self, count: int, nodes: Iterable[Asked]) -> None:
        """Wait until each client of `nodes` has begun and done `count` more things from now on."""
        asked = list(nodes)
        workers = [worker for worker in self._workers if worker.node in asked]
        for worker in workers:
            worker.stage += 1
        eventually(
            lambda: all(worker.done[worker.stage] >= count or worker.surprise for worker in workers),
            within_s=PROGRESS_S,
        )

    def last_id(self) -> int:
        """The largest id acknowledged so far."""
        return max(job_id for job_id, _ in list(self.record.written))

    def _write(self, node: Asked, number: int) -> bool:
        payload = {"by": node.name, "during": self._label, "number": number}
        try:
            answer = node.ask("PUT", "/jobs/enqueue", {"payload": payload})
        except NotSent:
            self.record.refused.append(payload)
            return False
        except NoAnswer:
            return False
        if answer.did_nothing:
            self.record.refused.append(payload)
        elif not answer.is_unknown:
            assert answer.status == 201, answer
            self.record.written.append((answer.body["id"], payload))
            return True
        return False

    def _consume(self, node: Asked, number: int) -> bool:
        answer = _asked(node, "POST", "/jobs/dequeue", {"wait": 0.5})
        if answer is None or answer.status == 204:
            return answer is not None
        assert answer.status == 200, answer
        job = answer.body
        self.record.handed.append(job)
        if number % HELD == 0:
            return True
        answer = _asked(node, "POST", f"/jobs/{job['id']}/conclude", {"lease_token": job["lease_token"]})
        if answer is None:
            return False
        assert answer.status == 200, answer
        self.record.concluded.append(job["id"])
        return True


def _asked(node: Asked, method: str, path: str, body: Any) -> Answer | None:
    """The answer, or None where it promises nothing."""
    try:
        answer = node.ask(method, path, body)
    except (NotSent, NoAnswer):
        return None
    return None if answer.did_nothing or answer.is_unknown else answer


def told_by_all(nodes: Sequence[Asked]) -> dict[int, dict[str, Any]]:
    """Every job by id, 1 to the last without a gap, after checking that all nodes tell the same bytes of each."""

    def told(node: Asked) -> tuple[Any, list[bytes]]:
        # The linearizable read brings this node up to date; what it tells after that is its own state.
        stats = node.call("GET", "/jobs/stats").body
        answers = [node.call("GET", f"/jobs/{job_id}?consistency=stale") for job_id in range(1, stats["total"] + 1)]
        assert [answer for answer in answers if answer.status != 200] == []
        assert node.call("GET", f"/jobs/{stats['total'] + 1}").status == 404
        return stats, [answer.data for answer in answers]

    with ThreadPoolExecutor(len(nodes)) as pool:
        first, *others = pool.map(told, nodes)
    for other in others:
        assert other == first
    return {job_id: json.loads(data) for job_id, data in enumerate(first[1], 1)}


def repeated(values: Iterable[int]) -> list[int]:
    """The values that are there more than once."""
    return [value for value, times in Counter(values).items() if times > 1]
