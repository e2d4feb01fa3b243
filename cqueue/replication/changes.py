"""Mends: how the members change while the cluster runs; handing leadership over.

PySyncObj's own changes may be on their way two at a time, and cannot remove the leader. Here one is
an entry with the whole new configuration, one member more or less (Raft 4.1). The leader makes it when
  - it has committed an entry of its own term, and the change before it is committed (Raft's one
    known bug, 2015: without the first, two leaders' changes may both be committed without overlap);
  - a new node has caught up, as a learner that does not count (4.2.1);
  - a majority of the new members, not counting a new one, has shown just now that it can commit it;
  - it stays a member: to remove the leader, leadership is handed over first (3.10).
A removed node gets the log until it has had time to learn of it; then the links to it are closed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cqueue import logs
from cqueue.protocol import ADD, TRANSFER, Change, Failure, Order
from cqueue.replication.levels import Levels
from cqueue.replication.membership import CatchUp, Configuration, majority
from cqueue.replication.raft import FOLLOWER, NO_OP, Message, Peer

log = logs.of(__name__)

FAREWELL_S: Final = 2.0
"""How long a removed node still gets the log: it answers its clients, and learns that it was removed."""
OUTCOMES_MAX: Final = 64
"""Orders whose outcome is remembered, so that one that comes again is not begun again."""

Done = Callable[[Failure | None], None]
"""Called once when an order is carried out (None) or refused; never, where this node stops leading first."""


@dataclass(slots=True, eq=False)
class _Change:
    """What this leader is about. key: which order of which node.

    hands_over: leadership is being handed over. catch_up: how far the new node is. probe, index: of the
    entry that shows who is up, and of the one that makes the change; 0 before there is one.
    """

    order: Order
    key: tuple[str, int, int]
    done: Done
    until_s: float
    hands_over: bool = False
    catch_up: CatchUp | None = None
    probe: int = 0
    index: int = 0

    @property
    def joining(self) -> set[Peer]:
        """The node that is being added, and is no member yet."""
        return {Peer(str(self.order.node))} if self.catch_up is not None and not self.index else set()


class Changes(Levels):
    """The one change under way, on the leader.

    farewells: {removed node: until when it gets the log}. change: None, or what this leader is about.
    outcomes: {order's key: how it ended}, the latest few of this leader.
    """

    _farewells: dict[Peer, float]
    _change: _Change | None
    _outcomes: dict[tuple[str, int, int], Failure | None]
    _leaving: bool
    _transfer_again_s: float

    def _begin_with(self, life: int, node_id: str, first: Configuration) -> set[Peer]:
        self._farewells = {}
        self._change = None
        self._outcomes = {}
        self._leaving = False
        self._transfer_again_s = float("-inf")
        return super()._begin_with(life, node_id, first)

    def _SyncObj__onBecomeLeader(self) -> None:  # noqa: N802
        self._give_up_change()
        self._outcomes.clear()
        super()._SyncObj__onBecomeLeader()

    @property
    def change(self) -> Change | None:
        """The change this node is making, for people to look at."""
        change = self._change
        if change is None:
            return None
        is_behind = change.catch_up is not None and not change.catch_up.is_over
        phase = "handing over" if change.hands_over else "catching up" if is_behind else "committing"
        return Change(change.order.verb, change.order.node, phase)

    # -- changing it ---------------------------------------------------------------------------

    def carry_out(self, order: Order, key: tuple[str, int, int], done: Done) -> None:
        """Do what an operator ordered, where this node leads; else nothing.

        Args:
            order: what to do. Its `wait_ms` is how long a new node may take to catch up.
            key: which order of which node in which of its lives; one that comes again goes on.
            done: called with the outcome.
        """
        if not self.is_leader or self._leaving or not self.is_member:
            return
        if key in self._outcomes:
            done(self._outcomes[key])
            return
        if self._change is not None and self._change.key == key:
            self._change.done = done
            return
        node, members, me = order.node, self._configuration.members, str(self._SyncObj__selfNode.id)
        if (order.verb == ADD and node in members) or (order.verb == TRANSFER and node == me):
            done(None)
        elif order.verb != ADD and node is not None and node not in members:
            done(Failure("not_found", f"{node} is no member of the cluster; they are {', '.join(members)}"))
        elif order.verb != ADD and len(members) == 1:
            done(Failure("last_member", f"{me} is the only member"))
        elif self._is_changing():
            done(Failure("change_in_progress", self._why_changing(), 1))
        else:
            self._begin(_Change(order, key, done, self._clock.monotonic_s() + order.wait_ms / 1000))

    def _is_changing(self) -> bool:
        commit_index = self._SyncObj__raftCommitIndex
        return (
            self._change is not None
            or self._journal.configuration_index > commit_index
            or self._SyncObj__noopIDx > commit_index
        )

    def _why_changing(self) -> str:
        if self._change is None:
            return "the leader has just been elected and has committed nothing yet"
        order = self._change.order
        return f"another change is under way: {order.verb} {order.node or 'leadership'}"

    def _begin(self, change: _Change) -> None:
        order, now_s = change.order, self._clock.monotonic_s()
        self._change = change
        log.info("change_begun", verb=order.verb, node=order.node)
        if order.verb == ADD:
            peer = Peer(str(order.node))
            change.catch_up = CatchUp(self.last_index, now_s, self._timing.election_s_min)
            self._farewells.pop(peer, None)
            self._SyncObj__raftMatchIndex[peer] = 0
            self._expect(peer)
            self._set_learners()
        elif order.verb == TRANSFER or order.node == self._SyncObj__selfNode.id:
            change.hands_over = True
            change.until_s = now_s + self._timing.election_s_max
            self._transfer_again_s = now_s

    def _commit_change(self, change: _Change) -> None:
        """Make the change, once a probe has shown that the new members can commit it.

        The probe is an entry that does nothing: who acknowledges it is up, and counts. A new member
        has to, and it is not counted on: if it fails right away, the others can still commit.
        """
        now_s, me, node = self._clock.monotonic_s(), str(self._SyncObj__selfNode.id), str(change.order.node)
        if not change.probe:
            change.probe = self._append(NO_OP)
            change.until_s = now_s + self._timing.election_s_max
            return
        if change.catch_up is None:
            configuration, is_up = self._configuration.removing(node), True
        else:
            configuration = self._configuration.adding(node, change.catch_up.life)
            is_up = change.catch_up.index >= change.probe
        match, old = self._SyncObj__raftMatchIndex, self._configuration.members
        counted_on = [m for m in configuration.others(me) if m in old]
        silent = [m for m in counted_on if match[Peer(m)] < change.probe]
        enough = majority(len(configuration.members)) if counted_on else 1
        if is_up and 1 + len(counted_on) - len(silent) >= enough:
            if change.catch_up is None:
                self._farewells[Peer(node)] = float("inf")
                self._set_learners()
            change.index = self._append_configuration(configuration)
            self._set_learners()
        elif change.until_s <= now_s:
            who = ", ".join(silent if is_up else [*silent, node])
            self._end_change(
                Failure(
                    "no_majority",
                    f"of the members that there would be ({', '.join(configuration.members)}) these are not up: {who}; "
                    "the change could stop the cluster. Start them, or remove them first",
                )
            )

    def _set_learners(self) -> None:
        self._learners = set(self._farewells) | (set() if self._change is None else self._change.joining)
        self._link()

    def _end_change(self, failure: Failure | None) -> None:
        change, self._change = self._change, None
        if change is not None:
            why = "" if failure is None else failure.detail
            log.info("change_ended", verb=change.order.verb, node=change.order.node, refused=why)
            self._set_learners()
            self._outcomes[change.key] = failure
            if len(self._outcomes) > OUTCOMES_MAX:
                del self._outcomes[next(iter(self._outcomes))]
            change.done(failure)

    def _advance_change(self) -> None:
        """Go on with the change under way; a leader that is none any more gives it up."""
        if not self.is_leader:
            self._give_up_change()
            return
        if not self.is_member and not self._has_open_configuration():
            # Its removal is committed now, which it was elected for (Raft 4.2.2).
            self._SyncObj__setState(FOLLOWER)
            self._SyncObj__raftLeader = None
            return
        now_s = self._clock.monotonic_s()
        if any(until_s <= now_s for until_s in self._farewells.values()):
            self._farewells = {peer: until_s for peer, until_s in self._farewells.items() if until_s > now_s}
            self._set_learners()
        if self._change is not None:
            self._go_on_with(self._change, now_s)
        elif not self._is_changing():
            self._raise_level()

    def _go_on_with(self, change: _Change, now_s: float) -> None:
        why_not = None if change.catch_up is None or change.index else self._why_not_read(Peer(str(change.order.node)))
        if why_not is not None:
            self._end_change(Failure("not_caught_up", why_not))
        elif change.index:
            if change.index <= self._SyncObj__raftCommitIndex:
                self._farewells = {peer: min(until_s, now_s + FAREWELL_S) for peer, until_s in self._farewells.items()}
                self._end_change(None)
        elif change.hands_over:
            to = change.order.node if change.order.verb == TRANSFER else None
            if change.until_s <= now_s:
                who = f"{to} did not" if to else "no other member could"
                self._end_change(Failure("not_caught_up", f"{who} take over within {self._timing.election_s_max:g} s"))
            else:
                self._hand_over(to)
        elif change.catch_up is None or change.catch_up.is_over:
            self._commit_change(change)
        elif change.until_s <= now_s:
            self._end_change(self._why_not_caught_up(change, change.catch_up))

    def _give_up_change(self) -> None:
        """Forget it without a word: whoever ordered it asks the next leader."""
        if self._change is not None or self._farewells:
            self._change = None
            self._farewells.clear()
            self._set_learners()

    def _why_not_caught_up(self, change: _Change, catch_up: CatchUp) -> Failure:
        node = change.order.node
        seconds = f"{change.order.wait_ms / 1000:g} s"
        if catch_up.index:
            why = f"{node} got to index {catch_up.index} of {self.last_index} within {seconds}, too slowly to keep up"
        else:
            why = (
                f"nothing was heard of {node} within {seconds}: it has to run with --raft-addr {node}, with the "
                "members as its --peers, and with the cluster's secret"
            )
        return Failure("not_caught_up", f"{why}; it was not added")

    def _on_next_node_idx(self, node: Peer, message: Message) -> bool:
        change = self._change
        if (
            change is not None
            and change.catch_up is not None
            and node.id == change.order.node
            and message["success"]
            and self._is_answer(node, message)
        ):
            index, life = message["next_node_idx"] - 1, message["life"]
            change.catch_up.on_answer(index, life, self.last_index, self._clock.monotonic_s())
        return super()._on_next_node_idx(node, message)

    # -- handing over --------------------------------------------------------------------------

    @property
    def _is_handing_over(self) -> bool:
        """Whether no proposals are taken, so that another member can get level (Raft 3.10)."""
        return self._leaving or (self._change is not None and self._change.hands_over)

    def _hand_over(self, to: str | None) -> None:
        now_s = self._clock.monotonic_s()
        if now_s >= self._transfer_again_s:
            self._transfer_again_s = now_s + self._timing.heartbeat_s
            self.transferLeadership(None if to is None else Peer(to))

    def leave(self) -> bool:
        """Stop taking proposals and hand leadership over; True once this node does not lead.

        Called once a round at shutdown, until it says True or patience ends (Raft 3.10).
        """
        self._leaving = True
        if self.is_alone or not self.is_leader:
            return True
        self._hand_over(None)
        return False
