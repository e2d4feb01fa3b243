"""The fixture `cqueue_queue`, for pytest; it is there wherever cqueue is installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from cqueue.testing import LocalQueue


@pytest.fixture
def cqueue_queue() -> Iterator[LocalQueue]:
    """An empty queue of the test's own, in this process, whose clock can be moved."""
    # The server is loaded with the first test that wants it.
    from cqueue.testing import queue  # noqa: PLC0415

    with queue() as local:
        yield local
