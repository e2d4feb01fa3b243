"""Spans of OpenTelemetry around what the Python client does with jobs; docs/tracing.md says how to use it.

`Client` and `AsyncClient` are those of `cqueue`, and say what they send, receive and settle; `process` is the
work on one job. A job that is enqueued within a trace carries its context in a tag, so that whoever runs it
joins that trace. It makes spans and nothing else: where they go is for the program to say. It is no part of
`cqueue.client`, which runs without OpenTelemetry. Source: OpenTelemetry's semantic conventions for messaging;
W3C Trace Context.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Raw

try:
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError("cqueue.otel needs OpenTelemetry: pip install 'cqueue[otel]'") from missing

from cqueue import __version__
from cqueue.client import asynchronous, sync
from cqueue.client.call import Call, encode
from cqueue.client.carrying import Carrier, Steps
from cqueue.client.results import Enqueued, Job
from cqueue.errors import CqueueError

T = TypeVar("T")

TAGS_MAX: Final = 16
TAG_CHARS_MAX: Final = 128
"""What a job can carry. Source: docs/protocol.md#limits."""


class Operation(NamedTuple):
    """What a verb is called in the conventions."""

    type: str
    kind: SpanKind


OPERATIONS: Final = {
    "enqueue": Operation("send", SpanKind.PRODUCER),
    "dequeue": Operation("receive", SpanKind.CLIENT),
    "conclude": Operation("settle", SpanKind.CLIENT),
    "fail": Operation("settle", SpanKind.CLIENT),
    "release": Operation("settle", SpanKind.CLIENT),
}
"""The verbs that have spans, of one job or of many."""

_PROCESS: Final = "process"
_QUEUE_DEFAULT: Final = "default"
_PROPAGATOR: Final = TraceContextTextMapPropagator()
_PARENT: Final = "traceparent"

_read_jobs: Final = msgspec.json.Decoder(dict[str, Raw] | list[dict[str, Raw]]).decode
_read: Final = msgspec.json.Decoder().decode
_tracer: Final = trace.get_tracer("cqueue", __version__)


class TracedCarrier(Carrier):
    """Sees calls through, within spans."""

    def carry(self, call: Call[T]) -> Steps[T]:
        """See `Carrier.carry`."""
        place, _, verb = call.target.rpartition("/")
        operation = OPERATIONS.get(verb) if place.startswith("/jobs") else None
        if operation is None:
            return (yield from super().carry(call))
        if operation.type == "receive":
            return (yield from self._receive(call, verb))
        said: dict[str, Any] = {}
        if verb == "enqueue":
            jobs = _jobs_of(call)
            said = _about([_queue_of(job) for job in jobs])
        elif place != "/jobs":
            said = {"messaging.message.id": place.rpartition("/")[2]}
        span = _begun(verb, operation, said)
        try:
            if verb == "enqueue":
                call = _carrying(call, jobs, span)
            result = yield from super().carry(call)
        except CqueueError as error:
            _failed(span, error.code)
            raise
        else:
            if isinstance(result, Enqueued):
                span.set_attribute("messaging.message.id", str(result.id))
            elif isinstance(result, list):
                span.set_attribute("messaging.batch.message_count", len(result))
            return result
        finally:
            self._end(span)

    def _receive(self, call: Call[T], verb: str) -> Steps[T]:
        """A span once it is known which jobs came; where none came there is none."""
        operation = OPERATIONS[verb]
        begun_ns = time.time_ns()
        consumer = call.consumer or self.named.get("consumer")
        said: dict[str, Any] = {} if consumer is None else {"messaging.client.id": consumer}
        try:
            result = yield from super().carry(call)
        except CqueueError as error:
            span = _begun(verb, operation, said, begun_ns)
            _failed(span, error.code)
            self._end(span)
            raise
        jobs = [job for job in (result if isinstance(result, list) else [result]) if isinstance(job, Job)]
        if jobs:
            said |= _about([job.queue for job in jobs])
            if isinstance(result, list):
                said["messaging.batch.message_count"] = len(jobs)
            else:
                said["messaging.message.id"] = str(jobs[0].id)
            links = [Link(creator.get_span_context()) for creator in map(_creator_of, jobs) if creator is not None]
            self._end(_begun(verb, operation, said, begun_ns, links))
        return result

    def _end(self, span: Span) -> None:
        node = urlsplit(self.preferred)
        if node.hostname is not None:
            span.set_attribute("server.address", node.hostname)
        if node.port is not None:
            span.set_attribute("server.port", node.port)
        span.end()


