"""A simulated network: connections that keep order, until they break.

Between two nodes there is at most one connection. What is sent on it arrives in order, after a
delay, unless the direction is stalled (it then waits) or the connection breaks (it is then gone,
and a new one is made a little later). That is what TCP gives, and what Raft here relies on;
duplication and reordering happen across connections, as they do in the world.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import msgspec
from pysyncobj.transport import Transport

from cqueue.simulation.world import World

DELAY_S_MIN, DELAY_S_MAX = 0.0002, 0.002
HICCUP_S_MAX: Final = 0.1
"""One message in a hundred takes up to this much longer."""
RECONNECT_S_MIN, RECONNECT_S_MAX = 0.02, 0.6
STALL_S_MAX: Final = 3.0
"""A direction stalled for longer breaks the connection, as unconfirmed data does."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode

Direction = tuple[str, str]


class SimTransport(Transport):  # type: ignore[misc]
    """A node's side of the network; holds messages until the flush, as the real one does."""

    def __init__(self, raft: Any, me: Any, others: set[Any], network: Network) -> None:
        super().__init__(raft, me, others)
        self._me = str(me.id)
        self._nodes = {str(node.id): node for node in others}
        self._network = network
        self._held: list[tuple[str, bytes]] = []
        network.transports[self._me] = self

    def send(self, node: Any, message: dict[str, Any]) -> bool:
        """Hold `message`."""
        if not self._network.is_connected(self._me, node.id):
            return False
        self._held.append((node.id, _encode(message)))
        return True

    def flush(self) -> None:
        """Give what was held to the network."""
        held, self._held = self._held, []
        for peer, data in held:
            self._network.send(self._me, peer, data)

    def receive(self, peer: str, data: bytes) -> None:
        """A message from `peer` arrived."""
        self._onMessageReceived(self._nodes[peer], _decode(data))

    def connected(self, peer: str) -> None:
        """There is a connection to `peer` now."""
        self._onNodeConnected(self._nodes[peer])

    def disconnected(self, peer: str) -> None:
        """The connection to `peer` broke."""
        self._held = [held for held in self._held if held[0] != peer]
        self._onNodeDisconnected(self._nodes[peer])


class Network:
    """All connections.

    transports: {node id: SimTransport of a node that is up}.
    connections: {frozenset of two ids: its number}; a message of an older number is gone.
    stalled: {(from, to): since}. slow: {(from, to): most seconds of extra delay}.
    """

    def __init__(self, world: World, ids: list[str], wake: Callable[[str], None]) -> None:
        self._world = world
        self._ids = ids
        self._wake = wake
        self.transports: dict[str, SimTransport] = {}
        self.stalled: dict[Direction, float] = {}
        self.slow: dict[Direction, float] = {}
        self._connections: dict[frozenset[str], int] = {}
        self._number = 0
        self._under_way: dict[Direction, deque[tuple[float, bytes]]] = {
            (a, b): deque() for a in ids for b in ids if a != b
        }

    def is_connected(self, a: str, b: str) -> bool:
        """Whether there is a connection between the two."""
        return frozenset((a, b)) in self._connections

    # -- nodes ---------------------------------------------------------------------------------

    def up(self, node_id: str) -> None:
        """A node started: connections to the others are made one by one."""
        for other in self._ids:
            if other != node_id:
                self._reconnect(node_id, other)

    def down(self, node_id: str) -> None:
        """A node ended: its connections break."""
        del self.transports[node_id]
        for other in self._ids:
            if other != node_id:
                self.disconnect(node_id, other)

    def _reconnect(self, a: str, b: str) -> None:
        self._world.after(self._world.random.uniform(RECONNECT_S_MIN, RECONNECT_S_MAX), self._connect, a, b)

    def _connect(self, a: str, b: str) -> None:
        pair = frozenset((a, b))
        if pair in self._connections or a not in self.transports or b not in self.transports:
            return
        if (a, b) in self.stalled or (b, a) in self.stalled:
            self._reconnect(a, b)
            return
        self._number += 1
        self._connections[pair] = self._number
        self.transports[a].connected(b)
        self.transports[b].connected(a)

    def disconnect(self, a: str, b: str) -> None:
        """Break the connection between the two; what was on its way is gone."""
        if self._connections.pop(frozenset((a, b)), None) is None:
            return
        for one, other in ((a, b), (b, a)):
            self._under_way[one, other].clear()
            if one in self.transports:
                self.transports[one].disconnected(other)
        self._reconnect(a, b)

    # -- messages ------------------------------------------------------------------------------

    def send(self, a: str, b: str, data: bytes) -> None:
        """Put a message on its way."""
        number = self._connections.get(frozenset((a, b)))
        if number is None:
            return
        chance = self._world.random
        delay_s = chance.uniform(DELAY_S_MIN, DELAY_S_MAX) + self.slow.get((a, b), 0.0) * chance.random()
        if chance.random() < 0.01:  # noqa: PLR2004 - see HICCUP_S_MAX
            delay_s += chance.uniform(0, HICCUP_S_MAX)
        under_way = self._under_way[a, b]
        due_s = self._world.now_s + delay_s
        if under_way:
            due_s = max(due_s, under_way[-1][0])
        under_way.append((due_s, data))
        self._world.after(due_s - self._world.now_s, self.deliver, a, b)

    def deliver(self, a: str, b: str) -> None:
        """Let everything arrive that is due from `a` at `b`."""
        under_way = self._under_way[a, b]
        if (a, b) in self.stalled or b not in self.transports:
            return
        arrived = False
        while under_way and under_way[0][0] <= self._world.now_s and b in self.transports:
            arrived = True
            self.transports[b].receive(a, under_way.popleft()[1])
        if arrived:
            self._wake(b)

    # -- faults --------------------------------------------------------------------------------

    def stall(self, a: str, b: str) -> None:
        """From now on nothing from `a` arrives at `b`."""
        self.stalled.setdefault((a, b), self._world.now_s)

    def heal(self, a: str, b: str) -> None:
        """End a stall: what waited arrives, or the connection breaks where it waited too long."""
        since_s = self.stalled.pop((a, b), None)
        if since_s is None:
            return
        if self._world.now_s - since_s > STALL_S_MAX:
            self.disconnect(a, b)
        else:
            self.deliver(a, b)
            for due_s, _ in self._under_way[a, b]:
                self._world.after(max(0.0, due_s - self._world.now_s), self.deliver, a, b)

    def heal_all(self) -> None:
        """End every stall and every slowness."""
        for a, b in list(self.stalled):
            self.heal(a, b)
        self.slow.clear()
