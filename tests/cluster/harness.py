"""Starts `cqueue` as users start it, as processes of this machine, and does to them what fate does.

    Ports     ports of 127.0.0.1 that nobody else gets while they are kept
    Command   any command in a session of its own, with all processes it starts
    Node      one `cqueue serve`, and a client to talk to it
    Cluster   several nodes that know each other

It asserts nothing about the queue. It ends only processes of the sessions it opened, by their pids.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.cluster.client import Answer, Client, InFlight, Unreachable
from tests.cluster.network import Network
from tests.support import eventually

HOST: Final = "127.0.0.1"
CQUEUE: Final = (sys.executable, "-m", "cqueue")
START_S: Final = 60
"""Until a node takes requests; far above what it needs, as the machine may be busy with something else."""
STOP_S: Final = 30
"""Until a node that was told to stop is gone; it takes 10 s by its own clock and kills what is left."""

Settings = Mapping[str, str | int]
"""Settings by their names, as in the TOML file."""


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without a setting of cqueue's, and with `variables`; logs are for persons."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CQUEUE_", "CFQUEUE_"))}
    return {**kept, "CQUEUE_LOG_FORMAT": "console", **variables}


def flags(settings: Settings) -> list[str]:
    """`{"raft_addr": "a:1"}` → `["--raft-addr", "a:1"]`."""
    return [part for name, value in settings.items() for part in ("--" + name.replace("_", "-"), str(value))]


class Ports:
    """Keeps ports for servers that are started, killed and started again.

    Each port stays bound here, not listening, with SO_REUSEADDR: a server that sets the same option
    may listen on it, while the kernel gives it to nobody who asks for any free port. A connection
    to it is refused while no server listens.
    """

    def __init__(self) -> None:
        self._kept: list[socket.socket] = []

    def reserve(self) -> int:
        """One more port."""
        return self._bind(0)

    def reserve_row(self, count: int, above: int) -> int:
        """The first of `count` ports in a row that are kept together with as many that far above them."""
        return eventually(partial(self._row, count, above), within_s=START_S, ignoring=(OSError, OverflowError))

    def close(self) -> None:
        """Keep none any longer."""
        for kept in self._kept:
            kept.close()

    def _row(self, count: int, above: int) -> int:
        first = self.reserve()
        for port in (*range(first + 1, first + count), *range(first + above, first + above + count)):
            self._bind(port)
        return first

    def _bind(self, port: int) -> int:
        kept = socket.socket()
        try:
            kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            kept.bind((HOST, port))
        except BaseException:
            kept.close()
            raise
        self._kept.append(kept)
        return int(kept.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Process:
    """One process as the kernel sees it. state: one letter of proc(5), T is stopped."""

    pid: int
    state: str
    parent: int
    group: int
    session: int


def session_processes(session: int) -> list[Process]:
    """Every living process of a session, by pid."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it ended meanwhile
                _, _, rest = (entry / "stat").read_text().rpartition(")")
                state, parent, group, of_session = rest.split()[:4]
                if int(of_session) == session and state not in "ZX":
                    found.append(Process(int(entry.name), state, int(parent), int(group), int(of_session)))
    return sorted(found, key=lambda process: process.pid)


