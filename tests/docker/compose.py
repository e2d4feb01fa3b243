"""A compose project with its nodes, as the tests of this room use them.

It owns what starts, stops and asks containers, and asserts nothing about cqueue. The files are brought up
as users bring them up, with two differences: the image is built before, and the engine picks the ports,
so that a queue already running on this machine is no hindrance.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import urllib3

ROOT: Final = Path(__file__).parents[2]
PORT: Final = "3000/tcp"
UP_S: Final = 120
STOP_S: Final = 15
"""As `stop_grace_period` in the compose files."""
REQUEST_S: Final = 20
"""Longer than a node takes to give a request up: its own answer says more than a time-out here."""

Unreachable: Final = urllib3.exceptions.HTTPError
"""No answer came: refused, cut off, or too late."""


@cache
def compose_command() -> list[str] | None:
    """`docker compose` where the plugin is there, else compose v1, else None."""
    if (
        shutil.which("docker")
        and subprocess.run(["docker", "compose", "version"], capture_output=True, check=False, timeout=30).returncode
        == 0
    ):
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node answered: the status, and the JSON of the body (None without a body)."""

    status: int
    body: Any


class Node:
    """One container that runs a node."""

    def __init__(self, container: Any) -> None:
        self.container = container
        self.name: str = container.labels["com.docker.compose.service"]
        self._http = urllib3.PoolManager(maxsize=4, retries=False, timeout=REQUEST_S)
        self._url = ""

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        """Send one request to the published port; `body` goes as JSON unless it is None.

        Raises:
            Unreachable: no answer came; whether the node acted on the request is unknown.
        """
        sent = {} if body is None else {"json": body}
        answer = self._http.request(method, (self._url or self._locate()) + path, **sent)
        return Answer(answer.status, json.loads(answer.data) if answer.data else None)

    def run(self, *command: str) -> tuple[int, str]:
        """Run a command in the container as the node's own user; answers its exit code and output."""
        code, output = self.container.exec_run(list(command))
        return code, output.decode()

    def is_healthy(self) -> bool:
        """Whether the image's health check passes."""
        self.container.reload()
        return bool(self.container.attrs["State"]["Health"]["Status"] == "healthy")

    def is_ready(self) -> bool:
        """Whether the node itself says that it is."""
        return self.ask("GET", "/readyz").status == 200

    def kill(self) -> None:
        """SIGKILL; the engine does not restart a container that was killed by request."""
        self.container.kill("SIGKILL")
        self.container.wait(timeout=30)
        self._url = ""

    def stop(self) -> int:
        """SIGTERM, and SIGKILL after the grace period; answers the exit code (137 if it had to be killed)."""
        self.container.stop(timeout=STOP_S)
        self._url = ""
        return int(self.container.wait(timeout=30)["StatusCode"])

    def start(self) -> None:
        """Start the container again with its volumes."""
        self.container.start()

    def close(self) -> None:
        """Close the connections to the node."""
        self._http.clear()

    def _locate(self) -> str:
        self.container.reload()
        bindings = self.container.attrs["NetworkSettings"]["Ports"].get(PORT)
        if not bindings:
            raise urllib3.exceptions.HTTPError(f"{self.name} publishes no port: it does not run")
        self._url = f"http://{bindings[0]['HostIp']}:{bindings[0]['HostPort']}"
        return self._url


class Project:
    """One compose file brought up under a name of its own."""

    def __init__(self, engine: Any, file: str, name: str, image: str) -> None:
        self._engine = engine
        self._command = [*(compose_command() or ()), "--project-name", name, "--file", str(ROOT / file)]
        self._name = name
        ports = ("CQUEUE_PORT", "CQUEUE_NODE1_PORT", "CQUEUE_NODE2_PORT", "CQUEUE_NODE3_PORT")
        # Nobody knows yet which ports there will be, and nobody opens the page that goes from one to the next.
        chosen = {"CQUEUE_IMAGE": image, "CQUEUE_NODE_URLS": "", **dict.fromkeys(ports, "0")}
        self._environment = {**os.environ, **chosen}
        self.nodes: tuple[Node, ...] = ()

    def up(self) -> None:
        """Start everything; returns when the containers run, which is before the nodes are ready."""
        self._compose("up", "--detach", "--no-build")
        self.nodes = tuple(sorted(map(Node, self._containers()), key=lambda node: node.name))

    def print_logs(self) -> None:
        """Print each node's last lines, for pytest to show with a failure."""
        for container in self._containers():
            print(f"--- {container.name}\n{container.logs(tail=60).decode(errors='replace')}")  # noqa: T201

    def down(self) -> None:
        """Print the logs, then remove all that `up` made."""
        self.print_logs()
        for node in self.nodes:
            node.close()
        self._compose("down", "--volumes", "--remove-orphans", "--timeout", str(STOP_S))

    def _containers(self) -> Iterable[Any]:
        everything = self._engine.containers.list(
            all=True, filters={"label": f"com.docker.compose.project={self._name}"}
        )
        return [one for one in everything if one.labels["com.docker.compose.service"].startswith("node")]

    def _compose(self, *arguments: str) -> None:
        done = subprocess.run(
            [*self._command, *arguments],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=UP_S,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join([*self._command, *arguments])} failed:\n{done.stdout}")
