"""How a node ends when it is told to: what is under way is answered, and the exit code is 0."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from tests.cluster.client import NoAnswer, NotSent
from tests.cluster.fixtures import StartNode
from tests.cluster.harness import START_S, Node
from tests.support import eventually

pytestmark = pytest.mark.cluster


def test_a_node_told_to_stop_answers_what_is_under_way(start_node: StartNode) -> None:
    """SIGTERM with waiting consumers and a half-sent request: all get an answer, the exit code is 0."""
    node = start_node(workers=1)
    waiting = [node.send_waiting({"wait": 60}) for _ in range(10)]
    many = node.send_waiting({"wait": 60, "count": 5})
    half_sent, rest = node.client.send_part("PUT", "/jobs/enqueue", {"payload": "late"})

    node.send_signal(signal.SIGTERM)
    answers = [consumer.answer() for consumer in waiting]
    empty = many.answer()
    half_sent.finish(rest)

    assert {answer.status for answer in answers} == {204}
    assert (empty.status, empty.body) == (200, {"jobs": []})
    late = half_sent.answer()
    assert (late.status, late.body) == (201, {"id": 1})
    assert node.wait() == 0
    node.wait_gone()
    assert "Traceback" not in node.log
    assert "process_killed" not in node.log


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_to_the_whole_group_stops_the_node_in_order(start_node: StartNode, name: str) -> None:
    """Ctrl-C and service managers signal every process: the replica still outlives the requests under way."""
    node = start_node(workers=1)
    waiting = node.send_waiting({"wait": 60})
    half_sent, rest = node.client.send_part("PUT", "/jobs/enqueue", {"payload": "late"})

    node.send_signal_to_group(signal.Signals[name])
    assert waiting.answer().status == 204
    half_sent.finish(rest)

    assert half_sent.answer().status == 201
    assert node.wait() == 0
    node.wait_gone()
    assert "Traceback" not in node.log


def test_clients_that_go_on_while_a_node_stops_lose_nothing_acknowledged(start_node: StartNode, tmp_path: Path) -> None:
    """Writers meet SIGTERM: what was acknowledged is there after a restart, and nothing that was refused."""
    node = start_node(workers=1, data_dir=str(tmp_path / "data"))
    clients = [_Client(node, name) for name in "abcd"]

    with ThreadPoolExecutor(len(clients)) as pool:
        running = [pool.submit(client.run) for client in clients]
        eventually(lambda: all(len(client.written) > 10 for client in clients), within_s=START_S)
        code = node.stop()
        for one in running:
            one.result()

    assert code == 0
    node.start_ready()
    total = node.call("GET", "/jobs/stats").body["total"]
    payloads = {job_id: node.call("GET", f"/jobs/{job_id}").body["payload"] for job_id in range(1, total + 1)}
    written = {job_id: payload for client in clients for job_id, payload in client.written.items()}
    assert {job_id: payloads.get(job_id) for job_id in written} == written
    unknown = [payload for client in clients for payload in client.unknown]
    assert [payload for payload in payloads.values() if payload not in [*written.values(), *unknown]] == []


class _Client:
    """Enqueues until nobody listens any more. written: {id: payload}; unknown: payloads without an outcome."""

    def __init__(self, node: Node, name: str) -> None:
        self._node = node
        self._name = name
        self.written: dict[int, str] = {}
        self.unknown: list[str] = []

    def run(self) -> None:
        for number in count():
            payload = f"{self._name} {number}"
            try:
                answer = self._node.ask("PUT", "/jobs/enqueue", {"payload": payload})
            except NotSent:
                return
            except NoAnswer:
                # An idle connection may be closed in the moment its client sends: HTTP has no cure for that.
                self.unknown.append(payload)
                continue
            assert answer.status in {201, 503}, answer
            if answer.status == 201:
                self.written[answer.body["id"]] = payload


def test_a_node_told_to_stop_at_once_ends_well(start_node: StartNode) -> None:
    """SIGTERM in the first moment: the exit code is 0 whatever was not yet up."""
    node = start_node(wait=False)

    node.send_signal(signal.SIGTERM)

    assert node.wait() in {0, -signal.SIGTERM}
    node.wait_gone()
    assert "Traceback" not in node.log


def test_a_node_told_to_stop_as_soon_as_it_serves_ends_well(start_node: StartNode) -> None:
    """SIGTERM right after the banner, when the web workers may still be on their way."""
    node = start_node(wait=False)
    eventually(lambda: " serves http://" in node.log, within_s=START_S)

    assert node.stop() == 0
    node.wait_gone()
    assert "Traceback" not in node.log
