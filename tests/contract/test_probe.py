"""schemathesis asks a real node: does it answer as its own document says, and nothing else?

It makes requests from the document, right and wrong ones, follows the document's links from job to
job, and looks at each answer: its status, its content type, its headers and its body.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.fixtures import StartNode
from tests.cluster.harness import Node

HERE = Path(__file__).parent
PROBE_S = 280
JOBS = 1_000
"""So that whoever dequeues finds one."""
LIFE = {
    "PUT /jobs/enqueue 201",
    "POST /jobs/dequeue 200",
    "GET /jobs/{id} 200",
    "GET /jobs/{id}/history 200",
    "GET /jobs/{id}/explain 200",
    "POST /jobs/{id}/conclude 200",
    "POST /jobs/{id}/fail 200",
    "POST /jobs/{id}/extend 200",
    "POST /jobs/{id}/progress 200",
    "POST /jobs/{id}/cancel 200",
    "DELETE /jobs/{id} 204",
    "PATCH /queues/{name} 200",
    "GET /queues/{name} 200",
}
"""What must have come up by links alone; otherwise the probe has asked about jobs that nobody enqueued."""


pytestmark = [pytest.mark.contract, pytest.mark.timeout(PROBE_S + 20)]


def probe(node: Node, seen: Path, *phases: str) -> None:
    """Let schemathesis ask; it leaves in `seen` what came up by links."""
    asked = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            "--config-file",
            str(HERE / "schemathesis.toml"),
            "run",
            f"http://127.0.0.1:{node.port}/openapi.json",
            "--phases",
            ",".join(phases),
            "--no-color",
        ],
        capture_output=True,
        cwd=HERE.parents[1],
        env=os.environ | {"SCHEMATHESIS_HOOKS": "tests.contract.hooks", "SEEN_BY_LINKS": str(seen)},
        text=True,
        timeout=PROBE_S,
        check=False,
    )
    assert asked.returncode == 0, asked.stdout + asked.stderr
    assert "request_failed" not in node.log
    assert node.ask("GET", "/readyz").status == 200


def test_a_served_node_answers_as_its_contract_says(start_node: StartNode, tmp_path: Path) -> None:
    """No 500, no status or code that is not in the document, no answer of another shape."""
    node = start_node(request_timeout_s=1)
    node.call("PUT", "/jobs/enqueue", [{}] * JOBS)
    probe(node, tmp_path / "seen", "examples", "coverage", "fuzzing")


def test_links_lead_through_the_life_of_a_job(start_node: StartNode, tmp_path: Path) -> None:
    """What an answer links to is there, and answers as it should, too."""
    node, seen = start_node(request_timeout_s=1), tmp_path / "seen"
    node.call("PUT", "/jobs/enqueue", [{}] * JOBS)
    probe(node, seen, "stateful")
    assert set(seen.read_text(encoding="utf-8").splitlines()) >= LIFE
