"""The real state machine, driven through real log entries, against a naive model of the queue.

Everything a log can bring is tried: batches of several operations, tokens right and wrong, time
that jumps and time that is sent back, batches that arrive late, twice, out of order or from a
session long forgotten. A second replica follows, and is replaced by a restored snapshot now and
then: it must go on as if it had seen the whole log.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

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

from cqueue.core import entry, invariants
from cqueue.core.machine import StateMachine
from cqueue.core.operations import (
    Conclude,
    Conclusion,
    Dequeue,
    Enqueue,
    GetJob,
    GetStats,
    Keyed,
    NewJob,
    Operation,
)
from cqueue.simulation.model import Bounds, Model, show
from tests.core.driver import batch, encode

BOUNDS = Bounds(
    attempts_max=3,
    dequeue_payload_bytes_max=24,
    finished_jobs_max=3,
    key_ms=2_500,
    keys_weight_max=12,
    live_jobs_max=12,
    sessions_max=2,
    sweep_jobs_max=1,
)

TYPES = st.sampled_from(["TIME_CRITICAL", "NOT_TIME_CRITICAL", "mail", "é" * 128])
PAYLOADS = st.sampled_from([b"null", b'"eight."', b'["a twelve"]', b'"' + b"x" * 40 + b'"'])
RESULTS = st.sampled_from([None, b"null", b'{"sum": 3}'])
LEASES_MS = st.sampled_from([1_000, 1_001, 2_000, 5_000, 86_400_000])
CONSUMERS = st.sampled_from([None, "ann", "bob"])
STEPS_MS = st.sampled_from([0, 0, 0, 0, 1, 999, 1_000, 86_400_000, -1, -5_000, None, None])
"""How far the leader's clock is from the log's time: it may be behind. None: exactly the next lease's end."""

enqueues = st.builds(Enqueue, st.lists(st.builds(NewJob, TYPES, PAYLOADS), min_size=1, max_size=5))
dequeues = st.builds(Dequeue, st.integers(1, 4), LEASES_MS, CONSUMERS)
KEYS = st.sampled_from(["a", "b", "c", "d"])


def under_a_key(operation: Enqueue | Dequeue | Conclude) -> st.SearchStrategy[Keyed]:
    """The operation under one of few keys, so that keys meet again."""
    return st.builds(lambda key: Keyed(key, hashlib.sha256(encode(operation)).digest(), operation), KEYS)


