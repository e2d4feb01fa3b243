"""The routes of a node in a thread of this process, on a port of their own of 127.0.0.1.

gevent serves them in that thread, and patches nothing: the rest of the process is as it was.
"""

from __future__ import annotations

import threading
from pathlib import Path
from socket import IPPROTO_TCP, TCP_NODELAY
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import gevent
from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer
from gunicorn.workers.base_async import ALREADY_HANDLED

from cqueue import protocol
from cqueue.config import Settings
from cqueue.errors import Unavailable
from cqueue.web.app import create_app
from cqueue.web.link import ReplicaLink

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from gevent._types import _AsyncWatcher

HOST = "127.0.0.1"
_CONNECT_S = 0.005


class _TakenOver(Exception):
    """The connection has had its life as a WebSocket."""


class _Handler(WSGIHandler):
    """Gives routes the connection as gunicorn does: they look whether the caller is there, or take it over."""

    def handle(self) -> None:
        """See gevent."""
        # Head and body leave in two writes: the second would be held back for 40 ms (Nagle against delayed ACK).
        self.socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        super().handle()

    def get_environ(self) -> dict[str, Any]:
        """See gevent."""
        return {**super().get_environ(), "gunicorn.socket": self.socket}

    def run_application(self) -> None:
        """See gevent."""
        try:
            super().run_application()
        except _TakenOver:
            self.close_connection = True


class Web:
    """Serves while the `with` statement lasts. address: `host:port`, from its beginning on."""

    def __init__(self, settings: Settings, path: Path) -> None:
        self._settings, self._path = settings, path
        self._ready = threading.Event()
        self._stop: _AsyncWatcher
        self._thread = threading.Thread(target=self._run, name="cqueue-web", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.send()
        self._thread.join()

    def _run(self) -> None:
        hub = gevent.get_hub()
        stopping = gevent.event.Event()
        self._stop = hub.loop.async_()
        self._stop.start(stopping.set)
        link = ReplicaLink(str(self._path), request_timeout_s=self._settings.request_timeout_s)
        app = create_app(link, self._settings)

        def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            result = app(environ, start_response)
            if result is ALREADY_HANDLED:
                raise _TakenOver
            return result

        connections = Pool()
        server = WSGIServer((HOST, 0), application, log=None, error_log=None, handler_class=_Handler, spawn=connections)
        try:
            server.start()
            self._wait_for_leader(link)
            self.address = f"{HOST}:{server.server_port}"
            self._ready.set()
            stopping.wait()
            link.drain()
            server.stop(timeout=0)
        finally:
            link.close()
            hub.destroy(destroy_loop=True)

    def _wait_for_leader(self, link: ReplicaLink) -> None:
        while True:
            try:
                _, outcome, _, data = link.ask(protocol.STATUS)
                if outcome == protocol.RESULT and protocol.decode_status(data).not_ready is None:
                    return
            except Unavailable:
                pass  # it is not connected yet
            gevent.sleep(_CONNECT_S)
