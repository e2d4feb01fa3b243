"""The processes under test: started, asked whether they are ready, weighed, ended.

Each server is a whole program in a process tree of its own, which dies with the benchmark. CPU time
is what the kernel booked for the tree's processes (utime + stime, proc(5)); its grain is a clock
tick, usually 10 ms, so it means something for sums over many requests only.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Final

import msgspec
from msgspec import Struct

from benchmarks import bare
from benchmarks.load import Address, Connection, WrongAnswer, body_of, rendered
from cqueue.processes import fork

READY_S_MAX: Final = 60.0
STOP_S_MAX: Final = 12.0
_POLL_S: Final = 0.02
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


class NotServed(Exception):
    """A server did not start, or ended early; the sentence has what it said."""


class Cpu(Struct, frozen=True):
    """CPU seconds. web: gunicorn, its workers and what started them; replica: Raft and the queue."""

    web_s: float = 0.0
    replica_s: float = 0.0

    @property
    def sum_s(self) -> float:
        """All of it."""
        return self.web_s + self.replica_s

    def __add__(self, other: Cpu) -> Cpu:
        return Cpu(self.web_s + other.web_s, self.replica_s + other.replica_s)

    def __sub__(self, other: Cpu) -> Cpu:
        return Cpu(self.web_s - other.web_s, self.replica_s - other.replica_s)


class Server:
    """One server and its process tree.

    Args:
        arguments: what Python runs.
        port: where it will listen, on 127.0.0.1.
        ready: a request that is answered 2xx as soon as the server can be measured.
        raft_addr: a node's name among nodes; "" for the reference, which has no replica.
    """

    def __init__(self, arguments: list[str], port: int, ready: bytes, raft_addr: str = "") -> None:
        self.address: Address = ("127.0.0.1", port)
        self.raft_addr = raft_addr
        self._ready = ready
        self._said: IO[bytes] = os.fdopen(os.memfd_create("said"), "w+b")
        self.pid = fork(self._program(arguments))

    def _program(self, arguments: list[str]) -> Callable[[], int]:
        def run() -> int:
            for stream in (1, 2):
                os.dup2(self._said.fileno(), stream)
            environ = {name: text for name, text in os.environ.items() if not name.startswith(("CQUEUE_", "CFQUEUE_"))}
            os.execve(sys.executable, [sys.executable, *arguments], environ)  # noqa: S606 - replaced, no shell in it

        return run

    def wait_until_ready(self) -> None:
        """Ask until it is up.

        Raises:
            NotServed: it ended, or was not up in time.
        """
        until_s = time.monotonic() + READY_S_MAX
        while not self._is_ready():
            if self.has_ended() or time.monotonic() > until_s:
                why = "was not ready in time" if self.pid else "ended"
                raise NotServed(f"the server at {self.address[0]}:{self.address[1]} {why}: {self.said()}")
            time.sleep(_POLL_S)

    def _is_ready(self) -> bool:
        try:
            with Connection(self.address) as connection:
                return connection.exchange(self._ready).startswith(b"HTTP/1.1 2")
        except (OSError, WrongAnswer):
            return False

    def has_ended(self) -> bool:
        """Whether the process is gone."""
        if self.pid and os.waitpid(self.pid, os.WNOHANG)[0]:
            self.pid = 0
        return not self.pid

    def said(self) -> str:
        """What it wrote, the last of it."""
        return os.pread(self._said.fileno(), 1 << 20, 0).decode(errors="replace")[-2000:].strip() or "it said nothing"

    def ask_to_stop(self) -> None:
        """Let it begin to end."""
        if not self.has_ended():
            os.kill(self.pid, signal.SIGTERM)

    def stop(self) -> None:
        """End it, first politely."""
        self.ask_to_stop()
        until_s = time.monotonic() + STOP_S_MAX
        while not self.has_ended():
            if time.monotonic() > until_s:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(_POLL_S)
        self._said.close()


def start_reference() -> Server:
    """The bare Flask route."""
    port = _free_port()
    return Server(["-m", "benchmarks.bare", str(port)], port, rendered("PUT", bare.PATH))


def start_nodes(count: int, data_dir: Path | None) -> list[Server]:
    """`count` nodes of one queue; with `data_dir` each keeps a journal there and syncs it before it answers."""
    ports = [_free_port() for _ in range(count)]
    raft_addrs = [f"127.0.0.1:{_free_port()}" for _ in range(count)]
    secret = secrets.token_hex(32)
    nodes = []
    for port, raft_addr in zip(ports, raft_addrs, strict=True):
        arguments = ["-m", "cqueue", "serve", "--port", str(port), "--log-level", "warning"]
        if count > 1:
            peers = ",".join(peer for peer in raft_addrs if peer != raft_addr)
            arguments += ["--raft-addr", raft_addr, "--peers", peers, "--cluster-secret", secret]
        if data_dir is not None:
            arguments += ["--data-dir", str(data_dir / str(port)), "--fsync", "always"]
        nodes.append(Server(arguments, port, rendered("GET", "/readyz"), raft_addr))
    return nodes


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _Cluster(Struct):
    leader: str | None


def leader_last(nodes: list[Server]) -> list[Server]:
    """The nodes, the one that leads at the end."""
    with Connection(nodes[0].address) as connection:
        answer = connection.exchange(rendered("GET", "/cluster"))
    leader = msgspec.json.decode(body_of(answer), type=_Cluster).leader
    return sorted(nodes, key=lambda node: node.raft_addr == leader)


def cpu_of(servers: Iterable[Server]) -> Cpu:
    """The CPU time the servers have used since they started."""
    processes = _processes()
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in processes.items():
        children.setdefault(parent, []).append(pid)
    total = Cpu()
    for server in servers:
        alone_s, tree_s = 0.0, 0.0
        unvisited = [server.pid]
        while unvisited:
            pid = unvisited.pop()
            below = children.get(pid, [])
            unvisited += below
            tree_s += processes[pid][1]
            # Of a node's two children gunicorn's master has workers below it and the replica has nobody.
            if server.raft_addr and processes[pid][0] == server.pid and not below:
                alone_s += processes[pid][1]
        total += Cpu(tree_s - alone_s, alone_s)
    return total


def _processes() -> dict[int, tuple[int, float]]:
    """{pid: (parent's pid, CPU seconds)} of all processes."""
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            try:
                stat = Path(entry.path, "stat").read_text(encoding="ascii", errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            # The name, in parentheses, may hold anything; after it come state, ppid, …, utime (14th), stime (15th).
            fields = stat.rpartition(")")[2].split()
            found[int(entry.name)] = (int(fields[1]), (int(fields[11]) + int(fields[12])) / _TICKS_PER_S)
    return found
