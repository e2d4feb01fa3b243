"""What a single node knows after it was restarted, with a data directory and without."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.fixtures import StartNode

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("fsync", ["always", "interval", "never"])
@pytest.mark.parametrize("end", ["killed", "stopped"])
def test_a_node_with_a_data_directory_knows_everything_after_a_restart(
    start_node: StartNode, tmp_path: Path, fsync: str, end: str
) -> None:
    """Jobs, leases and conclusions are the same to the byte, ids and tokens go on, whatever ended it."""
    node = start_node(data_dir=str(tmp_path / "data"), fsync=fsync)
    ids = node.call("PUT", "/jobs/enqueue", [{"payload": {"number": number}} for number in range(20)]).body["ids"]
    jobs = node.call("POST", "/jobs/dequeue", {"count": 5}).body["jobs"]
    node.call("POST", "/jobs/1/conclude", {"lease_token": jobs[0]["lease_token"], "result": "done"})
    before = [node.call("GET", f"/jobs/{job_id}").data for job_id in ids]

    if end == "killed":
        node.kill()
    else:
        assert node.stop() == 0
    node.start_ready()

    assert [node.call("GET", f"/jobs/{job_id}").data for job_id in ids] == before
    assert node.call("POST", "/jobs/conclude/2", {"lease_token": jobs[1]["lease_token"]}).status == 200
    assert node.call("POST", "/jobs/dequeue").body["lease_token"] == 6
    assert node.call("PUT", "/jobs/enqueue").body == {"id": 21}
    assert node.status()["mode"] == "durable"


def test_a_node_without_a_data_directory_starts_again_at_one(start_node: StartNode) -> None:
    """A queue in memory is empty after a restart and says in `/cluster` that it lives in memory."""
    node = start_node()
    assert node.call("PUT", "/jobs/enqueue").body == {"id": 1}
    assert node.status()["mode"] == "memory"

    node.kill()
    node.start_ready()

    assert node.call("GET", "/jobs/1").status == 404
    assert node.call("PUT", "/jobs/enqueue").body == {"id": 1}


def test_a_missing_data_directory_is_made(start_node: StartNode, tmp_path: Path) -> None:
    """Parents included, and for nobody else to read."""
    directory = tmp_path / "not" / "there" / "yet"

    start_node(data_dir=str(directory))

    assert directory.stat().st_mode & 0o777 == 0o700
