"""`cqueue dev`: a cluster in one terminal."""

from __future__ import annotations

import os
import re
import signal
from contextlib import ExitStack

import pytest

from cqueue import Client as Caller
from cqueue.cli import exits, time_travel
from cqueue.cli.terminal import RAFT_PORTS_ABOVE
from tests.cli.running import run
from tests.cluster.client import Client, NotSent, Unreachable
from tests.cluster.fixtures import StartCommand
from tests.cluster.harness import CQUEUE, HOST, START_S, Command, Ports
from tests.support import eventually

pytestmark = pytest.mark.cluster

COUNT = 3


class Dev:
    """A running `cqueue dev` and a client for each of its nodes."""

    def __init__(self, command: Command, port: int) -> None:
        self.command = command
        self.clients = [Client(HOST, port + position) for position in range(COUNT)]

    def wait_ready(self) -> None:
        """Wait until every node says that it is ready."""

        def ready() -> bool:
            assert self.command.processes(), self.command.log
            return all(client.ask("GET", "/readyz").status == 200 for client in self.clients)

        eventually(ready, within_s=START_S, ignoring=Unreachable)

    def pids(self) -> list[int]:
        """The pid of each node's supervisor, as the terminal told it last."""
        return [int(re.findall(rf"node {number} │ .*pid (\d+)", self.command.log)[-1]) for number in (1, 2, 3)]


@pytest.fixture
def dev(start_command: StartCommand, ports: Ports, cleanup: ExitStack) -> Dev:
    """A cluster in one terminal that is ready."""
    port = ports.reserve_row(COUNT, RAFT_PORTS_ABOVE)
    running = Dev(start_command([*CQUEUE, "dev", "--nodes", str(COUNT), "--no-demo", "--port", str(port)]), port)
    for client in running.clients:
        cleanup.callback(client.close)
    running.wait_ready()
    return running


def test_any_node_takes_any_call(dev: Dev) -> None:
    """Three addresses, one queue; the terminal says how to use it."""
    first, second, third = dev.clients

    assert first.call("PUT", "/jobs/enqueue").body == {"id": 1}
    assert second.call("POST", "/jobs/dequeue").body["id"] == 1
    assert third.call("POST", "/jobs/1/conclude").body["status"] == "CONCLUDED"
    assert len(first.call("GET", "/cluster").body["members"]) == COUNT
    eventually(lambda: "3 nodes, one queue" in dev.command.log)


def test_a_killed_node_comes_back_and_knows_the_jobs(dev: Dev) -> None:
    """Kill -9 of a node, the leader if need be: the others go on, it starts again by itself."""
    first, second, _ = dev.clients
    job_id = first.call("PUT", "/jobs/enqueue").body["id"]
    pid = dev.pids()[0]

    os.kill(pid, signal.SIGKILL)
    assert second.call("POST", "/jobs/dequeue").body["id"] == job_id
    eventually(lambda: dev.pids()[0] != pid, within_s=START_S)
    dev.wait_ready()

    assert first.call("GET", f"/jobs/{job_id}?consistency=stale").body["status"] == "IN_PROGRESS"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_one_signal_ends_all(dev: Dev, name: str) -> None:
    """Ctrl-C reaches every process of the terminal, SIGTERM only the command: both end everything with 0."""
    if name == "SIGINT":
        dev.command.send_signal_to_group(signal.SIGINT)
    else:
        dev.command.send_signal(signal.SIGTERM)

    assert dev.command.wait() == 0
    dev.command.wait_gone()
    assert "Traceback" not in dev.command.log
    with pytest.raises(NotSent):
        dev.clients[0].ask("GET", "/livez")


def test_a_killed_terminal_leaves_nobody_behind(dev: Dev) -> None:
    """Kill -9 of the command: all nodes die with it."""
    dev.command.kill()

    assert dev.command.processes() == []


def test_a_week_passes_at_once(dev: Dev) -> None:
    """What is due by then is, on every node, and time does not run backwards; no other node has such a clock."""
    port = int(dev.command.arguments[-1])
    with Caller(*(f"{HOST}:{port + position}" for position in range(COUNT))) as client:
        added = client.enqueue(delay_seconds=6 * 86_400)
        told = run("dev", "clock", "+6d1h", "--port", port, "--json")
        assert (told.exit_code, told.values) == (exits.DONE, [{"ahead_seconds": 522_000}])
        assert eventually(lambda: client.get(added.id).status == "QUEUED", within_s=START_S)

    back = run("dev", "clock", "--port", port, "--", "-1h")
    assert (back.exit_code, back.stderr) == (exits.REFUSED, "cqueue: time does not run backwards\n")
    assert run("dev", "clock", "+3660d", "--port", port).exit_code == exits.REFUSED
    assert run("dev", "clock", "+1h", "--port", port + 1).exit_code == exits.UNAVAILABLE


def test_the_demo_loses_nothing_when_the_leader_is_killed(
    start_command: StartCommand, ports: Ports, cleanup: ExitStack
) -> None:
    """By the very command that the terminal says; the counts go on."""
    port = ports.reserve_row(COUNT, RAFT_PORTS_ABOVE)
    running = start_command([*CQUEUE, "dev", "--port", str(port)])
    eventually(lambda: counted(running) > 10, within_s=START_S)
    (pid,) = re.findall(r"^  kill -9 (\d+) ", running.log, re.MULTILINE)

    before = counted(running)
    os.kill(int(pid), signal.SIGKILL)

    eventually(lambda: counted(running) > before + 20, within_s=START_S)
    assert running.log.rstrip().endswith(" 0 lost")
    running.send_signal_to_group(signal.SIGINT)
    assert running.wait() == 0
    running.wait_gone()


def counted(running: Command) -> int:
    """How many jobs of the demo are done."""
    found = re.findall(r" enqueued, ([\d,]+) done,", running.log)
    return int(found[-1].replace(",", "")) if found else 0


@pytest.mark.parametrize(
    ("text", "seconds"), [("+7d", 604_800), ("1h30m", 5_400), ("-1h", -3_600), ("+0s", 0), ("+1d2h3m4s", 93_784)]
)
def test_a_time_is_read_with_its_units(text: str, seconds: int) -> None:
    """Seconds, minutes, hours, days."""
    assert time_travel.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "7", "+7", "7w", "+-7d", "1.5h"])
def test_what_is_no_time_is_wrong_usage(text: str) -> None:
    """It says what would be."""
    said = run("dev", "clock", "--", text)
    assert (said.exit_code, "+7d" in said.stderr) == (exits.USAGE, True)


def test_a_taken_port_is_one_line(dev: Dev, start_command: StartCommand) -> None:
    """A second terminal on the same ports says so; the first one goes on."""
    port = dev.command.arguments[-1]

    second = start_command([*CQUEUE, "dev", "--port", port])

    assert second.wait(START_S) == 3
    assert second.log.splitlines() == [
        f"cqueue: cannot listen on 127.0.0.1:{port}: the port is taken; choose another with --port"
    ]
    assert dev.clients[0].call("PUT", "/jobs/enqueue").status == 201
