"""The gunicorn worker: gevent's, with a drain that is quick and polite.

gunicorn's own gevent worker looks once a second whether to stop, lets idle connections hold it
for as long as keep-alive lasts, and cuts what waits off without an answer. This one, on SIGTERM,
has all waiting dequeues answered, tells every connection to close after its answer, ends those
that are idle, and leaves as soon as the last one is gone. gunicorn is pinned because of it.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import os
import signal
import time
from functools import partial
from typing import Any, Final

import gevent
from gevent.event import Event
from gevent.pool import Pool
from gevent.server import StreamServer
from gevent.socket import IPPROTO_TCP, SHUT_RD, TCP_NODELAY, TCP_USER_TIMEOUT
from gunicorn.http import wsgi
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, NoMoreData, ParseException
from gunicorn.http.parser import RequestParser
from gunicorn.util import close
from gunicorn.workers.ggevent import GeventWorker

from cqueue import logs
from cqueue.processes import die_with_parent
from cqueue.refusals import Refusals
from cqueue.web.heads import Request
from cqueue.web.problems import Problem, request_id_or_fresh
from cqueue.web.reading import TooSlow
from cqueue.web.writing import Response, answer_of

log = logs.of(__name__)

STALLED_S_MAX: Final = 60
"""A client that takes nothing of an answer for this long is left (TCP_USER_TIMEOUT)."""
_HUNG_UP = frozenset((errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ETIMEDOUT))
_CODES: Final = {LimitRequestLine: "uri_too_long", LimitRequestHeaders: "headers_too_large"}
"""Of what gunicorn's parser refuses; all else is `invalid_http`."""
_NOTIFY_S = 1.0
"""How often the master hears that the worker is alive."""
_CUT_OFF_S = 0.5
"""How long before its grace ends a worker gives up: the master then kills without asking."""


class CqueueWorker(GeventWorker):  # type: ignore[misc] # gunicorn has no types
    """One web process.

    connections: {client socket: the request being answered, or None while it is idle}.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections: dict[Any, Any] = {}
        self._stopping: Event | None = None
        self._refusals = Refusals("request", time.monotonic)

    def init_process(self) -> None:
        """Be the forked child, from its first step to its last."""
        die_with_parent(self.ppid)
        # What gunicorn makes answers of: its workers for HTTP/1 take no other way to say so.
        wsgi.Response = Response
        # What is so for every request: made once. And what is set: found at once, not by three calls each time.
        base = wsgi.base_environ(self.cfg)
        wsgi.base_environ = lambda _cfg: base.copy()
        self.cfg.__dict__.update({name: setting.get() for name, setting in self.cfg.settings.items()})
        with contextlib.suppress(SystemExit):
            super().init_process()
        # Not through the master's frames, which this fork still has on its stack, nor through an
        # interpreter's end that gevent and logging do not survive without complaint.
        logging.shutdown()
        os._exit(0)

    def init_signals(self) -> None:
        """Take gunicorn's signals, but leave Ctrl-C, which reaches the whole group, to the supervisor."""
        super().init_signals()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, self._handle_hangup)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGHUP})  # see _Master.spawn_worker

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: stop, now and not at the next second."""
        super().handle_exit(sig, frame)
        if self._stopping is not None:
            # A signal comes between any two instructions: leave the rest to the loop.
            gevent.spawn(self._stopping.set)

    def _handle_hangup(self, _sig: int, _frame: Any) -> None:
        """SIGHUP: read again what comes from files; as with SIGTERM, in the loop."""
        gevent.spawn(self.app.renew, with_keys=True)

    def run(self) -> None:
        """Serve until told to stop, then drain."""
        self._stopping = Event()
        pool = Pool(self.worker_connections)
        servers = [self._serve(listener, pool) for listener in self.sockets]
        # What is loaded by now stays: the collector need not look at it again with every request.
        gc.collect()
        gc.freeze()
        while self.alive:
            self.notify()
            self._stopping.wait(_NOTIFY_S)
        self._drain(servers, pool)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve one connection."""
        if self.app.tls is not None:
            # In this connection's greenlet: nobody else waits for a handshake.
            client = self.app.tls.accept(client)
        self._connections[client] = None
        try:
            # A connection that was made before gunicorn took the listening socket over has not inherited
            # this, and each of its answers would be held back for 40 ms (Nagle against delayed ACK).
            with contextlib.suppress(OSError):
                client.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
                client.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, STALLED_S_MAX * 1000)
            if not self.alive:
                self._end_idle(client)
            if self.app.tls is None or self.app.tls.shake_hands(client, addr[0]):
                self._converse(listener, client, addr)
        finally:
            del self._connections[client]

    def _converse(self, listener: Any, client: Any, addr: Any) -> None:
        """Answer one request after the other, as gunicorn's own `handle` does, but read by our own reader."""
        reader = self.app.reader(client)
        parser = RequestParser(self.cfg, client, addr)
        parser.unreader, parser.mesg_class = reader, Request
        req = None
        try:
            listener_name = listener.getsockname()
            while True:
                req = None
                reader.await_head()
                req = next(parser)
                reader.await_body(req, self.cfg.keepalive)
                self.handle_request(listener_name, req, client, addr)
                if not parser.finish_body():
                    break
        except (StopIteration, NoMoreData):
            pass
        except (TooSlow, ParseException) as error:
            problem = self._problem_of(error, addr[0])
            if req is None and reader.has_begun:
                with contextlib.suppress(OSError):
                    client.sendall(answer_of(problem, "/", request_id_or_fresh(""), closes=True))
        except OSError as error:
            if error.errno not in _HUNG_UP:
                self.log.exception("connection_failed")
        except Exception as error:  # noqa: BLE001 - what nobody expected
            self.handle_error(req, client, addr, error)
        finally:
            close(client)

    def _problem_of(self, error: TooSlow | ParseException, address: str) -> Problem:
        if isinstance(error, TooSlow):
            return Problem.of(error)
        self._refusals.say(address, str(error))
        return Problem(_CODES.get(type(error), "invalid_http"), str(error))

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answer one request."""
        self._connections[sock] = req
        try:
            super().handle_request(listener_name, req, sock, addr)
        finally:
            self._connections[sock] = None

    def _serve(self, listener: Any, pool: Pool) -> StreamServer:
        listener.setblocking(1)
        server = StreamServer(listener, handle=partial(self.handle, listener), spawn=pool)
        if self.cfg.workers > 1:
            # Otherwise one worker takes a burst of connections and the others stay idle.
            server.max_accept = 1
        server.start()
        return server

    def _drain(self, servers: list[StreamServer], pool: Pool) -> None:
        log.debug("worker_draining", connections=len(self._connections))
        give_up_at = time.monotonic() + self.cfg.graceful_timeout - _CUT_OFF_S
        for server in servers:
            server.close()
        for client, req in list(self._connections.items()):
            if req is None:
                self._end_idle(client)
            else:
                req.force_close()
        self.app.drain()
        pool.join(timeout=max(0.0, give_up_at - time.monotonic()))
        if len(pool):
            log.warning("requests_cut_off", count=len(pool))
            pool.kill(timeout=_CUT_OFF_S)

    @staticmethod
    def _end_idle(client: Any) -> None:
        """Let the connection end at its next read; a request that has already arrived is still read."""
        with contextlib.suppress(OSError):
            # The socket below gevent's: gevent's own shutdown would throw an error into the greenlet that reads.
            client._sock.shutdown(SHUT_RD)
