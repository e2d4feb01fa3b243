"""Clients of real nodes, and what they were told in the form the simulator's checkers judge.

Like the simulated clients they put a number into each operation where the log shows it: an enqueue
into the payload, a dequeue into the consumer's name, a conclude into the result. Some operations
have an Idempotency-Key; those are sent again, to any node, until there is an answer. Times are of
CLOCK_MONOTONIC, which all processes of a machine share. What a client heard is kept as the bytes of
JSON it got, and `told` says what they should be.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from typing import Any, Final

from cqueue import protocol
from cqueue.core.jobs import Job
from cqueue.core.operations import Conclude, Conclusion, Dequeue, Enqueue, Keyed, NewJob, Operation
from cqueue.core.queries import GetJob, GetStats, Query
from cqueue.core.results import Dequeued, Enqueued, Found, Refusal, Result, Settled, Stats
from cqueue.simulation.workload import Asked, encode
from cqueue.web.shapes import enqueue, job, looking
from tests.cluster.client import Answer, Client, NoAnswer, NotSent

THINK_S: Final = 0.01
PATIENCE_S: Final = 5.0
"""Longer than a node takes to give up with `request_timeout_s` 2, and than the longest wait on top of it."""
END_S: Final = 60.0
_CLIENTS: Final = 9
_QUERIES: Final = 0.1
_KEYED: Final = 0.4


@dataclass(frozen=True, slots=True)
class Call:
    """One operation or query, and the request that asks for it."""

    number: int
    what: Operation | Query
    method: str
    path: str
    body: Any
    headers: dict[str, str]


class Clients:
    """Clients that enqueue, dequeue, conclude and look, each at a home node and sometimes elsewhere.

    history: every request that was sent. surprises: answers that no node may give.
    """

    def __init__(self, addresses: Sequence[tuple[str, int]], chance: random.Random) -> None:
        self.history: list[Asked] = []
        self.surprises: list[str] = []
        self._chance = chance
        self._numbers = count(1)
        self._held: list[tuple[int, int]] = []
        self._stopped = threading.Event()
        self._nodes = [Client(host, port, patience_s=PATIENCE_S) for host, port in addresses]
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(_CLIENTS)]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Keep them at work; when it ends they have come to rest."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            for thread in self._threads:
                thread.join(END_S)
            for node in self._nodes:
                node.close()
        assert not any(thread.is_alive() for thread in self._threads), "a client did not come to rest"

    def _run(self, number: int) -> None:
        home = number % len(self._nodes)
        try:
            while not self._stopped.wait(self._chance.expovariate(1 / THINK_S)):
                call = self._choose()
                while self._is_open(self._ask(self._node(home), call), call) and not self._stopped.wait(THINK_S):
                    pass
        except BaseException as surprise:  # noqa: BLE001 - the test's own thread tells it
            self.surprises.append(f"a client ended: {surprise!r}")

    def _node(self, home: int) -> int:
        return home if self._chance.random() < 0.7 else self._chance.randrange(len(self._nodes))

    def _is_open(self, asked: Asked, call: Call) -> bool:
        """Whether to ask again: a key makes that safe."""
        return asked.outcome != protocol.RESULT and isinstance(call.what, Keyed)

    def _ask(self, node: int, call: Call) -> Asked:
        asked = Asked(call.number, str(node), call.what, time.monotonic())
        self.history.append(asked)
        try:
            answer = self._nodes[node].ask(call.method, call.path, call.body, call.headers)
        except NotSent:
            asked.answered_s, asked.outcome = time.monotonic(), protocol.UNAVAILABLE
        except NoAnswer:
            pass
        else:
            asked.answered_s = time.monotonic()
            self._hear(asked, answer)
        return asked

    def _hear(self, asked: Asked, answer: Answer) -> None:
        if answer.did_nothing:
            asked.outcome = protocol.UNAVAILABLE
        elif answer.is_unknown:
            asked.outcome = protocol.UNKNOWN
        elif answer.status >= 500:
            self.surprises.append(f"operation {asked.number} was answered {answer}")
        else:
            asked.outcome, asked.index = protocol.RESULT, int(answer.headers["x-cqueue-index"])
            asked.body = answer.body["code"].encode() if answer.status >= 400 else answer.data.removesuffix(b"\n")
            self._learn(asked.what, answer)

    def _learn(self, what: Operation | Query, answer: Answer) -> None:
        operation = what.operation if isinstance(what, Keyed) else what
        if isinstance(operation, Dequeue) and answer.status == 200:
            for job in answer.body["jobs"] if operation.count > 1 else [answer.body]:
                self._held.append((job["id"], job["lease_token"]))

    # -- what to ask ---------------------------------------------------------------------------

    def _choose(self) -> Call:
        number, chance = next(self._numbers), self._chance
        if chance.random() < _QUERIES:
            if chance.random() < 0.5:
                return Call(number, GetStats(), "GET", "/jobs/stats", None, {})
            job_id = chance.randint(1, max(1, number // 3))
            return Call(number, GetJob(job_id), "GET", f"/jobs/{job_id}", None, {})
        call = self._operation(number)
        if chance.random() > _KEYED or isinstance(call.what, GetJob | GetStats | Keyed):
            return call
        what = Keyed(str(number), sha256(encode(call.what)).digest(), call.what)
        headers = {**call.headers, "Idempotency-Key": f'"{number}"'}
        return Call(number, what, call.method, call.path, call.body, headers)

    def _operation(self, number: int) -> Call:
        chance = self._chance
        draw = chance.random()
        if draw < 0.4:
            kinds = [chance.choice(("A", "A", "TIME_CRITICAL")) for _ in range(chance.choice((1, 1, 3)))]
            jobs = [{"type": kind, "payload": number} for kind in kinds]
            what = Enqueue([NewJob(kind, str(number).encode()) for kind in kinds])
            return Call(number, what, "PUT", "/jobs/enqueue", jobs if len(jobs) > 1 else jobs[0], {})
        if draw < 0.7:
            return self._dequeue(number)
        try:
            job_id, token = self._held.pop(chance.randrange(len(self._held)))
        except (ValueError, IndexError):  # nothing is held, or another thread was faster
            return self._dequeue(number)
        body = {"result": number, **({"lease_token": token} if chance.random() < 0.7 else {})}
        conclusion = Conclusion(job_id, body.get("lease_token"), str(number).encode())
        return Call(number, Conclude([conclusion]), "POST", f"/jobs/{job_id}/conclude", body, {})

    def _dequeue(self, number: int) -> Call:
        chance = self._chance
        jobs, lease_s = chance.choice((1, 1, 2)), chance.choice((1, 3, 300))
        body = {"lease_seconds": lease_s, "wait": chance.choice((0, 0, 0.5)), **({"count": jobs} if jobs > 1 else {})}
        what = Dequeue(jobs, lease_s * 1000, str(number))
        return Call(number, what, "POST", "/jobs/dequeue", body, {"Consumer-Id": str(number)})


def told(what: Operation | Query, result: Result) -> bytes:  # noqa: PLR0911 - one for each kind of result
    """What a client hears when `what` came to `result`: the JSON, or of a refusal the code."""
    operation = what.operation if isinstance(what, Keyed) else what
    if isinstance(result, Settled):
        outcome = result.outcomes[0]
        return outcome.code.encode() if isinstance(outcome, Refusal) else job.job_json(_shown(result.job))
    if isinstance(result, Refusal):
        return result.code.encode()
    if isinstance(result, Enqueued):
        return enqueue.answer(result, many=len(result.ids) > 1)[1]
    if isinstance(result, Dequeued) and isinstance(operation, Dequeue) and operation.count > 1:
        return job.jobs_json(result.jobs)
    if isinstance(result, Dequeued):
        return job.job_json(result.jobs[0]) if result.jobs else b""
    if isinstance(result, Stats):
        return looking.stats_json(result)
    return job.job_json(_shown(result.job if isinstance(result, Found) else None))


def _shown(shown: Job | None) -> Job:
    assert shown is not None, "nothing else is asked, and no job is forgotten so soon"
    return shown
