"""A simulated network: connections that keep order, until they break.

Between two nodes there is at most one connection. What is sent on it arrives in order, after a
delay, unless the direction is stalled (it then waits) or the connection breaks. A connection has
two ends, and each learns in its own time that it broke: what was on its way to an end that does not
know yet still arrives there, as it does when a process dies after a write; all else is gone. A new
connection closes what is left of the last one. That is what TCP and `HoldingTransport` give, and
what Raft here relies on; duplication and reordering happen across connections, as they do in the
world. What arrives is read when the node has a round, as a real node reads its sockets.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final

import msgspec
from pysyncobj.transport import Transport

from cqueue.replication.raft import Message
from cqueue.simulation.disk import Disk
from cqueue.simulation.world import World

DELAY_S_MIN, DELAY_S_MAX = 0.0002, 0.002
HICCUP_S_MAX: Final = 0.1
"""One message in a hundred takes up to this much longer."""
RECONNECT_S_MIN, RECONNECT_S_MAX = 0.02, 0.6
STALL_S_MAX: Final = 3.0
"""A direction stalled for longer breaks the connection, as unconfirmed data does."""
NOTICE_S: Final = 0.05
"""How often an end looks whether the other one is gone, once nothing is on its way to it."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode

Direction = tuple[str, str]


class SimTransport(Transport):  # type: ignore[misc]
    """A node's side of the network; holds messages until the flush, as the real one does."""

    def __init__(self, raft: Any, me: Any, others: set[Any], network: Network, disk: Disk) -> None:
        super().__init__(raft, me, others)
        self._me = str(me.id)
        self.nodes = {str(node.id): node for node in others}
        self._network = network
        self._disk = disk
        self._held: list[tuple[str, bytes]] = []
        network.transports[self._me] = self

    def addNode(self, node: Any) -> None:  # noqa: N802 - PySyncObj's name
        """Have a connection to `node` from now on."""
        self.nodes[str(node.id)] = node
        self._network.reconnect(self._me, str(node.id))

    def dropNode(self, node: Any) -> None:  # noqa: N802
        """Have none to `node` any more."""
        self._network.hang_up(self._me, str(node.id))
        self.nodes.pop(str(node.id), None)

    def send(self, node: Any, message: Message) -> bool:
        """Hold `message`."""
        if not self._network.is_connected(self._me, node.id):
            return False
        self._held.append((node.id, _encode(message)))
        return True

    def flush(self) -> None:
        """Give what was held to the network, once the disk is done."""
        held, self._held = self._held, []
        for peer, data in held:
            self._network.send(self._me, peer, data, self._disk.busy_s)

    def receive(self, peer: str, data: bytes) -> None:
        """Read a message from `peer`."""
        self._onMessageReceived(self.nodes[peer], _decode(data))

    def connected(self, peer: str) -> None:
        """There is a connection to `peer` now."""
        self._onNodeConnected(self.nodes[peer])

    def disconnected(self, peer: str) -> None:
        """The connection to `peer` broke."""
        self._held = [held for held in self._held if held[0] != peer]
        self._onNodeDisconnected(self.nodes[peer])


