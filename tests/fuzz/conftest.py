"""Takes the fixtures that start real processes."""

from __future__ import annotations

from tests.cluster.fixtures import cleanup, ports, start_cluster, start_node

__all__ = ["cleanup", "ports", "start_cluster", "start_node"]