class Command:
    """One command and all processes it starts; what they say goes to the end of `log_path`."""

    def __init__(self, arguments: Sequence[str], log_path: Path, variables: Mapping[str, str] | None = None) -> None:
        self.arguments = list(arguments)
        self.log_path = log_path
        self._variables = dict(variables or {})
        self._started: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The pid of the command itself, which is also its group and session."""
        assert self._started is not None, "it was never started"
        return self._started.pid

    @property
    def log(self) -> str:
        """All it ever said."""
        return self.log_path.read_text(errors="replace")

    def start(self) -> None:
        """Start it, or start it again once it is gone."""
        assert not self.processes(), f"{self.arguments} still runs"
        with self.log_path.open("ab") as log:
            self._started = subprocess.Popen(
                self.arguments,
                env=environment(**self._variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def processes(self) -> list[Process]:
        """Its living processes, itself included."""
        return [] if self._started is None else session_processes(self._started.pid)

    def children(self, pid: int) -> list[int]:
        """The pids of the living children of one of its processes."""
        return [process.pid for process in self.processes() if process.parent == pid]

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the command itself."""
        os.kill(self.pid, number)

    def send_signal_to_group(self, number: signal.Signals) -> None:
        """Send a signal to its process group, as a terminal does for Ctrl-C."""
        os.killpg(self.pid, number)

    def wait(self, within_s: float = STOP_S) -> int:
        """Wait until the command has ended; returns its exit code, negative where a signal ended it."""
        assert self._started is not None, "it was never started"
        return self._started.wait(within_s)

    def wait_gone(self, within_s: float = STOP_S) -> None:
        """Wait until no process of it lives."""
        eventually(lambda: not self.processes(), within_s=within_s)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to stop, and wait until it has; returns the exit code."""
        self.send_signal(number)
        return self.wait()

    def kill(self) -> None:
        """SIGKILL the command itself; its other processes must die of it."""
        self.send_signal(signal.SIGKILL)
        self.wait()
        self.wait_gone()

    def pause(self) -> None:
        """SIGSTOP every process of it; returns when all stand still."""
        self.send_signal_to_group(signal.SIGSTOP)
        eventually(lambda: all(process.state == "T" for process in self.processes()))

    def resume(self) -> None:
        """SIGCONT every process of it."""
        self.send_signal_to_group(signal.SIGCONT)

    def close(self) -> None:
        """End whatever of it still lives, without grace."""
        eventually(self._all_killed, within_s=STOP_S)
        if self._started is not None:
            self._started.wait(STOP_S)

    def _all_killed(self) -> bool:
        living = self.processes()
        for process in living:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        return not living


class Node(Command):
    """One `cqueue serve`. Settings that are not given are the defaults, but for where it is.

    prefix: what the command is started with, where it is not to run just here.
    tls: what its clients speak TLS with.
    """

    def __init__(
        self,
        ports: Ports,
        log_path: Path,
        settings: Settings,
        variables: Mapping[str, str] | None = None,
        *,
        host: str = HOST,
        prefix: Sequence[str] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.host, self.port = host, ports.reserve()
        self.name = log_path.stem
        elsewhere = {} if host == HOST else {"addr": host}
        self.settings: dict[str, str | int] = {"port": self.port, **elsewhere, **settings}
        super().__init__([*prefix, *CQUEUE, "serve", *flags(self.settings)], log_path, variables)
        self.client = Client(host, self.port, tls=tls)

    @property
    def url(self) -> str:
        """Where its clients find it."""
        return self.client.url

    def __repr__(self) -> str:
        return f"<{self.name} on port {self.port}>"

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """See `Client.ask`."""
        return self.client.ask(method, path, body, headers)

    def call(self, method: str, path: str, body: Any = None) -> Answer:
        """See `Client.call`."""
        return self.client.call(method, path, body)

    def send(self, method: str, path: str, body: Any = None) -> InFlight:
        """See `Client.send`."""
        return self.client.send(method, path, body)

    def index(self) -> int:
        """How far in the log this node's state is."""
        return int(self.call("GET", "/jobs/stats?consistency=stale").headers["x-cqueue-index"])

    def send_waiting(self, body: Any) -> InFlight:
        """Send a dequeue that finds nothing and may wait; returns when it waits. Nothing else may be going on."""
        before = self.index()
        waiting = self.send("POST", "/jobs/dequeue", body)
        # Every dequeue is in the log, also one that finds nothing.
        eventually(lambda: self.index() > before)
        return waiting

    def status(self) -> dict[str, Any]:
        """The cluster as this node sees it; asked again until there is an answer."""
        view: dict[str, Any] = self.call("GET", "/cluster").body
        return view

    def is_ready(self) -> bool:
        """Whether the node says that it is."""
        return self.ask("GET", "/readyz").status == 200

    def wait_ready(self) -> None:
        """Wait until the node says that it is ready."""

        def ready() -> bool:
            assert self.processes(), f"{self.name} ended:\n{self.log}"
            return self.is_ready()

        eventually(ready, within_s=START_S, ignoring=Unreachable)

    def start_ready(self) -> None:
        """Start it, or start it again, and wait until it is ready."""
        self.start()
        self.wait_ready()

    @property
    def web_pid(self) -> int:
        """The pid of its web master: the child that has children of its own."""
        return eventually(lambda: next((pid for pid in self.children(self.pid) if self.children(pid)), 0))

    @property
    def replica_pid(self) -> int:
        """The pid of its replica: the other child."""
        web = self.web_pid
        (replica,) = (pid for pid in self.children(self.pid) if pid != web)
        return replica

    @property
    def worker_pids(self) -> list[int]:
        """The pids of its web workers."""
        return self.children(self.web_pid)

    def close(self) -> None:
        """End it without grace and close the connections to it."""
        self.client.close()
        super().close()


