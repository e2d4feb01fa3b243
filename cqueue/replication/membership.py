"""Who belongs to the cluster, who may vote, and when a new node is ready to: rules without messages.

The members stand in the log. An entry of kind `MEMBERS` holds a `Configuration`, and a node acts by
the newest one it holds, committed or not (Raft 4.1). Each term opens with one, so that a cluster's
`--peers` matter only until its first leader. A snapshot carries the one it was made under.

A node that starts with nothing cannot know what it promised in an earlier life. Until it has been
brought up to what the leader had when it came back, it must not vote, campaign, or count toward a
majority; then it is whole. A node with a disk keeps whether it is, since it may crash half way. If
*every* member says it has accepted no entry and given no vote there is nothing to be lost, and the
cluster starts fresh. A node that was never a member has promised nothing: it is whole as soon as
the log makes it one, in the very life in which it was brought up to date for that. A life is that of
a node's memory: without a disk each start begins one, with a disk it lasts as long as what is on it.

Sources: Raft (Ongaro 2014) 4, which takes the memory for granted (3.8); Viewstamped Replication
Revisited (Liskov, Cowling 2012) 4.3.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import msgspec
from msgspec import Struct

from cqueue.core.entry import UnreadableEntry
from cqueue.core.levels import LEVEL_FIRST

MEMBERS: Final = b"\x10"
"""What the command of an entry with a configuration begins with. PySyncObj's own kind, which is pickled, is 2."""
ASK_AGAIN_S: Final = 0.1


class Configuration(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The members of the cluster. number: grows by one with each change; 0: from the settings, not from a log.

    members: {node id: the life in which it was added}, by id; life 0: it was there from the beginning.
    level: what all of them read (cqueue.core.levels).
    """

    number: int
    members: dict[str, int]
    level: int = LEVEL_FIRST

    @classmethod
    def of(cls, number: int, ids: Collection[str], level: int = LEVEL_FIRST) -> Configuration:
        """Members that are there from the beginning."""
        return cls(number, dict.fromkeys(sorted(ids), 0), level)

    def others(self, node_id: str) -> list[str]:
        """The members but for one."""
        return [member for member in self.members if member != node_id]

    def adding(self, node_id: str, life: int) -> Configuration:
        """The next configuration, with one member more."""
        return self._next(dict(sorted({**self.members, node_id: life}.items())))

    def removing(self, node_id: str) -> Configuration:
        """The next configuration, with one member less."""
        return self._next({m: life for m, life in self.members.items() if m != node_id})

    def at(self, level: int) -> Configuration:
        """The next configuration, with the same members, who read up to another level."""
        return Configuration(self.number + 1, self.members, level)

    def _next(self, members: dict[str, int]) -> Configuration:
        return Configuration(self.number + 1, members, self.level)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Configuration).decode


def encode(configuration: Configuration | None) -> bytes:
    """A configuration as it is kept; empty for None."""
    return b"" if configuration is None else _encode(configuration)


def decode(data: bytes) -> Configuration | None:
    """What was encoded.

    Raises:
        UnreadableEntry: another format, or damaged.
    """
    try:
        return _decode(data) if data else None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnreadableEntry(f"unreadable members: {error}") from error


def majority(count: int) -> int:
    """How many of so many members are a majority."""
    return count // 2 + 1


class Recovery:
    """The state of one node's coming back. answers: {node id: its newest answer} of this round."""

    def __init__(self) -> None:
        self.round = 0
        self._asked_s = float("-inf")
        self._answers: dict[str, dict[str, Any]] = {}

    def ask_again(self, now_s: float) -> bool:
        """Whether a new round of questions is due; if so it is opened."""
        if now_s - self._asked_s < ASK_AGAIN_S:
            return False
        self._asked_s = now_s
        self.round += 1
        self._answers.clear()
        return True

    def answered(self, node_id: str, answer: dict[str, Any]) -> None:
        """Take in an answer; one to an earlier round is worth nothing, its node may be empty now."""
        if answer["round"] == self.round:
            self._answers[node_id] = answer

    def is_over(self, me: str, others: Collection[str], term: int, last_index: int) -> bool:
        """Whether this node is a full member again.

        Args:
            me: this node.
            others: the members this node knows of, itself left out.
            term: its term.
            last_index: how far its log goes.
        """
        answers = self._answers
        if all(other in answers and answers[other]["is_empty"] for other in others):
            return True
        full = {node_id: answer for node_id, answer in answers.items() if not answer["recovering"]}
        newest = max(full.values(), key=lambda answer: (answer["term"], answer["leads"]), default=None)
        # Who counts is what that leader's committed log says: it may be that this node's flags are old.
        if newest is None or not newest["leads"] or me not in newest["members"]:
            return False
        asked = set(newest["members"]) - {me}
        enough = min(len(asked), majority(len(asked) + 1))
        return len(full.keys() & asked) >= enough and term >= newest["term"] and last_index >= newest["last_index"]


class CatchUp:
    """How far a node that is to be added has come, in rounds (Raft 4.2.1).

    A round ends when the node has all that the leader had at the round's begin. One that was shorter
    than an election shows that the node keeps up; before that, adding it could stop all commits.
    life: of the node, as it says itself; 0 for one that has its memory.
    """

    def __init__(self, last_index: int, now_s: float, round_s_max: float) -> None:
        self.index = 0
        self.life = 0
        self._last_index = last_index
        self._now_s = now_s
        self._round_s_max = round_s_max
        self.is_over = False

    def on_answer(self, index: int, life: int, last_index: int, now_s: float) -> None:
        """The node has the log up to `index`, the leader up to `last_index`."""
        if life != self.life:
            # It began anew, with less than it had.
            self.life, self.index, self.is_over = life, 0, False
            self._last_index, self._now_s = last_index, now_s
        self.index = index
        if index >= self._last_index:
            self.is_over = self.is_over or now_s - self._now_s < self._round_s_max
            self._last_index, self._now_s = last_index, now_s
