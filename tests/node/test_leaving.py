"""Consumers that hang up: no job stays with someone who has left, and none is taken from someone who has not."""

from __future__ import annotations

import json
import socket
import ssl
import struct
from typing import Any

import pytest

from tests.cluster.fixtures import StartNode
from tests.cluster.harness import Node
from tests.support import eventually

pytestmark = pytest.mark.cluster

WAIT_S = 40


def given_consumer(
    node: Node, body: dict[str, Any], headers: str = "", receives_bytes: int = 0, tls: ssl.SSLContext | None = None
) -> socket.socket:
    """A consumer that has asked for a job, and reads nothing yet."""
    connection = socket.socket()
    if receives_bytes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives_bytes)
    connection.connect((node.host, node.port))
    if tls is not None:
        connection = tls.wrap_socket(connection, server_hostname=node.host)
    text = json.dumps(body)
    connection.sendall(
        f"POST /jobs/dequeue HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{headers}"
        f"Content-Length: {len(text)}\r\n\r\n{text}".encode()
    )
    return connection


def reset(connection: socket.socket) -> None:
    """Leave without a word to TCP."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize("leave", [socket.socket.close, reset], ids=["closes", "resets"])
def test_who_leaves_while_waiting_gets_nothing(start_node: StartNode, leave: Any) -> None:
    """The job goes to the next one who waits, as if the first had never been there."""
    node = start_node()
    first = given_consumer(node, {"wait": WAIT_S})
    second = node.send_waiting({"wait": WAIT_S})
    leave(first)

    job_id = node.call("PUT", "/jobs/enqueue").body["id"]

    answer = second.answer()
    assert (answer.body["id"], answer.body["attempt"]) == (job_id, 1)


def test_who_leaves_before_the_answer_was_written_gives_the_job_back(start_node: StartNode) -> None:
    """At once, and at no cost: it does not take until the lease is over."""
    node = start_node(body_bytes_max=16_000_000)
    job_id = node.call("PUT", "/jobs/enqueue", {"payload": "x" * 8_000_000}).body["id"]
    consumer = given_consumer(node, {"lease_seconds": 300}, receives_bytes=4_096)
    eventually(lambda: node.call("GET", f"/jobs/{job_id}").body["status"] == "IN_PROGRESS")

    reset(consumer)

    again = node.ask("POST", "/jobs/dequeue", {"wait": WAIT_S})
    assert (again.status, again.body["id"], again.body["attempt"]) == (200, job_id, 1)
    events = [change["event"] for change in node.call("GET", f"/jobs/{job_id}/history").body["changes"]]
    assert events == ["enqueue", "hand_out", "release", "hand_out"]


def test_who_leaves_with_the_whole_answer_keeps_the_job(start_node: StartNode) -> None:
    """As curl does."""
    node = start_node()
    job_id = node.call("PUT", "/jobs/enqueue").body["id"]
    consumer = given_consumer(node, {})
    assert consumer.recv(65_536).startswith(b"HTTP/1.1 200 ")
    consumer.close()

    assert node.call("POST", "/jobs/dequeue").status == 204
    assert node.call("GET", f"/jobs/{job_id}").body["status"] == "IN_PROGRESS"


def test_who_left_under_a_key_can_ask_for_the_job_again(start_node: StartNode) -> None:
    """It was handed out to the key, not to a connection."""
    node = start_node(body_bytes_max=16_000_000)
    job_id = node.call("PUT", "/jobs/enqueue", {"payload": "x" * 8_000_000}).body["id"]
    consumer = given_consumer(node, {}, "Idempotency-Key: k\r\n", receives_bytes=4_096)
    eventually(lambda: node.call("GET", f"/jobs/{job_id}").body["status"] == "IN_PROGRESS")
    reset(consumer)

    assert node.call("POST", "/jobs/dequeue").status == 204
    again = node.ask("POST", "/jobs/dequeue", {}, headers={"Idempotency-Key": "k"})
    assert (again.status, again.body["id"], again.body["attempt"]) == (200, job_id, 1)
