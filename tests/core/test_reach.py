"""What a caller that does not reach all queues may do to jobs, and see of them."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cqueue.core.operations import (
    Cancel,
    Conclude,
    Conclusion,
    Extend,
    Extension,
    Fail,
    FailedAttempt,
    Held,
    Keyed,
    PerJob,
    Progress,
    Purge,
    Redrive,
    Release,
    Report,
    Within,
)
from cqueue.core.queries import Explain, GetHistory, GetJob, GetStats, ListJobs, ListQueues, LookWithin
from cqueue.core.reach import reaches
from cqueue.core.results import Found, Page, Queues, Refusal, Settled, Stats
from tests.core.driver import Driver, word

MAIL = ("mail-*",)
LETTERS = st.text("ab*", max_size=6)


def words(queue: Driver, operation: PerJob | Within | Keyed) -> list[str]:
    """The outcomes of an operation, in order."""
    [settled] = queue.perform(operation)
    assert isinstance(settled, Settled)
    return [word(outcome) for outcome in settled.outcomes]


def given_two_held_jobs(queue: Driver) -> None:
    """Job 1 in the queue mail-1, job 2 in the queue other, both in progress."""
    queue.enqueue("mail", queue="mail-1")
    queue.enqueue("mail", queue="other")
    queue.dequeue(2, queues=("mail-1", "other"))


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("mail", "mail", True),
        ("mail", "mails", False),
        ("mail", "Mail", False),
        ("*", "anything at all", True),
        ("mail-*", "mail-", True),
        ("mail-*", "mail", False),
        ("*-dead", "mail-dead", True),
        ("ab*ba", "aba", False),
        ("ab*ba", "abba", True),
        ("a*b*c", "a-c-b-c", True),
        ("a*b*c", "a-c-b", False),
        ("a?c", "abc", False),
        ("[a]", "a", False),
        ("", "mail", False),
    ],
)
def test_a_pattern_fits_whole_names(pattern: str, name: str, *, fits: bool) -> None:
    """A star stands for any characters, or none; nothing else is special."""
    assert reaches((pattern,), name) == fits


@given(LETTERS, st.text("ab", max_size=8))
def test_stars_are_those_of_a_shell(pattern: str, name: str) -> None:
    """As the standard library reads them."""
    assert reaches((pattern,), name) == fnmatchcase(name, pattern)


def test_one_pattern_that_fits_is_enough_and_none_reaches_nothing() -> None:
    """Patterns add up."""
    assert reaches(("a", "b*"), "bb")
    assert not reaches((), "bb")


@pytest.mark.parametrize(
    "operation",
    [
        Conclude([Conclusion(2)]),
        Fail([FailedAttempt(2)]),
        Release([Held(2)]),
        Extend([Extension(2)]),
        Progress([Report(2, percent=1)]),
        Cancel([2]),
        Redrive([2]),
        Purge([2]),
    ],
)
def test_no_verb_touches_a_job_out_of_reach(queue: Driver, operation: PerJob) -> None:
    """Whatever could be done to it otherwise, the answer is that it is not there, and nothing changes."""
    given_two_held_jobs(queue)
    if isinstance(operation, Redrive):
        queue.perform(Fail([FailedAttempt(2, retryable=False)]))
    elif isinstance(operation, Purge):
        queue.perform(Release([Held(2)]))
    before = queue.machine.query(GetJob(2))

    assert words(queue, Within(MAIL, operation)) == ["not_found"]

    assert queue.machine.query(GetJob(2)) == before


def test_of_many_jobs_those_within_reach_are_done(queue: Driver) -> None:
    """One outcome each, in the order of the request; what is unknown or forgotten is what it always is."""
    given_two_held_jobs(queue)
    queue.enqueue("mail", queue="other")
    queue.perform(Purge([3]))

    conclude = Conclude([Conclusion(2), Conclusion(1), Conclusion(3), Conclusion(99)])
    assert words(queue, Within(MAIL, conclude)) == ["not_found", "CONCLUDED", "gone", "not_found"]


def test_a_key_used_within_reach_is_not_answered_to_one_with_another_reach(queue: Driver) -> None:
    """The answer shows a job: whoever may not see it is told that the key belongs to another request."""
    given_two_held_jobs(queue)
    conclude = Conclude([Conclusion(2)])
    assert words(queue, Keyed("k", b"unbound", conclude)) == ["CONCLUDED"]

    [answer] = queue.perform(Keyed("k", b"within mail", Within(MAIL, conclude)))

    assert isinstance(answer, Refusal)
    assert answer.code == "key_reused"


def test_the_weight_of_a_key_is_that_of_what_it_is_about() -> None:
    """A bound on the queues costs no room."""
    conclude = Conclude([Conclusion(1), Conclusion(2)])
    assert Keyed("k", b"", Within(MAIL, conclude)).weight == Keyed("k", b"", conclude).weight == 3


@pytest.mark.parametrize("look", [GetJob, GetHistory, Explain])
def test_a_job_out_of_reach_cannot_be_looked_at(queue: Driver, look: type[GetJob | GetHistory | Explain]) -> None:
    """It is as if there were none; those within reach are shown as always."""
    given_two_held_jobs(queue)
    machine = queue.machine

    assert machine.query(LookWithin(MAIL, look(1))) == machine.query(look(1))
    hidden = machine.query(LookWithin(MAIL, look(2)))
    assert isinstance(hidden, Refusal)
    assert hidden.code == "not_found"
    assert "other" not in hidden.detail


def test_lists_and_counts_are_of_the_queues_within_reach(queue: Driver) -> None:
    """Nothing tells that there are others."""
    given_two_held_jobs(queue)
    machine = queue.machine

    found, jobs, counts, queues = (
        machine.query(LookWithin(MAIL, query)) for query in (GetJob(1), ListJobs(), GetStats(), ListQueues())
    )

    assert isinstance(found, Found)
    assert isinstance(jobs, Page)
    assert [job.id for job in jobs.jobs] == [1]
    assert isinstance(counts, Stats)
    assert set(counts.queues) == {"mail-1"}
    assert isinstance(queues, Queues)
    assert [each.queue for each in queues.queues] == ["mail-1"]
