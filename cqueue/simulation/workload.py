"""Clients of a simulated cluster, and the history of what they asked and were told.

Each operation carries its number where the log shows it (an enqueue in the payload, a dequeue as
consumer, a conclude in the result), so that checkers find it in the log without asking a replica.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from cqueue import protocol
from cqueue.core.operations import (
    Conclude,
    Conclusion,
    Dequeue,
    Enqueue,
    GetJob,
    GetStats,
    Keyed,
    NewJob,
    Operation,
    Query,
)
from cqueue.simulation.cluster import Cluster
from cqueue.simulation.world import World

CLIENTS: Final = 6
THINK_S: Final = 0.04
PATIENCE_S: Final = 2.0
"""A client that has heard nothing for this long goes on with something else."""

encode = msgspec.msgpack.Encoder().encode


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
    """Clients that enqueue, dequeue, conclude and look, each at a home node and sometimes elsewhere."""

    def __init__(self, world: World, cluster: Cluster) -> None:
        self._world = world
        self._cluster = cluster
        self._stopped = False
        self._number = 0
        self._held: list[tuple[int, int]] = []
        self.history: list[Asked] = []
        for client in range(CLIENTS):
            home = cluster.ids[client % len(cluster.ids)]
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
        replica = self._cluster.nodes[node_id].replica
        if replica is None or not self._cluster.is_up(node_id):
            self._world.after(0.1, self._ask, client, home, again)
            return
        number, kind, what, wait_ms = self._choose() if again is None else (again[0], protocol.OPERATE, again[1], 0)
        asked = Asked(number, node_id, what, self._world.now_s)
        self.history.append(asked)
        over = [False]

        def go_on(delay_s: float) -> None:
            if not over[0]:
                over[0] = True
                is_open = asked.outcome != protocol.RESULT and isinstance(what, Keyed)
                self._world.after(delay_s, self._ask, client, home, (number, what) if is_open else None)

        def reply(outcome: int, index: int, body: bytes) -> None:
            asked.answered_s, asked.outcome, asked.index, asked.body = self._world.now_s, outcome, index, body
            self._learn(asked)
            go_on(self._world.expo(THINK_S))

        self._world.after(PATIENCE_S + wait_ms / 1000, go_on, 0.0)
        replica.submit(kind, encode(what), wait_ms, reply)
        self._cluster.wake(node_id)

    def _choose(self) -> tuple[int, int, Operation | Query, int]:
        """Something to ask: its number, kind, itself and how long it may wait in ms."""
        self._number += 1
        number, chance = self._number, self._world.random
        draw = chance.random()
        if draw > 0.9:  # noqa: PLR2004
            query = GetStats() if draw > 0.95 else GetJob(chance.randint(1, max(1, number // 3)))  # noqa: PLR2004
            return number, protocol.QUERY, query, 0
        operation = self._operation(draw, str(number).encode())
        if chance.random() < 0.3:  # noqa: PLR2004
            return number, protocol.OPERATE, Keyed(str(number), b"", operation), 0
        wait_ms = chance.choice((0, 0, 0, 500)) if isinstance(operation, Dequeue) else 0
        return number, protocol.OPERATE, operation, wait_ms

    def _operation(self, draw: float, mark: bytes) -> Enqueue | Dequeue | Conclude:
        chance = self._world.random
        if draw < 0.35:  # noqa: PLR2004
            kinds = ("A", "A", "TIME_CRITICAL")
            return Enqueue([NewJob(chance.choice(kinds), mark) for _ in range(chance.choice((1, 1, 3)))])
        if draw < 0.65 or not self._held:  # noqa: PLR2004
            return Dequeue(chance.choice((1, 1, 2)), chance.choice((1_000, 3_000, 300_000)), mark.decode())
        job_id, token = self._held.pop(chance.randrange(len(self._held)))
        return Conclude([Conclusion(job_id, chance.choice((token, None)), mark)])

    def _learn(self, asked: Asked) -> None:
        what = asked.what.operation if isinstance(asked.what, Keyed) else asked.what
        if asked.outcome == protocol.RESULT and isinstance(what, Dequeue):
            for job in msgspec.msgpack.decode(asked.body)[1]:
                self._held.append((job[0], job[9]))
