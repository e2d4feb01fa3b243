"""Clients of a simulated cluster, and the history of what they asked and were told.

What they ask for is chosen in `choices`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec

from cqueue import protocol
from cqueue.core.operations import Dequeue, Keyed, Operation
from cqueue.core.queries import Query
from cqueue.core.results import Result
from cqueue.simulation.choices import Choices, numbered
from cqueue.simulation.cluster import Cluster
from cqueue.simulation.world import World

CLIENTS: Final = 6
THINK_S: Final = 0.04
PATIENCE_S: Final = (0.02, 2.0, 2.0, 2.0)
"""A client that has heard nothing for this long hangs up, or waits in vain, and goes on with something else."""

encode = msgspec.msgpack.Encoder().encode
decode: Callable[[bytes], Result] = msgspec.msgpack.Decoder(Result).decode


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
    """Clients that do whatever can be done and look at it, each at a home node and sometimes elsewhere."""

    def __init__(self, world: World, cluster: Cluster, choices: Choices) -> None:
        self._world = world
        self._cluster = cluster
        self._choices = choices
        self._stopped = False
        self._number = 0
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

        def lose_patience(hang_up: Callable[[], None]) -> None:
            if not over[0] and chance.random() < 0.5:  # noqa: PLR2004
                hang_up()
            go_on(0.0)

        asked = Asked(number, node_id, what, self._world.now_s)
        self.history.append(asked)
        hang_up = submit(self._cluster, asked, wait_ms, on_answer)
        self._world.after(chance.choice(PATIENCE_S) + wait_ms / 1000, lose_patience, hang_up)

    def _once_more(self, asked: Asked) -> tuple[int, Operation] | None:
        """What a client does about an operation without a result: with a key always, else now and then."""
        if asked.outcome == protocol.RESULT or isinstance(asked.what, Query):
            return None
        if isinstance(asked.what, Keyed):
            return asked.number, asked.what
        if self._world.random.random() < 0.5:  # noqa: PLR2004
            return None
        self._number += 1
        return self._number, numbered(asked.what, self._number)

    def _choose(self) -> tuple[int, Operation | Query, int]:
        """Something to ask: its number, itself and how long it may wait in ms."""
        self._number += 1
        number, chance = self._number, self._world.random
        if chance.random() < 0.1:  # noqa: PLR2004
            return number, self._choices.query(), 0
        operation = self._choices.operation(number)
        return number, operation, chance.choice((0, 0, 0, 500)) if isinstance(operation, Dequeue) else 0

    def _learn(self, asked: Asked) -> None:
        if asked.outcome == protocol.RESULT:
            self._choices.learn(decode(asked.body))


def submit(cluster: Cluster, asked: Asked, wait_ms: int, on_answer: Callable[[Asked], None]) -> Callable[[], None]:
    """Send `asked` to its node, which is up; `on_answer` hears of it once it has its outcome.

    Returns what hangs up: the answer is not wanted any more, and will not come.
    """
    replica = cluster.nodes[asked.node].replica
    if replica is None:
        return lambda: None

    def reply(outcome: int, index: int, body: bytes) -> None:
        asked.answered_s, asked.outcome, asked.index, asked.body = cluster.world.now_s, outcome, index, body
        on_answer(asked)

    kind = protocol.QUERY if isinstance(asked.what, Query) else protocol.OPERATE
    request = replica.submit(kind, encode(asked.what), wait_ms, reply)
    cluster.wake(asked.node)
    return partial(replica.cancel, request)
