"""The processes under test: started, asked whether they are ready, weighed, ended.

Each server is a whole program in a process tree of its own, which dies with the benchmark. CPU time
is what the kernel booked for the tree's processes (utime + stime, proc(5)); its grain is a clock
tick, usually 10 ms, so it means something for sums over many requests only.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
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
        self._arguments = arguments
        self._ready = ready
        self._said: IO[bytes] = os.fdopen(os.memfd_create("said"), "w+b")
        self.pid = 0
        self.start()

    def start(self) -> None:
        """Start it, or start it again after `kill`."""
        self.pid = fork(self._run)

    def _run(self) -> int:
        for stream in (1, 2):
            os.dup2(self._said.fileno(), stream)
        environ = {name: text for name, text in os.environ.items() if not name.startswith(("CQUEUE_", "CFQUEUE_"))}
        os.execve(sys.executable, [sys.executable, *self._arguments], environ)  # noqa: S606 - replaced, no shell in it

    def wait_until_ready(self) -> None:
        """Ask until it is up.

        Raises:
            NotServed: it ended, or was not up in time.
        """
        until_s = time.monotonic() + READY_S_MAX
        while not self.is_ready():
            if self.has_ended() or time.monotonic() > until_s:
                why = "was not ready in time" if self.pid else "ended"
                raise NotServed(f"the server at {self.address[0]}:{self.address[1]} {why}: {self.said()}")
            time.sleep(_POLL_S)

    def is_ready(self) -> bool:
        """Whether it can be measured now."""
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
        return self.log()[-2000:].strip() or "it said nothing"

    def log(self) -> str:
        """All it wrote."""
        return os.pread(self._said.fileno(), os.fstat(self._said.fileno()).st_size, 0).decode(errors="replace")

    def kill(self) -> None:
        """End it as a power cut would: nothing of it gets a word in."""
        os.kill(self.pid, signal.SIGKILL)
        while not self.has_ended():
            time.sleep(_POLL_S)

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


def start_nodes(
    count: int, data_dir: Path | None, *, fsync: str = "always", log_level: str = "warning", more: Sequence[str] = ()
) -> list[Server]:
    """`count` nodes of one queue; with `data_dir` each keeps a journal there, in a directory named after its port.

    more: arguments of each.
    """
    ports = [_free_port() for _ in range(count)]
    raft_addrs = [f"127.0.0.1:{_free_port()}" for _ in range(count)]
    secret = secrets.token_hex(32)
    nodes = []
    for port, raft_addr in zip(ports, raft_addrs, strict=True):
        arguments = ["-m", "cqueue", "serve", "--port", str(port), "--log-level", log_level]
        arguments += ["--log-format", "console", *more]
        if count > 1:
            peers = ",".join(peer for peer in raft_addrs if peer != raft_addr)
            arguments += ["--raft-addr", raft_addr, "--peers", peers, "--cluster-secret", secret]
        if data_dir is not None:
            arguments += ["--data-dir", str(data_dir / str(port)), "--fsync", fsync]
        nodes.append(Server(arguments, port, rendered("GET", "/readyz"), raft_addr))
    return nodes


@contextmanager
def running(nodes: list[Server]) -> Iterator[list[Server]]:
    """Wait until all `nodes` are ready; end them when the block ends."""
    try:
        for node in nodes:
            node.wait_until_ready()
        yield nodes
    finally:
        for node in nodes:
            node.ask_to_stop()
        for node in nodes:
            node.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class View(Struct):
    """Of the cluster, as one of its nodes sees it."""

    leader: str | None
    term: int


def view_of(node: Server) -> View:
    """Ask a node who leads."""
    with Connection(node.address) as connection:
        return msgspec.json.decode(body_of(connection.exchange(rendered("GET", "/cluster"))), type=View)


def leader_last(nodes: list[Server]) -> list[Server]:
    """The nodes, the one that leads at the end."""
    leader = view_of(nodes[0]).leader
    return sorted(nodes, key=lambda node: node.raft_addr == leader)


def cpu_of(servers: Iterable[Server]) -> Cpu:
    """The CPU time the servers have used since they started."""
    processes = _processes()
    total = Cpu()
    for server in servers:
        web_s = sum(processes[pid].cpu_s for pid in _web_pids(server, processes))
        replica = _replica_pid(server, processes)
        total += Cpu(web_s, processes[replica].cpu_s if replica else 0.0)
    return total


def memory_of(server: Server) -> tuple[float, float]:
    """Resident memory in MB: of the replica, and of the largest of the node's other processes."""
    processes = _processes()
    replica = _replica_pid(server, processes)
    others = [_resident_mb(pid) for pid in _web_pids(server, processes)]
    return _resident_mb(replica) if replica else 0.0, max(others)


def whole_memory_of(server: Server) -> tuple[float, float]:
    """Memory in MB of all of a server's processes together: what they share counted once, and in each of them.

    The first is the sum of PSS (proportional set size), which is what the machine has to spare for the
    server; the second that of RSS, which counts a page of the forked processes as often as they map it.
    """
    processes = _processes()
    pids = [*_web_pids(server, processes), *filter(None, [_replica_pid(server, processes)])]
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii") for pid in pids]
    pss, rss = (
        sum(int(kb) for text in rollups for kb in re.findall(rf"^{name}: +(\d+) kB", text, re.MULTILINE))
        for name in ("Pss", "Rss")
    )
    return pss * 1024 / 1e6, rss * 1024 / 1e6


class _Process(Struct):
    parent: int
    cpu_s: float


def _web_pids(server: Server, processes: dict[int, _Process]) -> list[int]:
    """The processes of a server but for its replica and what that has forked."""
    replica, found, unvisited = _replica_pid(server, processes), [], [server.pid]
    while unvisited:
        pid = unvisited.pop()
        if pid != replica:
            found.append(pid)
            unvisited += [child for child, process in processes.items() if process.parent == pid]
    return found


def _replica_pid(server: Server, processes: dict[int, _Process]) -> int | None:
    """A node forks its replica first."""
    children = [pid for pid, process in processes.items() if process.parent == server.pid]
    return min(children) if server.raft_addr and children else None


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _processes() -> dict[int, _Process]:
    """All processes, by pid."""
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            try:
                stat = Path(entry.path, "stat").read_text(encoding="ascii", errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            # The name, in parentheses, may hold anything; after it come state, ppid, …, utime (14th), stime (15th).
            fields = stat.rpartition(")")[2].split()
            found[int(entry.name)] = _Process(int(fields[1]), (int(fields[11]) + int(fields[12])) / _TICKS_PER_S)
    return found
