"""One node: its processes, from start to end (`cqueue serve`).

    supervisor (this module)
    ├── replica      cqueue.replication.loop
    └── web          cqueue.web.server: gunicorn's master
        └── workers

The supervisor binds the ports' HTTP side, so that a taken port is one line before anything runs;
it serves nobody itself. A replica or a web master that dies takes the node down; a worker that
dies is replaced by its master. All of them die with the supervisor, by whatever it dies.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import select
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NoReturn

from cqueue import logs
from cqueue.config import EXIT_CONFIG, Settings
from cqueue.errors import Unusable
from cqueue.processes import fork
from cqueue.web.auth.access import Access

if TYPE_CHECKING:
    from cqueue.replication.clock import Clock

log = logs.of(__name__)

EXIT_PORT_TAKEN: Final = 3
EXIT_CHILD_DIED: Final = 1
WEB_STOP_S_MAX: Final = 8.2
"""Web's grace (8 s) and a moment; with the replica's share a stop takes less than 10 s."""
REPLICA_STOP_S_MAX: Final = 1.7

_SIGNALS: Final = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP}
_STOP_SIGNALS: Final = {"replica": signal.SIGUSR1, "web": signal.SIGTERM}
"""What tells a child to stop. The replica ignores what a terminal or a service manager sends to all."""
_BACKLOG: Final = 2048
_LOOK_S: Final = 0.1


def serve(settings: Settings, announce: Callable[[str], None], clock: Clock | None = None) -> int:
    """Run a node until it is told to stop; returns the exit code.

    Args:
        settings: the node's settings.
        announce: called once with the address in use when the node takes requests.
        clock: what its replica goes by; None: the machine's.

    Raises:
        Unusable: the node cannot start; the sentence says why.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    logs.configure(settings.log_level, settings.log_format)
    access = Access(settings)
    if settings.jwt_jwks:
        code = _in_a_child(lambda: _check_keys(access))
        if code:
            return code
    _check_tls(settings)
    listener = bind(settings)
    with listener:
        inbox, inbox_path = _listen_for_workers()
        with inbox:
            ready, started = os.pipe()
            replica = fork(lambda: _run_replica(settings, listener, inbox, started, clock), ignore_interrupt=True)
            os.close(started)
        web = fork(lambda: _run_web(settings, access, listener, inbox_path), ignore_interrupt=True)
        children = {replica: "replica", web: "web"}
        url = _url(settings, listener)
        # Only web keeps it: when web stops listening, who comes later is refused and not left waiting.
        listener.close()
        if _has_started(ready):
            announce(url)
        os.close(ready)
        return _watch(children, replica, web, lambda: _renew(settings, access, web))


def _has_started(ready: int) -> bool:
    """Wait until the replica says so; False where it died first, or a signal to stop came first."""
    while not select.select([ready], [], [], _LOOK_S)[0]:
        if signal.sigpending() & {signal.SIGTERM, signal.SIGINT}:
            return False
    return bool(os.read(ready, 1))


def _watch(children: dict[int, str], replica: int, web: int, on_hangup: Callable[[], None]) -> int:
    """Wait for a signal to stop, or for a child to die; then end what is left."""
    while True:
        received = signal.sigwaitinfo(_SIGNALS).si_signo
        if received == signal.SIGCHLD:
            for pid, code in _reap():
                name = children.pop(pid, None)
                if name is not None:
                    return _fail(children, name, code)
        elif received == signal.SIGHUP:
            on_hangup()
        else:
            log.info("node_stopping", signal=signal.Signals(received).name)
            clean = _stop(children, web, WEB_STOP_S_MAX) and _stop(children, replica, REPLICA_STOP_S_MAX)
            return 0 if clean else EXIT_CHILD_DIED


def _renew(settings: Settings, access: Access, web: int) -> None:
    """Have web read its files again if all of them can be used, and none otherwise.

    The replica needs no word: it looks at its own files with every new link.
    """
    if (access.is_on or settings.tls_cert) and _in_a_child(lambda: _look_again(settings, access)) == 0:
        os.kill(web, signal.SIGHUP)
        if access.is_on:
            log.info("access_renewed")


def _look_again(settings: Settings, access: Access) -> int:
    if not access.renew(with_keys=True):
        return 1
    try:
        _check_tls(settings)
    except Unusable as error:
        log.warning("tls_kept", reason=error.detail)
        return 1
    return 0


def _check_tls(settings: Settings) -> None:
    if settings.tls_cert:
        from cqueue.certificates import TlsFiles  # noqa: PLC0415 - without TLS the supervisor does without it

        TlsFiles.of_http(settings).check_serves(datetime.now(UTC))


def _check_keys(access: Access) -> int:
    access.load_keys()
    return 0