class Client(sync.Client):
    """`cqueue.Client`, with spans."""

    _carriers = TracedCarrier


class AsyncClient(asynchronous.AsyncClient):
    """`cqueue.AsyncClient`, with spans."""

    _carriers = TracedCarrier


@contextmanager
def process(job: Job, _context: object = None) -> Iterator[Span]:
    """A span around the work on a job, in the trace of whoever enqueued it; as it is, a middleware of a worker.

    What is done within it belongs to that trace. Where the job carries none, it is part of the current one.
    """
    creator = _creator_of(job)
    current = trace.get_current_span().get_span_context()
    with _tracer.start_as_current_span(
        f"{_PROCESS} {job.queue}",
        context=None if creator is None else trace.set_span_in_context(creator),
        kind=SpanKind.CONSUMER,
        attributes={
            **_named(_PROCESS, _PROCESS),
            **_about([job.queue]),
            "messaging.message.id": str(job.id),
        },
        links=[Link(current)] if creator is not None and current.is_valid else None,
    ) as span:
        try:
            yield span
        except BaseException as error:
            span.set_attribute("error.type", type(error).__qualname__)
            raise


# -- spans ---------------------------------------------------------------------------------------


def _begun(
    verb: str,
    operation: Operation,
    said: dict[str, Any],
    begun_ns: int | None = None,
    links: list[Link] | None = None,
) -> Span:
    queue = said.get("messaging.destination.name")
    return _tracer.start_span(
        verb if queue is None else f"{verb} {queue}",
        kind=operation.kind,
        attributes={**_named(verb, operation.type), **said},
        links=links,
        start_time=begun_ns,
    )


def _named(verb: str, kind: str) -> dict[str, Any]:
    return {
        "messaging.system": "cqueue",
        "messaging.operation.name": verb,
        "messaging.operation.type": kind,
    }


def _about(queues: list[str]) -> dict[str, Any]:
    """The queue of some jobs, where they have one in common."""
    return {"messaging.destination.name": queues[0]} if len(set(queues)) == 1 else {}


def _failed(span: Span, code: str) -> None:
    span.set_attribute("error.type", code)
    span.set_status(Status(StatusCode.ERROR))


# -- what jobs carry -----------------------------------------------------------------------------


def _jobs_of(call: Call[Any]) -> list[dict[str, Raw]]:
    """The jobs that a call adds, payloads as they are."""
    read = _read_jobs(call.body or b"{}")
    return read if isinstance(read, list) else [read]


def _queue_of(job: dict[str, Raw]) -> str:
    return str(_read(job["queue"])) if "queue" in job else _QUEUE_DEFAULT


def _carrying(call: Call[T], jobs: list[dict[str, Raw]], span: Span) -> Call[T]:
    """The call, with the span's context in each job that has room for it; where it is not sampled, as it is."""
    if not span.get_span_context().trace_flags.sampled:
        return call
    carried: dict[str, str] = {}
    _PROPAGATOR.inject(carried, trace.set_span_in_context(span))
    carried = {name: value for name, value in carried.items() if len(value) <= TAG_CHARS_MAX}
    for job in jobs:
        tags = _read(job["tags"]) if "tags" in job else {}
        # What is no object is for the node to refuse.
        if isinstance(tags, dict) and _PARENT not in tags and len(tags) + len(carried) <= TAGS_MAX:
            job["tags"] = Raw(encode({**tags, **carried}))
    return call._replace(body=encode(jobs if (call.body or b"").startswith(b"[") else jobs[0]))


def _creator_of(job: Job) -> Span | None:
    """The span within which a job was enqueued; None: it carries none."""
    # Into an empty context: else a tag that is none would give the current span.
    found = trace.get_current_span(_PROPAGATOR.extract(job.tags, Context()))
    return found if found.get_span_context().is_valid else None
