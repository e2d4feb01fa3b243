"""The replica's desk: requests in, batches to consensus, results out.

It owns the session (exactly once), group commit, waiting consumers and deadlines. It knows no
socket and no Raft message: requests come through `submit`, entries through `on_apply`, and time
from the clock it was given; the simulator drives the same code.

The walk: everything that arrived since the last round goes into one entry (`advance`), which is
proposed until this replica *sees it applied*. A query rides along as a reason to commit and is
answered from the state right after its batch.
Source: docs/architecture.md; sessions: cqueue.core.sessions; reads: Raft (Ongaro 2014) 6.4.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import Final

import msgspec

from cqueue import protocol
from cqueue.core import entry, limits
from cqueue.core.jobs import FINISHED
from cqueue.core.machine import Applied, StateMachine
from cqueue.core.operations import Held, Keyed, Operation, Release
from cqueue.core.queries import Query
from cqueue.core.results import Dequeued, Found, Result
from cqueue.protocol import Failure, NodeStatus
from cqueue.replication import status
from cqueue.replication.backups import Backups
from cqueue.replication.batches import Batch, Batches
from cqueue.replication.bounds import Bounds
from cqueue.replication.children import Child, Start
from cqueue.replication.clock import Clock
from cqueue.replication.consensus import Consensus
from cqueue.replication.digests import Digests
from cqueue.replication.errands import Arrivals, Errand
from cqueue.replication.following import Followers
from cqueue.replication.orders import Orders
from cqueue.replication.requests import Reply, Request
from cqueue.replication.tallies import Tallies
from cqueue.replication.waiting import Waiting

ENTRY_OPERATIONS_MAX: Final = 1_000
ENTRY_BYTES_MAX: Final = 1024 * 1024
"""An entry is closed once it holds this much, so that none holds up a heartbeat. One operation
alone may be larger, up to the body limit."""

_encode = msgspec.msgpack.Encoder().encode
_NOTHING: Final = _encode(Dequeued([]))
_decode_query = msgspec.msgpack.Decoder(Query).decode
_decode_operation = msgspec.msgpack.Decoder(Operation).decode

_OUT_OF_SIGHT: Final = Failure("outcome_unknown", "it may have been applied out of this node's sight")


class Replica:
    """One node's requests, against its consensus and its state machine.

    arrived: not proposed yet. batches: on their way. waiting: those that are parked
    until something happens. deadlines: those that may not wait, by arrival. wait_ends: heap of
    (look again at, request) for those that may. errands: by kind of request.

    Args:
        session: random, for this life of the node alone.
        clock: the node's.
        mode: how durable it is, for `status`.
        request_timeout_s: how long a request may take.
        bounds: how many jobs and bytes the cluster shall take in while this node leads.
        events_max: how many of the newest changes are kept for those who follow them; 0: none.
        waiting_max: how many may wait for a job, or for the end of one.
        start: starts what is computed beside the loop.
    """

    def __init__(
        self,
        *,
        session: int,
        clock: Clock,
        mode: str,
        request_timeout_s: float,
        bounds: tuple[int, int] = (limits.JOBS_MAX_DEFAULT, limits.BYTES_MAX_DEFAULT),
        events_max: int = 0,
        waiting_max: int = 10_000,
        start: Start = Child,
    ) -> None:
        self.machine = StateMachine()
        self.tallies = Tallies()
        self._clock = clock
        self._mode = mode
        self._request_timeout_s = request_timeout_s
        self._consensus: Consensus
        self._arrived: deque[Request] = deque()
        self._deadlines: deque[Request] = deque()
        self._waiting = Waiting(waiting_max)
        self._wait_ends: list[tuple[float, Request]] = []
        self._batches = Batches(session)
        self._request_number = 0
        self._bounds = Bounds(bounds)
        self._events_max = events_max
        self._draining = False
        self._keep_feed()
        self._digests = Digests(session, clock, self.state, start)
        self._backups = Backups(clock, self.state, start)
        self._orders = Orders(session)
        self._followers = Followers(clock, lambda: self.machine.feed)
        self._errands: dict[int, Errand] = {
            protocol.AWAIT: Arrivals(),
            protocol.BACKUP: self._backups,
            protocol.VERIFY: self._digests,
            protocol.ORDER: self._orders,
            protocol.FOLLOW: self._followers,
        }

    def attach(self, consensus: Consensus) -> None:
        """Give it the consensus whose `on_apply` is this replica's."""
        self._consensus = consensus
        self._batches.attach(consensus)
        self._backups.attach(consensus)
        self._digests.attach(consensus)
        self._orders.attach(consensus)

    # -- in ------------------------------------------------------------------------------------

    def submit(self, kind: int, body: bytes, wait_ms: int, reply: Reply) -> Request:
        """Take a request; its answer comes through `reply`, at once or in a later round."""
        now_s = self._clock.monotonic_s()
        self._request_number += 1
        request = Request(kind, body, reply, self._request_number, now_s + self._request_timeout_s)
        if wait_ms and not self._draining:
            request.wait_until_s = now_s + wait_ms / 1000
        if kind == protocol.STATUS:
            request.answer(protocol.RESULT, self.index, protocol.encode(self.status()))
        elif kind == protocol.TALLY:
            request.answer(protocol.RESULT, self.index, self.tallies.encoded())
        elif kind == protocol.PEEK or (
            kind == protocol.QUERY and self._consensus.is_alone and self._consensus.is_current
        ):
            # A node alone has applied all it ever acknowledged: its state is the latest there is.
            self._answer_query(request)
        elif kind in self._errands:
            self._errands[kind].take(request, self.index, wait_ms)
            return request
        elif not self._consensus.is_member:
            # Others can do at once what this one could only wait for.
            why = status.why_no_leader(self._consensus)
            self._fail(request, protocol.UNAVAILABLE, Failure("not_ready", why, 1))
        else:
            self._arrived.append(request)
        if request.wait_until_s:
            heappush(self._wait_ends, (min(request.wait_until_s, request.deadline_s), request))
        elif not request.done:
            self._deadlines.append(request)
        return request

    def cancel(self, request: Request) -> None:
        """Nobody wants the answer any more; what has not been proposed will not be."""
        request.done = True
        self._waiting.leave(request)

    def stop_waiting(self, request: Request) -> None:
        """Its worker is about to stop: answer a dequeue with no job, a look with the job as it is, end an errand."""
        request.wait_until_s = 0.0
        if request.kind in self._errands:
            self._errands[request.kind].stop(request, self.index)
        if request.parked:
            self._waiting.leave(request)
            if request.kind == protocol.OPERATE:
                request.answer(protocol.RESULT, request.empty_index, _NOTHING)
            else:
                self._answer_query(request)

    def drain(self) -> None:
        """This node is about to stop: nobody waits any longer, and it is not ready."""
        self._draining = True
        for request in list(self._waiting):
            self.stop_waiting(request)

    @property
    def index(self) -> int:
        """The log index this replica's state reflects."""
        return self._consensus.applied_index

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way."""
        return not self._arrived and not self._batches

    # -- a round -------------------------------------------------------------------------------

    def advance(self) -> None:
        """Propose what arrived, propose again what may have got lost, end what ran out of time.

        Comes before the round's `Consensus.tick`.
        """
        now_s = self._clock.monotonic_s()
        for errand in self._errands.values():
            errand.advance(self.index, now_s)
        self._end_overdue(now_s)
        if self._batches:
            self._batches.propose_again(now_s)
        self._bounds.keep(self._consensus, self.machine, now_s)
        self.tallies.see(self._consensus.epoch)
        if self._consensus.leader_id is not None:
            self._wake(now_s)
            while self._may_propose():
                self._propose(now_s)
        self._let_time_act()

    def wait_s_max(self) -> float:
        """How long the loop may wait for news on this replica's account."""
        if self._followers.is_stirred:
            return 0.0
        if self._consensus.leader_id is not None and (self._waiting.is_stirred or self._may_propose()):
            # What was applied just now left something to do, such as a job for a consumer that waits.
            return 0.0
        now_s = self._clock.monotonic_s()
        until_s = now_s + 1.0
        if self._wait_ends:
            until_s = min(until_s, self._wait_ends[0][0])
        due_ms = self.machine.next_due_ms()
        if due_ms is not None and self._consensus.is_leader and not self._consensus.has_unapplied:
            until_s = min(until_s, now_s + (due_ms - self._consensus.now_ms()) / 1000)
        return max(0.0, until_s - now_s)

    def _may_propose(self) -> bool:
        return bool(self._arrived) and self._batches.have_room(self.machine.sessions)

    def _propose(self, now_s: float) -> None:
        """Make one batch of what arrived and put it on its way."""
        operations: list[Request] = []
        queries: list[Request] = []
        entry_bytes = 0
        while self._arrived and len(operations) < ENTRY_OPERATIONS_MAX:
            request = self._arrived[0]
            if request.done:
                self._waiting.settle(request)
            else:
                if request.kind == protocol.OPERATE:
                    entry_bytes += len(request.body)
                    if entry_bytes > ENTRY_BYTES_MAX and operations:
                        break
                    operations.append(request)
                else:
                    queries.append(request)
                request.proposed = True
            self._arrived.popleft()
        if operations or queries:
            self._batches.propose(operations, queries, now_s)

    def _let_time_act(self) -> None:
        """Where this node leads and something is due by time alone, move the time in the log."""
        due_ms = self.machine.next_due_ms()
        if (
            due_ms is not None
            and self._consensus.is_leader
            and not self._consensus.has_unapplied
            and due_ms <= self._consensus.now_ms()
        ):
            self._consensus.propose(entry.TICK)

    def _end_overdue(self, now_s: float) -> None:
        deadlines, wait_ends = self._deadlines, self._wait_ends
        while deadlines and (deadlines[0].done or deadlines[0].deadline_s <= now_s):
            self._end(deadlines.popleft())
        while wait_ends and (wait_ends[0][1].done or wait_ends[0][0] <= now_s):
            request = heappop(wait_ends)[1]
            due_s = request.wait_until_s if request.parked else request.deadline_s
            if due_s > now_s and not request.done:
                heappush(wait_ends, (due_s, request))
            elif request.parked:
                self.stop_waiting(request)
            else:
                self._end(request)

    def _end(self, request: Request) -> None:
        if request.proposed and request.kind == protocol.OPERATE:
            self._fail(request, protocol.UNKNOWN, Failure("outcome_unknown", "no outcome within the time allowed"))
        else:
            self._fail(request, protocol.UNAVAILABLE, Failure("no_leader", status.why_no_leader(self._consensus), 1))

    # -- out -----------------------------------------------------------------------------------

    def on_apply(self, index: int, data: bytes) -> None:
        """Apply one committed entry, and answer whoever here waits for it."""
        applied = self.machine.apply(index, data)
        for errand in self._errands.values():
            errand.moved(index, applied)
        for request in self._waiting.take_finished(self.machine.finished_now):
            self._answer_query(request)
        batch = self._batches.take(applied)
        if batch is not None:
            self._end_batch(batch, applied)
        # Last, for what this entry made ready may be for those who found nothing in it before.
        self._waiting.notice(self.machine.ready_now)

    def _end_batch(self, batch: Batch, applied: Applied) -> None:
        if applied.results is None:
            # The log refused our own number: this session was forgotten. It may have been applied
            # before that; only 504 is honest.
            for request in batch.operations:
                self._fail(request, protocol.UNKNOWN, _OUT_OF_SIGHT)
        else:
            self.tallies.batch_applied(batch, applied.results, self.machine, self._clock.monotonic_s())
            self._give_back_unwanted(batch, applied.results)
            for request, result in zip(batch.operations, applied.results, strict=True):
                self._settle(request, result)
        for request in batch.queries:
            self._answer_query(request)

    def restore(self, state: bytes) -> None:
        """Put the state of a snapshot in the place of the present one.

        Raises:
            UnreadableSnapshot: it cannot be read; nothing was changed.
        """
        self.machine = StateMachine.restore(state)
        self._keep_feed()
        for request in self._waiting.take_all_looks():
            self._answer_query(request)
        for batch in self._batches.take_out_of_sight(self.machine.sessions):
            for request in batch.operations:
                if not request.done and isinstance(_decode_operation(request.body), Keyed):
                    # Its key makes it safe to do again: the state knows the answer.
                    self._arrived.append(request)
                else:
                    self._fail(request, protocol.UNKNOWN, _OUT_OF_SIGHT)
            for request in batch.queries:
                self._answer_query(request)

    def _keep_feed(self) -> None:
        if self._events_max:
            self.machine.keep_feed(self._events_max)

    def state(self) -> bytes:
        """The present state, encoded."""
        return self.machine.snapshot()

    def _settle(self, request: Request, result: Result) -> None:
        request.proposed = False
        self._waiting.settle(request)
        found_nothing = isinstance(result, Dequeued) and not result.jobs
        if found_nothing and not request.done and request.wait_until_s > self._clock.monotonic_s():
            request.empty_index = self.index
            if self._waiting.admits(request, self.index):
                self._waiting.park(request)
        else:
            self._answer_result(request, result)

    def _give_back_unwanted(self, batch: Batch, results: list[Result]) -> None:
        """Give back the jobs of those who are gone; whoever has a key can still ask for them again."""
        if not any(request.done for request in batch.operations):
            return
        for request, result, operation in zip(batch.operations, results, entry.decode(batch.data)[4], strict=True):
            if request.done and isinstance(result, Dequeued) and result.jobs and not isinstance(operation, Keyed):
                release = Release([Held(job.id, job.lease_token) for job in result.jobs])
                self.submit(protocol.OPERATE, _encode(release), 0, lambda *_reply: None)

    def _wake(self, now_s: float) -> None:
        """Let waiting dequeues try again as there are jobs for them, before all that arrived since."""
        woken = self._waiting.wake(self.machine)
        for request in woken:
            request.deadline_s = now_s + self._request_timeout_s
        self._arrived.extendleft(reversed(woken))

    def _answer_result(self, request: Request, result: Result) -> None:
        if not request.done:
            request.answer(protocol.RESULT, self.index, _encode(result))

    def _answer_query(self, request: Request) -> None:
        if request.done:
            return
        result = self.machine.query(_decode_query(request.body))
        if (
            request.wait_until_s > self._clock.monotonic_s()
            and isinstance(result, Found)
            and result.job.status not in FINISHED
        ):
            if self._waiting.admits(request, self.index):
                self._waiting.watch(request, result.job.id)
        else:
            self._answer_result(request, result)

    def _fail(self, request: Request, outcome: int, failure: Failure) -> None:
        self._waiting.settle(request)
        request.answer(outcome, self.index, protocol.encode(failure))

    # -- status --------------------------------------------------------------------------------

    def status(self) -> NodeStatus:
        """How this node stands in its cluster."""
        return status.status(
            self._consensus,
            mode=self._mode,
            draining=self._draining,
            consumers_waiting=self._waiting.consumers,
        )