class Network:
    """All connections.

    transports: {node id: SimTransport of a node that is up}.
    stalled: {(from, to): since}. slow: {(from, to): most seconds of extra delay}.
    stops: {(from, to): a stall begins before the first message this is true of}.
    twice: directions in which everything arrives twice, which no link of ours does.
    sent_bytes: {(from, to): bytes ever sent}.
    """

    def __init__(self, world: World, ids: list[str], wake: Callable[[str], None]) -> None:
        self._world = world
        self._ids = ids
        self._wake = wake
        self.transports: dict[str, SimTransport] = {}
        self.stalled: dict[Direction, float] = {}
        self.slow: dict[Direction, float] = {}
        self.stops: dict[Direction, Callable[[Message], bool]] = {}
        self.twice: set[Direction] = set()
        self.sent_bytes: Counter[Direction] = Counter()
        self._open: set[Direction] = set()
        self._under_way: dict[Direction, deque[tuple[float, bytes]]] = {
            (a, b): deque() for a in ids for b in ids if a != b
        }

    def is_connected(self, a: str, b: str) -> bool:
        """Whether `a` has, as far as it knows, a connection to `b`."""
        return (a, b) in self._open

    def bytes_under_way(self, a: str, b: str) -> int:
        """What was sent and has not been read yet."""
        return sum(len(data) for _, data in self._under_way[a, b])

    # -- connections ---------------------------------------------------------------------------

    def up(self, node_id: str) -> None:
        """A node started: connections to the others are made one by one."""
        for other in self._others(node_id):
            self.reconnect(node_id, other)

    def down(self, node_id: str) -> None:
        """A node ended: the others learn of it after they read what it sent."""
        del self.transports[node_id]
        for other in self._others(node_id):
            self.hang_up(node_id, other)

    def _others(self, node_id: str) -> list[str]:
        return [other for other in self._ids if other != node_id]

    def reconnect(self, a: str, b: str) -> None:
        """Try to connect the two, after a while."""
        self._world.after(self._world.random.uniform(RECONNECT_S_MIN, RECONNECT_S_MAX), self.connect, a, b)

    def connect(self, a: str, b: str) -> None:
        """Make a new connection, where there is none and the way is free in both directions."""
        is_whole = (a, b) in self._open and (b, a) in self._open
        if is_whole or a not in self.transports or b not in self.transports:
            return
        if b not in self.transports[a].nodes or a not in self.transports[b].nodes:
            return  # one of them does not know the other as a member: whoever learns of the other tries again
        if (a, b) in self.stalled or (b, a) in self.stalled:
            self.reconnect(a, b)
            return
        self._close_end(a, b)
        self._close_end(b, a)
        self._open.update(((a, b), (b, a)))
        self.transports[a].connected(b)
        self.transports[b].connected(a)

    def hang_up(self, a: str, b: str) -> None:
        """Break the connection at its end at `a`; `b` learns of it after it read what is on its way."""
        if self._close_end(a, b):
            self.reconnect(a, b)
            self._notice(b, a)

    def _notice(self, a: str, b: str) -> None:
        """Close the end at `a` once nothing can come from `b` any more."""
        if (a, b) not in self._open or (b, a) in self._open:
            return
        if self._under_way[b, a]:
            self._world.after(NOTICE_S, self._notice, a, b)
        elif self._close_end(a, b):
            self.reconnect(a, b)

    def disconnect(self, a: str, b: str) -> None:
        """Break the connection at both ends at once; what was on its way is gone."""
        if self._close_end(a, b) | self._close_end(b, a):
            self.reconnect(a, b)

    def _close_end(self, a: str, b: str) -> bool:
        """Let `a` see that its connection to `b` is gone; False where it had none."""
        self._under_way[b, a].clear()
        if (a, b) not in self._open:
            return False
        self._open.discard((a, b))
        if a in self.transports:
            self.transports[a].disconnected(b)
        return True

    # -- messages ------------------------------------------------------------------------------

    def send(self, a: str, b: str, data: bytes, after_s: float = 0.0) -> None:
        """Put a message on its way, `after_s` from now."""
        if (a, b) not in self._open or (b, a) not in self._open:
            return
        chance = self._world.random
        delay_s = after_s + chance.uniform(DELAY_S_MIN, DELAY_S_MAX) + self.slow.get((a, b), 0.0) * chance.random()
        if chance.random() < 0.01:  # noqa: PLR2004 - see HICCUP_S_MAX
            delay_s += chance.uniform(0, HICCUP_S_MAX)
        under_way = self._under_way[a, b]
        due_s = self._world.now_s + delay_s
        if under_way:
            due_s = max(due_s, under_way[-1][0])
        under_way.extend([(due_s, data)] * (2 if (a, b) in self.twice else 1))
        self.sent_bytes[a, b] += len(data)
        self._world.after(due_s - self._world.now_s, self._wake, b)

    def read(self, b: str) -> None:
        """Let `b` read everything that has arrived."""
        now_s = self._world.now_s
        for a in self._ids:
            under_way = self._under_way.get((a, b))
            while under_way and under_way[0][0] <= now_s and (a, b) not in self.stalled:
                data = under_way[0][1]
                stop = self.stops.get((a, b))
                if stop is not None and stop(_decode(data)):
                    del self.stops[a, b]
                    self.stall(a, b)
                    break
                under_way.popleft()
                self.transports[b].receive(a, data)

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
            self._wake(b)

    def heal_all(self) -> None:
        """End every stall and every slowness."""
        for a, b in list(self.stalled):
            self.heal(a, b)
        self.slow.clear()