class Cluster:
    """Several nodes that know each other.

    Args:
        ports: where the nodes' ports come from.
        directory: where logs go, and data directories if `durable`.
        count: how many nodes.
        durable: give each node a data directory, which it keeps over restarts.
        settings: more settings, the same for every node.
        network: where the nodes are, if not all on 127.0.0.1.
    """

    def __init__(
        self,
        ports: Ports,
        directory: Path,
        count: int,
        *,
        durable: bool,
        settings: Settings,
        network: Network | None = None,
    ) -> None:
        hosts = [HOST if network is None else network.host(number) for number in range(count)]
        raft_addrs = [f"{host}:{ports.reserve()}" for host in hosts]
        # In a network of the test's own nobody else is there to be asked who they are.
        open_to_all = {} if network is None else {"CQUEUE_INSECURE": "1"}
        variables = {"CQUEUE_CLUSTER_SECRET": secrets.token_hex(32), **open_to_all}
        self.nodes: list[Node] = []
        for number, (host, raft_addr) in enumerate(zip(hosts, raft_addrs, strict=True), 1):
            own: dict[str, str | int] = {
                "raft_addr": raft_addr,
                "peers": ",".join(other for other in raft_addrs if other != raft_addr),
                **({"data_dir": str(directory / f"node{number}")} if durable else {}),
                **settings,
            }
            prefix = () if network is None else network.command(number - 1)
            self.nodes.append(Node(ports, directory / f"node{number}.log", own, variables, host=host, prefix=prefix))
        # Only now is it known where each of them is.
        urls = flags({"node_urls": ",".join(node.url for node in self.nodes)})
        for node in self.nodes:
            node.arguments += urls

    def start(self) -> None:
        """Start every node."""
        for node in self.nodes:
            node.start()

    def wait_ready(self) -> None:
        """Wait until every node says that it is ready."""
        for node in self.nodes:
            node.wait_ready()

    def others(self, node: Node) -> list[Node]:
        """All nodes but this one."""
        return [other for other in self.nodes if other is not node]

    def leader(self, among: Sequence[Node] = ()) -> Node:
        """The node that all of `among` (all nodes, where none is given) name as leader, and itself too, once they do.

        It is one of `among`: a leader that is dead or stopped does not count.
        """
        asked = list(among) or self.nodes

        def agreed() -> Node | None:
            views = [node.ask("GET", "/cluster") for node in asked]
            if any(view.status != 200 for view in views):
                return None
            named = {view.body["leader"] for view in views}
            leading = [node for node, view in zip(asked, views, strict=True) if view.body["role"] == "leader"]
            return leading[0] if len(leading) == 1 and named == {leading[0].settings["raft_addr"]} else None

        leader = eventually(agreed, within_s=START_S, ignoring=Unreachable)
        assert leader is not None
        return leader

    def close(self) -> None:
        """End every node without grace."""
        for node in self.nodes:
            node.close()
