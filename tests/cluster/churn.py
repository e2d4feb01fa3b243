"""`python -m tests.cluster.churn SEED HOST:PORT...`: consumers that nobody can rely on, in a process of their own.

Each goes from node to node, waits there for a job, and leaves: in the middle of waiting, with a job that it
never mentions again, or after it has said something of it, in time or too late. What was promised to them
goes to stdout, one line of JSON each, written whole and at once, so that whoever kills the process
has what was told before. It judges nothing.

`WAYS` is the list of how to wait for jobs: another one is another entry.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import http.client  # noqa: E402 - what is imported from here on is patched
import json  # noqa: E402
import os  # noqa: E402
import random  # noqa: E402
import socket  # noqa: E402
import struct  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from contextlib import closing  # noqa: E402
from typing import Any, Final  # noqa: E402

import gevent  # noqa: E402
from websockets.exceptions import ConnectionClosed, InvalidHandshake  # noqa: E402
from websockets.sync.client import ClientConnection, connect  # noqa: E402
from websockets.typing import Subprotocol  # noqa: E402

CONSUMERS: Final = 30
PATIENCE_S: Final = 20.0
"""Longer than a node takes to answer anything, and than the longest wait here on top of it."""
LEASES_S: Final = (1, 2, 4)
WAITS_S: Final = (0, 0.3, 1, 5)
WORK_S: Final = 0.05
PAUSE_S: Final = 0.1
"""Before the next try, where a node is not there, or says that it can do nothing just now."""

Address = tuple[str, int]


class Consumer:
    """One of them. nodes: where it may go."""

    def __init__(self, nodes: list[Address], chance: random.Random) -> None:
        self._nodes = nodes
        self._chance = chance

    def run(self) -> None:
        """Go on until the process ends."""
        while True:
            try:
                with closing(self._connection()) as connection:
                    self._chance.choice(WAYS)(self, connection)
            except (OSError, http.client.HTTPException, ConnectionClosed, InvalidHandshake):
                gevent.sleep(PAUSE_S)

    def poll_long(self, connection: http.client.HTTPConnection) -> None:
        """Ask for a few jobs, one after the other, by `POST /jobs/dequeue` with `wait`."""
        for _ in range(self._chance.randint(1, 5)):
            wait_s, lease_s = self._chance.choice(WAITS_S), self._chance.choice(LEASES_S)
            body = {"wait": wait_s, "lease_seconds": lease_s}
            if self._chance.random() < 0.2:
                _send(connection, "/jobs/dequeue", body)
                gevent.sleep(self._chance.uniform(0, wait_s + WORK_S))
                self._hang_up(connection)
                return
            status, job = _ask(connection, "/jobs/dequeue", body)
            if status == 200:
                _tell("handed", job["id"], job["lease_token"])
                if not self._work(connection, job, lease_s):
                    return
            elif status != 204:
                gevent.sleep(PAUSE_S)
                return

    def stream(self, connection: http.client.HTTPConnection) -> None:
        """Have a few jobs pushed over a WebSocket, settle them there or never, and leave."""
        lease_s, credit = self._chance.choice(LEASES_S), self._chance.randint(1, 4)
        leave_s = time.monotonic() + self._chance.uniform(0, WAITS_S[-1])
        said: dict[int, dict[str, Any]] = {}
        stream = connect(
            f"ws://{connection.host}:{connection.port}/stream",
            subprotocols=[Subprotocol("cqueue.v1")],
            open_timeout=PATIENCE_S,
            close_timeout=PATIENCE_S,
            legacy=True,
        )
        try:
            _say(stream, 0, "subscribe", {"credit": credit, "lease_seconds": lease_s, "grace_seconds": 1})
            while (left_s := leave_s - time.monotonic()) > 0:
                for message in _messages(stream, left_s):
                    for job in message.get("jobs", ()):
                        _tell("handed", job["id"], job["lease_token"])
                        if not self._settle(stream, job, said):
                            return
                    if message.get("status") == 200 and message["re"] in said:
                        job, line = said.pop(message["re"]), message["body"]["results"][0]
                        _tell("concluded" if "status" in line else line["code"], *_held(job))
        except ConnectionClosed:
            pass
        finally:
            if self._chance.random() < 0.5:
                stream.socket.shutdown(socket.SHUT_RDWR)
            stream.close()
        for job in said.values():
            self._conclude(*_held(job))

    def _settle(self, stream: ClientConnection, job: dict[str, Any], said: dict[int, dict[str, Any]]) -> bool:
        """Say something of a job that was pushed; whether to go on. said: conclusions that are not answered yet."""
        gevent.sleep(self._chance.expovariate(1 / WORK_S))
        draw, number = self._chance.random(), job["lease_token"]
        held = {"id": job["id"], "lease_token": number}
        if draw < 0.12:
            return False
        if draw < 0.2:
            _say(stream, -number, "release", {"jobs": [held]})
        elif draw < 0.28:
            _say(stream, -number, "fail", {"jobs": [held]})
        else:
            said[number] = job
            _say(stream, number, "conclude", {"jobs": [held | {"result": number}]})
        return True

    def _work(self, connection: http.client.HTTPConnection, job: dict[str, Any], lease_s: float) -> bool:
        """Do something with a job; returns whether the connection can still be used."""
        gevent.sleep(self._chance.expovariate(1 / WORK_S))
        draw = self._chance.random()
        held = {"lease_token": job["lease_token"]}
        if draw < 0.12:
            self._hang_up(connection)
            return False
        if draw < 0.2:
            _ask(connection, f"/jobs/{job['id']}/release", held)
        elif draw < 0.28:
            _ask(connection, f"/jobs/{job['id']}/fail", {**held, "retry_in_seconds": self._chance.choice((0, 0.3))})
        else:
            if draw < 0.33:
                _ask(connection, f"/jobs/{job['id']}/extend", {**held, "lease_seconds": lease_s})
            elif draw < 0.4:
                gevent.sleep(lease_s + self._chance.uniform(-0.3, 0.5))
            self._conclude(job["id"], job["lease_token"])
        return True

    def _conclude(self, job_id: int, token: int) -> None:
        """Say that it is done, to any node, until one says whether it is: with a token that is safe."""
        while True:
            try:
                with closing(self._connection()) as connection:
                    status, answer = _ask(
                        connection, f"/jobs/{job_id}/conclude", {"lease_token": token, "result": token}
                    )
            except (OSError, http.client.HTTPException):
                gevent.sleep(PAUSE_S)
                continue
            if status == 200:
                _tell("concluded", job_id, token)
            elif status == 409:
                _tell(answer["code"], job_id, token)
            elif status in {503, 504}:
                gevent.sleep(PAUSE_S)
                continue
            else:
                _tell(f"answered {status} {answer}", job_id, token)
            return

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(*self._chance.choice(self._nodes), timeout=PATIENCE_S)

    def _hang_up(self, connection: http.client.HTTPConnection) -> None:
        """Without a word to HTTP, and now and then without one to TCP."""
        if connection.sock is not None and self._chance.random() < 0.5:
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()


WAYS: Final[list[Callable[[Consumer, http.client.HTTPConnection], None]]] = [Consumer.poll_long, Consumer.stream]


def _send(connection: http.client.HTTPConnection, path: str, body: dict[str, Any]) -> None:
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})


def _ask(connection: http.client.HTTPConnection, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    _send(connection, path, body)
    with connection.getresponse() as answer:
        data = answer.read()
    return answer.status, json.loads(data) if data else None


def _say(stream: ClientConnection, number: int, do: str, body: dict[str, Any]) -> None:
    stream.send(json.dumps({"do": do, "id": number, "body": body}))


def _messages(stream: ClientConnection, within_s: float) -> list[dict[str, Any]]:
    """Those of the next frame; none if none comes in time."""
    try:
        value = json.loads(stream.recv(timeout=within_s))
    except TimeoutError:
        return []
    return value if isinstance(value, list) else [value]


def _held(job: dict[str, Any]) -> tuple[int, int]:
    return job["id"], job["lease_token"]


def _tell(what: str, job_id: int, token: int) -> None:
    os.write(1, json.dumps([what, job_id, token]).encode() + b"\n")


def main(seed: str, *addresses: str) -> None:
    """Run the consumers until the process is killed."""
    nodes = [(host, int(port)) for host, _, port in (address.rpartition(":") for address in addresses)]
    chance = random.Random(seed)  # noqa: S311 - it has to be repeatable
    gevent.joinall([gevent.spawn(Consumer(nodes, chance).run) for _ in range(CONSUMERS)], raise_error=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
