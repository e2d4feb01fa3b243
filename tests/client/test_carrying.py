"""Which node a call goes to, how often and with what, without a network: the test is who answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from cqueue.client import cluster, jobs
from cqueue.client.call import Call
from cqueue.client.carrying import Answer, Carrier, Lost, NotSent, Pause, Reply, Send, Steps
from cqueue.errors import CqueueError, OutcomeUnknown, Refused, Unavailable

ADDED = Answer(201, {"x-cqueue-index": "7"}, b'{"id":1}')
GONE = NotSent("connection refused")
BROKEN = Lost("connection reset")


def problem(status: int, code: str, **headers: str) -> Answer:
    """A node's answer that is not a good one; `retry_after=` is `Retry-After:`."""
    body = {"detail": "so it is", "code": code, "request_id": "r1", "pointer": "/type"}
    lines = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, lines, json.dumps(body).encode())


NO_LEADER = problem(503, "no_leader", retry_after="1")
UNKNOWN = problem(504, "outcome_unknown")


class Drive:
    """Drives a carrier with a script of replies, on a clock that only pauses and lost time move."""

    def __init__(self, *nodes: str, **settings: Any) -> None:
        self.now_s = 0.0
        self.carrier = Carrier(nodes or ("a", "b", "c"), clock=lambda: self.now_s, **settings)
        self.sent: list[Send] = []
        self.pauses_s: list[float] = []

    def run(self, call: Call[Any], reply_to: Callable[[Send], Reply] | list[Reply]) -> Any:
        """The call's result; `reply_to` gives what comes of each request."""
        script = iter(reply_to) if isinstance(reply_to, list) else None
        steps: Steps[Any] = self.carrier.carry(call)
        reply: Reply | None = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as done:
                return done.value
            if isinstance(step, Pause):
                self.pauses_s.append(step.seconds)
                self.now_s += step.seconds
                reply = None
            else:
                self.sent.append(step)
                reply = next(script) if script else reply_to(step)  # type: ignore[operator]

    @property
    def nodes(self) -> list[str]:
        """Where each request went, by its host."""
        return [sent.node.removeprefix("http://") for sent in self.sent]

    @property
    def keys(self) -> list[str | None]:
        """The key of each request."""
        return [sent.headers.get("Idempotency-Key") for sent in self.sent]


@pytest.mark.parametrize("failure", [GONE, BROKEN, NO_LEADER, UNKNOWN, problem(500, "internal")])
def test_another_node_is_asked_at_once(failure: Reply) -> None:
    """Whatever one node lacks, another may have."""
    drive = Drive()
    assert drive.run(jobs.enqueue(), [failure, ADDED]).id == 1
    assert drive.nodes == ["a", "b"]
    assert drive.pauses_s == []


def test_the_node_that_answered_is_asked_first_the_next_time() -> None:
    """One dead node costs one call, not each."""
    drive = Drive()
    drive.run(jobs.enqueue(), [GONE, ADDED])
    drive.run(jobs.enqueue(), [ADDED])
    assert drive.nodes == ["a", "b", "b"]


@pytest.mark.parametrize("failure", [BROKEN, UNKNOWN])
def test_every_try_has_the_same_key_and_every_call_another(failure: Reply) -> None:
    """That is how a node knows that it did it before."""
    drive = Drive()
    drive.run(jobs.enqueue(), [failure, failure, ADDED])
    drive.run(jobs.enqueue(), [ADDED])
    assert len(set(drive.keys[:3])) == 1
    assert len(set(drive.keys)) == 2
    assert None not in drive.keys


def test_a_callers_own_key_is_sent() -> None:
    """In quotes, as RFC 8941 has it."""
    drive = Drive()
    drive.run(jobs.enqueue(key="order-1017"), [BROKEN, ADDED])
    assert drive.keys == ['"order-1017"', '"order-1017"']


def test_what_is_refused_is_not_sent_again() -> None:
    """The error has what the node said."""
    drive = Drive()
    with pytest.raises(Refused) as caught:
        drive.run(jobs.enqueue(), [problem(422, "invalid_field")])
    error = caught.value
    assert (error.code, error.pointer, error.request_id, error.detail) == ("invalid_field", "/type", "r1", "so it is")


@pytest.mark.parametrize(
    "call",
    [
        jobs.enqueue(),
        jobs.enqueue_many([{}]),
        jobs.fail(1),
        jobs.fail_many([1]),
        jobs.release(1),
        jobs.conclude(1),
        jobs.conclude_many([1]),
        jobs.extend(1),
        jobs.progress(1),
        jobs.redrive(1),
        jobs.purge(1),
    ],
    ids=lambda call: call.target,
)
def test_without_keys_what_must_not_be_done_twice_is_sent_once(call: Call[Any]) -> None:
    """The caller gets to know, and decides."""
    drive = Drive(keys=False)
    with pytest.raises(OutcomeUnknown):
        drive.run(call, [BROKEN])
    assert drive.keys == [None]


def test_a_move_of_leadership_is_sent_once() -> None:
    """Twice would move it twice."""
    with pytest.raises(OutcomeUnknown):
        Drive().run(cluster.transfer_leadership(), [UNKNOWN])


