"""The fixtures of the rooms that start real processes; their conftest.py takes them from here.

Whatever a fixture started is gone when the test is over, also when it failed, and what the
processes said is shown with the failure.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from tests.cluster.harness import Cluster, Command, Node, Ports
from tests.cluster.network import Network


class StartNode(Protocol):
    """Starts a single node and waits until it is ready, unless told not to."""

    def __call__(
        self,
        *,
        wait: bool = True,
        variables: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        **settings: str | int,
    ) -> Node:
        """Start it with these settings, by their names; `tls` is what its clients speak TLS with."""
        ...


class StartCluster(Protocol):
    """Starts a cluster and waits until every node is ready."""

    def __call__(
        self, count: int = 3, *, durable: bool = False, network: Network | None = None, **settings: str | int
    ) -> Cluster:
        """Start `count` nodes with these settings, by their names; `durable` ones keep a data directory.

        `network` is where they are, if not all on 127.0.0.1.
        """
        ...


class StartCommand(Protocol):
    """Starts any command."""

    def __call__(self, arguments: Sequence[str], variables: Mapping[str, str] | None = None) -> Command:
        """Start it with these environment variables."""
        ...


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    """What to do when the test is over."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def ports(cleanup: ExitStack) -> Ports:
    """Ports that nobody else gets during the test."""
    kept = Ports()
    cleanup.callback(kept.close)
    return kept


@pytest.fixture
def start_node(ports: Ports, cleanup: ExitStack, tmp_path: Path) -> StartNode:
    """Starts single nodes, each on a port of its own."""
    count = 0

    def start(
        *,
        wait: bool = True,
        variables: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        **settings: str | int,
    ) -> Node:
        nonlocal count
        count += 1
        node = Node(ports, tmp_path / f"single{count}.log", settings, variables, tls=tls)
        cleanup.callback(_end, node)
        node.start()
        if wait:
            node.wait_ready()
        return node

    return start


@pytest.fixture
def start_cluster(ports: Ports, cleanup: ExitStack, tmp_path: Path) -> StartCluster:
    """Starts a cluster."""

    def start(
        count: int = 3, *, durable: bool = False, network: Network | None = None, **settings: str | int
    ) -> Cluster:
        cluster = Cluster(ports, tmp_path, count, durable=durable, settings=settings, network=network)
        for node in cluster.nodes:
            cleanup.callback(_end, node)
        cluster.start()
        cluster.wait_ready()
        return cluster

    return start


@pytest.fixture
def start_command(cleanup: ExitStack, tmp_path: Path) -> StartCommand:
    """Starts commands."""
    count = 0

    def start(arguments: Sequence[str], variables: Mapping[str, str] | None = None) -> Command:
        nonlocal count
        count += 1
        command = Command(arguments, tmp_path / f"command{count}.log", variables)
        cleanup.callback(_end, command)
        command.start()
        return command

    return start


def _end(command: Command) -> None:
    command.close()
    print(f"--- {command.log_path.stem}\n{command.log}")  # noqa: T201 - pytest shows it with a failure
