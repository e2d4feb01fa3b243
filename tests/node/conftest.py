"""Takes the fixtures that start real processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.fixtures import StartNode, cleanup, ports, start_cluster, start_command, start_node
from tests.cluster.harness import Node
from tests.node.https import DevCa

__all__ = ["cleanup", "ports", "start_cluster", "start_command", "start_node"]


@pytest.fixture
def ca(tmp_path: Path) -> DevCa:
    """Certificates for the node."""
    return DevCa(tmp_path / "tls")


@pytest.fixture
def start_tls(start_node: StartNode, ca: DevCa) -> Callable[..., Node]:
    """Starts nodes that speak TLS."""

    def started(**settings: Any) -> Node:
        return start_node(tls=ca.trust(), **ca.flags, **settings)

    return started
