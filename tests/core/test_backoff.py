"""Backoff: how long a job waits, and that every replica says the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cqueue.core import limits
from cqueue.core.backoff import delay_ms
from cqueue.core.jobs import Backoff

KINDS = st.sampled_from(["fixed", "linear", "exponential"])
MS = st.integers(0, limits.DELAY_MS_MAX)
ATTEMPTS = st.integers(1, limits.ATTEMPTS_MAX_MAX)
IDS = st.integers(1, 2**63 - 1)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("fixed", [100, 100, 100, 100, 100, 100]),
        ("linear", [100, 200, 300, 400, 500, 600]),
        ("exponential", [100, 200, 400, 800, 1_000, 1_000]),
    ],
)
def test_the_wait_grows_as_its_kind_says_up_to_the_cap(kind: str, expected: list[int]) -> None:
    """Without jitter to the millisecond."""
    backoff = Backoff(kind, 100, 1_000)  # type: ignore[arg-type]
    assert [delay_ms(backoff, 7, attempt) for attempt in range(1, 7)] == expected


@given(backoff=st.builds(Backoff, KINDS, MS, MS, st.integers(0, 100)), job_id=IDS, attempt=ATTEMPTS)
def test_jitter_takes_off_no_more_than_it_may(backoff: Backoff, job_id: int, attempt: int) -> None:
    """Of the wait without it; and nothing is ever above the cap or below nought."""
    whole_ms = delay_ms(replace(backoff, jitter_percent=0), job_id, attempt)
    wait_ms = delay_ms(backoff, job_id, attempt)
    assert 0 <= whole_ms - wait_ms <= whole_ms * backoff.jitter_percent // 100
    assert 0 <= wait_ms <= whole_ms <= backoff.cap_ms


def test_jitter_spreads_jobs_that_failed_together() -> None:
    """Over all of its range, and each job anew at every attempt."""
    backoff = Backoff("fixed", 1_000, 1_000, 50)
    waits = [delay_ms(backoff, job_id, 1) for job_id in range(1, 2_001)]
    tenths = [sum(500 + 50 * n <= wait < 550 + 50 * n for wait in waits) for n in range(10)]
    assert min(tenths) > 130
    assert max(tenths) < 270
    assert len({delay_ms(backoff, 1, attempt) for attempt in range(1, 21)}) > 15


def test_jitter_is_the_same_everywhere_and_for_ever() -> None:
    """These figures are part of the log's format: replicas that disagreed would part."""
    of = ((1, 1), (1, 2), (2, 1), (10**12, 5))
    assert [delay_ms(limits.BACKOFF_DEFAULT, job_id, attempt) for job_id, attempt in of] == [985, 1_879, 965, 15_863]
