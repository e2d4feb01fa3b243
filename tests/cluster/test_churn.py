"""Consumers that come, wait, hang up and are killed, while leaders change: what becomes of the jobs, and of the nodes.

`CHURN_SECONDS` is how long (`make churn`: 600), `CHURN_SEED` what happens in which order. One of the three
nodes is never killed, only deposed: it has to be in the end what it was in the beginning without a restart.
"""

from __future__ import annotations

import json
import os
import random
import re
import secrets
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from tests.cluster.client import NoAnswer, NotSent
from tests.cluster.fixtures import StartCluster, StartCommand
from tests.cluster.harness import Cluster, Command, Node
from tests.support import eventually

pytestmark = pytest.mark.cluster

SECONDS: Final = float(os.environ.get("CHURN_SECONDS", "8"))
CROWDS: Final = 3
"""Processes with consumers, each with thirty of them."""
LIFE_S: Final = 4.0
"""How long such a process lives, on average."""
CALM_S: Final = (2.0, 5.0)
"""Between two changes of the leader."""
ENQUEUE_S: Final = 0.03
"""Between two requests of a producer, on average."""
DRAINED_S: Final = 90
"""For the jobs that are left: a lease ends after 4 s, and the machine may be busy."""
SETTLED_S: Final = 60
READERS: Final = 8


class Level(NamedTuple):
    """What one process of a node has: open files, threads, and resident memory in MB."""

    files: int
    threads: int
    mb: int


@pytest.mark.timeout(SECONDS * 2 + 400)
def test_every_job_is_concluded_once_whatever_its_consumers_do(
    start_cluster: StartCluster, start_command: StartCommand
) -> None:
    """By whoever held it then, and nobody else; in the end nothing is left of the jobs, nor of the consumers."""
    seed = os.environ.get("CHURN_SEED", str(secrets.randbelow(1_000_000)))
    chance = random.Random(seed)  # noqa: S311 - it has to be repeatable
    cluster = start_cluster(durable=True, request_timeout_s=5, log_level="debug")
    for node in cluster.nodes:
        # SQLite keeps a file more open where it found a journal.
        node.kill()
        node.start_ready()
    before = {node: _levels_alone(node) for node in cluster.nodes}

    crowds: list[Command] = []
    with _producers(cluster, chance) as enqueued:
        story = _churn(cluster, start_command, crowds, seed, chance)
    cluster.wait_ready()
    _drain(cluster)
    for crowd in crowds:
        crowd.close()
    told = [tuple(json.loads(line)) for crowd in crowds for line in crowd.log.splitlines()]

    after = _settled(cluster, before)
    print(f"CHURN_SEED={seed} CHURN_SECONDS={SECONDS:g}")  # noqa: T201 - pytest shows it with a failure
    print(Counter(story), Counter(what for what, *_ in told), f"{len(enqueued)} jobs")  # noqa: T201
    for node in cluster.nodes:
        print(node.name, *(f"{was} -> {now}" for was, now in zip(before[node], after[node], strict=True)))  # noqa: T201
    _judge(cluster, enqueued, told)
    _are_left_alone(cluster)


def _churn(
    cluster: Cluster, start_command: StartCommand, crowds: list[Command], seed: str, chance: random.Random
) -> list[str]:
    """Let consumers be killed and leaders change; returns what happened, in words."""
    addresses = [f"{node.host}:{node.port}" for node in cluster.nodes]

    def start() -> Command:
        name = f"{seed}.{len(crowds)}"
        crowds.append(start_command([sys.executable, "-m", "tests.cluster.churn", name, *addresses]))
        return crowds[-1]

    living = [start() for _ in range(CROWDS)]
    story: list[str] = []
    until_s = time.monotonic() + SECONDS
    leader_s = time.monotonic()
    nobody_comes = threading.Event()
    while time.monotonic() < until_s:
        nobody_comes.wait(chance.expovariate(CROWDS / LIFE_S))
        victim = chance.randrange(CROWDS)
        living[victim].kill()
        story.append("consumers killed")
        living[victim] = start()
        if time.monotonic() >= leader_s:
            story.append(_depose(cluster, chance))
            leader_s = time.monotonic() + chance.uniform(*CALM_S)
    return story


def _depose(cluster: Cluster, chance: random.Random) -> str:
    """Have another leader: by an order, or by killing the one there is and starting it again."""
    survivor = cluster.nodes[0]
    leader = cluster.leader()
    if leader is survivor or chance.random() < 0.5:
        answer = chance.choice(cluster.nodes).ask("POST", "/cluster/transfer")
        return f"transfer {answer.status}"
    leader.kill()
    cluster.leader(cluster.others(leader))
    leader.start_ready()
    return "leader killed"


@contextmanager
def _producers(cluster: Cluster, chance: random.Random) -> Iterator[list[int]]:
    """Keep one producer for each node at work; yields the ids of their jobs, all of which are known in the end."""
    ids: list[int] = []
    surprises: list[BaseException] = []
    stopped = threading.Event()

    def produce(home: int) -> None:
        number = 0
        try:
            while not stopped.wait(chance.expovariate(1 / ENQUEUE_S)):
                number += 1
                jobs = [
                    {
                        "payload": f"{home}/{number}",
                        "max_attempts": 1_000,
                        "delay_seconds": chance.choice((0, 0, 0, 0.5)),
                    }
                    for _ in range(chance.choice((1, 1, 3)))
                ]
                ids.extend(_enqueue(cluster.nodes, home, f'"{home}/{number}"', jobs))
        except BaseException as surprise:  # noqa: BLE001 - the test's own thread raises it
            surprises.append(surprise)

    threads = [threading.Thread(target=produce, args=(home,)) for home in range(len(cluster.nodes))]
    for thread in threads:
        thread.start()
    try:
        yield ids
    finally:
        stopped.set()
        for thread in threads:
            thread.join(SETTLED_S)
    assert surprises == []
    assert not any(thread.is_alive() for thread in threads), "a producer did not come to rest"


