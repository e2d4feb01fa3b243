"""`cqueue dev`: a cluster on this machine, in one terminal.

Each node is a whole `cqueue serve` in a child process; its lines come out in its colour. A node
that is killed is started again. Beside them a demo adds jobs and does them, and its counts stay on the
last line. There is one loop and no thread: pipes, signals and orders for the clock wake it.
"""

from __future__ import annotations

import os
import re
import secrets
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import click

from cqueue import node
from cqueue.cli.developing import PORT_DEFAULT
from cqueue.cli.time_travel import Control, SharedClock
from cqueue.config import Settings, load
from cqueue.errors import Unusable
from cqueue.processes import fork

RAFT_PORTS_ABOVE: Final = 1000
"""The nodes talk to each other on ports this far above those of their clients."""
RESTART_S: Final = 2.0
STOP_S_MAX: Final = 11.0
_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_LEVEL: Final = re.compile(rf"\S+Z ({'|'.join(_LEVELS)})\b")
_ELECTED: Final = re.compile(r" leader_elected .*term=(\d+)")
_COLOURS: Final = (
    "cyan",
    "magenta",
    "yellow",
    "green",
    "blue",
    "red",
    "bright_cyan",
    "bright_magenta",
    "bright_yellow",
)

_KEPT: Final[list[socket.socket]] = []


@dataclass
class _Node:
    """One node. pid 0: not running. restart_at_s: monotonic time of its next start."""

    name: str
    colour: str
    settings: Settings
    pid: int = 0
    restart_at_s: float | None = 0.0


def run(port: int, count: int, log_level: str, *, with_demo: bool) -> int:
    """Run `count` nodes on `port` and the ports after it until Ctrl-C; returns the exit code.

    Raises:
        Unusable: a port is taken.
    """
    nodes = [
        _Node(f"node {number}", colour, settings)
        for number, (settings, colour) in enumerate(zip(_settings(port, count, log_level), _COLOURS, strict=False), 1)
    ]
    for each in nodes:
        node.bind(each.settings).close()
    return _Terminal(nodes, log_level, with_demo=with_demo).run()


def _settings(port: int, count: int, log_level: str) -> list[Settings]:
    raft_addrs = [f"127.0.0.1:{_raft_port(port + RAFT_PORTS_ABOVE + position)}" for position in range(count)]
    secret = secrets.token_hex(32)
    return [
        load(
            {
                "port": port + position,
                "log_format": "console",
                "log_level": "debug" if log_level == "debug" else "info",
                "workers": 1,
                "raft_addr": raft_addr,
                "peers": ",".join(peer for peer in raft_addrs if peer != raft_addr),
                "cluster_secret": secret,
                # Where pages of the nodes are, and where they are, too, if somebody typed the address.
                "node_urls": ",".join(f"http://localhost:{port + other}" for other in range(count)),
                "allowed_origins": ",".join(f"http://127.0.0.1:{port + other}" for other in range(count)),
            },
            {},
        )
        for position, raft_addr in enumerate(raft_addrs)
    ]


def _raft_port(wanted: int) -> int:
    """The wanted port, so that names in `/cluster` tell the nodes apart; any free one where it is taken.

    It stays bound here, not listening, so that nobody else is given it while its node is down.
    """
    for port in (wanted, 0):
        kept = socket.socket()
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError, OverflowError):
            kept.bind(("127.0.0.1", port))
            _KEPT.append(kept)
            return int(kept.getsockname()[1])
        kept.close()
    raise Unusable("no port is free on 127.0.0.1")


