"""Clients of a simulated cluster, and the history of what they asked and were told.

Each operation carries its number where the log shows it (an enqueue in the payload, a dequeue as
consumer, a conclude in the result), so that checkers find it in the log without asking a replica.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from cqueue import protocol
from cqueue.core.jobs import Job
from cqueue.core.operations import (
    Conclude,
    Conclusion,
    Dequeue,
    Dequeued,
    Enqueue,
    Enqueued,
    Found,
    GetJob,
    GetStats,
    Keyed,
    NewJob,
    Operation,
    Query,
    Refusal,
    Result,
    Settled,
    Stats,
)
from cqueue.simulation.cluster import Cluster
from cqueue.simulation.world import World

CLIENTS: Final = 6
THINK_S: Final = 0.04
PATIENCE_S: Final = 2.0
"""A client that has heard nothing for this long goes on with something else."""

LEASES_MS: Final = (1_000, 3_000, 300_000)

encode = msgspec.msgpack.Encoder().encode
_decode_plain = msgspec.msgpack.Decoder(Refusal | Enqueued | Dequeued | Found | Stats).decode
_SETTLED: Final = encode(Settled([]))[:2]
_REFUSAL_FIELDS: Final = 3


@dataclass(slots=True)
class Asked:
    """One operation or query, as it was sent once; a repeat under its key has its number too.

    Times are simulated seconds; None: never answered.
    outcome, index and body are the reply's, see cqueue.protocol.
    """

    number: int
    node: str
    what: Operation | Query
    asked_s: float
    answered_s: float | None = None
    outcome: int | None = None
    index: int = 0
    body: bytes = b""


class Workload:
    """Clients that enqueue, dequeue, conclude and look, each at a home node and sometimes elsewhere.

    leases_ms: what a dequeue asks for, one of these.
    """

    def __init__(self, world: World, cluster: Cluster, leases_ms: tuple[int, ...] = LEASES_MS) -> None:
        self._world = world
        self._cluster = cluster
        self._leases_ms = leases_ms
        self._stopped = False
        self._number = 0
        self._held: list[tuple[int, int]] = []
        self.history: list[Asked] = []
        for client in range(CLIENTS):
            home = cluster.first_ids[client % len(cluster.first_ids)]
            world.after(world.random.uniform(0.5, 1.5), self._ask, client, home)

    def stop(self) -> None:
        """No new operations."""
        self._stopped = True

    def _ask(self, client: int, home: str, again: tuple[int, Operation] | None = None) -> None:
        """Ask for something new, or once more for what was not answered."""
        if self._stopped:
            return
        chance = self._world.random
        node_id = home if chance.random() < 0.7 else chance.choice(self._cluster.ids)  # noqa: PLR2004
        if not self._cluster.is_up(node_id):
            self._world.after(0.1, self._ask, client, home, again)
            return
        number, what, wait_ms = self._choose() if again is None else (*again, 0)
        over = [False]

        def go_on(delay_s: float) -> None:
            if not over[0]:
                over[0] = True
                self._world.after(delay_s, self._ask, client, home, self._once_more(asked))

        def on_answer(asked: Asked) -> None:
            self._learn(asked)
            go_on(self._world.expo(THINK_S))

        self._world.after(PATIENCE_S + wait_ms / 1000, go_on, 0.0)
        asked = Asked(number, node_id, what, self._world.now_s)
        self.history.append(asked)
        submit(self._cluster, asked, wait_ms, on_answer)

    def _once_more(self, asked: Asked) -> tuple[int, Operation] | None:
        """What a client does about an operation without a result: with a key always, else now and then."""
        if asked.outcome == protocol.RESULT or isinstance(asked.what, GetJob | GetStats):
            return None
        if isinstance(asked.what, Keyed):
            return asked.number, asked.what
        if self._world.random.random() < 0.5:  # noqa: PLR2004
            return None
        self._number += 1
        return self._number, _renumbered(asked.what, str(self._number).encode())

    def _choose(self) -> tuple[int, Operation | Query, int]:
        """Something to ask: its number, itself and how long it may wait in ms."""
        self._number += 1
        number, chance = self._number, self._world.random
        draw = chance.random()
        if draw > 0.9:  # noqa: PLR2004
            return number, GetStats() if draw > 0.95 else GetJob(chance.randint(1, max(1, number // 3))), 0  # noqa: PLR2004
        operation = self._operation(draw, str(number).encode())
        if chance.random() < 0.3:  # noqa: PLR2004
            return number, Keyed(str(number), b"", operation), 0
        return number, operation, chance.choice((0, 0, 0, 500)) if isinstance(operation, Dequeue) else 0

    def _operation(self, draw: float, mark: bytes) -> Enqueue | Dequeue | Conclude:
        chance = self._world.random
        if draw < 0.35:  # noqa: PLR2004
            kinds = ("A", "A", "TIME_CRITICAL")
            return Enqueue([NewJob(chance.choice(kinds), mark) for _ in range(chance.choice((1, 1, 3)))])
        if draw < 0.65 or not self._held:  # noqa: PLR2004
            return Dequeue(chance.choice((1, 1, 2)), chance.choice(self._leases_ms), mark.decode())
        held = [self._held.pop(chance.randrange(len(self._held))) for _ in range(min(2, len(self._held)))]
        return Conclude([Conclusion(job_id, chance.choice((token, None)), mark) for job_id, token in held])

    def _learn(self, asked: Asked) -> None:
        what = asked.what.operation if isinstance(asked.what, Keyed) else asked.what
        if asked.outcome == protocol.RESULT and isinstance(what, Dequeue):
            result = decode(asked.body)
            if isinstance(result, Dequeued):
                self._held += [(job.id, job.lease_token) for job in result.jobs]


def submit(cluster: Cluster, asked: Asked, wait_ms: int, on_answer: Callable[[Asked], None]) -> None:
    """Send `asked` to its node, which is up; `on_answer` hears of it once it has its outcome."""
    replica = cluster.nodes[asked.node].replica
    if replica is None:
        return

    def reply(outcome: int, index: int, body: bytes) -> None:
        asked.answered_s, asked.outcome, asked.index, asked.body = cluster.world.now_s, outcome, index, body
        on_answer(asked)

    kind = protocol.QUERY if isinstance(asked.what, GetJob | GetStats) else protocol.OPERATE
    replica.submit(kind, encode(asked.what), wait_ms, reply)
    cluster.wake(asked.node)


def decode(body: bytes) -> Result:
    """An encoded result."""
    if body[:2] != _SETTLED:
        result: Result = _decode_plain(body)
        return result
    # Jobs and refusals stand side by side in it, and a job has no tag.
    return Settled([_outcome(fields) for fields in msgspec.msgpack.decode(body)[1]])


def _outcome(fields: list[Any]) -> Job | Refusal:
    return msgspec.convert(fields, Refusal) if len(fields) == _REFUSAL_FIELDS else msgspec.convert(fields, Job)


def _renumbered(operation: Enqueue | Dequeue | Conclude, mark: bytes) -> Enqueue | Dequeue | Conclude:
    """The same operation as another one: without a key nobody can tell that it is meant as the same."""
    if isinstance(operation, Enqueue):
        return Enqueue([NewJob(job.type, mark) for job in operation.jobs])
    if isinstance(operation, Dequeue):
        return Dequeue(operation.count, operation.lease_ms, mark.decode())
    return Conclude([Conclusion(job.id, job.lease_token, mark) for job in operation.jobs])
