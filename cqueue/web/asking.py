"""What routes share: the body of a request, and a question to the replica with its answer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import gevent
from flask import Response, request
from msgspec import UNSET

from cqueue.core.jobs import Job
from cqueue.core.operations import Dequeue, DropQueue, Enqueue, Held, Operation, PerJob, Release, SetQueue
from cqueue.core.queries import Query
from cqueue.core.results import Refusal
from cqueue.errors import CqueueError
from cqueue.protocol import AWAIT, OPERATE, QUERY, RESULT, encode
from cqueue.web import body, headers, parameters
from cqueue.web.auth.principals import principal_of
from cqueue.web.contract import Call, promises
from cqueue.web.counting import Counts
from cqueue.web.link import ReplicaLink
from cqueue.web.parameters import LookParameters
from cqueue.web.presence import Presence
from cqueue.web.problems import Problem

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from cqueue.web.answer import Answer

T = TypeVar("T")


class Desk:
    """Over the replica at the other end of `link`. Results come with the log index they reflect.

    counts: what this worker counts.
    """

    def __init__(self, link: ReplicaLink, *, body_bytes_max: int) -> None:
        self.counts = Counts(link)
        self._link = link
        self._body_bytes_max = body_bytes_max

    def read(self, environ: WSGIEnvironment) -> bytes:
        """The body; fields of a request go there, not into the address."""
        if environ["QUERY_STRING"]:
            parameters.refuse_all(environ)
        return body.read(environ, self._body_bytes_max)

    def operate(
        self,
        environ: WSGIEnvironment,
        decode: Callable[[bytes], T | Refusal],
        operation: Enqueue | Dequeue | PerJob | SetQueue | DropQueue,
        wait_ms: int = 0,
        caller: Presence | None = None,
    ) -> tuple[T, int]:
        """Do it, once if the request has an `Idempotency-Key`; do not wait any longer once `caller` has left."""
        bound = principal_of(environ).bound(operation)
        return self._ask(decode, OPERATE, headers.under_key(environ, bound), wait_ms, caller)

    def look(
        self,
        environ: WSGIEnvironment,
        decode: Callable[[bytes], T | Refusal],
        query: Query,
        kind: int = QUERY,
        wait_ms: int = 0,
    ) -> tuple[T, int]:
        """Ask for what the caller may see; kind: `PEEK` for what this node knows, whether it is the latest or not."""
        return self._ask(decode, kind, principal_of(environ).looking(query), wait_ms)

    def give_back(self, jobs: list[Job]) -> None:
        """Give back jobs that nobody came to hold. Where that fails, their leases run out."""
        release = Release([Held(job.id, job.lease_token) for job in jobs])
        gevent.spawn(self._try, release)

    def _try(self, operation: Release) -> None:
        with suppress(CqueueError):
            self._link.ask(OPERATE, encode(operation))

    def _ask(
        self,
        decode: Callable[[bytes], T | Refusal],
        kind: int,
        asked: Operation | Query,
        wait_ms: int = 0,
        caller: Presence | None = None,
    ) -> tuple[T, int]:
        """Send `asked`, wait for its result.

        Raises:
            Problem: the replica refused it, or could not do it.
        """
        _, outcome, index, data = self._link.ask(kind, encode(asked), wait_ms, caller)
        if outcome != RESULT:
            raise Problem.of_failure(data, index)
        return result_of(decode, data, index), index

    def kind_of_look(self, given: LookParameters) -> int:
        """See the function of that name."""
        return kind_of_look(self._link, given)


def result_of(decode: Callable[[bytes], T | Refusal], data: bytes, index: int) -> T:
    """The result in an answer that reflects `index`.

    Raises:
        Problem: it is a refusal.
    """
    result = decode(data)
    if isinstance(result, Refusal):
        raise Problem(result.code, result.detail, index=index)
    return result


def kind_of_look(link: ReplicaLink, given: LookParameters) -> int:
    """How a look is asked; waits until the node has got to `min_index`.

    Raises:
        Problem: the node has not got that far in time.
    """
    if given.min_index is not UNSET:
        _, outcome, index, data = link.ask(AWAIT, encode(given.min_index))
        if outcome != RESULT:
            raise Problem.of_failure(data, index)
    return given.kind


def flask_view(route: Callable[..., Answer], promise: Call) -> Callable[..., Response]:
    """A route, which takes the WSGI environment and what is in its path, as Flask wants it; and its promise."""

    @promises(promise)
    def view(**values: Any) -> Response:
        return route(request.environ, **values).response()

    return view