def test_what_says_the_lease_token_needs_no_key() -> None:
    """To conclude again changes nothing: no node has to remember a key for each job."""
    drive = Drive()
    done = Answer(200, {}, b'{"id":1,"type":"t","status":"CONCLUDED","queue":"q","priority":0,"payload":null,'
                  b'"created_at":"2026-01-02T03:04:05.678Z","attempt":1,"max_attempts":5}')  # fmt: skip
    drive.run(jobs.conclude(1, lease_token=4), [BROKEN, done])
    assert drive.keys == [None, None]


def test_what_every_node_says_is_waited_for() -> None:
    """As long as the one that asks for the least."""
    drive = Drive("a", "b")
    drive.run(jobs.enqueue(), [problem(503, "queue_full", retry_after="5"), NO_LEADER, ADDED])
    assert drive.pauses_s == [1]


def test_pauses_between_rounds_grow_up_to_a_bound() -> None:
    """Where nobody answers nobody says how long."""
    drive = Drive("a", timeout_s=30)
    with pytest.raises(Unavailable) as caught:
        drive.run(jobs.enqueue(), lambda _: GONE)
    assert caught.value.code == "unreachable"
    assert drive.pauses_s[0] < 0.2
    assert max(drive.pauses_s) <= 2.0
    assert 25 < drive.now_s <= 30


@pytest.mark.parametrize(("first", "then"), [(BROKEN, GONE), (UNKNOWN, NO_LEADER)])
def test_a_doubt_outlives_what_comes_after_it(first: Reply, then: Reply) -> None:
    """That later tries did nothing says nothing of the first."""
    drive = Drive("a")
    replies = iter([first])
    with pytest.raises(OutcomeUnknown):
        drive.run(jobs.enqueue(), lambda _: next(replies, then))


def test_a_node_that_stands_still_is_left_after_its_time() -> None:
    """It may be silent for as long as the client says, and for the wait beside that."""
    drive = Drive(answer_s=4)
    drive.run(jobs.dequeue(wait=20), [Answer(204, {}, b"")])
    assert drive.sent[0].answer_s == 24


@pytest.mark.parametrize("status", [400, 404, 414, 431, 301])
def test_an_answer_that_is_none_of_a_nodes_is_refused(status: int) -> None:
    """Its status is the code."""
    with pytest.raises(Refused) as caught:
        Drive().run(jobs.enqueue(), [Answer(status, {"x-request-id": "r2"}, b"<html>")])
    assert (caught.value.code, caught.value.request_id) == (f"http_{status}", "r2")


@pytest.mark.parametrize("status", [502, 503])
def test_of_a_proxys_answer_nobody_knows_whether_the_node_acted(status: int) -> None:
    """Without `Retry-After` it is none of a node's."""
    drive = Drive(keys=False)
    with pytest.raises(OutcomeUnknown):
        drive.run(jobs.enqueue(), [Answer(status, {}, b"bad gateway")])


def test_a_sweep_goes_on_until_it_is_done() -> None:
    """What it did is counted together."""
    drive = Drive()
    swept = drive.run(
        jobs.cancel_where(queue="mail"),
        [Answer(200, {}, b'{"matched":500,"done":false}'), Answer(200, {}, b'{"matched":20,"done":true}')],
    )
    assert (swept.matched, swept.done) == (520, True)


def test_the_highest_index_is_kept() -> None:
    """Stale reads may ask for it."""
    drive = Drive()
    drive.run(jobs.enqueue(), [ADDED])
    drive.run(jobs.enqueue(), [Answer(201, {"x-cqueue-index": "3"}, b'{"id":2}')])
    assert drive.carrier.index == 7


def test_token_and_consumer_are_sent() -> None:
    """The call's consumer counts more than the client's."""
    drive = Drive(token="cqueue_1", consumer="one")  # noqa: S106 - nobody's
    nothing = Answer(204, {}, b"")
    drive.run(jobs.dequeue(), [nothing])
    drive.run(jobs.dequeue(consumer="two"), [nothing])
    assert [sent.headers["Consumer-Id"] for sent in drive.sent] == ["one", "two"]
    assert {sent.headers["Authorization"] for sent in drive.sent} == {"Bearer cqueue_1"}


@pytest.mark.parametrize("node", ["ftp://a", "http://a/path", "http://", "http://a?b"])
def test_what_is_no_address_of_a_node_is_named(node: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ValueError, match="no address of a node"):
        Carrier((node,))


@pytest.mark.parametrize("settings", [{"timeout_s": 0}, {"timeout_s": 301}, {"answer_s": 0}])
def test_a_setting_out_of_range_is_named(settings: dict[str, float]) -> None:
    """A key that nodes have forgotten would make two of one."""
    with pytest.raises(ValueError, match=next(iter(settings))):
        Carrier((), **settings)  # type: ignore[arg-type]


def test_the_kinds_of_error_are_one_tree() -> None:
    """Who wants to catch all of them can."""
    for kind in (Refused, Unavailable, OutcomeUnknown):
        assert issubclass(kind, CqueueError)
