"""Limits of a queue: how many jobs of it are held at once, and how fast they are handed out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cqueue.core.invariants import check
from cqueue.core.operations import Conclude, Conclusion, Dequeue
from cqueue.core.pace import Pace
from cqueue.core.queries import Explain
from cqueue.core.results import Explanation
from tests.core.driver import LEASE_MS, Driver

SECOND_MS = 1_000


def explained(queue: Driver, job_id: int) -> Explanation:
    """Why a job is not running."""
    answer = queue.machine.query(Explain(job_id))
    assert isinstance(answer, Explanation)
    return answer


def test_no_more_jobs_are_held_than_may_be(queue: Driver) -> None:
    """In one dequeue or in several; the others wait until one that is held is over."""
    queue.set_queue(max_in_progress=2)
    queue.enqueue("mail", "mail", "mail", "mail")
    assert queue.dequeue_ids(1) == [1]
    assert queue.dequeue_ids(5) == [2]
    assert queue.dequeue_ids(5) == []
    queue.conclude(1)
    assert queue.dequeue_ids(5) == [3]


@pytest.mark.parametrize("end", ["conclude", "fail", "release", "lease over"])
def test_whatever_ends_a_hand_out_makes_room_and_is_told(queue: Driver, end: str) -> None:
    """A consumer that waits for the queue is to be woken for what stood in it all the time."""
    queue.set_queue(max_in_progress=1)
    queue.enqueue("mail")
    queue.dequeue(lease_ms=LEASE_MS)
    queue.enqueue("scan", tags={"to": "ann"})
    assert queue.machine.available(Dequeue(1), 10) == 0
    match end:
        case "conclude":
            queue.conclude(1)
        case "fail":
            queue.fail(1, retry_in_ms=SECOND_MS)
        case "release":
            queue.release(1)
        case _:
            queue.pass_time(LEASE_MS)
    assert {("default", "scan"), ("default", ("to", "ann"))} <= queue.machine.ready_now
    assert queue.machine.available(Dequeue(1), 10) == 1


def test_many_that_are_concluded_at_once_make_room_for_as_many(queue: Driver) -> None:
    """And that is told as well."""
    queue.set_queue(max_in_progress=2)
    queue.enqueue("mail", "mail", "mail", "mail")
    assert queue.dequeue_ids(4) == [1, 2]
    queue.perform(Conclude([Conclusion(1, 1), Conclusion(2, 2)]))
    assert queue.machine.ready_now == {("default", "mail")}
    assert queue.dequeue_ids(4) == [3, 4]


def test_a_limit_below_what_is_held_takes_nothing_away(queue: Driver) -> None:
    """It only hands out nothing until there is room."""
    queue.enqueue("mail", "mail", "mail")
    queue.dequeue(2)
    queue.set_queue(max_in_progress=1)
    queue.conclude(1)
    assert queue.dequeue_ids(1) == []
    queue.conclude(2)
    assert queue.dequeue_ids(1) == [3]


def test_jobs_are_handed_out_no_faster_than_the_rate(queue: Driver) -> None:
    """Two a second: two at once after a pause, then one each half second."""
    queue.set_queue(rate_milli=2_000)
    queue.enqueue(*["mail"] * 6)
    assert queue.dequeue_ids(6) == [1, 2]
    queue.pass_time(499)
    assert queue.dequeue_ids(6) == []
    queue.pass_time(1)
    assert queue.dequeue_ids(6) == [3]
    queue.pass_time(10 * SECOND_MS)
    assert queue.dequeue_ids(6) == [4, 5]


def test_less_than_one_job_a_second_is_a_rate_too(queue: Driver) -> None:
    """One in ten seconds."""
    queue.set_queue(rate_milli=100)
    queue.enqueue("mail", "mail")
    assert queue.dequeue_ids(2) == [1]
    queue.pass_time(9_999)
    assert queue.dequeue_ids(2) == []
    queue.pass_time(1)
    assert queue.dequeue_ids(2) == [2]


def test_a_burst_of_its_own(queue: Driver) -> None:
    """What may be handed out at once after a pause is not tied to the rate."""
    queue.set_queue(rate_milli=1_000, rate_burst=3)
    queue.enqueue(*["mail"] * 5)
    assert queue.dequeue_ids(5) == [1, 2, 3]
    assert queue.dequeue_ids(5) == []


def test_time_opens_the_queue_again_and_that_is_told(queue: Driver) -> None:
    """The next change by time alone is then, whether anybody waits or not."""
    queue.set_queue(rate_milli=1_000)
    queue.enqueue("mail", "scan")
    queue.dequeue(lease_ms=86_400_000)
    start_ms = queue.machine.now_ms
    assert queue.machine.next_due_ms() == start_ms + SECOND_MS
    queue.pass_time(SECOND_MS)
    assert queue.machine.ready_now == {("default", "scan")}
    assert queue.machine.available(Dequeue(1), 10) == 1


def test_another_rate_counts_from_now_on_and_gives_nothing_away(queue: Driver) -> None:
    """What was not handed out until now stays as far as the new burst holds it; a rate of 0 is none."""
    queue.set_queue(rate_milli=1_000)
    queue.enqueue(*["mail"] * 9)
    assert queue.dequeue_ids(9) == [1]
    queue.set_queue(rate_milli=10_000, rate_burst=2)
    assert queue.dequeue_ids(9) == []
    queue.pass_time(100)
    assert queue.dequeue_ids(9) == [2]
    queue.set_queue(rate_milli=0)
    assert queue.dequeue_ids(9) == [3, 4, 5, 6, 7, 8, 9]


def test_a_limited_queue_does_not_hide_those_behind_it(queue: Driver) -> None:
    """A consumer of several queues is served from the others."""
    queue.set_queue("a", max_in_progress=1)
    queue.enqueue("mail", "mail", queue="a")
    queue.enqueue("mail", queue="b")
    assert queue.dequeue_ids(5, queues=("a", "b")) == [1, 3]
    assert queue.machine.available(Dequeue(1, queues=("a", "b")), 10) == 0


def test_jobs_by_tag_are_limited_all_the_same(queue: Driver) -> None:
    """However they are asked for."""
    queue.set_queue(max_in_progress=1)
    queue.enqueue("mail", "mail", tags={"to": "ann"})
    assert queue.machine.available(Dequeue(1, tags={"to": "ann"}), 10) == 1
    assert queue.dequeue_ids(2, tags={"to": "ann"}) == [1]


def test_a_job_says_which_limit_holds_it_and_until_when(queue: Driver) -> None:
    """Both of them, where both do; what is held is not held up."""
    queue.set_queue(max_in_progress=1, rate_milli=1_000)
    queue.enqueue("mail", "mail")
    queue.dequeue()
    held = explained(queue, 2)
    assert held.reasons == ["next", "in_progress_limit", "rate_limit"]
    assert held.until_ms == queue.machine.now_ms + SECOND_MS
    assert explained(queue, 1).reasons == ["held"]
    queue.pass_time(SECOND_MS)
    assert explained(queue, 2).reasons == ["next", "in_progress_limit"]


def test_the_pace_outlives_a_snapshot(queue: Driver) -> None:
    """What was handed out before counts after it."""
    queue.set_queue(rate_milli=1_000)
    queue.enqueue("mail", "mail")
    queue.dequeue()
    queue.restart()
    assert queue.dequeue_ids() == []
    assert queue.machine.next_due_ms() == queue.machine.now_ms + SECOND_MS
    queue.pass_time(SECOND_MS)
    queue.restart()
    assert queue.dequeue_ids() == [2]


def test_the_widest_limits_there_are_fit_into_a_snapshot(queue: Driver) -> None:
    """Whoever set them, and however."""
    queue.set_queue("a", rate_milli=2**53)
    queue.set_queue("b", rate_milli=1, rate_burst=2**32)
    queue.restart()
    assert check(queue.machine) == []


def test_a_pace_that_disagrees_with_its_plan_is_named(queue: Driver) -> None:
    """The invariants look at the plan from both ends."""
    queue.set_queue(rate_milli=1_000)
    queue.enqueue("mail")
    queue.dequeue()
    state = queue.machine.state
    [found] = state.queues.values()
    assert found.pace is not None
    found.pace.parts = -1
    state.refills.add(7, ["nobody"])
    assert {
        "queue default has handed out more than its rate allows",
        f"queue default may hand out again at another time than {found.refill_due_ms}",
        "queue nobody is opened at 7, against its plan",
    } <= set(check(queue.machine))
    found.pace = None
    assert "queue default has no pace, against its settings" in check(queue.machine)


@given(
    rate_milli=st.integers(1, 3_000_000),
    burst=st.integers(0, 5),
    pauses_ms=st.lists(st.integers(0, 5_000), max_size=40),
)
def test_no_stretch_of_time_holds_more_than_its_rate_and_one_burst(
    rate_milli: int, burst: int, pauses_ms: list[int]
) -> None:
    """A greedy consumer takes what there is room for; each stretch of time is within rate x time + burst."""
    pace, now_ms = Pace.full(rate_milli, burst, 0), 0
    taken: list[tuple[int, int]] = []
    for pause_ms in pauses_ms:
        now_ms += pause_ms
        room = pace.room(now_ms)
        taken.append((now_ms, room))
        pace.spend(room, now_ms)
        assert (
            pace.next_ms() == 0
            or (pace.room(pace.next_ms()), pace.room(pace.next_ms() - 1)) == (1, 0)
            or (rate_milli > 1_000_000)
        )
    capacity = burst or max(1, rate_milli // 1_000)
    for start, (start_ms, _) in enumerate(taken):
        in_all = 0
        for end_ms, count in taken[start:]:
            in_all += count
            assert in_all * 1_000_000 <= (end_ms - start_ms) * rate_milli + capacity * 1_000_000
