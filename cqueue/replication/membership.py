"""Who may vote: the rule for nodes that come back without their memory.

A node that starts with nothing cannot know what it promised in an earlier life. Until it has been
brought up to what the leader had when it came back, it must not vote, campaign, or count toward a
majority; then it is whole. A node with a disk keeps whether it is, since it may crash half way. If
*every* member says it has accepted no entry and given no vote there is nothing to be lost, and the
cluster starts fresh.

Source: Viewstamped Replication Revisited (Liskov, Cowling 2012) 4.3; Raft (Ongaro 2014) 3.8 takes
the memory for granted.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

ASK_AGAIN_S: Final = 0.1


class Recovery:
    """The state of one node's coming back. answers: {node id: its newest answer} of this round."""

    def __init__(self, others: Collection[Any]) -> None:
        self.round = 0
        self._others = len(others)
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

    def is_over(self, term: int, last_index: int) -> bool:
        """Whether this node, at `term` and with its log up to `last_index`, is a full member again."""
        answers = self._answers.values()
        if len(answers) == self._others and all(answer["is_empty"] for answer in answers):
            return True
        full = [answer for answer in answers if not answer["recovering"]]
        if len(full) < (self._others + 1) // 2 + 1:
            return False
        newest = max(full, key=lambda answer: (answer["term"], answer["leads"]))
        return bool(newest["leads"] and term >= newest["term"] and last_index >= newest["last_index"])
