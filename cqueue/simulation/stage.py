"""Directed scenarios: a cluster on a stage, and the words a story is told in.

A seed lets chance decide what goes wrong; a story says it: who is cut off, whose time runs out first,
which message is withheld, when a node crashes. All of it could happen to a real cluster. A story may
promise something within a time (`until`), and when it is over the cluster settles and is judged like
any seed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import permutations
from typing import Final

from cqueue import protocol
from cqueue.core import entry
from cqueue.core.operations import Enqueue, NewJob
from cqueue.replication.consensus import Consensus
from cqueue.replication.raft import Message
from cqueue.simulation.cluster import Cluster, Setup
from cqueue.simulation.network import Direction
from cqueue.simulation.workload import Asked, submit
from cqueue.simulation.world import World

STEP_S: Final = 0.005
SILENCE_S: Final = 0.6
"""After it nobody hears the leader any more, and anyone may be voted for."""
LATE_S: Final = 0.2
"""How far away the time of those is kept who are not to stand for leader."""
PATIENCE_S: Final = 5.0
QUIET_S: Final = 0.2
"""Before a story begins, so that nothing is on its way."""
AGAIN_S: Final = 0.15
"""For a vote, or a pre-vote and a vote, to be asked for and given."""
SLOWLY_S: Final = 0.006
"""Between two writes that shall not share an entry."""


class Failed(Exception):
    """The story did not get where it wanted to."""


class Stage:
    """One cluster, to which nothing happens but what the story says.

    history: what clients asked. broken: promises of the story that were not kept.
    """

    def __init__(self, seed: int, setup: Setup) -> None:
        self.world = World(seed)
        self.cluster = Cluster(self.world, setup)
        self.network = self.cluster.network
        self.history: list[Asked] = []
        self.broken: list[str] = []
        self.ids = self.cluster.ids

    def open(self) -> None:
        """Begin as every story does: all nodes are connected, the first one leads, a job was acknowledged.

        Raises:
            Failed: they do not get there.
        """
        until_s = self.world.now_s + PATIENCE_S
        while not self._is_ready():
            if self.world.now_s > until_s:
                raise Failed
            self._step()
        self.lead(self.ids[0])
        self.write_through(self.ids[0])
        self.agree(*self.ids)
        self.run(QUIET_S)

    def _is_ready(self) -> bool:
        links = permutations(self.ids, 2)
        is_whole = all(not self.node(node_id).recovering for node_id in self.ids)
        return is_whole and all(self.network.is_connected(*link) for link in links)

    # -- time ----------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Let time go by."""
        self.world.run_until(self.world.now_s + seconds)

    def reach(self, what: Callable[[], bool], within_s: float = 2.0) -> None:
        """Go on until `what` is so; the story cannot be told otherwise.

        Raises:
            Failed: it is not so in time.
        """
        if not self._is_so(what, within_s):
            raise Failed

    def promise(self, words: str, what: Callable[[], bool], within_s: float = 0.0) -> None:
        """Hold the cluster to it: `what` is so within `within_s` simulated seconds."""
        if not self._is_so(what, within_s):
            self.broken.append(f"not within {within_s:g} s: {words}")
            self.world.tell(f"not within {within_s:g} s: {words}")

    def _is_so(self, what: Callable[[], bool], within_s: float) -> bool:
        until_s = self.world.now_s + within_s
        while not what():
            if self.world.now_s >= until_s:
                return False
            self.run(STEP_S)
        return True

    # -- nodes ---------------------------------------------------------------------------------

    def node(self, node_id: str) -> Consensus:
        """The consensus of a node that is up."""
        consensus = self.cluster.nodes[node_id].consensus
        if consensus is None:
            raise Failed
        return consensus

    def lead(self, node_id: str) -> None:
        """Let the time of `node_id` run out before everybody else's, until it leads."""
        began_s = again_s = self.world.now_s
        while not self.node(node_id).is_leader:
            if self.world.now_s - began_s > PATIENCE_S:
                raise Failed
            if again_s <= self.world.now_s:
                again_s += AGAIN_S
                self.campaign(node_id)
            self._step(but=node_id)

    def fall_silent(self) -> None:
        """Let time go by until nobody believes in a leader that is not heard, and nobody stands for one yet."""
        until_s = self.world.now_s + SILENCE_S
        while self.world.now_s < until_s:
            self._step()

    def _step(self, but: str | None = None) -> None:
        """Let a little time go by, in which nobody's time runs out."""
        soon_s = self.world.now_s + LATE_S
        for node in self.cluster.nodes.values():
            if node.consensus is not None and node.id != but:
                deadline_s = node.consensus._SyncObj__raftElectionDeadline
                node.consensus._SyncObj__raftElectionDeadline = max(deadline_s, soon_s)
        self.run(STEP_S)

    def campaign(self, node_id: str) -> None:
        """Let the time of `node_id` run out, once, whether it wins or not."""
        self.node(node_id)._SyncObj__raftElectionDeadline = self.world.now_s - STEP_S
        self.cluster.wake(node_id)

    def go_on(self, leader: str, *others: str) -> None:
        """Let these nodes alone reach each other, and, if they elect `leader`, be asked for one more job."""
        together = (leader, *others)
        self.cut(*together)
        for a, b in permutations(together, 2):
            self.release(a, b)
        with suppress(Failed):
            self.lead(leader)
            self.write(leader)
            self.run(0.3)

    def agree(self, *ids: str) -> int:
        """Wait until these nodes' logs end alike, and are applied as far as the first one's is; where they end."""
        first = self.node(ids[0])
        self.reach(lambda: len({self.node(each)._journal[-1][1:] for each in ids}) == 1)
        self.reach(lambda: all(self.node(each).applied_index >= first.applied_index for each in ids))
        return first.last_index

    def quick_snapshots(self) -> None:
        """Let a snapshot be made in no time."""
        for node in self.cluster.nodes.values():
            node.disk.making_s = 0.0001

    def mend(self) -> None:
        """Everything works again, and all nodes run."""
        self.world.tell("everything is mended")
        self.network.stops.clear()
        self.network.twice.clear()
        self.network.heal_all()
        for node in self.cluster.nodes.values():
            node.paused_until_s = 0.0
            self.cluster.start(node.id)
            self.cluster.wake(node.id)

    # -- links ---------------------------------------------------------------------------------

    def cut(self, *ids: str) -> None:
        """Nothing gets through between these nodes and the others."""
        self.world.tell(f"{', '.join(ids)} cut off")
        for a, b in self._across(ids):
            self.network.stall(a, b)

    def join(self, *ids: str) -> None:
        """What waited between these nodes and the others arrives."""
        self.world.tell(f"{', '.join(ids)} joined again")
        for a, b in self._across(ids):
            self.network.heal(a, b)

    def _across(self, ids: tuple[str, ...]) -> list[Direction]:
        return [(a, b) for a in self.ids for b in self.ids if a != b and (a in ids) != (b in ids)]

    def withhold(self, a: str, b: str, since: Callable[[Message], bool] | None = None) -> None:
        """What `a` sends to `b` waits: from now on, or from the first message `since` is true of."""
        if since is None:
            self.network.stall(a, b)
        else:
            self.network.stops[a, b] = since

    def release(self, a: str, b: str) -> None:
        """What was withheld arrives."""
        self.network.heal(a, b)
        self.network.stops.pop((a, b), None)

    def reconnect(self, a: str, b: str) -> None:
        """The connection of the two breaks, with all that is on its way, and a new one is made at once."""
        self.world.tell(f"{a} and {b} connect anew")
        self.network.disconnect(a, b)
        self.release(a, b)
        self.release(b, a)
        self.network.connect(a, b)

    # -- clients -------------------------------------------------------------------------------

    def write(self, node_id: str, payload_bytes: int = 1) -> Asked:
        """Enqueue a job at a node."""
        number = len(self.history) + 1
        payload = str(number).encode().ljust(payload_bytes)
        asked = Asked(number, node_id, Enqueue([NewJob("A", payload)]), self.world.now_s)
        self.history.append(asked)
        submit(self.cluster, asked, 0, lambda _asked: None)
        return asked

    def write_each(self, node_id: str, *payloads_bytes: int) -> list[Asked]:
        """Enqueue jobs at a node, each in an entry of its own."""
        written = []
        for payload_bytes in payloads_bytes:
            written.append(self.write(node_id, payload_bytes))
            self.run(SLOWLY_S)
        return written

    def write_through(self, node_id: str) -> Asked:
        """Enqueue a job and wait for its acknowledgement."""
        asked = self.write(node_id)
        self.reach(lambda: is_done(asked))
        return asked

    def ticks(self, node_id: str, count: int) -> None:
        """Give the log of a node that leads `count` entries that nobody waits for."""
        for _ in range(count):
            self.node(node_id).propose(entry.TICK)
        self.cluster.wake(node_id)
        self.run(SLOWLY_S)