def _enqueue(nodes: list[Node], home: int, key: str, jobs: list[dict[str, Any]]) -> list[int]:
    """Enqueue once, through one node after the other until there is an answer: the key makes that safe."""
    turns = iter(range(home, home + 1_000))

    def answered() -> list[int] | None:
        answer = nodes[next(turns) % len(nodes)].ask("PUT", "/jobs/enqueue", jobs, {"Idempotency-Key": key})
        if answer.did_nothing or answer.is_unknown:
            return None
        assert answer.status == 201, answer
        return list(answer.body["ids"])

    return eventually(answered, within_s=SETTLED_S, ignoring=(NotSent, NoAnswer)) or []


def _drain(cluster: Cluster) -> None:
    """Wait until nothing waits, and nobody holds anything."""

    def left() -> dict[str, int]:
        counts: dict[str, int] = cluster.nodes[0].call("GET", "/jobs/stats").body["jobs"]
        return {status: jobs for status, jobs in counts.items() if jobs and status != "CONCLUDED"}

    eventually(lambda: left() == {}, within_s=DRAINED_S)


# -- the jobs ------------------------------------------------------------------------------------


def _judge(cluster: Cluster, enqueued: list[int], told: list[tuple[Any, ...]]) -> None:
    """Hold every job's history to its one conclusion, and to what was told to the consumers."""
    ids = sorted(enqueued)
    assert ids == list(range(1, len(ids) + 1)), "jobs were lost, or enqueued twice"
    with ThreadPoolExecutor(READERS) as pool:
        changes = dict(zip(ids, pool.map(lambda job_id: _changes(cluster, job_id), ids), strict=True))
    verdict = cluster.nodes[0].call("POST", "/cluster/verify").body
    assert verdict["result"] == "equal", verdict

    by: dict[int, int] = {}
    hand_outs: set[tuple[int, int]] = set()
    for job_id, its in changes.items():
        tokens = [change["lease_token"] for change in its if change["event"] == "hand_out"]
        ends = [change["lease_token"] for change in its if change["event"] == "conclude"]
        assert its[-1]["event"] == "conclude", (job_id, its)
        assert ends == tokens[-1:], (job_id, its)
        assert tokens == sorted(set(tokens)), (job_id, its)
        by[job_id] = ends[0]
        hand_outs |= {(job_id, token) for token in tokens}
    assert len({token for _, token in hand_outs}) == len(hand_outs), "a lease token was given twice"

    assert {what for what, *_ in told} <= {"handed", "concluded", "lease_lost"}
    handed = [(job_id, token) for what, job_id, token in told if what == "handed"]
    assert len(set(handed)) == len(handed), "one hand-out was told to two consumers"
    assert set(handed) <= hand_outs
    accepted = {(job_id, token) for what, job_id, token in told if what == "concluded"}
    assert accepted <= set(by.items()), "a conclusion was accepted that is not the job's"
    refused = {(job_id, token) for what, job_id, token in told if what == "lease_lost"}
    assert not refused & set(by.items()), "the job's conclusion was refused"
    assert refused, "nobody was too late: nothing was put to the test"


def _changes(cluster: Cluster, job_id: int) -> list[dict[str, Any]]:
    answer = cluster.nodes[job_id % len(cluster.nodes)].call("GET", f"/jobs/{job_id}/history?consistency=stale")
    assert "forgotten" not in answer.body, answer
    changes: list[dict[str, Any]] = answer.body["changes"]
    return changes


# -- the nodes -----------------------------------------------------------------------------------


def _levels(node: Node) -> list[Level]:
    """Of each process: the supervisor, the replica, the web master, its worker."""
    return [_level(pid) for pid in (node.pid, node.replica_pid, node.web_pid, *node.worker_pids)]


def _levels_alone(node: Node) -> list[Level]:
    """The same without the connection that this test has to it."""
    *_, worker = _levels(node)
    node.client.close()

    def now() -> list[Level] | None:
        levels = _levels(node)
        return levels if levels[-1].files < worker.files else None

    return eventually(now) or []


def _level(pid: int) -> Level:
    process = Path("/proc", str(pid))
    fields = dict(re.findall(r"^(Threads|VmRSS):\s+(\d+)", (process / "status").read_text(), re.MULTILINE))
    return Level(len(list((process / "fd").iterdir())), int(fields["Threads"]), int(fields["VmRSS"]) // 1_000)


def _settled(cluster: Cluster, before: dict[Node, list[Level]]) -> dict[Node, list[Level]]:
    """The levels, once no process has more open files or threads than it had before the first consumer came."""

    def now() -> dict[Node, list[Level]] | None:
        for node in cluster.nodes:
            node.client.close()
        after = {node: _levels(node) for node in cluster.nodes}
        over = [
            (node.name, was, level)
            for node in cluster.nodes
            for was, level in zip(before[node], after[node], strict=True)
            if level.files > was.files or level.threads > was.threads
        ]
        if over:
            raise _Leaks(over)
        return after

    return eventually(now, within_s=SETTLED_S, ignoring=_Leaks) or {}


class _Leaks(Exception):
    """Some process has more than before."""


def _are_left_alone(cluster: Cluster) -> None:
    """Nobody is connected any more, though nobody said good-bye: a connection has a greenlet of its own."""
    for node in cluster.nodes:
        node.client.close()
    for node in cluster.nodes:
        node.stop()
        *_, last = re.findall(r"worker_draining connections=(\d+)", node.log)
        assert int(last) == 0, node.name
