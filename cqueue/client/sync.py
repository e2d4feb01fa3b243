"""`Client`: the calls of docs/protocol.md, each of which blocks until it is done. Threads may share it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import wraps
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar, Unpack

from cqueue.client import cluster as members
from cqueue.client import jobs, looking, queues
from cqueue.client.base import Base
from cqueue.client.blocking import Http, drive
from cqueue.client.call import Call
from cqueue.client.conversing import CREDIT_DEFAULT, Conversation, Wanted
from cqueue.client.following import EventFilter, Follower
from cqueue.client.results import Event, Job, Queue
from cqueue.client.sync_stream import Stream

P = ParamSpec("P")
T = TypeVar("T")


def _verb(make: Callable[P, Call[T]]) -> Callable[Concatenate[Client, P], T]:
    """The method that makes a call and sees it through."""

    @wraps(make)
    def verb(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.run(make(*args, **kwargs))

    return verb


class Client(Base[Http]):
    """A client of one node or of several of one cluster: a call goes to one that answers.

    docs/client.md says how to use it, and what its arguments mean. Use it in a `with` statement, or `close` it.
    """

    _connections = Http

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are idle."""
        self._http.close()

    def run(self, call: Call[T]) -> T:
        """See a call through.

        Raises:
            Refused: it cannot succeed as it is.
            Unavailable: nothing was done, in all the time there was.
            OutcomeUnknown: it may have been done.
        """
        return drive(self._carrier.carry(call), self._http.send)

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

    def events(self, **wanted: Unpack[EventFilter]) -> Iterator[Event]:
        """Every change of every job, as it happens; from any node, without a gap and without a repeat.

        Raises:
            Refused: no node has the events after that place any more, or it was wrong to ask.
            Unavailable: no node told anything in all the time there was.
        """
        follower = Follower(self._carrier, wanted)
        while True:
            with closing(self._http.follow(follower.request())) as parts:
                for part in parts:
                    yield from follower.take(part)
            time.sleep(follower.pause_s())

    def stream(self, *, credit: int = CREDIT_DEFAULT, **wanted: Unpack[Wanted]) -> Stream:
        """A connection on which jobs come by themselves, and on which they are added and settled.

        credit: how many jobs it may hold at once; 0: none are pushed.
        """
        return Stream(Conversation(self._carrier, credit, wanted), self._http.tls())

    def iter_queues(self) -> Iterator[Queue]:
        """All queues by name, page by page."""
        cursor = None
        while True:
            page = self.list_queues(cursor=cursor)
            yield from page.queues
            cursor = page.next
            if cursor is None:
                return
