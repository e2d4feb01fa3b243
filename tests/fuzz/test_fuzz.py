"""No input, however odd, upsets a node: nothing crashes, nothing leaks, and the nodes still agree and serve.

`make test` sends a few hundred of each kind, always the same; `make fuzz FUZZ=100000` as many as that, from a
seed of its own, which is printed: FUZZ_SEED=... sends the same again.
"""

from __future__ import annotations

import os
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import quote

import pytest

from tests.cluster.fixtures import StartCluster
from tests.cluster.harness import Cluster, Node
from tests.fuzz.frames import insider_frame
from tests.fuzz.targets import Http, Inbox, Links, Stream, Target
from tests.replication.linked import Caller, LinkClock, given_nodes, is_hung_up, third_of, turn_until
from tests.support import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(7_200)]

COUNT: Final = int(os.environ.get("FUZZ", "300"))
SEED: Final = int(os.environ.get("FUZZ_SEED") or (1 if "FUZZ" not in os.environ else secrets.randbits(32)))
WARM_SHARE: Final = 0.2
"""The first of them fill caches and pools; what is used from then on must not grow."""
DESCRIPTORS_MORE_MAX: Final = 8
MEMORY_MORE_MAX_MB: Final = 24.0
WITHIN_S: Final = 30.0
SETTINGS: Final[dict[str, Any]] = {
    "max_jobs": 500,
    "max_bytes": 2 * 1024 * 1024,
    "events_max": 1_000,
    "stream_silence_s": 2,
}
"""Bounds that are soon reached: what a queue holds is no leak."""

TARGETS: Final[dict[str, Callable[[Random, Cluster], Target]]] = {
    "http": Http,
    "stream": Stream,
    "inbox": Inbox,
    "links": Links,
}


@dataclass(frozen=True, slots=True)
class Use:
    """What one process has. memory_mb: resident."""

    descriptors: int
    memory_mb: float


def use_of(node: Node) -> dict[int, Use]:
    """What each process of a node has; what it has forked for a moment aside."""
    found = {}
    for process in node.processes():
        pid = process.pid
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        found[pid] = Use(len([*Path(f"/proc/{pid}/fd").iterdir()]), pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
    return found


@pytest.fixture
def cluster(start_cluster: StartCluster) -> Cluster:
    """Three nodes, which say nothing but what is wrong."""
    return start_cluster(log_level="warning", **SETTINGS)


def has_room(node: Node) -> bool:
    """Whether there is room for a job, once what waits in every queue is gone."""
    for queue in node.call("GET", "/queues?limit=1000").body["queues"]:
        name = quote(queue["name"], safe="")
        node.call("POST", f"/queues/{name}/purge", {"statuses": ["QUEUED", "SCHEDULED"]})
    return node.ask("PUT", "/jobs/enqueue", {"queue": "fuzzed"}).status == 201


def assert_it_serves(cluster: Cluster) -> None:
    """Every node takes a job, hands it out and has it concluded, and all of them hold the same."""
    eventually(partial(has_room, cluster.nodes[0]), within_s=WITHIN_S)
    for node in cluster.nodes:
        eventually(node.is_ready, within_s=WITHIN_S)
        node.call("PUT", "/jobs/enqueue", {"queue": "fuzzed"})
        handed = node.call("POST", "/jobs/dequeue", {"queue": "fuzzed"}).body
        job_id = handed["id"]
        assert node.call("POST", f"/jobs/{job_id}/conclude", {"lease_token": handed["lease_token"]}).status == 200

    def verdict() -> dict[str, Any]:
        told: dict[str, Any] = cluster.nodes[0].call("POST", "/cluster/verify").body
        return {} if told["result"] == "incomplete" else told

    agreed = eventually(verdict, within_s=WITHIN_S)
    assert agreed["result"] == "equal", agreed
    assert [member["state"] for member in agreed["members"]] == ["equal"] * len(cluster.nodes)


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_that_is_sent_upsets_a_node(cluster: Cluster, name: str) -> None:
    """No process ends or is replaced, none says more than a warning, none holds on to what it was sent."""
    rng = random.Random(f"{name} {SEED}")
    target = TARGETS[name](rng, cluster)
    begun_s = time.monotonic()
    warm = {node: use_of(node) for node in cluster.nodes}
    for number in range(COUNT):
        if number == int(COUNT * WARM_SHARE):
            warm = {node: use_of(node) for node in cluster.nodes}
        target.send()
    target.close()
    took_s = time.monotonic() - begun_s
    for node in cluster.nodes:
        eventually(partial(is_as_before, node, warm[node]), within_s=WITHIN_S, ignoring=AssertionError)
        assert "Traceback" not in node.log, node.log
        assert " ERROR " not in node.log, node.log
    assert_it_serves(cluster)
    more = [use_of(node)[pid].memory_mb - use.memory_mb for node in cluster.nodes for pid, use in warm[node].items()]
    said = f"{name}: {COUNT} with FUZZ_SEED={SEED} in {took_s:.0f} s; memory grew by {max(more):.1f} MB at most"
    print(said)  # noqa: T201 - for whoever runs it with -s


def is_as_before(node: Node, before: dict[int, Use]) -> bool:
    """The same processes, with no more than they had."""
    now = use_of(node)
    assert set(now) == set(before)
    for pid, use in now.items():
        assert use.descriptors <= before[pid].descriptors + DESCRIPTORS_MORE_MAX, (node.name, pid)
        assert use.memory_mb <= before[pid].memory_mb + MEMORY_MORE_MAX_MB, (node.name, pid)
    return True


def test_no_sealed_frame_upsets_a_link(caplog: pytest.LogCaptureFixture) -> None:
    """One who has the secret may say what it likes: what is no message costs it the link, and nothing else."""
    rng = random.Random(f"insider {SEED}")
    with given_nodes(LinkClock()) as nodes:
        turn_until(nodes, lambda: nodes[0].peers and nodes[1].peers)
        third = third_of(*nodes)
        caller: Caller | None = None
        for _ in range(COUNT // 10):
            if caller is None:
                caller = Caller(nodes[0], third)
                caller.open()
            sealer, count = caller.link._sealer, caller.link._seal_count
            assert sealer is not None
            body = sealer.encrypt(count.to_bytes(12, "big"), insider_frame(rng), None)
            caller.link._seal_count += 1
            caller.say(len(body).to_bytes(4, "big") + body)
            nodes[0].turn(0.01)
            if is_hung_up(caller.connection):
                caller.connection.close()
                nodes[0].callers.remove(caller.connection)
                caller = None
        nodes[0].tell(nodes[1].node_id, {"type": "still here"})
        turn_until(nodes, lambda: nodes[1].received)
    assert "Traceback" not in caplog.text
