"""Lists of jobs: which ones, in what order, page by page while jobs move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cqueue.core.operations import Purge
from cqueue.core.results import Page
from tests.core.driver import START_MS, Driver


def given_jobs_of_all_sorts(queue: Driver) -> None:
    """1 and 2 mail for ann and bob, 3 a scan in queue a, a second later 4, concluded, and 5, scheduled."""
    queue.enqueue("mail", tags={"to": "ann", "tier": "1"})
    queue.enqueue("mail", tags={"to": "bob", "tier": "1"})
    queue.enqueue("scan", queue="a")
    queue.now_ms += 1_000
    queue.enqueue("TIME_CRITICAL")
    queue.conclude(queue.dequeue()[0].id)
    queue.enqueue("mail", delay_ms=1_000)


def ids(page: Page) -> list[int]:
    """The jobs of a page that is the last one."""
    assert page.next is None
    return [job.id for job in page.jobs]


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        ({}, [1, 2, 3, 4, 5]),
        ({"queue": "a"}, [3]),
        ({"queue": "b"}, []),
        ({"statuses": ("QUEUED",)}, [1, 2, 3]),
        ({"statuses": ("CONCLUDED", "SCHEDULED")}, [4, 5]),
        ({"types": ("mail",)}, [1, 2, 5]),
        ({"types": ("mail", "scan")}, [1, 2, 3, 5]),
        ({"tags": {"tier": "1"}}, [1, 2]),
        ({"tags": {"tier": "1", "to": "bob"}}, [2]),
        ({"tags": {"to": "eve"}}, []),
        ({"created_from_ms": START_MS + 1_000}, [4, 5]),
        ({"created_before_ms": START_MS + 1_000}, [1, 2, 3]),
        ({"created_from_ms": START_MS, "created_before_ms": START_MS}, []),
        ({"after": 2}, [3, 4, 5]),
        ({"until": 2}, [1, 2]),
        ({"after": 1, "until": 4, "types": ("mail",)}, [2]),
        ({"after": 99}, []),
        ({"until": 99}, [1, 2, 3, 4, 5]),
        ({"newest_first": True}, [5, 4, 3, 2, 1]),
        ({"newest_first": True, "after": 3}, [2, 1]),
        ({"newest_first": True, "until": 4, "types": ("mail",)}, [2, 1]),
        ({"newest_first": True, "until": 2, "after": 4}, [2, 1]),
        ({"newest_first": True, "after": 1}, []),
    ],
)
def test_a_list_has_the_jobs_that_fit(queue: Driver, of: dict[str, Any], expected: list[int]) -> None:
    """All that is asked for counts."""
    given_jobs_of_all_sorts(queue)
    assert ids(queue.page(**of)) == expected
    assert queue.page(**of).newest == 5


def test_pages_follow_one_another(queue: Driver) -> None:
    """Each goes on after the last id of the one before."""
    queue.enqueue(*["mail"] * 5)
    assert [job.id for job in queue.page(count=2).jobs] == [1, 2]
    assert queue.page(count=2).next == 2
    assert [job.id for job in queue.page(count=2, after=2).jobs] == [3, 4]
    assert ids(queue.page(count=2, after=4)) == [5]
    assert ids(queue.page(count=5)) == [1, 2, 3, 4, 5]


def test_pages_stay_right_while_jobs_move(queue: Driver) -> None:
    """What was there from the beginning to the end is seen once; what is forgotten is not missed."""
    queue.enqueue(*["mail"] * 6)
    assert [job.id for job in queue.page(count=2).jobs] == [1, 2]
    queue.purge(1)
    queue.purge(2)
    queue.purge(3)
    queue.dequeue()
    queue.enqueue("mail")
    assert ids(queue.page(after=2)) == [4, 5, 6, 7]


def test_one_page_looks_at_no_more_than_so_many_ids(queue: Driver, limit: Callable[..., None]) -> None:
    """A page may be short, even empty, and yet not the last."""
    limit(LOOK_JOBS_MAX=3)
    queue.enqueue(*["mail"] * 5, "scan")
    page = queue.page(types=("scan",))
    assert (page.jobs, page.next) == ([], 3)
    assert ids(queue.page(types=("scan",), after=3)) == [6]


def test_ids_that_are_long_gone_are_not_looked_at(queue: Driver, limit: Callable[..., None]) -> None:
    """Old jobs that were forgotten in their thousands do not make a list longer."""
    for _ in range(9):
        queue.enqueue(*["mail"] * 1_000)
    queue.enqueue("scan")
    queue.perform(Purge(list(range(2, 9_001))))
    limit(LOOK_JOBS_MAX=5_000)
    assert [job.id for job in queue.page(count=1).jobs] == [1]
    assert ids(queue.page(after=4_095, until=9_001)) == [9_001]
    assert ids(queue.page(after=4_096, until=5_000)) == []


def test_one_page_carries_no_more_than_its_bound(queue: Driver, limit: Callable[..., None]) -> None:
    """Of payloads, results and errors; a single larger job comes alone."""
    limit(DEQUEUE_PAYLOAD_BYTES_MAX=10)
    queue.enqueue("mail", "mail", "mail", payload=b"12345")
    queue.enqueue("mail", payload=b"12345678901")
    assert [job.id for job in queue.page().jobs] == [1, 2]
    assert queue.page().next == 2
    assert [job.id for job in queue.page(after=2).jobs] == [3]
    assert ids(queue.page(after=3)) == [4]


def test_an_empty_cluster_has_an_empty_list(queue: Driver) -> None:
    """It is the last page."""
    page = queue.page()
    assert (page.jobs, page.next, page.newest) == ([], None, 0)
