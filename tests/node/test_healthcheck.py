"""The image's health check, asked of real nodes: it says what `GET /readyz` says, over TLS, too."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.cluster.fixtures import StartNode
from tests.cluster.harness import HOST, Node, Ports
from tests.node.https import DevCa
from tests.support import eventually

pytestmark = pytest.mark.cluster

CHECK: Final = Path(__file__).parents[2] / "deploy" / "docker" / "healthcheck.py"


def exit_code_of(node: Node, **variables: str) -> int:
    """What the check answers about a node; a traceback is none of its answers."""
    done = subprocess.run(
        [sys.executable, "-IS", str(CHECK)],
        env={"PATH": os.environ["PATH"], "CQUEUE_PORT": str(node.port), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "Traceback" not in done.stderr
    return done.returncode


def test_a_node_is_healthy_while_it_is_there(start_node: StartNode) -> None:
    """Over plain HTTP; once it is gone it is not."""
    node = start_node()
    assert exit_code_of(node) == 0
    node.kill()
    assert exit_code_of(node) == 1


def test_a_node_that_waits_for_the_others_is_not_healthy(start_node: StartNode, ports: Ports) -> None:
    """It answers, and what it answers is that it is not ready."""
    own, absent = (f"{HOST}:{ports.reserve()}" for _ in range(2))
    node = start_node(wait=False, raft_addr=own, peers=absent, cluster_secret="0" * 32)
    eventually(lambda: node.call("GET", "/livez").status == 200, within_s=60, ignoring=OSError)
    assert exit_code_of(node) == 1


def test_a_node_that_speaks_tls_is_healthy(start_tls: Callable[..., Node]) -> None:
    """Whatever its certificate is for."""
    assert exit_code_of(start_tls()) == 0


def test_a_node_that_wants_certificates_is_shown_one(start_node: StartNode, ca: DevCa) -> None:
    """With the one that the environment names it is healthy, and without it is not."""
    node = start_node(tls=ca.trust(ca), **ca.flags, tls_client_ca=ca.ca)
    assert exit_code_of(node) == 1
    assert exit_code_of(node, CQUEUE_CERT=ca.cert, CQUEUE_KEY=ca.key) == 0
