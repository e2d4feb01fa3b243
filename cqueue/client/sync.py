"""`Client`: the calls of docs/protocol.md, each of which blocks until it is done. Threads may share it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Self, TypeVar, Unpack

from cqueue.client import cluster as members
from cqueue.client import jobs, looking, queues
from cqueue.client.call import Call
from cqueue.client.carrying import (
    ANSWER_S_DEFAULT,
    CONNECT_S_MAX,
    TIMEOUT_S_DEFAULT,
    Answer,
    Carrier,
    Lost,
    NotSent,
    Pause,
    Reply,
    Send,
)
from cqueue.client.results import Job, Queue

if TYPE_CHECKING:
    import urllib3

P = ParamSpec("P")
T = TypeVar("T")

CONNECTIONS_MAX = 32
"""Idle connections kept to each node; more are opened as threads need them, and closed after their call."""


def _verb(make: Callable[P, Call[T]]) -> Callable[Concatenate[Client, P], T]:
    """The method that makes a call and sees it through."""

    @wraps(make)
    def verb(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.run(make(*args, **kwargs))

    return verb


class Client:
    """A client of one node or of several of one cluster: a call goes to one that answers.

    `nodes` are URLs, or `host:port` for `http://host:port`. What the other arguments mean is in
    docs/client.md#settings. Use it in a `with` statement, or `close` it.
    """

    def __init__(
        self,
        *nodes: str,
        token: str | None = None,
        ca_file: str | None = None,
        consumer: str | None = None,
        timeout_s: float = TIMEOUT_S_DEFAULT,
        answer_s: float = ANSWER_S_DEFAULT,
        keys: bool = True,
    ) -> None:
        self._carrier = Carrier(
            nodes, token=token, consumer=consumer, timeout_s=timeout_s, answer_s=answer_s, keys=keys
        )
        self._http = _Http(ca_file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are idle."""
        self._http.close()

    @property
    def index(self) -> int:
        """The highest log index of any answer; for `min_index`, where a stale read must not be older."""
        return self._carrier.index

    def run(self, call: Call[T]) -> T:
        """See a call through.

        Raises:
            Refused: it cannot succeed as it is.
            Unavailable: nothing was done, in all the time there was.
            OutcomeUnknown: it may have been done.
        """
        steps = self._carrier.carry(call)
        reply: Reply | None = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as done:
                result: T = done.value
                return result
            reply = None
            match step:
                case Pause(seconds):
                    time.sleep(seconds)
                case Send():
                    reply = self._http.send(step)

    enqueue = _verb(jobs.enqueue)
    enqueue_many = _verb(jobs.enqueue_many)
    dequeue = _verb(jobs.dequeue)
    dequeue_many = _verb(jobs.dequeue_many)
    conclude = _verb(jobs.conclude)
    conclude_many = _verb(jobs.conclude_many)
    fail = _verb(jobs.fail)
    fail_many = _verb(jobs.fail_many)
    release = _verb(jobs.release)
    release_many = _verb(jobs.release_many)
    extend = _verb(jobs.extend)
    extend_many = _verb(jobs.extend_many)
    progress = _verb(jobs.progress)
    progress_many = _verb(jobs.progress_many)
    cancel = _verb(jobs.cancel)
    cancel_many = _verb(jobs.cancel_many)
    cancel_where = _verb(jobs.cancel_where)
    redrive = _verb(jobs.redrive)
    redrive_many = _verb(jobs.redrive_many)
    redrive_where = _verb(jobs.redrive_where)
    purge = _verb(jobs.purge)
    purge_many = _verb(jobs.purge_many)
    purge_where = _verb(jobs.purge_where)
    wait = _verb(jobs.wait)
    get = _verb(looking.get)
    history = _verb(looking.history)
    explain = _verb(looking.explain)
    list_jobs = _verb(looking.list_jobs)
    stats = _verb(looking.stats)
    get_queue = _verb(queues.get_queue)
    list_queues = _verb(queues.list_queues)
    configure_queue = _verb(queues.configure_queue)
    delete_queue = _verb(queues.delete_queue)
    pause_queue = _verb(queues.pause_queue)
    resume_queue = _verb(queues.resume_queue)
    purge_queue = _verb(queues.purge_queue)
    redrive_queue = _verb(queues.redrive_queue)
    cluster = _verb(members.cluster)
    add_member = _verb(members.add_member)
    remove_member = _verb(members.remove_member)
    transfer_leadership = _verb(members.transfer_leadership)
    verify = _verb(members.verify)

    def iter_jobs(self, **which: Unpack[looking.JobFilter]) -> Iterator[Job]:
        """All jobs that fit, oldest first, page by page."""
        cursor = None
        while True:
            page = self.list_jobs(cursor=cursor, **which)
            yield from page.jobs
            cursor = page.next
            if cursor is None:
                return

    def iter_queues(self) -> Iterator[Queue]:
        """All queues by name, page by page."""
        cursor = None
        while True:
            page = self.list_queues(cursor=cursor)
            yield from page.queues
            cursor = page.next
            if cursor is None:
                return


class _Http:
    """Pooled connections to all nodes, by urllib3, which is imported with the first request."""

    def __init__(self, ca_file: str | None) -> None:
        self._ca_file = ca_file
        self._opened: urllib3.PoolManager | None = None

    def send(self, request: Send) -> Reply:
        """Send a request once."""
        import urllib3  # noqa: PLC0415 - with the first request
        from urllib3 import exceptions  # noqa: PLC0415

        try:
            answer = self._pools().request(
                request.method,
                request.node + request.target,
                body=request.body,
                # It leaves as Latin-1, and shall arrive as UTF-8.
                headers={name: value.encode().decode("latin-1") for name, value in request.headers.items()},
                timeout=urllib3.Timeout(connect=CONNECT_S_MAX, read=request.answer_s),
                redirect=False,
            )
        except (exceptions.NewConnectionError, exceptions.ConnectTimeoutError, exceptions.SSLError) as error:
            return NotSent(str(error))
        except exceptions.HTTPError as error:
            return Lost(str(error))
        return Answer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.data)

    def close(self) -> None:
        """Close what is idle."""
        if self._opened is not None:
            self._opened.clear()

    def _pools(self) -> urllib3.PoolManager:
        if self._opened is None:
            import urllib3  # noqa: PLC0415

            self._opened = urllib3.PoolManager(maxsize=CONNECTIONS_MAX, retries=False, ca_certs=self._ca_file)
        return self._opened
