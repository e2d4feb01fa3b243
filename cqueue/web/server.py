"""gunicorn as cqueue runs it: one master, one application per worker, quiet.

No configuration file, no environment variable and no command line of gunicorn's is read: what
this module says is all there is.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
from typing import TYPE_CHECKING, Any, Final, NoReturn

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger

from cqueue import logs
from cqueue.certificates import TlsFiles
from cqueue.config import Settings
from cqueue.processes import die_with_parent
from cqueue.web.app import create_app
from cqueue.web.auth.access import Access
from cqueue.web.link import ReplicaLink
from cqueue.web.overload import Overload
from cqueue.web.reading import Reader
from cqueue.web.tls import Tls
from cqueue.web.worker import CqueueWorker
from cqueue.web.writing import Response

if TYPE_CHECKING:
    from flask import Flask

KEEPALIVE_S: Final = 75
"""Longer than common proxies keep theirs (60 s), so that it is never this end that closes under a request."""
GRACEFUL_S: Final = 8
"""For requests on their way at SIGTERM; the node as a whole has 10 s."""
STUCK_S: Final = 60
"""A worker whose event loop has not turned for this long is replaced."""
BACKLOG: Final = 2048
DESCRIPTORS_BESIDES: Final = 128
"""Files a worker has open besides its connections."""

log = logs.of(__name__)

_ENVIRONMENT_OF_OTHERS: Final = ("SCRIPT_NAME", "GUNICORN_PID", "GUNICORN_FD", "LISTEN_PID", "LISTEN_FDS")


def worker_count(settings: Settings) -> int:
    """How many web processes: as set, else one up to two cores, then cores - 1."""
    return settings.workers or max(1, len(os.sched_getaffinity(0)) - 1)


def gunicorn_options(settings: Settings, listen_fd: int) -> dict[str, Any]:
    """Gunicorn's settings by its own names."""
    return {
        # This module's TLS is served by the worker itself (cqueue.web.tls). By these gunicorn knows that it is there:
        # it says https to the application, and sends no file past TLS.
        "certfile": settings.tls_cert or None,
        "keyfile": settings.tls_key or None,
        "do_handshake_on_connect": True,
        "bind": f"fd://{listen_fd}",
        "backlog": BACKLOG,
        "workers": worker_count(settings),
        "worker_class": CqueueWorker,
        "worker_connections": settings.connections_max,
        "keepalive": KEEPALIVE_S,
        "graceful_timeout": GRACEFUL_S,
        "timeout": STUCK_S,
        "preload_app": False,
        "http_parser": "python",
        "sendfile": False,
        "control_socket_disable": True,
        "accesslog": None,
        "logger_class": QuietLogger,
        "loglevel": settings.log_level,
        "proc_name": "cqueue-web",
        # No proxy is trusted: nothing here asks who the caller is or which scheme it used.
        "forwarded_allow_ips": "",
        "forwarder_headers": "",
    }


def _allow_descriptors(needed: int) -> None:
    """Raise the soft limit of open files: the usual 1,024 would end long before `connections_max`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = needed if hard == resource.RLIM_INFINITY else min(hard, needed)
    if allowed > soft != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed:
        log.warning("open_files_limited", allowed=allowed, needed=needed)


class QuietLogger(Logger):  # type: ignore[misc] # gunicorn has no types
    """Gunicorn's log in the standard library's: its comings and goings only with `debug`."""

    access_log_enabled = False

    def setup(self, cfg: Any) -> None:
        """Leave levels and handlers to whoever set up logging for this process."""
        self.cfg = cfg
        self.error_log = logging.getLogger("cqueue.web.gunicorn")

    def info(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Gunicorn's chatter."""
        self.debug(msg, *args, **kwargs)

    def access(self, *_: Any) -> None:
        """No access log: it costs 40 % of the throughput."""


class _Master(Arbiter):  # type: ignore[misc] # gunicorn has no types
    def init_signals(self) -> None:
        super().init_signals()
        # Ctrl-C reaches the whole process group; the supervisor decides the order of going.
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def spawn_worker(self) -> int:
        """Start a worker that a signal cannot meet half dressed: it waits until the worker has its handlers."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
        try:
            return int(super().spawn_worker())
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGHUP})

    def handle_hup(self) -> None:
        """SIGHUP: have files read again, for workers to come and by those there are; gunicorn would replace them."""
        if self.app.renew(with_keys=False):
            self.app.tell()
            self.kill_workers(signal.SIGHUP)


class _Application(BaseApplication):  # type: ignore[misc] # gunicorn has no types
    def __init__(self, settings: Settings, access: Access, listen_fd: int, replica_path: str) -> None:
        self._settings = settings
        self._access = access
        self._listen_fd = listen_fd
        self._replica_path = replica_path
        self._link: ReplicaLink | None = None
        self.tls = Tls(TlsFiles.of_http(settings)) if settings.tls_cert else None
        self._overload: Overload
        super().__init__()

    def load_config(self) -> None:
        for name, value in gunicorn_options(self._settings, self._listen_fd).items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        self._access.load_keys()
        settings = self._settings
        self._link = ReplicaLink(
            self._replica_path, request_timeout_s=settings.request_timeout_s, overload_ms=settings.overload_ms
        )
        self._overload = Overload(self._link, body_bytes_max=settings.body_bytes_max)
        return create_app(self._link, settings, self._access)

    def renew(self, *, with_keys: bool) -> bool:
        """Read again what comes from files; called by the master and by its workers. Whether all could be used.

        with_keys: see `Access.renew`.
        """
        return self._access.renew(with_keys=with_keys) and (self.tls is None or self.tls.renew())

    def tell(self) -> None:
        """Say what comes from files; called by the master."""
        if self.tls is not None:
            self.tls.tell()

    def reader(self, connection: Any) -> Reader:
        """What reads a connection; called by the worker for each."""
        return Reader(connection, self._settings.read_timeout_s, self._overload)

    def drain(self) -> None:
        """Have everything that waits answered; called by the worker on its way out."""
        if self._link is not None:
            self._link.drain()


def serve(settings: Settings, access: Access, listen_fd: int, replica_path: str) -> NoReturn:
    """Be the gunicorn master until SIGTERM, then exit with status 0.

    Args:
        settings: this node's settings.
        access: what callers may show.
        listen_fd: a bound TCP socket; it belongs to gunicorn from here on.
        replica_path: where the replica's unix socket is, or will be.
    """
    die_with_parent()
    if settings.tls_hsts_s:
        Response.fixed += f"Strict-Transport-Security: max-age={settings.tls_hsts_s}\r\n"
    _allow_descriptors(settings.connections_max + DESCRIPTORS_BESIDES)
    for name in _ENVIRONMENT_OF_OTHERS:
        os.environ.pop(name, None)
    application = _Application(settings, access, listen_fd, replica_path)
    application.tell()
    _Master(application).run()
    raise SystemExit(0)
