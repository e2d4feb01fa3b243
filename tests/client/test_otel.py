"""`cqueue.otel`: spans as the messaging conventions have them, and one trace from the enqueue to the work."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanKind, StatusCode

import cqueue
from cqueue import Refused, otel, testing
from cqueue.otel import TAG_CHARS_MAX, TAGS_MAX


class _Choice(Sampler):
    """Takes all spans, or none."""

    takes = True

    def should_sample(self, *arguments: object, **named: object) -> SamplingResult:
        return ALWAYS_ON.should_sample(*arguments, **named) if self.takes else SamplingResult(Decision.DROP)

    def get_description(self) -> str:
        return "all or none"


class Spans:
    """What ended since the test began."""

    def __init__(self, exporter: InMemorySpanExporter, sampler: _Choice) -> None:
        self.exporter, self.sampler = exporter, sampler

    def all(self) -> list[ReadableSpan]:
        """In the order they ended."""
        return list(self.exporter.get_finished_spans())

    def one(self, name: str) -> ReadableSpan:
        """The only one of this name."""
        [span] = [span for span in self.all() if span.name == name]
        return span


@pytest.fixture(scope="module")
def program() -> Spans:
    """A program that keeps its spans in memory; a process has one provider."""
    exporter, sampler = InMemorySpanExporter(), _Choice()
    provider = TracerProvider(sampler=sampler)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return Spans(exporter, sampler)


@pytest.fixture
def spans(program: Spans) -> Spans:
    """Its spans, none yet."""
    program.exporter.clear()
    program.sampler.takes = True
    return program


@pytest.fixture
def queue() -> Iterator[testing.LocalQueue]:
    """A node."""
    with testing.queue() as made:
        yield made


@pytest.fixture
def client(queue: testing.LocalQueue) -> Iterator[otel.Client]:
    """A client of it with spans, and a name."""
    with otel.Client(queue.address, consumer="mailer-1") as made:
        yield made


def test_producer_and_worker_are_in_one_trace(client: otel.Client, spans: Spans) -> None:
    """What the worker does is a child of the enqueue, and points to what it was doing when it began."""
    tracer = trace.get_tracer("test")
    with tracer.start_as_current_span("request"):
        client.enqueue({"to": "ada"}, queue="mail")
    with tracer.start_as_current_span("loop"):
        job = client.dequeue(queue="mail")
        with otel.process(job), tracer.start_as_current_span("smtp"):
            pass
        client.conclude(job)
    request, sent, loop, work, smtp = (
        spans.one(name) for name in ("request", "enqueue mail", "loop", "process mail", "smtp")
    )
    assert sent.parent == request.context
    assert work.parent is not None
    assert (work.parent.trace_id, work.parent.span_id) == (request.context.trace_id, sent.context.span_id)
    assert [link.context for link in work.links] == [loop.context]
    assert smtp.parent == work.context
    received, settled = spans.one("dequeue mail"), spans.one("conclude")
    assert received.parent == settled.parent == loop.context
    assert [link.context.span_id for link in received.links] == [sent.context.span_id]


def test_spans_say_what_the_conventions_ask_for(client: otel.Client, queue: testing.LocalQueue, spans: Spans) -> None:
    """System, operation, queue, message, and which node it was."""
    client.enqueue(queue="mail")
    job = client.dequeue(queue="mail")
    with otel.process(job):
        client.fail(job, retry_in_seconds=0)
    client.release(client.dequeue(queue="mail"))
    port = int(queue.address.rpartition(":")[2])
    node = {"server.address": "127.0.0.1", "server.port": port}
    of_mail = {"messaging.destination.name": "mail", "messaging.message.id": "1"}
    told = {span.name: (span.kind, dict(span.attributes or {})) for span in spans.all()}
    kinds = {"enqueue mail": SpanKind.PRODUCER, "process mail": SpanKind.CONSUMER}
    expected = {
        "enqueue mail": {"messaging.operation.type": "send", **of_mail, **node},
        "dequeue mail": {"messaging.operation.type": "receive", "messaging.client.id": "mailer-1", **of_mail, **node},
        "process mail": {"messaging.operation.type": "process", **of_mail},
        "fail": {"messaging.operation.type": "settle", "messaging.message.id": "1", **node},
        "release": {"messaging.operation.type": "settle", "messaging.message.id": "1", **node},
    }
    for name, attributes in expected.items():
        named = {"messaging.system": "cqueue", "messaging.operation.name": name.partition(" ")[0]}
        assert told.pop(name) == (kinds.get(name, SpanKind.CLIENT), named | attributes), name
    assert not told


def test_many_jobs_are_one_span_and_each_carries_it(client: otel.Client, spans: Spans) -> None:
    """How many there were; the queue where it is one; a link to each creator."""
    client.enqueue_many([{"payload": 1, "queue": "a"}, {"payload": 2, "queue": "b"}])
    jobs = client.dequeue_many(10, queues=["a"]) + client.dequeue_many(10, queues=["b"])
    assert [job.payload for job in jobs] == [1, 2]
    assert len({job.tags["traceparent"] for job in jobs}) == 1
    client.conclude_many(jobs)
    sent = spans.one("enqueue")
    assert (sent.attributes or {})["messaging.batch.message_count"] == 2
    for name, count in (("dequeue a", 1), ("dequeue b", 1), ("conclude", 2)):
        assert (spans.one(name).attributes or {})["messaging.batch.message_count"] == count
    assert [link.context.span_id for link in spans.one("dequeue a").links] == [sent.context.span_id]


def test_a_dequeue_that_finds_nothing_has_no_span(client: otel.Client, spans: Spans) -> None:
    """A consumer that waits is not worth one; nor has what only looks."""
    assert client.dequeue() is None
    assert client.dequeue_many(3) == []
    client.stats()
    assert spans.all() == []


def test_what_fails_says_so(client: otel.Client, spans: Spans) -> None:
    """By the code of the error; work by the kind of the exception."""
    with pytest.raises(Refused):
        client.conclude(99)
    with pytest.raises(Refused):
        client.enqueue(queue="")
    with pytest.raises(Refused):
        client.dequeue(lease_seconds=-1)
    client.enqueue()
    job = client.dequeue()
    with pytest.raises(LookupError), otel.process(job):
        raise KeyError("gone")
    failed = {
        span.name: (span.attributes or {})["error.type"]
        for span in spans.all()
        if span.status.status_code is StatusCode.ERROR
    }
    assert failed == {
        "conclude": "not_found",
        "enqueue ": "invalid_field",
        "dequeue": "invalid_field",
        "process default": "KeyError",
    }


def test_jobs_keep_their_own_tags_and_payloads(client: otel.Client, spans: Spans) -> None:
    """The context comes beside them; a big number stays one; a context that is there is not replaced."""
    own = "00-11111111111111111111111111111111-2222222222222222-01"
    client.enqueue(2**70, tags={"tenant": "a"})
    client.enqueue(tags={"traceparent": own})
    first, second = client.dequeue_many(2)
    assert (first.payload, first.tags["tenant"], len(first.tags)) == (2**70, "a", 2)
    assert second.tags == {"traceparent": own}
    with otel.process(second):
        pass
    assert f"{spans.one('process default').context.trace_id:x}" == "1" * 32


def test_a_job_whose_tags_are_full_carries_nothing(client: otel.Client, spans: Spans) -> None:
    """It is enqueued all the same, and its work begins a trace."""
    client.enqueue(tags={f"t{number}": "x" * TAG_CHARS_MAX for number in range(TAGS_MAX)})
    job = client.dequeue()
    assert len(job.tags) == TAGS_MAX
    with otel.process(job):
        pass
    work = spans.one("process default")
    assert work.parent is None
    assert not work.links


def test_what_is_not_sampled_is_not_carried(client: otel.Client, spans: Spans) -> None:
    """So a job takes up no more than it did."""
    spans.sampler.takes = False
    client.enqueue(queue="mail")
    assert client.dequeue(queue="mail").tags == {}
    assert spans.all() == []


def test_the_awaited_client_and_streams_make_the_same_spans(queue: testing.LocalQueue, spans: Spans) -> None:
    """One carrier sees all calls through."""

    async def run() -> None:
        async with otel.AsyncClient(queue.address) as client:
            await client.enqueue(queue="mail")
            async with client.stream(queues=["mail"]) as stream:
                async for job in stream:
                    with otel.process(job):
                        await stream.conclude_many([job])
                    break

    asyncio.run(run())
    assert [span.name for span in spans.all()] == ["enqueue mail", "conclude", "process mail"]
    sent, settled, work = spans.all()
    assert settled.parent == work.context
    assert work.context.trace_id == sent.context.trace_id


def test_nothing_is_loaded_where_nobody_asks_for_spans() -> None:
    """Neither by `import cqueue` nor by a client."""
    code = "import cqueue, sys; cqueue.Client(); sys.exit('opentelemetry' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_the_extra_it_says_what_to_install() -> None:
    """In one sentence."""
    code = "import sys; sys.modules['opentelemetry'] = None; import cqueue.otel"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (
        done.stderr.splitlines()[-1]
        == "ModuleNotFoundError: cqueue.otel needs OpenTelemetry: pip install 'cqueue[otel]'"
    )


def test_clients_with_spans_are_clients() -> None:
    """They go wherever a client goes."""
    assert issubclass(otel.Client, cqueue.Client)
    assert issubclass(otel.AsyncClient, cqueue.AsyncClient)
