"""What the tests of the core share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cqueue.core import limits
from tests.core.driver import Driver


@pytest.fixture
def queue() -> Driver:
    """An empty queue."""
    return Driver()


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes limits small enough to be met: `limit(SWEEP_JOBS_MAX=2)`, for one test."""

    def set_limits(**limits_by_name: int) -> None:
        for name, value in limits_by_name.items():
            monkeypatch.setattr(limits, name, value)

    return set_limits
