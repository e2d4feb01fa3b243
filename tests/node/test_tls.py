"""Real nodes that speak TLS with each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.fixtures import StartCluster
from tests.cluster.harness import HOST
from tests.replication.authority import Authority

pytestmark = pytest.mark.cluster


def test_a_cluster_with_certificates_is_a_cluster(start_cluster: StartCluster, tmp_path: Path) -> None:
    """It elects, replicates, and answers on every node, as without them; each node says what it loaded."""
    files = Authority(tmp_path).given_files(HOST)
    cluster = start_cluster(raft_tls_cert=files.cert, raft_tls_key=files.key, raft_tls_ca=files.ca)
    ids = [node.call("PUT", "/jobs/enqueue").body["id"] for node in cluster.nodes]
    assert ids == [1, 2, 3]
    for node in cluster.nodes:
        assert {node.call("GET", f"/jobs/{job}").body["status"] for job in ids} == {"QUEUED"}
        assert f"raft_tls_loaded cert={files.cert}" in node.log
        assert "link_refused" not in node.log
