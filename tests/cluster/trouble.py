"""What fate does to processes, one thing after the other: kill -9, SIGSTOP, and links that are cut.

It decides what happens when by the `random.Random` it is given, and judges nothing.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Final

from tests.cluster.client import Unreachable
from tests.cluster.harness import Command, Node
from tests.cluster.network import Network

FAULT_S: Final = (0.3, 2.5)
"""How long one lasts: from less than an election takes to more than a leader goes on without a majority."""
CALM_S: Final = (0.1, 1.0)

Fault = Callable[[Command], AbstractContextManager[None]]


@contextmanager
def _killed(command: Command) -> Iterator[None]:
    command.kill()
    yield
    command.start()


@contextmanager
def _stopped(command: Command) -> Iterator[None]:
    command.pause()
    yield
    command.resume()


def faults_of(commands: Sequence[Command], network: Network | None) -> dict[str, Fault]:
    """Everything that can happen to one of these, by name; their order is that of their numbers in the network."""
    faults: dict[str, Fault] = {"kill -9": _killed, "SIGSTOP": _stopped}
    if network is None:
        return faults
    sent = {command: network.links_from(number) for number, command in enumerate(commands)}
    received = {command: [(other, number) for number, other in links] for command, links in sent.items()}
    return faults | {
        "not heard": lambda one: network.losing(sent[one]),
        "deaf": lambda one: network.losing(received[one]),
        "cut off": lambda one: network.losing(sent[one] + received[one]),
        "cut from one": lambda one: network.losing(sent[one][:1] + received[one][:1]),
    }


def trouble(
    faults: Mapping[str, Fault], victims: Callable[[], list[Command]], chance: random.Random, until_s: float
) -> list[str]:
    """One fault after the other, all kinds in turn, each to all of the next `victims`; the story, in words."""
    deck: list[str] = []
    story: list[str] = []
    nobody_comes = threading.Event()
    while time.monotonic() < until_s:
        with ExitStack() as present:
            for victim in victims():
                deck = deck or chance.sample(sorted(faults), len(faults))
                kind = deck.pop()
                story.append(f"{time.monotonic():.3f} {victim.log_path.stem}: {kind}")
                present.enter_context(faults[kind](victim))
            nobody_comes.wait(chance.uniform(*FAULT_S))
        nobody_comes.wait(chance.uniform(*CALM_S))
    return story


def some_nodes(nodes: Sequence[Node], chance: random.Random) -> list[Command]:
    """One node, seldom two; half of the time the leader is among them, if one is known."""
    shuffled = chance.sample(nodes, len(nodes))
    if chance.random() < 0.5:
        leader = _leader_of(shuffled)
        shuffled.sort(key=lambda node: node.settings["raft_addr"] != leader)
    return [*shuffled[: chance.choice((1, 1, 1, 2))]]


def _leader_of(nodes: list[Node]) -> str | None:
    for node in nodes:
        try:
            answer = node.ask("GET", "/cluster")
        except Unreachable:
            continue
        if answer.status == 200:
            leader: str | None = answer.body["leader"]
            return leader
    return None
