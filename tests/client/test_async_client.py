"""The client that is awaited: the same calls by other connections. What calls do is in test_client.py."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from cqueue import AsyncClient, Client
from cqueue.errors import OutcomeUnknown, Refused, Unavailable
from tests.cluster.fixtures import StartCluster, StartNode
from tests.cluster.harness import Node
from tests.support import eventually


def public(kind: type) -> dict[str, Any]:
    """What a class has of its own, without what is private."""
    return {name: value for name, value in vars(kind).items() if not name.startswith("_")}


def test_both_clients_have_the_same_names_arguments_and_sentences() -> None:
    """Only how a result is had differs."""
    blocking, awaited = public(Client), public(AsyncClient)
    assert list(blocking) == list(awaited)
    for name, method in blocking.items():
        assert inspect.signature(method).parameters == inspect.signature(awaited[name]).parameters, name
        assert name == "close" or method.__doc__ == awaited[name].__doc__


def run(addresses: list[Node], what: Callable[[AsyncClient], Awaitable[None]], **settings: Any) -> None:
    """Await `what` with a client of these nodes."""

    async def main() -> None:
        async with AsyncClient(*(f"{node.host}:{node.port}" for node in addresses), **settings) as client:
            await what(client)

    asyncio.run(main())


@pytest.mark.cluster
def test_a_job_goes_from_enqueue_to_its_result(start_node: StartNode) -> None:
    """As with the other client."""

    async def what(client: AsyncClient) -> None:
        added = await client.enqueue({"n": 2**80}, queue="mail")
        job = await client.dequeue(queue="mail")
        assert job is not None
        assert (job.payload, job.consumer) == ({"n": 2**80}, "tester ü")
        await client.conclude(job, result=[1])
        assert (await client.wait(added.id, 5)).result == [1]
        assert await client.dequeue() is None
        assert [one.id async for one in client.iter_jobs()] == [added.id]
        assert [queue.name async for queue in client.iter_queues()] == ["mail"]
        with pytest.raises(Refused) as caught:
            await client.get(99)
        assert caught.value.code == "not_found"

    run([start_node()], what, consumer="tester ü")


@pytest.mark.cluster
def test_a_consumer_that_is_cancelled_while_it_waits_takes_no_job(start_node: StartNode) -> None:
    """Its connection is closed, and the node hands the job to the next."""
    node = start_node()

    async def what(client: AsyncClient) -> None:
        before = node.index()
        waiting = asyncio.create_task(client.dequeue(wait=50))
        await asyncio.to_thread(eventually, lambda: node.index() > before)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        added = await client.enqueue()
        job = await client.dequeue(wait=10)
        assert job is not None
        assert job.id == added.id

    run([node], what)


@pytest.mark.cluster
def test_a_node_that_dies_in_the_middle_loses_and_doubles_nothing(start_cluster: StartCluster) -> None:
    """SIGKILL of the leader, which the client talks to, while calls are on their way."""
    cluster = start_cluster()
    leader = cluster.leader()

    async def what(client: AsyncClient) -> None:
        before = [asyncio.create_task(client.enqueue(number)) for number in range(50)]
        await before[0]
        leader.kill()
        await asyncio.gather(*before, *(client.enqueue(number) for number in range(50, 100)))
        assert sorted([job.payload async for job in client.iter_jobs()]) == list(range(100))

    run([leader, *cluster.others(leader)], what)


@pytest.mark.cluster
def test_where_nobody_answers_the_error_says_what_is_known(start_node: StartNode) -> None:
    """A node that is not there did nothing; of one that stands still nobody knows."""
    node = start_node()
    node.pause()

    async def silent(client: AsyncClient) -> None:
        with pytest.raises(OutcomeUnknown) as caught:
            await client.enqueue()
        assert caught.value.code == "no_answer"

    run([node], silent, timeout_s=0.1, answer_s=0.1)
    node.resume()
    node.kill()

    async def gone(client: AsyncClient) -> None:
        with pytest.raises(Unavailable) as caught:
            await client.enqueue()
        assert caught.value.code == "unreachable"

    run([node], gone, timeout_s=0.1)


@pytest.mark.cluster
def test_events_come_as_they_happen(start_node: StartNode) -> None:
    """As with the other client; see test_events.py."""

    async def what(client: AsyncClient) -> None:
        await client.enqueue()
        await client.cancel(1)
        async with aclosing(client.events(after="0.0")) as events:
            assert [(await anext(events)).event for _ in range(2)] == ["enqueue", "cancel"]
        async with aclosing(client.events(after="nowhere")) as events:
            with pytest.raises(Refused):
                await anext(events)

    run([start_node()], what)