def _in_a_child(body: Callable[[], int]) -> int:
    """The exit code of a child that does this; the modules it needs for it do not stay here."""
    return os.waitstatus_to_exitcode(os.waitpid(fork(body), 0)[1])


def _fail(children: dict[int, str], name: str, code: int) -> int:
    log.error("node_failed", process=name, exit_code=code)
    for pid in list(children):
        _stop(children, pid, 1.0)
    return code if 0 < code < 128 else EXIT_CHILD_DIED  # noqa: PLR2004 - above: died by a signal


def _stop(children: dict[int, str], pid: int, patience_s: float) -> bool:
    """Ask a child to end, and end it when patience does; whether it ended well."""
    if pid not in children:
        return False
    os.kill(pid, _STOP_SIGNALS[children[pid]])
    until_s = time.monotonic() + patience_s
    code = -1
    while pid in children:
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            log.warning("process_killed", process=children[pid])
            os.kill(pid, signal.SIGKILL)
            left_s = 1.0
        signal.sigtimedwait({signal.SIGCHLD}, left_s)
        for ended, ended_code in _reap():
            children.pop(ended, None)
            if ended == pid:
                code = ended_code
    # A web master that has not come far enough to take the signal dies of it, with nothing begun.
    return code in {0, 128 + signal.SIGTERM}


def _reap() -> list[tuple[int, int]]:
    """Every child that ended, orphans of a container included: (pid, exit code; 128 + signal)."""
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        code = os.waitstatus_to_exitcode(status)
        ended.append((pid, code if code >= 0 else 128 - code))


def _run_replica(
    settings: Settings, listener: socket.socket, inbox: socket.socket, started: int, clock: Clock | None
) -> int:
    from cqueue.replication import loop  # noqa: PLC0415 - the web process and the supervisor must not load it

    listener.close()
    loop.run(settings, inbox, lambda: os.write(started, b"."), clock)
    return 0


def _run_web(settings: Settings, access: Access, listener: socket.socket, inbox_path: str) -> NoReturn:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until gunicorn takes it
    from cqueue.web import server  # noqa: PLC0415 - the replica and the supervisor must not load it

    server.serve(settings, access, listener.fileno(), inbox_path)


def _listen_for_workers() -> tuple[socket.socket, str]:
    """Listen on a unix socket that has no name any more; returns it and where its workers find it.

    Children inherit a descriptor of the socket's file and connect through it (proc_pid_fd(5)). So a
    node leaves nothing behind, however it ends; and no path is too long, whatever TMPDIR is.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with tempfile.TemporaryDirectory(prefix="cqueue-") as name:
            directory = os.open(name, os.O_PATH)
            listener.bind(f"/proc/self/fd/{directory}/replica.sock")
            file = os.open("replica.sock", os.O_PATH, dir_fd=directory)
            os.close(directory)
    except OSError as error:
        listener.close()
        raise Unusable(f"TMPDIR: a directory that can be written to is needed: {error.strerror}") from error
    listener.listen(_BACKLOG)
    return listener, f"/proc/self/fd/{file}"


def bind(settings: Settings) -> socket.socket:
    """Listen on the HTTP address.

    Raises:
        Unusable: it is taken, no address of this machine, or open to callers that are not asked who they are.
    """
    try:
        found = socket.getaddrinfo(settings.addr, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise Unusable(
            f"--addr: {settings.addr!r} is no name or address: {error}", exit_code=EXIT_PORT_TAKEN
        ) from error
    family, kind, number, _, address = found[0]
    _mind_others(settings, str(address[0]))
    listener = socket.socket(family, kind, number)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        why = "the port is taken" if error.errno == errno.EADDRINUSE else str(error.strerror)
        raise Unusable(
            f"cannot listen on {settings.addr}:{settings.port}: {why}; choose another with --port",
            exit_code=EXIT_PORT_TAKEN,
        ) from error
    return listener


def _mind_others(settings: Settings, address: str) -> None:
    if settings.asks_who or ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        return
    if not settings.insecure:
        raise Unusable(
            f"--addr: others can reach {settings.addr}, and callers are not asked who they are: give them tokens "
            "(cqueue token new) and say --tokens FILE, or --jwt-jwks and its like; or say --insecure "
            "(CQUEUE_INSECURE=1) if whoever reaches it may do everything",
            exit_code=EXIT_CONFIG,
        )
    log.warning("node_open", addr=settings.addr)


def _url(settings: Settings, listener: socket.socket) -> str:
    scheme = "https" if settings.tls_cert else "http"
    host, port = listener.getsockname()[:2]
    shown = "localhost" if host in {"127.0.0.1", "::1"} else f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{port}"
