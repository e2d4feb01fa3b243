"""The real state machine, driven through real log entries, against a naive model of the queue.

Everything a log can bring is tried: batches of several operations, tokens right and wrong, time
that jumps and time that is sent back, batches that arrive late, twice, out of order or from a
session long forgotten. A second replica follows, and is replaced by a restored snapshot now and
then: it must go on as if it had seen the whole log.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, cast, get_args

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cqueue.core import entry, invariants, shards
from cqueue.core.machine import StateMachine
from cqueue.core.operations import Dequeue, Enqueue, Keyed, NewJob, Operation, PerJob, SetBounds, Within
from cqueue.core.queries import Explain, GetHistory, GetJob, GetQueue, GetStats, ListJobs, ListQueues, LookWithin
from cqueue.core.reach import Reach
from cqueue.core.results import Page, QueueState
from cqueue.simulation.model import Model, lately, show
from tests.core.driver import batch, encode
from tests.core.strategies import (
    CONSUMERS,
    LEASES_MS,
    QUEUES,
    REACHES,
    STEPS_MS,
    TYPES,
    Who,
    about_queues,
    anything,
    dequeues,
    enqueues,
    keyable,
    queries,
    sayings,
)


class QueueAgainstModel(RuleBasedStateMachine):
    """`machine` saw the whole log; `replica` begins again from a snapshot now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = StateMachine()
        self.replica = StateMachine()
        self.model = Model()
        self.log: list[bytes] = []
        self.sessions: list[int] = []
        self.numbers: dict[int, int] = {0: 0}
        self.batches: list[tuple[int, int, int, list[Operation]]] = []
        self.keyed: list[Keyed] = []

    # -- what arrives --------------------------------------------------------------------------

    @initialize()
    def start(self) -> None:
        """Somebody is there to propose, and there is room for few jobs."""
        self.start_a_session()
        self.propose([SetBounds(12, 1_000_000)], 1_000)

    @rule()
    def start_a_session(self) -> None:
        """A replica process starts."""
        self.sessions.append(1_000 + len(self.sessions))
        self.numbers[self.sessions[-1]] = 0

    @rule(operation=enqueues, step_ms=STEPS_MS)
    def enqueue(self, operation: Enqueue, step_ms: int | None) -> None:
        """Jobs of all sorts, in one request."""
        self.propose([operation], step_ms)

    @rule(operation=dequeues, step_ms=STEPS_MS)
    def dequeue(self, operation: Dequeue, step_ms: int | None) -> None:
        """A consumer asks for jobs."""
        self.propose([operation], step_ms)

    @rule(types=st.lists(TYPES, min_size=1, max_size=4), step_ms=STEPS_MS)
    def enqueue_plain_jobs(self, types: list[str], step_ms: int | None) -> None:
        """As most people do."""
        self.propose([Enqueue([NewJob(kind, b"1") for kind in types])], step_ms)

    @rule(count=st.integers(1, 4), consumer=CONSUMERS, lease_ms=LEASES_MS, step_ms=STEPS_MS)
    def dequeue_whatever_there_is(self, count: int, consumer: str | None, lease_ms: int, step_ms: int | None) -> None:
        """A consumer that is not choosy."""
        self.propose([Dequeue(count, lease_ms, consumer, QUEUES)], step_ms)

    @rule(saying=sayings, step_ms=STEPS_MS)
    def say_something_of_jobs(self, saying: Any, step_ms: int | None) -> None:
        """Holders, former holders and strangers."""
        self.propose([self.resolve(saying)], step_ms)

    @rule(saying=sayings, reach=REACHES, step_ms=STEPS_MS)
    def say_something_within_reach(self, saying: Any, reach: Reach, step_ms: int | None) -> None:
        """Somebody who may know of some queues only."""
        self.propose([Within(reach, self.resolve(saying))], step_ms)  # type: ignore[arg-type] # sayings are of jobs

    @rule(operation=about_queues, step_ms=STEPS_MS)
    def change_a_queue(self, operation: Operation, step_ms: int | None) -> None:
        """Its settings, or that it is there; or the bounds of all."""
        self.propose([operation], step_ms)

    @rule(batch=st.lists(anything, max_size=4), whose=st.integers(0, 3), step_ms=STEPS_MS, arrives=st.booleans())
    def send_a_batch(self, batch: list[Any], whose: int, step_ms: int | None, *, arrives: bool) -> None:
        """Several operations in one entry, from any session; it may be lost on the way for now."""
        session = [0, *self.sessions][whose % (1 + len(self.sessions))]
        # What a session calls settled may be less than is, and even something still on its way.
        done_below = max(0, self.numbers[session] + 1 - whose)
        self.propose([self.resolve(each) for each in batch], step_ms, session, done_below, arrives=arrives)

    @rule(operation=keyable, key=st.sampled_from(["a", "b", "c", "d"]), reach=REACHES, step_ms=STEPS_MS)
    def do_once_under_a_key(self, operation: Any, key: str, reach: Reach, step_ms: int | None) -> None:
        """A client sends an Idempotency-Key, new or used for something else."""
        operation = self.resolve(operation)
        if reach and isinstance(operation, get_args(PerJob)):
            operation = Within(reach, operation)
        keyed = Keyed(key, hashlib.sha256(encode(operation)).digest(), operation)
        self.keyed.append(keyed)
        self.propose([keyed], step_ms)

    @precondition(lambda self: self.keyed)
    @rule(which=st.integers(0, 15), step_ms=STEPS_MS)
    def do_it_again_under_its_key(self, which: int, step_ms: int | None) -> None:
        """A client heard nothing."""
        self.propose([self.keyed[-1 - which % len(self.keyed)]], step_ms)

    @precondition(lambda self: self.batches)
    @rule(which=st.integers(0, 7), step_ms=STEPS_MS)
    def send_a_batch_again(self, which: int, step_ms: int | None) -> None:
        """A batch arrives a second time, or at last."""
        self.arrive(*self.batches[-1 - which % len(self.batches)], step_ms)

    @rule(step_ms=STEPS_MS)
    def tick(self, step_ms: int | None) -> None:
        """Nothing happens but time."""
        self.arrive(0, 0, 0, [], step_ms)

    @rule()
    def restart_the_replica(self) -> None:
        """The second replica loses its memory and begins from a snapshot of the first."""
        self.replica = StateMachine.restore(self.machine.snapshot())

    @rule(query=queries)
    def list_jobs(self, query: ListJobs) -> None:
        """Somebody looks for jobs."""
        for asked in (query, *(LookWithin(reach, query) for reach in (("*a*t", "b"), ("a",)))):
            page = self.machine.query(asked)
            assert isinstance(page, Page)
            assert show(page) == self.model.query(asked, page.next)
            if page.next is not None and query.after:
                assert page.next < query.after if query.newest_first else page.next > query.after

    # -- how it arrives ------------------------------------------------------------------------

    def resolve(self, said: Any) -> Operation:
        """What is said of jobs, of those there are."""
        if not isinstance(said, tuple):
            return cast("Operation", said)
        operation, shape, items = said
        chosen = [(*self.choose(who), *details) for who, *details in items]
        return cast("Operation", operation([job_id if shape is None else shape(job_id, *of) for job_id, *of in chosen]))

    def choose(self, who: Who) -> tuple[int, int | None]:
        """A job's id, and a token or none."""
        how, which, whose = who
        ids = [job["id"] for job in self.model.jobs if how == "kept" or job["status"] == "IN_PROGRESS"]
        job_id = ids[which % len(ids)] if ids and how != "any" else which
        job = self.model.find(job_id)
        if whose == "its" and job is not None:
            return job_id, job["lease_token"]
        return job_id, None if whose == "none" else which

    def propose(
        self,
        operations: list[Operation],
        step_ms: int | None,
        session: int | None = None,
        done_below: int = 0,
        *,
        arrives: bool = True,
    ) -> None:
        """Give the batch its session's next number and, unless it is lost for now, apply it."""
        session = self.sessions[-1] if session is None else session
        self.numbers[session] += 1
        sent = (session, self.numbers[session], done_below, operations)
        self.batches.append(sent)
        if arrives:
            self.arrive(*sent, step_ms)

    def arrive(
        self, session: int, number: int, done_below: int, operations: list[Operation], step_ms: int | None
    ) -> None:
        """Apply the same entry to both replicas and to the model, and compare what they answer."""
        due_ms = self.model.next_due_ms()
        stamp_ms = max(0, self.model.now_ms + step_ms) if step_ms is not None else (due_ms or 0)
        data = entry.stamp(batch(number, *operations, session=session, done_below=done_below), stamp_ms)
        self.log.append(data)
        applied = self.machine.apply(len(self.log), data)
        assert (applied.session, applied.number) == (session, number)
        answers = None if applied.results is None else [show(result) for result in applied.results]
        assert answers == self.model.apply(len(self.log), data)
        assert encode(self.replica.apply(len(self.log), data)) == encode(applied)

    # -- what must hold ------------------------------------------------------------------------

    @invariant()
    def no_invariant_is_broken(self) -> None:
        """Both replicas are sound."""
        assert invariants.check(self.machine) == []
        assert invariants.check(self.replica) == []

    @invariant()
    def the_model_agrees(self) -> None:
        """Whatever can be asked is answered as the model answers it."""
        for job_id in range(self.model.ids_given + 2):
            for query in (GetJob(job_id), GetHistory(job_id), Explain(job_id)):
                assert show(self.machine.query(query)) == self.model.query(query)
                assert show(self.machine.query(LookWithin(("d*", "b"), query))) == self.model.query(
                    LookWithin(("d*", "b"), query)
                )
        for reach in (("d*", "b"), ("c",)):
            for within in (LookWithin(reach, GetStats()), LookWithin(reach, ListQueues("", 1))):
                assert show(self.machine.query(within)) == self.model.query(within)
        for query in (
            GetStats(),
            GetStats(by_queue=False),
            ListQueues(),
            ListQueues("a", 1),
            ListQueues(count=2),
            *map(GetQueue, QUEUES),
        ):
            assert show(self.machine.query(query)) == self.model.query(query)
        assert self.machine.next_due_ms() == self.model.next_due_ms()
        assert self.machine.now_ms == self.model.now_ms

    @invariant()
    def what_happened_lately_is_told(self) -> None:
        """Of one minute at least, and of two at most."""
        for name in QUEUES:
            queue = self.machine.query(GetQueue(name))
            if isinstance(queue, QueueState):
                assert 60_000 <= queue.recent_ms <= 120_000
                recent = {event: jobs for event, jobs in queue.recent.items() if jobs}
                assert recent == lately(self.model, name, queue.recent_ms)

    @invariant()
    def what_was_applied_is_remembered(self) -> None:
        """As the model remembers it."""
        for session in self.sessions:
            assert (session in self.machine.sessions) == any(s["id"] == session for s in self.model.sessions)
            for number in range(self.numbers[session] + 2):
                applied = self.machine.sessions.was_applied(session, number)
                assert applied == self.model.has_applied(session, number)

    @invariant()
    def replicas_are_equal(self) -> None:
        """Byte for byte, whether they saw the log or began from a snapshot."""
        assert self.machine.snapshot() == self.replica.snapshot()
        assert self.machine.next_due_ms() == self.replica.next_due_ms()

    def teardown(self) -> None:
        """The log alone makes the same queue again."""
        again = StateMachine()
        for index, data in enumerate(self.log, start=1):
            again.apply(index, data)
        assert again.snapshot() == self.machine.snapshot()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("slice_jobs", [1, 1_000])
def test_the_queue_does_what_the_model_does(
    limit: Callable[..., None], monkeypatch: pytest.MonkeyPatch, slice_jobs: int
) -> None:
    """Whatever the log brings, the machine, its replica and the model answer the same."""
    monkeypatch.setattr(shards, "_SHARDS", 2)
    limit(
        CHANGES_KEPT_MAX=4,
        DEQUEUE_PAYLOAD_BYTES_MAX=24,
        KEYS_WEIGHT_MAX=12,
        KEY_MS=2_500,
        LOOK_JOBS_MAX=3,
        QUEUES_MAX=3,
        ROOM_JOBS_MAX=2,
        SESSIONS_MAX=2,
        SWEEP_JOBS_MAX=slice_jobs,
        UNIQUE_KEYS_MAX=3,
    )
    run_state_machine_as_test(
        QueueAgainstModel, settings=settings(max_examples=settings().max_examples // 5, stateful_step_count=200)
    )