class QueueAgainstModel(RuleBasedStateMachine):
    """`machine` saw the whole log; `replica` begins again from a snapshot now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = StateMachine()
        self.replica = StateMachine()
        self.model = Model(BOUNDS)
        self.log: list[bytes] = []
        self.sessions: list[int] = []
        self.numbers: dict[int, int] = {0: 0}
        self.batches: list[tuple[int, int, int, list[Operation]]] = []

    # -- what arrives --------------------------------------------------------------------------

    @initialize()
    def start(self) -> None:
        """Somebody is there to propose."""
        self.start_a_session()

    @rule()
    def start_a_session(self) -> None:
        """A replica process starts."""
        self.sessions.append(1_000 + len(self.sessions))
        self.numbers[self.sessions[-1]] = 0

    @rule(operation=enqueues, step_ms=STEPS_MS)
    def enqueue(self, operation: Enqueue, step_ms: int | None) -> None:
        """Jobs of mixed types, in one request."""
        self.propose([operation], step_ms)

    @rule(operation=dequeues, step_ms=STEPS_MS)
    def dequeue(self, operation: Dequeue, step_ms: int | None) -> None:
        """A consumer asks for jobs."""
        self.propose([operation], step_ms)

    @rule(data=st.data(), step_ms=STEPS_MS)
    def conclude(self, data: st.DataObject, step_ms: int | None) -> None:
        """Consumers say that jobs are done: holders, former holders, strangers."""
        self.propose([data.draw(self.conclusions())], step_ms)

    @rule(data=st.data(), step_ms=STEPS_MS, arrives=st.booleans())
    def send_a_batch(self, data: st.DataObject, step_ms: int | None, *, arrives: bool) -> None:
        """Several operations in one entry, from any session; it may be lost on the way for now."""
        operations = data.draw(st.lists(st.one_of(enqueues, dequeues, self.conclusions()), max_size=4))
        session = data.draw(st.sampled_from([0, *self.sessions]))
        # What a session calls settled may be less than is, and even something still on its way.
        done_below = data.draw(st.integers(0, self.numbers[session] + 1))
        self.propose(operations, step_ms, session, done_below, arrives=arrives)

    @rule(data=st.data(), step_ms=STEPS_MS)
    def do_once_under_a_key(self, data: st.DataObject, step_ms: int | None) -> None:
        """A client sends an Idempotency-Key: a new one, one again, one with something else."""
        earlier = [op for *_, ops in self.batches for op in ops if isinstance(op, Keyed)]
        fresh = st.one_of(enqueues, dequeues, self.conclusions()).flatmap(under_a_key)
        self.propose([data.draw(st.one_of(st.sampled_from(earlier), fresh) if earlier else fresh)], step_ms)

    @precondition(lambda self: self.batches)
    @rule(data=st.data(), step_ms=STEPS_MS)
    def send_a_batch_again(self, data: st.DataObject, step_ms: int | None) -> None:
        """A batch arrives a second time, or at last."""
        self.arrive(*data.draw(st.sampled_from(self.batches[-8:])), step_ms)

    @rule(step_ms=STEPS_MS)
    def tick(self, step_ms: int | None) -> None:
        """Nothing happens but time."""
        self.arrive(0, 0, 0, [], step_ms)

    @rule()
    def restart_the_replica(self) -> None:
        """The second replica loses its memory and begins from a snapshot of the first."""
        self.replica = StateMachine.restore(self.machine.snapshot())

    # -- how it arrives ------------------------------------------------------------------------

    def conclusions(self) -> st.SearchStrategy[Conclude]:
        """Jobs in progress most of the time, else any id; tokens of now, of then, or none."""
        held = [job["id"] for job in self.model.jobs if job["status"] == "IN_PROGRESS"]
        anything = st.integers(0, self.model.ids_given + 1)
        ids = st.one_of(st.sampled_from(held), st.sampled_from(held), anything) if held else anything

        def with_token(job_id: int) -> st.SearchStrategy[Conclusion]:
            job = self.model.find(job_id)
            right = job["lease_token"] if job else None
            tokens = st.one_of(st.just(right), st.none(), st.integers(0, self.model.tokens_given + 1))
            return st.builds(Conclusion, st.just(job_id), tokens, RESULTS)

        return st.builds(Conclude, st.lists(ids.flatmap(with_token), min_size=1, max_size=3))

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
        assert answers == self.model.apply(stamp_ms, session, number, done_below, operations)
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
            assert show(self.machine.query(GetJob(job_id))) == self.model.get(job_id)
        assert show(self.machine.query(GetStats())) == {"default": self.model.stats()}
        assert self.machine.next_due_ms() == self.model.next_due_ms()
        assert self.machine.now_ms == self.model.now_ms
        for session in self.sessions:
            assert (session in self.machine.sessions) == any(s["id"] == session for s in self.model.sessions)
            for number in range(self.numbers[session] + 2):
                applied = self.machine.sessions.was_applied(session, number)
                assert applied == self.model.has_applied(session, number)

    @invariant()
    def replicas_are_equal(self) -> None:
        """Byte for byte, whether they saw the log or began from a snapshot."""
        assert self.machine.snapshot() == self.replica.snapshot()

    def teardown(self) -> None:
        """The log alone makes the same queue again."""
        again = StateMachine()
        for index, data in enumerate(self.log, start=1):
            again.apply(index, data)
        assert again.snapshot() == self.machine.snapshot()


@pytest.fixture
def small_limits(limit: Callable[..., None]) -> None:
    """Limits that a few steps can reach."""
    limit(
        ATTEMPTS_MAX_DEFAULT=BOUNDS.attempts_max,
        DEQUEUE_PAYLOAD_BYTES_MAX=BOUNDS.dequeue_payload_bytes_max,
        FINISHED_JOBS_MAX=BOUNDS.finished_jobs_max,
        KEYS_WEIGHT_MAX=BOUNDS.keys_weight_max,
        KEY_MS=BOUNDS.key_ms,
        LIVE_JOBS_MAX=BOUNDS.live_jobs_max,
        SESSIONS_MAX=BOUNDS.sessions_max,
        SWEEP_JOBS_MAX=BOUNDS.sweep_jobs_max,
    )


@pytest.mark.usefixtures("small_limits")
def test_the_queue_does_what_the_model_does() -> None:
    """Whatever the log brings, the machine, its replica and the model answer the same."""
    run_state_machine_as_test(QueueAgainstModel, settings=settings(stateful_step_count=40))
