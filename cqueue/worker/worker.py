"""`Worker`: handlers by type of job, and a process that keeps them busy. docs/worker.md says how to use it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from inspect import iscoroutinefunction
from typing import Final, TypeVar

from cqueue.client.asynchronous import AsyncClient
from cqueue.client.carrying import ANSWER_S_DEFAULT
from cqueue.client.jobs import Wish
from cqueue.worker.context import Around, Entry, Handler, Middleware
from cqueue.worker.engine import WAIT_S, Engine, Plan
from cqueue.worker.handling import around_of
from cqueue.worker.processes import Processes

CONCURRENCY_DEFAULT: Final = 8
CONCURRENCY_MAX: Final = 1_000
PREFETCH_MAX: Final = 10_000
PROCESSES_MAX: Final = 256
LEASE_S_DEFAULT: Final = 30
LEASE_S_MAX: Final = 86_400
ANSWER_S_MIN: Final = 2.0
"""How long a node may be silent at least, however short a lease is."""
GRACE_S_DEFAULT: Final = 30.0
TYPES_MAX: Final = 64
"""Types of jobs with handlers of their own. Source: docs/protocol.md#limits, `DEQUEUE_NAMES_MAX`."""

H = TypeVar("H", bound=Handler)
M = TypeVar("M", bound=Middleware)


class Worker:
    """Takes jobs from one queue or several, and runs the handler of each; docs/worker.md#settings has the arguments.

    Raises:
        ValueError: an argument is wrong.
    """

    def __init__(
        self,
        *nodes: str,
        queues: str | Sequence[str] = "default",
        tags: Mapping[str, str] | None = None,
        concurrency: int = CONCURRENCY_DEFAULT,
        processes: int = 1,
        prefetch: int | None = None,
        lease_seconds: int = LEASE_S_DEFAULT,
        timeout_s: float | None = None,
        grace_s: float = GRACE_S_DEFAULT,
        token: str | None = None,
        ca_file: str | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
        consumer: str | None = None,
    ) -> None:
        _check("concurrency", concurrency, 1, CONCURRENCY_MAX)
        _check("processes", processes, 1, PROCESSES_MAX)
        _check("prefetch", prefetch or 0, 0, PREFETCH_MAX)
        _check("lease_seconds", lease_seconds, 1, LEASE_S_MAX)
        _check("grace_s", grace_s, 0, LEASE_S_MAX)
        self._wish: Wish = {"queues": [queues] if isinstance(queues, str) else list(queues)}
        if tags:
            self._wish["tags"] = dict(tags)
        self._concurrency, self._processes, self._prefetch = concurrency, processes, prefetch
        self._lease_seconds, self._timeout_s, self._grace_s = lease_seconds, _time(timeout_s), grace_s
        self._entries: dict[str | None, Entry] = {}
        self._middleware: list[Around] = []
        self._stop_asked = threading.Event()
        self._pass_on_stop: Callable[[], object] = int

        def client() -> AsyncClient:
            name = consumer or f"{socket.gethostname()}:{os.getpid()}"
            return AsyncClient(
                *nodes,
                token=token,
                ca_file=ca_file,
                cert_file=cert_file,
                key_file=key_file,
                consumer=name,
                # A node that hangs must not keep an extend from the others until the lease is over.
                answer_s=min(ANSWER_S_DEFAULT, max(ANSWER_S_MIN, lease_seconds / 3)),
            )

        self._client = client
        client()  # so that a wrong address is said here, and not when it runs

    def job(self, *types: str, timeout_s: float | None = None) -> Callable[[H], H]:
        """Run jobs of these types by the function below; without any, those of all types that have no other.

        timeout_s: how long it may take; None: as the worker says.

        Raises:
            ValueError: one of them has a handler already, or there are too many.
        """
        entry_timeout_s = _time(timeout_s) or self._timeout_s

        def add(handler: H) -> H:
            for name in types or (None,):
                if name in self._entries:
                    raise ValueError(f"{name or 'all other types'}: there is a handler already")
                self._entries[name] = Entry(handler, iscoroutinefunction(handler), entry_timeout_s)
            if len(self._entries) > TYPES_MAX and None not in self._entries:
                raise ValueError(f"there are more than {TYPES_MAX} types with handlers")
            return handler

        return add

    def middleware(self, middleware: M) -> M:
        """Run this around every handler: a generator function with one `yield`, or what makes context managers.

        The one that was added first is the outermost.
        """
        self._middleware.append(around_of(middleware))
        return middleware

    def run(self, *, until_empty: bool = False) -> None:
        """Run jobs until SIGTERM, SIGINT or `stop`; with `until_empty`, until there is none to take any more.

        The first signal lets the jobs that run come to their end, for `grace_s`; the second ends this at once.

        Raises:
            ValueError: there is no handler.
            Refused: a node gives no jobs to this worker.
            SystemExit: a second signal came, or, with several processes, one of them ended with an error.
        """
        if not self._entries:
            raise ValueError("there is no handler: give a function to `Worker.job`")
        if self._processes == 1:
            asyncio.run(self._run(until_empty=until_empty, signals=(signal.SIGTERM, signal.SIGINT)))
            return

        def body() -> int:
            asyncio.run(self._run(until_empty=until_empty, signals=(signal.SIGTERM,)))
            return 0

        code = Processes(self._processes, body).run()
        if code:
            sys.exit(code)

    def stop(self) -> None:
        """Stop gracefully the run that is under way, or else the next; from any thread, where there is one process."""
        self._stop_asked.set()
        self._pass_on_stop()

    async def _run(self, *, until_empty: bool, signals: tuple[signal.Signals, ...]) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        ending: list[int] = []
        async with self._client() as client:
            engine = Engine(self._plan(until_empty=until_empty), client)

            def on_signal(number: int) -> None:
                ending.append(number)
                if len(ending) == 1:
                    engine.stop()
                elif task is not None:
                    task.cancel()

            if threading.current_thread() is threading.main_thread():
                for number in signals:
                    loop.add_signal_handler(number, on_signal, number)
            self._pass_on_stop = lambda: loop.call_soon_threadsafe(engine.stop)
            if self._stop_asked.is_set():
                engine.stop()
            try:
                await engine.run()
            except asyncio.CancelledError:
                if len(ending) > 1:
                    sys.exit(128 + ending[-1])
                raise
            finally:
                self._pass_on_stop = int
                self._stop_asked.clear()

    def _plan(self, *, until_empty: bool) -> Plan:
        wish = self._wish.copy()
        wish |= {"lease_seconds": self._lease_seconds, "wait": 0.0 if until_empty else WAIT_S}
        if None not in self._entries:
            wish["types"] = [name for name in self._entries if name is not None]
        return Plan(
            entries=self._entries,
            middleware=tuple(self._middleware),
            wish=wish,
            lease_seconds=self._lease_seconds,
            concurrency=self._concurrency,
            prefetch=self._prefetch,
            grace_s=self._grace_s,
            until_empty=until_empty,
        )


def _check(name: str, value: float, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name}: expected {least} to {most:,}")


def _time(timeout_s: float | None) -> float | None:
    if timeout_s is not None and not timeout_s > 0:
        raise ValueError("timeout_s: expected more than 0")
    return timeout_s
