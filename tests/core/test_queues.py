"""Queues: what is set for them, what they show, and when there is one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cqueue.core import limits
from cqueue.core.jobs import Backoff
from cqueue.core.operations import DropQueue, Enqueue, NewJob, SetQueue
from cqueue.core.queries import ListQueues
from cqueue.core.results import Accepted, Queues, QueueState, Refusal
from tests.core.driver import LEASE_MS, START_MS, Driver

MINUTE_MS = 60_000


def names(queue: Driver, after: str = "", count: int = 100) -> tuple[list[str], str | None]:
    """A page of queues: their names, and where the next one begins."""
    page = queue.machine.query(ListQueues(after, count))
    assert isinstance(page, Queues)
    return [state.queue for state in page.queues], page.next


# -- which there are -------------------------------------------------------------------------------


def test_a_queue_is_there_as_soon_as_it_has_a_job(queue: Driver) -> None:
    """And for as long as it has one that is kept."""
    assert not queue.has_queue("a")
    queue.enqueue("mail", queue="a")
    assert queue.has_queue("a")
    queue.purge(1)
    assert not queue.has_queue("a")


def test_a_queue_for_which_something_is_set_stays(queue: Driver) -> None:
    """Until that is as it would be anyway."""
    queue.set_queue("a", paused=True)
    queue.enqueue("mail", queue="a")
    queue.purge(1)
    assert queue.has_queue("a")
    queue.set_queue("a", paused=False)
    assert not queue.has_queue("a")


def test_a_dequeue_makes_no_queue(queue: Driver) -> None:
    """To look for jobs leaves no trace."""
    assert queue.dequeue(queues=("a",)) == []
    assert not queue.has_queue("a")


def test_queues_are_listed_by_name(queue: Driver) -> None:
    """Page by page, whatever is made or forgotten in between."""
    for name in ("c", "a", "b", "default"):
        queue.enqueue("mail", queue=name)
    assert names(queue) == (["a", "b", "c", "default"], None)
    assert names(queue, count=2) == (["a", "b"], "b")
    queue.purge(2)
    assert names(queue, after="b", count=2) == (["c", "default"], None)
    assert names(queue, after="x") == ([], None)


def test_there_are_only_so_many_queues(queue: Driver, limit: Callable[..., None]) -> None:
    """A request that needs one more is refused as a whole; those without jobs or settings make room."""
    limit(QUEUES_MAX=2)
    queue.enqueue("mail", queue="a")
    queue.set_queue("b", paused=True)
    refused = [
        Enqueue([NewJob("mail", b"1", "a"), NewJob("mail", b"1", "c")]),
        SetQueue("c", paused=True),
    ]
    for result in queue.perform(*refused):
        assert isinstance(result, Refusal)
        assert result.code == "too_many_queues"
    assert queue.enqueue("mail", queue="a") == [2]
    queue.set_queue("b", paused=False)
    assert queue.enqueue("mail", queue="c") == [3]


# -- settings --------------------------------------------------------------------------------------


def test_a_queue_nobody_set_anything_for_has_the_defaults(queue: Driver) -> None:
    """They are shown like any others."""
    queue.enqueue("mail")
    settings = queue.queue_state().settings
    assert (settings.lease_ms, settings.max_attempts, settings.backoff) == (300_000, 5, limits.BACKOFF_DEFAULT)
    assert (settings.paused, settings.require_lease_token, settings.priorities) == (False, False, {"TIME_CRITICAL": 0})
    assert (settings.max_depth, settings.retention_jobs, settings.retention_ms) == (0, 100_000, 604_800_000)


def test_only_the_settings_that_are_named_change(queue: Driver) -> None:
    """The answer shows the queue as it is then."""
    queue.set_queue("a", lease_ms=5_000, max_attempts=2)
    state = queue.set_queue("a", max_attempts=3, priorities={"mail": 1})
    assert (state.queue, state.settings.lease_ms, state.settings.max_attempts) == ("a", 5_000, 3)
    assert state.settings.priorities == {"mail": 1}
    assert state == queue.queue_state("a")


def test_a_new_job_takes_what_it_does_not_say_from_its_queue(queue: Driver) -> None:
    """At the moment it comes; what is there already stays as it is."""
    queue.enqueue("mail", queue="a")
    queue.set_queue("a", lease_ms=5_000, max_attempts=2, priorities={"mail": 7})
    queue.enqueue("mail", "TIME_CRITICAL", queue="a")
    queue.enqueue("mail", queue="a", lease_ms=9_000, max_attempts=4, priority=9)
    kept = [(job.priority, job.lease_ms, job.max_attempts) for job in map(queue.job, (1, 2, 3, 4))]
    assert kept == [(500, 300_000, 5), (7, 5_000, 2), (500, 5_000, 2), (9, 9_000, 4)]


def test_a_backoff_is_the_queues_at_the_time_of_the_failure(queue: Driver) -> None:
    """Unless the job has its own."""
    queue.enqueue("mail", "mail")
    queue.enqueue("mail", backoff=Backoff("fixed", 1_000, 1_000))
    queue.set_queue(backoff=Backoff("fixed", 2_000, 2_000))
    queue.dequeue(3)
    for job_id in (1, 3):
        queue.fail(job_id)
    assert [queue.job(job_id).due_ms - START_MS for job_id in (1, 3)] == [2_000, 1_000]


def test_a_paused_queue_hands_nothing_out_and_goes_on_otherwise(queue: Driver) -> None:
    """Jobs come, are held and are done; once it is resumed, all is as before."""
    queue.enqueue("mail", "mail")
    queue.dequeue()
    queue.set_queue(paused=True)
    queue.enqueue("mail")
    assert queue.dequeue(5) == []
    assert queue.extend(1) == "IN_PROGRESS"
    assert queue.conclude(1) == "CONCLUDED"
    queue.set_queue(paused=False)
    assert queue.dequeue_ids(5) == [2, 3]


def test_a_paused_queue_does_not_hide_those_behind_it(queue: Driver) -> None:
    """A consumer of several queues is served from the others."""
    queue.enqueue("mail", queue="a")
    queue.enqueue("mail", queue="b")
    queue.set_queue("a", paused=True)
    assert queue.dequeue_ids(5, queues=("a", "b")) == [2]


def test_leases_of_a_paused_queue_run_out_all_the_same(queue: Driver) -> None:
    """And what is due becomes due; neither is handed out."""
    queue.enqueue("mail")
    queue.dequeue()
    queue.enqueue("mail", delay_ms=1_000)
    queue.set_queue(paused=True)
    queue.pass_time(LEASE_MS)
    assert queue.statuses(1, 2) == ["QUEUED", "QUEUED"]
    assert queue.dequeue(2) == []


@pytest.mark.parametrize("verb", ["conclude", "fail", "release", "extend", "progress"])
def test_a_queue_may_require_lease_tokens(queue: Driver, verb: str) -> None:
    """Without one nothing is done; with the right one it is as anywhere."""
    queue.set_queue(require_lease_token=True)
    queue.enqueue("mail")
    [job] = queue.dequeue()
    ask = getattr(queue, verb)
    assert ask(1) == "token_required"
    assert queue.status(1) == "IN_PROGRESS"
    assert ask(1, job.lease_token) in {"CONCLUDED", "SCHEDULED", "QUEUED", "IN_PROGRESS"}
    assert queue.cancel(1) != "token_required"


# -- what a queue shows ----------------------------------------------------------------------------


def test_a_queue_shows_its_jobs_by_status(queue: Driver) -> None:
    """Of its own only."""
    queue.enqueue("mail", "mail", "mail", queue="a")
    queue.enqueue("mail", queue="b")
    queue.enqueue("mail", queue="a", delay_ms=1_000)
    queue.dequeue(queues=("a",))
    counts = queue.queue_state("a").counts
    assert {status: n for status, n in counts.items() if n} == {"SCHEDULED": 1, "QUEUED": 2, "IN_PROGRESS": 1}


def test_a_queue_shows_when_its_oldest_queued_job_came(queue: Driver) -> None:
    """Of those that are ready now; nought when there is none."""
    queue.set_queue(paused=True)
    assert queue.queue_state().oldest_ms == 0
    queue.enqueue("mail", delay_ms=5_000)
    queue.now_ms += 1_000
    queue.enqueue("mail")
    queue.enqueue("TIME_CRITICAL")
    assert queue.queue_state().oldest_ms == START_MS + 1_000
    queue.pass_time(4_000)
    state = queue.queue_state()
    assert (state.oldest_ms, state.now_ms) == (START_MS, START_MS + 5_000)


def test_a_queue_counts_what_happened_since_it_was_made(queue: Driver) -> None:
    """By event; what was forgotten stays counted."""
    queue.enqueue("mail", "mail", "mail")
    queue.dequeue(3)
    queue.conclude(1)
    queue.fail(2, retryable=False)
    queue.cancel(3)
    queue.release(3)
    queue.purge(1)
    totals = {event: n for event, n in queue.queue_state().totals.items() if n}
    assert totals == {"enqueue": 3, "hand_out": 3, "conclude": 1, "give_up": 1, "cancel": 1}


def test_a_queue_shows_what_happened_in_the_last_one_to_two_minutes(queue: Driver) -> None:
    """However long nothing happened before."""
    queue.now_ms = 100 * MINUTE_MS + 1_000

    def recent() -> tuple[int, int]:
        state = queue.queue_state()
        return state.recent.get("enqueue", 0), state.recent_ms

    queue.enqueue("mail")
    queue.pass_time(58_000)
    assert recent() == (1, MINUTE_MS + 59_000)
    queue.pass_time(1_000)
    queue.enqueue("mail")
    assert recent() == (2, MINUTE_MS)
    queue.pass_time(59_999)
    assert recent() == (2, 2 * MINUTE_MS - 1)
    queue.pass_time(1)
    assert recent() == (1, MINUTE_MS)
    queue.restart()
    assert recent() == (1, MINUTE_MS)
    queue.pass_time(MINUTE_MS)
    assert recent() == (0, MINUTE_MS)
    queue.pass_time(1_000 * MINUTE_MS)
    queue.enqueue("mail")
    assert recent() == (1, MINUTE_MS)


# -- dropping one ----------------------------------------------------------------------------------


def test_a_queue_is_dropped_with_its_settings_and_its_finished_jobs(queue: Driver) -> None:
    """Their ids are gone."""
    queue.set_queue("a", paused=True)
    queue.enqueue("mail", "mail", queue="a")
    queue.cancel(1)
    queue.cancel(2)
    assert queue.perform(DropQueue("a")) == [Accepted()]
    assert not queue.has_queue("a")
    assert queue.statuses(1, 2) == ["gone", "gone"]
    assert queue.machine.next_due_ms() is None


def test_dropping_a_queue_that_keeps_nothing_but_settings(queue: Driver) -> None:
    """It has no jobs to forget."""
    queue.set_queue("a", paused=True)
    assert queue.perform(DropQueue("a")) == [Accepted()]
    assert not queue.has_queue("a")


@pytest.mark.parametrize("held", [True, False])
def test_a_queue_with_jobs_to_do_is_not_dropped(queue: Driver, *, held: bool) -> None:
    """Whether they wait or somebody works on them."""
    queue.enqueue("mail", queue="a")
    if held:
        queue.dequeue(queues=("a",))
    [refusal] = queue.perform(DropQueue("a"))
    assert refusal.code == "queue_not_empty"
    assert queue.has_queue("a")


def test_a_queue_with_very_many_finished_jobs_is_not_dropped_in_one_go(
    queue: Driver, limit: Callable[..., None]
) -> None:
    """So that nobody waits while they are forgotten: purge them first."""
    limit(SETTLE_JOBS_MAX=1)
    queue.enqueue("mail", "mail")
    queue.cancel(1)
    queue.cancel(2)
    [refusal] = queue.perform(DropQueue("default"))
    assert refusal.code == "queue_not_empty"
    queue.purge(1)
    assert queue.perform(DropQueue("default")) == [Accepted()]


def test_there_must_be_a_queue_to_drop(queue: Driver) -> None:
    """Otherwise the name is wrong."""
    [refusal] = queue.perform(DropQueue("a"))
    assert refusal.code == "queue_not_found"


def test_an_answer_shows_a_queue_as_it_was_then(queue: Driver) -> None:
    """Not as a later operation of the same entry left it."""
    changed, _ = queue.perform(SetQueue("a", paused=True), Enqueue([NewJob("mail", b"1", "a")]))
    assert isinstance(changed, QueueState)
    assert (changed.counts["QUEUED"], changed.totals.get("enqueue", 0)) == (0, 0)
