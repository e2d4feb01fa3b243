"""Following what changes: in order, without gaps or repeats, from any node, for as long as it is kept."""

from __future__ import annotations

import json
import signal
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import urllib3

from tests.cluster.fixtures import StartCluster, StartNode
from tests.cluster.harness import Node
from tests.support import eventually

pytestmark = pytest.mark.cluster

PATIENCE_S = 30.0


class Stream:
    """One connection to `GET /events`. blocks: what has come, as {field: text} each; comments are left out."""

    def __init__(self, answer: urllib3.BaseHTTPResponse) -> None:
        self.answer = answer
        self._blocks = self._parse()

    def _parse(self) -> Iterator[dict[str, str]]:
        rest = b""
        for part in self.answer.stream(65_536):
            *blocks, rest = (rest + part).split(b"\n\n")
            for block in blocks:
                lines = (line.partition(": ") for line in block.decode().split("\n") if not line.startswith(":"))
                yield {field: value for field, _, value in lines}

    def event(self) -> tuple[str, dict[str, Any]]:
        """The next event with data: its id and its data."""
        block = next(block for block in self._blocks if "data" in block)
        return block.get("id", ""), {"event": block.get("event"), **json.loads(block["data"])}

    def events(self, count: int) -> list[tuple[str, str, int]]:
        """The next events: (id, what happened, job)."""
        found = [self.event() for _ in range(count)]
        return [(place, data["event"], data["id"]) for place, data in found]


@contextmanager
def following(node: Node, query: str = "", tls: ssl.SSLContext | None = None, **headers: str) -> Iterator[Stream]:
    """Follow a node's events."""
    with urllib3.PoolManager(retries=False, timeout=PATIENCE_S, ssl_context=tls) as http:
        answer = http.request("GET", f"{node.url}/events{query}", headers=headers, preload_content=False)
        try:
            assert answer.status == 200, answer.read()
            yield Stream(answer)
        finally:
            answer.close()


def given_life(node: Node) -> int:
    """A job that fails once and is then concluded."""
    job_id = int(node.call("PUT", "/jobs/enqueue", {"type": "mail"}).body["id"])
    node.ask("POST", "/jobs/dequeue", {}, headers={"Consumer-Id": "ada"})
    node.call("POST", f"/jobs/{job_id}/fail", {"error": "no", "retry_in_seconds": 0})
    node.call("POST", "/jobs/dequeue")
    node.call("POST", f"/jobs/{job_id}/conclude")
    return job_id


LIFE = ["enqueue", "hand_out", "retry_now", "hand_out", "conclude"]


def test_every_change_is_told_in_order(start_node: StartNode) -> None:
    """From now on, without `after`: as it happens, with what the job was right after."""
    node = start_node()
    node.call("PUT", "/jobs/enqueue", {"queue": "before"})
    with following(node) as stream:
        job_id = given_life(node)
        told = [stream.event() for _ in LIFE]
    assert [data["event"] for _, data in told] == LIFE
    assert {data["id"] for _, data in told} == {job_id}
    assert [data["status"] for _, data in told] == ["QUEUED", "IN_PROGRESS", "QUEUED", "IN_PROGRESS", "CONCLUDED"]
    _, failed = told[2]
    assert (failed["error"], failed["consumer"], failed["attempt"]) == ("no", "ada", 1)


def test_whoever_lost_the_connection_goes_on_at_another_node(start_cluster: StartCluster) -> None:
    """Ids are places in the log: the same on all nodes."""
    cluster = start_cluster(3)
    first, second, third = cluster.nodes
    for _ in range(3):
        given_life(first)
    with following(first, "?after=0.0") as stream:
        whole = stream.events(3 * len(LIFE))
    assert [event for _, event, _ in whole] == LIFE * 3
    for node in (second, third):
        for start in (0, 4, 9):
            with following(node, **{"Last-Event-ID": whole[start][0]}) as stream:
                assert stream.events(len(whole) - start - 1) == whole[start + 1 :]


def test_a_batch_has_one_index_and_many_positions(start_node: StartNode) -> None:
    """So that one can go on in the middle of it."""
    node = start_node()
    node.call("PUT", "/jobs/enqueue", [{}] * 5)
    with following(node, "?after=0.0") as stream:
        told = stream.events(5)
    index = told[0][0].partition(".")[0]
    assert [place for place, _, _ in told] == [f"{index}.{position}" for position in range(1, 6)]
    with following(node, f"?after={told[2][0]}") as stream:
        assert stream.events(2) == told[3:]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("queue=b", [2]),
        ("type=x", [1, 3]),
        ("type=x&type=y", [1, 2, 3]),
        ("status=SCHEDULED", [3]),
        ("job=2", [2]),
        ("queue=b&type=x&job=4", []),
    ],
)
def test_one_can_follow_some_of_them(start_node: StartNode, query: str, expected: list[int]) -> None:
    """By queue, type, status and job; and one hears how far that is, even of none."""
    node = start_node()
    jobs = [{"type": "x"}, {"type": "y", "queue": "b"}, {"type": "x", "delay_seconds": 100}]
    node.call("PUT", "/jobs/enqueue", jobs)
    with following(node, f"?after=0.0&{query}") as stream:
        assert [job for _, _, job in stream.events(len(expected))] == expected
        assert next(block for block in stream._blocks if "data" not in block and "id" in block)["id"].endswith(".3")


def test_what_is_no_longer_kept_is_gone(start_node: StartNode) -> None:
    """410, and from where it is kept; who is that slow is told so at the end."""
    node = start_node(events_max=10)
    for _ in range(4):
        node.call("PUT", "/jobs/enqueue", [{}] * 8)
    answer = node.ask("GET", "/events?after=0.0")
    assert (answer.status, answer.body["code"]) == (410, "events_gone")
    since = answer.body["detail"].rpartition(" ")[2]
    with following(node, f"?after={since}") as stream:
        assert len(stream.events(10)) == 10


def test_a_node_may_keep_none(start_node: StartNode) -> None:
    """404 that names the setting."""
    answer = start_node(events_max=0).ask("GET", "/events")
    assert (answer.status, answer.body["code"]) == (404, "events_off")
    assert "--events-max" in answer.body["detail"]


@pytest.mark.parametrize("query", ["after=x", "after=1", "after=1.", "job=0", "job=x", "status=DONE", "queue=", "x=1"])
def test_what_cannot_be_followed_is_refused(start_node: StartNode, query: str) -> None:
    """422, before anything is sent."""
    answer = start_node().ask("GET", f"/events?{query}")
    assert (answer.status, answer.body["code"]) == (422, "invalid_field")


def test_a_node_that_stops_says_so(start_node: StartNode) -> None:
    """An event of its own type, so that nobody takes it for a change; then the connection ends."""
    node = start_node()
    with following(node) as stream:
        node.call("PUT", "/jobs/enqueue")
        assert stream.events(1)[0][1] == "enqueue"
        node.send_signal(signal.SIGTERM)
        _, end = stream.event()
        assert (end["event"], end["code"]) == ("end", "shutting_down")
    assert node.wait() == 0


def test_a_durable_node_still_has_them_when_it_comes_back(start_node: StartNode, tmp_path: Any) -> None:
    """What its log tells it again it can tell again."""
    node = start_node(data_dir=str(tmp_path / "data"))
    given_life(node)
    node.kill()
    node.start()
    eventually(lambda: node.call("GET", "/readyz").status == 200)
    with following(node, "?after=0.0") as stream:
        assert [event for _, event, _ in stream.events(len(LIFE))] == LIFE