def is_done(*asked: Asked) -> bool:
    """Whether all of these were acknowledged."""
    return all(each.outcome == protocol.RESULT for each in asked)


def commits_beyond(index: int) -> Callable[[Message], bool]:
    """True of a leader's message that tells of a commit beyond `index`."""
    return lambda message: any(message.get(name, 0) > index for name in ("commit_index", "index"))


def appends_behind(index: int) -> Callable[[Message], bool]:
    """True of an append of what follows the entry at `index`."""
    return lambda message: message["type"] == "append_entries" and message["prevLogIdx"] == index


def acknowledges_beyond(index: int) -> Callable[[Message], bool]:
    """True of an acknowledgement of more than everything up to `index`."""
    return lambda message: message["type"] == "next_node_idx" and bool(message["next_node_idx"] > index + 1)


def asks_again(message: Message) -> bool:
    """True of an answer to an append that did not fit."""
    return message["type"] == "next_node_idx" and bool(message["reset"])


def is_kind(*kinds: str) -> Callable[[Message], bool]:
    """True of messages of these types."""
    return lambda message: message["type"] in kinds


Story = Callable[[Stage], None]


@dataclass(frozen=True)
class Scenario:
    """A story and the cluster it is told of. about: what it shows, in a sentence."""

    setup: Setup
    story: Story
    about: str


SCENARIOS: Final[dict[str, Scenario]] = {}


def scenario(name: str, setup: Setup) -> Callable[[Story], Story]:
    """Put a story into `SCENARIOS`."""

    def add(story: Story) -> Story:
        SCENARIOS[name] = Scenario(setup, story, (story.__doc__ or "").splitlines()[0])
        return story

    return add
