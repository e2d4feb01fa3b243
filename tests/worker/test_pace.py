"""How many jobs are held beside those that run."""

from __future__ import annotations

from cqueue.worker.pace import AHEAD_JOBS_MAX, Pace


def test_slow_jobs_are_not_hoarded() -> None:
    """None is held before one has ended, nor where four a second do not."""
    pace = Pace(100.0)
    assert pace.ahead(100.0) == 0
    pace.ended(3)
    assert pace.ahead(101.0) == 0
    pace.ended(8)
    assert pace.ahead(102.0) == 2


def test_fast_jobs_are_held_by_the_hundred_and_no_more() -> None:
    """A quarter of a second's work, up to a bound."""
    pace = Pace(0.0)
    pace.ended(100)
    assert pace.ahead(0.04) == 0, "too short to tell"
    assert pace.ahead(0.1) == 250
    assert pace.ahead(0.1) == 250
    pace.ended(10**6)
    assert pace.ahead(0.2) == AHEAD_JOBS_MAX


def test_what_was_fast_before_a_pause_counts_no_more() -> None:
    """After a long wait for jobs it begins anew."""
    pace = Pace(0.0)
    pace.ended(1_000)
    assert pace.ahead(1.0) == 250
    assert pace.ahead(21.0) == 0
