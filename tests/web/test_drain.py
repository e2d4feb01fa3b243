"""SIGTERM: what waits is answered, what is on its way is finished, what is idle holds nobody up."""

from __future__ import annotations

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import urllib3

from tests.support import eventually
from tests.web.web import ANSWER_S, Web

CUT_OFF = "requests_cut_off"


def _connect(web: Web) -> socket.socket:
    return socket.create_connection(("127.0.0.1", web.port), timeout=ANSWER_S)


def given_request_being_read(connection: socket.socket, answer: BinaryIO, call: str, body_bytes: int) -> None:
    """A request whose head the worker has taken and whose body it waits for: it has said "100 Continue"."""
    connection.sendall(
        f"{call} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {body_bytes}\r\nExpect: 100-continue\r\n\r\n".encode()
    )
    assert answer.readline() == b"HTTP/1.1 100 Continue\r\n"
    assert answer.readline() == b"\r\n"


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_waiting_dequeues_are_answered_and_idle_connections_closed(own_web: Web) -> None:
    """Neither a wait of a minute nor keep-alive holds the exit up."""
    with ThreadPoolExecutor(3) as threads, _connect(own_web) as never_used, _connect(own_web) as kept_alive:
        kept_alive.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        with kept_alive.makefile("rb") as answer:
            assert answer.readline() == b"HTTP/1.1 200 OK\r\n"
        waiting = [threads.submit(own_web.send, "POST", "/jobs/dequeue", {"wait": 60}) for _ in range(3)]
        eventually(lambda: own_web.replica.parked == 3)
        own_web.process.send_signal(signal.SIGTERM)
        for reply in waiting:
            assert reply.result().status == 204
            assert reply.result().headers["Connection"] == "close"
        assert own_web.process.wait(ANSWER_S) == 0
        assert never_used.recv(1) == b""
    assert CUT_OFF not in own_web.log
    assert "Traceback" not in own_web.log


def test_a_request_on_its_way_is_finished(own_web: Web) -> None:
    """Its body may even be still coming in; after the answer the connection is closed."""
    with _connect(own_web) as connection, connection.makefile("rb") as answer:
        given_request_being_read(connection, answer, "PUT /jobs/enqueue", len(b'{"type":"MAIL"}'))
        own_web.process.send_signal(signal.SIGTERM)
        eventually(lambda: "worker_draining" in own_web.log)
        connection.sendall(b'{"type":"MAIL"}')
        head, _, body = answer.read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 201 CREATED")
    assert b"\r\nConnection: close" in head
    assert body == b'{"id":1}\n'
    assert own_web.process.wait(ANSWER_S) == 0
    assert CUT_OFF not in own_web.log


def test_nobody_begins_to_wait_on_a_node_that_stops(own_web: Web) -> None:
    """A dequeue that was still coming in is answered at once, whatever its `wait`."""
    with _connect(own_web) as connection, connection.makefile("rb") as answer:
        given_request_being_read(connection, answer, "POST /jobs/dequeue", len(b'{"wait":60}'))
        own_web.process.send_signal(signal.SIGTERM)
        eventually(lambda: "worker_draining" in own_web.log)
        connection.sendall(b'{"wait":60}')
        assert answer.readline() == b"HTTP/1.1 204 NO CONTENT\r\n"
    assert own_web.process.wait(ANSWER_S) == 0
    assert CUT_OFF not in own_web.log


def test_ctrl_c_is_left_to_the_supervisor(own_web: Web) -> None:
    """SIGINT reaches the whole process group; the web goes on until it gets SIGTERM."""
    for pid in (own_web.process.pid, *own_web.worker_pids()):
        os.kill(pid, signal.SIGINT)
    assert own_web.send("PUT", "/jobs/enqueue").json == {"id": 1}
    assert own_web.stop() == 0


def test_a_dead_worker_is_replaced(own_web: Web) -> None:
    """And nothing is lost with it."""
    own_web.given_jobs()
    (pid,) = own_web.worker_pids()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: own_web.worker_pids() not in ([], [pid]))
    eventually(lambda: own_web.send("GET", "/readyz").status == 200, ignoring=urllib3.exceptions.HTTPError)
    assert own_web.send("POST", "/jobs/dequeue").json["id"] == 1


def test_workers_do_not_outlive_their_master(own_web: Web) -> None:
    """Even when it is killed outright."""
    (pid,) = own_web.worker_pids()
    own_web.process.kill()
    own_web.process.wait(ANSWER_S)
    eventually(lambda: not _runs(pid))