class _Terminal:
    """Starts the nodes, shows what they say, starts them again, ends them."""

    def __init__(self, nodes: list[_Node], log_level: str, *, with_demo: bool) -> None:
        self._with_demo = with_demo
        self._demo = 0
        self._counts = ""
        self._is_seen = sys.stderr.isatty()
        self._addresses = [f"127.0.0.1:{each.settings.port}" for each in nodes]
        self._clock = SharedClock()
        self._leader: _Node | None = None
        self._nodes = nodes
        self._log_level = _LEVELS.index(log_level.upper())
        self._selector = selectors.DefaultSelector()
        self._stopping = 0
        self._announced = 0
        self._is_welcomed = False

    def run(self) -> int:
        control = Control(self._nodes[0].settings.port, self._clock, self._addresses)
        self._selector.register(control, selectors.EVENT_READ, control.take)
        try:
            return self._run()
        finally:
            control.close()

    def _run(self) -> int:
        signals, writer = socket.socketpair()
        for end in (signals, writer):
            end.setblocking(False)
        signal.set_wakeup_fd(writer.fileno())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, self._on_signal)
        self._selector.register(signals, selectors.EVENT_READ, lambda: signals.recv(64))
        stop_at_s = float("inf")
        while True:
            self._reap()
            if self._stopping and stop_at_s == float("inf"):
                stop_at_s = time.monotonic() + STOP_S_MAX
                self._echo("stopping …")
                self._end_demo()
                self._kill(signal.SIGTERM)
            if self._stopping > 1 or time.monotonic() > stop_at_s:
                self._kill(signal.SIGKILL)
            if self._stopping and not any(each.pid for each in self._nodes):
                return 0
            if not self._stopping:
                self._start_due()
            for key, _ in self._selector.select(0.5):
                key.data()

    def _on_signal(self, number: int, _frame: object) -> None:
        if number != signal.SIGCHLD:
            self._stopping += 1

    def _start_due(self) -> None:
        for each in self._nodes:
            if each.restart_at_s is not None and each.restart_at_s <= time.monotonic():
                each.restart_at_s = None
                reader, writer = os.pipe()
                each.pid = fork(_served(each.settings, writer, self._clock))
                os.close(writer)
                self._read_lines(reader, partial(self._pass_on, each))

    def _read_lines(self, reader: int, take: Callable[[str], None]) -> None:
        """Have each line that comes through a pipe taken."""
        rest = b""

        def show() -> None:
            nonlocal rest
            data = os.read(reader, 65536)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                take(line.decode(errors="replace"))
            if not data:
                self._selector.unregister(reader)
                os.close(reader)

        os.set_blocking(reader, False)
        self._selector.register(reader, selectors.EVENT_READ, show)

    def _pass_on(self, each: _Node, line: str) -> None:
        """Show a node's line if it is severe enough, and in any case who leads."""
        elected = _ELECTED.search(line)
        level = _LEVEL.match(line)
        if elected:
            self._leader = each
            self._say(each, f"is the leader now, term {elected[1]}; kill -9 {each.pid} kills it")
        elif level is None or _LEVELS.index(level[1]) >= self._log_level:
            self._say(each, line)

    def _say(self, each: _Node, line: str) -> None:
        self._echo(click.style(f"{each.name} │ ", fg=each.colour) + line)
        self._announced += line.startswith("serving ")
        if not self._is_welcomed and self._leader is not None and self._announced >= len(self._nodes):
            self._is_welcomed = True
            self._welcome(self._leader)

    def _echo(self, line: str) -> None:
        """A line above the counts, which stay the last on a terminal."""
        if self._is_seen and self._counts:
            click.echo(f"\r\x1b[K{line}\n{self._counts}", err=True, nl=False)
        else:
            click.echo(line, err=True)

    def _count(self, counts: str) -> None:
        self._counts = click.style("demo │ ", bold=True) + counts
        click.echo(f"\r\x1b[K{self._counts}" if self._is_seen else self._counts, err=True, nl=not self._is_seen)

    def _welcome(self, leader: _Node) -> None:
        first = self._nodes[0].settings.port
        port = "" if first == PORT_DEFAULT else f" --port {first}"
        self._echo(
            f"\n{len(self._nodes)} nodes, one queue. Any node takes any call:\n"
            f"  curl -X PUT localhost:{first}/jobs/enqueue\n"
            f"  curl -X POST localhost:{first + len(self._nodes) - 1}/jobs/dequeue\n"
            "Try this in another terminal, and watch that nothing is lost:\n"
            f"  kill -9 {leader.pid}    # the leader, {leader.name}: the others go on, and it comes back\n"
            f"  cqueue top --node localhost:{first}\n"
            f"  cqueue dev clock +7d{port}    # a week later\n"
            "Ctrl-C ends all.\n"
        )
        if self._with_demo:
            reader, writer = os.pipe()
            self._demo = fork(_demonstrated(self._addresses, writer), ignore_interrupt=True)
            os.close(writer)
            self._read_lines(reader, self._count)

    def _end_demo(self) -> None:
        if self._demo:
            with suppress(ProcessLookupError):
                os.kill(self._demo, signal.SIGKILL)

    def _reap(self) -> None:
        if self._demo and os.waitpid(self._demo, os.WNOHANG)[0]:
            self._demo = 0
        for each in self._nodes:
            if each.pid and os.waitpid(each.pid, os.WNOHANG)[0]:
                each.pid = 0
                if not self._stopping:
                    self._say(each, f"died; it starts again in {RESTART_S:.0f} s")
                    each.restart_at_s = time.monotonic() + RESTART_S

    def _kill(self, number: signal.Signals) -> None:
        for each in self._nodes:
            if each.pid:
                os.kill(each.pid, number)


def _demonstrated(addresses: list[str], output: int) -> Callable[[], int]:
    def demonstrate() -> int:
        from cqueue.cli import demo  # noqa: PLC0415 - its HTTP client must not be in a process that serves

        os.dup2(output, 1)
        signal.set_wakeup_fd(-1)
        return demo.run(addresses)

    return demonstrate


def _served(settings: Settings, output: int, clock: SharedClock) -> Callable[[], int]:
    def serve() -> int:
        os.dup2(output, 1)
        os.dup2(output, 2)
        signal.set_wakeup_fd(-1)
        return node.serve(
            settings,
            lambda url: print(f"serving {url} pid {os.getpid()}", file=sys.stderr, flush=True),  # noqa: T201
            clock,
        )

    return serve
