"""Three containers, started as a user starts them: they agree, they share one sequence of ids, they survive."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import pytest

from tests.docker.compose import Node, Project, Unreachable
from tests.support import eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

SINGLE: Final = 60
BATCHES: Final = 5
BATCH: Final = 20
PAUSE_S: Final = 0.02
"""Between two writes under load: fifty a second from each writer are load enough to tell."""
FAILOVER_S: Final = 60
"""Far above what an election takes, as the machine may be busy with something else."""


def test_three_nodes_come_up_and_agree_on_one_leader(cluster: Project) -> None:
    """Every node is ready, names the same leader, and passes the image's own health check."""
    views = [node.ask("GET", "/cluster").body for node in cluster.nodes]

    assert len({view["node"] for view in views}) == 3
    assert {view["mode"] for view in views} == {"durable"}
    _leader(cluster.nodes)
    for node in cluster.nodes:
        eventually(node.is_healthy, within_s=60)


def test_writers_on_all_nodes_share_one_sequence_of_ids(cluster: Project) -> None:
    """Three writers at once, one per node, singles and batches: ids 1 to N, and all nodes tell the same."""
    together = threading.Barrier(len(cluster.nodes))

    def write(node: Node) -> list[tuple[int, Any]]:
        together.wait(timeout=30)
        written = [(_enqueue(node, payload), payload) for payload in _payloads(node, "single", SINGLE)]
        for batch in range(BATCHES):
            payloads = _payloads(node, f"batch {batch}", BATCH)
            answer = node.ask("PUT", "/jobs/enqueue", [{"payload": payload} for payload in payloads])
            assert answer.status == 201, answer
            written += zip(answer.body["ids"], payloads, strict=True)
        return written

    with ThreadPoolExecutor(len(cluster.nodes)) as pool:
        written = [one for found in pool.map(write, cluster.nodes) for one in found]

    assert sorted(job_id for job_id, _ in written) == list(range(1, len(written) + 1))
    told = _told_by_all(cluster.nodes)
    assert {job_id: job["payload"] for job_id, job in told.items()} == dict(written)


def test_a_killed_leader_takes_no_acknowledged_job_with_it(cluster: Project) -> None:
    """SIGKILL the leader under load: both others go on, nothing is lost or handed out twice, it catches up."""
    leader = _leader(cluster.nodes)
    survivors = [node for node in cluster.nodes if node is not leader]
    before = [(_enqueue(node, payload), payload) for node in cluster.nodes for payload in _payloads(node, "before", 20)]
    handed = [job for node in cluster.nodes for job in _dequeue(node, 5)]

    with _writing(cluster.nodes) as writers:
        for writer in writers:
            eventually(partial(writer.has_written, 10), within_s=FAILOVER_S)
        known = max(job_id for writer in writers for job_id, _ in list(writer.written))
        leader.kill()
        for writer in writers:
            writer.mark()
        for writer in writers:
            if writer.node is not leader:
                eventually(partial(writer.has_written, 20, since_mark=True), within_s=FAILOVER_S)

    assert min(job_id for writer in writers for job_id, _ in writer.written_since_mark) > known
    acknowledged = [*before, *(one for writer in writers for one in writer.written)]
    assert _repeated(job_id for job_id, _ in acknowledged) == []

    with ThreadPoolExecutor(len(survivors)) as pool:
        handed += [job for jobs in pool.map(_dequeue_all, survivors) for job in jobs]
    assert _repeated(job["id"] for job in handed) == []
    assert _repeated(job["lease_token"] for job in handed) == []
    payloads = {job["id"]: job["payload"] for job in handed}
    assert {job_id: payloads.get(job_id) for job_id, _ in acknowledged} == dict(acknowledged)

    leader.start()
    eventually(leader.is_ready, within_s=FAILOVER_S, ignoring=Unreachable)
    told = _told_by_all(cluster.nodes)
    assert set(told) == set(payloads)
    assert {job["attempt"] for job in told.values()} == {1}


