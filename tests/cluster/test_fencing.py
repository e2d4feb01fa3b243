"""Workers that are killed, stopped and cut off, at nodes that are too: every job has its effect, and has it once.

`FENCING_SECONDS` is how long they bear it (`make fencing`: 300), `FENCING_SEED` which faults, one after the other.
Without root there are no links to cut, and the run does without.
"""

from __future__ import annotations

import os
import random
import secrets
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from cqueue import Client, OutcomeUnknown, Unavailable
from cqueue.client.results import Job
from tests.cluster.fencing import Ledger
from tests.cluster.fixtures import StartCluster, StartCommand, StartNode
from tests.cluster.harness import Cluster, Command
from tests.cluster.network import Network, NoNetwork
from tests.cluster.trouble import faults_of, some_nodes, trouble
from tests.support import eventually

pytestmark = pytest.mark.cluster

SECONDS: Final = float(os.environ.get("FENCING_SECONDS", "10"))
WORKERS: Final = 3
ENQUEUE_S: Final = 0.1
"""Between two requests of the producer, on average."""
DRAINED_S: Final = 120
LONG_S: Final = 60
"""A run of so long has put the fence to the test by chance."""


@pytest.fixture
def network(cleanup: ExitStack) -> Network | None:
    """Links to cut, where that is possible; the nodes come first, then the workers."""
    try:
        network = Network(3 + WORKERS)
    except NoNetwork:
        return None
    cleanup.callback(network.close)
    return network


@pytest.mark.timeout(SECONDS * 2 + 400)
def test_every_effect_happens_once_whatever_happens_to_workers_and_nodes(
    start_cluster: StartCluster, start_command: StartCommand, network: Network | None, tmp_path: Path
) -> None:
    """Guarded by the fencing token; and every job is concluded, by whoever held it last."""
    seed = os.environ.get("FENCING_SEED", str(secrets.randbelow(1_000_000)))
    chance = random.Random(seed)  # noqa: S311 - it has to be repeatable
    cluster = start_cluster(durable=True, network=network, request_timeout_s=2)
    addresses = [f"{node.host}:{node.port}" for node in cluster.nodes]
    ledger = Ledger(str(tmp_path / "ledger.sqlite"))
    command = [sys.executable, "-m", "tests.cluster.fencing", str(tmp_path / "ledger.sqlite"), *addresses]
    workers = [
        start_command([*(network.command(3 + number) if network else ()), *command]) for number in range(WORKERS)
    ]

    def victims() -> list[Command]:
        some = some_nodes(cluster.nodes, chance) if chance.random() < 0.5 else []
        return some + chance.sample(workers, chance.choice((0, 1, 1, 2)) if some else chance.choice((1, 1, 2)))

    with Client(*addresses) as client:
        with _producer(client, chance) as acknowledged:
            faults = faults_of([*cluster.nodes, *workers], network)
            story = trouble(faults, victims, chance, time.monotonic() + SECONDS)
        cluster.wait_ready()
        eventually(lambda: set(_left(client)) <= {"CONCLUDED"}, within_s=DRAINED_S, ignoring=(Unavailable,))
        jobs = list(client.iter_jobs())
    for worker in workers:
        worker.stop()

    effects, refused = ledger.told("effects"), ledger.told("refused")
    attempts = Counter(job.attempt for job in jobs)
    kinds = Counter(f"{words.split()[1][:4]}: {words.partition(': ')[2]}" for words in story)
    print(f"FENCING_SEED={seed} FENCING_SECONDS={SECONDS:g}", dict(kinds), sep="\n")  # noqa: T201 - pytest shows it with a failure
    print(f"{len(jobs)} jobs, {len(effects)} effects, {len(refused)} refused, attempts {dict(attempts)}")  # noqa: T201
    assert acknowledged <= {job.id for job in jobs}, "an acknowledged job was lost"
    assert [job_id for job_id, _ in effects] == [job.id for job in jobs], "an effect is missing, or is there twice"
    _judge(cluster, effects, jobs)
    if SECONDS >= LONG_S:
        assert refused, "nobody was too late: nothing was put to the test"


def test_a_worker_that_stood_still_has_no_effect_any_more(
    start_node: StartNode, start_command: StartCommand, tmp_path: Path
) -> None:
    """Another has begun with the job meanwhile: the fence refuses the first, which does not know yet."""
    node = start_node()
    ledger = Ledger(str(tmp_path / "ledger.sqlite"))
    command = [
        sys.executable,
        "-m",
        "tests.cluster.fencing",
        str(tmp_path / "ledger.sqlite"),
        f"{node.host}:{node.port}",
    ]
    with Client(f"{node.host}:{node.port}") as client:
        added = client.enqueue(type="slow")
        first = start_command(command)
        eventually(lambda: "begun" in first.log)
        first.pause()
        second = start_command(command)
        eventually(lambda: "begun" in second.log)
        first.resume()
        # It hears that the lease is lost, stops waiting, and tries.
        late, *_ = eventually(lambda: ledger.told("refused"))
        client.cancel(added.id)
        (effect,) = eventually(lambda: ledger.told("effects"))
        eventually(lambda: client.get(added.id).is_finished)
        assert late[0] == effect[0] == added.id
        tokens = [change.lease_token for change in client.history(added.id).changes if change.event == "hand_out"]
        # What stood still may have been handed it once more, and have known of that as little.
        assert (late[1], effect[1]) == (tokens[0], tokens[-1])
        assert late[1] < effect[1]


@contextmanager
def _producer(client: Client, chance: random.Random) -> Iterator[set[int]]:
    """Enqueue meanwhile; yields the ids of jobs that were acknowledged."""
    ids: set[int] = set()
    stopped = threading.Event()
    kinds = random.Random(chance.random())  # noqa: S311 - it has to be repeatable

    def produce() -> None:
        while not stopped.wait(kinds.expovariate(1 / ENQUEUE_S)):
            new = [{"type": kinds.choice(("sync", "async")), "max_attempts": 1_000} for _ in range(kinds.randint(1, 4))]
            with suppress(Unavailable, OutcomeUnknown):  # then they count if they are there
                ids.update(added.id for added in client.enqueue_many(new))  # type: ignore[arg-type]

    thread = threading.Thread(target=produce)
    thread.start()
    try:
        yield ids
    finally:
        stopped.set()
        thread.join()


def _left(client: Client) -> list[str]:
    return [status for status, jobs in client.stats().jobs.items() if jobs]


def _judge(cluster: Cluster, effects: list[tuple[int, int]], jobs: list[Job]) -> None:
    """Hold each effect and each conclusion to the hand-outs of the job's history."""
    with Client(*(f"{node.host}:{node.port}" for node in cluster.nodes)) as client:
        for (_, token), job in zip(effects, jobs, strict=True):
            history = client.history(job.id, consistency="stale", min_index=client.index)
            tokens = [change.lease_token for change in history.changes if change.event == "hand_out"]
            ends = [change.lease_token for change in history.changes if change.event == "conclude"]
            assert ends == tokens[-1:], (job, history)
            assert token in tokens or history.forgotten, (job, history)
        assert client.verify().result == "equal"
