"""An empty queue for each test, and the fixtures that start real processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cqueue import testing
from cqueue.testing import LocalQueue
from tests.cluster.fixtures import cleanup, ports, start_cluster, start_command, start_node

__all__ = ["cleanup", "ports", "q", "start_cluster", "start_command", "start_node"]


@pytest.fixture
def q() -> Iterator[LocalQueue]:
    """A node in this process, whose clock can be moved."""
    with testing.queue() as local:
        yield local