class _Writer(threading.Thread):
    """Enqueues through one node until told to stop, and keeps what was acknowledged.

    An answer that promises nothing (503, 504, none at all) is followed by another job, never by the same
    one again, so that each acknowledged payload was sent once.
    """

    def __init__(self, node: Node) -> None:
        super().__init__(name=f"writer on {node.name}", daemon=True)
        self.node = node
        self.written: list[tuple[int, Any]] = []
        self.written_since_mark: list[tuple[int, Any]] = []
        """What was also *sent* after `mark`."""
        self.surprise: BaseException | None = None
        self._marked = threading.Event()
        self._stopped = threading.Event()

    def has_written(self, count: int, *, since_mark: bool = False) -> bool:
        return len(self.written_since_mark if since_mark else self.written) >= count

    def mark(self) -> None:
        self._marked.set()

    def stop(self) -> None:
        self._stopped.set()

    def run(self) -> None:
        try:
            for payload in _payloads(self.node, "under load", 100_000):
                if self._stopped.wait(PAUSE_S):
                    return
                self._write(payload)
        except BaseException as surprise:  # noqa: BLE001 - the test's own thread raises it
            self.surprise = surprise

    def _write(self, payload: Any) -> None:
        marked = self._marked.is_set()
        try:
            answer = self.node.ask("PUT", "/jobs/enqueue", {"payload": payload})
        except Unreachable:
            return
        if answer.status in (503, 504):
            return
        assert answer.status == 201, answer
        self.written.append((answer.body["id"], payload))
        if marked:
            self.written_since_mark.append((answer.body["id"], payload))


@contextmanager
def _writing(nodes: Iterable[Node]) -> Iterator[list[_Writer]]:
    writers = [_Writer(node) for node in nodes]
    for writer in writers:
        writer.start()
    try:
        yield writers
    finally:
        for writer in writers:
            writer.stop()
        for writer in writers:
            writer.join(timeout=FAILOVER_S)
    for writer in writers:
        assert not writer.is_alive(), f"{writer.name} did not come back"
        assert writer.surprise is None, writer.surprise


def _leader(nodes: Iterable[Node]) -> Node:
    """The node that every node names as leader and that says so itself, once they agree."""

    def agreed() -> Node | None:
        views = [(node, node.ask("GET", "/cluster").body) for node in nodes]
        leaders = [node for node, view in views if view["role"] == "leader" and view["leader"] == view["node"]]
        return leaders[0] if len(leaders) == 1 and len({view["leader"] for _, view in views}) == 1 else None

    leader = eventually(agreed)
    assert leader is not None
    return leader


def _payloads(node: Node, when: str, count: int) -> list[dict[str, Any]]:
    return [{"from": node.name, "when": when, "number": number} for number in range(count)]


def _enqueue(node: Node, payload: Any) -> int:
    answer = node.ask("PUT", "/jobs/enqueue", {"payload": payload})
    assert answer.status == 201, answer
    job_id: int = answer.body["id"]
    return job_id


def _dequeue(node: Node, count: int) -> list[dict[str, Any]]:
    answer = node.ask("POST", "/jobs/dequeue", {"count": count, "lease_seconds": 3600})
    assert answer.status == 200, answer
    jobs: list[dict[str, Any]] = answer.body["jobs"]
    return jobs


def _dequeue_all(node: Node) -> list[dict[str, Any]]:
    handed: list[dict[str, Any]] = []
    while jobs := _dequeue(node, 7):
        handed += jobs
    return handed


def _told_by_all(nodes: Iterable[Node]) -> dict[int, dict[str, Any]]:
    """Every job by id, 1 to the total without a gap, after checking that all nodes tell the same of each."""

    def told(node: Node) -> tuple[Any, dict[int, Any]]:
        # The linearizable read brings this node up to date; what it tells after that is its own state.
        stats = node.ask("GET", "/jobs/stats").body
        answers = {id_: node.ask("GET", f"/jobs/{id_}?consistency=stale") for id_ in range(1, stats["total"] + 1)}
        assert {id_: answer for id_, answer in answers.items() if answer.status != 200} == {}
        assert node.ask("GET", f"/jobs/{stats['total'] + 1}").status == 404
        return stats, {id_: answer.body for id_, answer in answers.items()}

    with ThreadPoolExecutor() as pool:
        first, *others = pool.map(told, nodes)
    for other in others:
        assert other == first
    return first[1]


def _repeated(values: Iterable[int]) -> list[int]:
    return [value for value, times in Counter(values).items() if times > 1]
