"""`Client.stream`: jobs that come by themselves, and go on coming from another node."""

from __future__ import annotations

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest

from cqueue import AsyncClient, Client
from cqueue.client import jobs
from cqueue.client.async_stream import AsyncStream
from cqueue.client.sync_stream import Stream
from cqueue.errors import OutcomeUnknown, Refused, Unavailable
from tests.cluster.fixtures import StartCluster, StartNode
from tests.cluster.harness import Node

pytestmark = pytest.mark.cluster


@pytest.fixture
def node(start_node: StartNode) -> Node:
    """One node."""
    return start_node()


def address_of(node: Node) -> str:
    """What a client is given."""
    return f"{node.host}:{node.port}"


def test_jobs_are_pushed_and_settled_on_one_connection(node: Node) -> None:
    """No more than the credit at once."""
    with Client(address_of(node), consumer="tester ü") as client, client.stream(credit=2, queue="mail") as stream:
        added = stream.enqueue_many([{"payload": number, "queue": "mail"} for number in range(5)])
        taken = []
        for job in islice(stream, 5):
            taken.append(job)
            assert job.consumer == "tester ü"
            assert client.stats().jobs["IN_PROGRESS"] <= 2
            (outcome,) = stream.conclude_many([{"id": job.id, "lease_token": job.lease_token or 0, "result": job.id}])
            assert outcome.status == "CONCLUDED"
        assert [job.id for job in taken] == [one.id for one in added]
        assert client.get(added[0].id).result == added[0].id


def test_every_verb_of_many_can_be_said(node: Node) -> None:
    """Each is answered as in HTTP."""
    with Client(address_of(node)) as client, client.stream(credit=1) as stream:
        stream.enqueue("one")
        job = next(stream)
        assert [one.status for one in stream.progress_many([job], percent=5)] == ["IN_PROGRESS"]
        assert [one.status for one in stream.extend_many([job], lease_seconds=60)] == ["IN_PROGRESS"]
        assert [one.status for one in stream.release_many([job])] == ["QUEUED"]
        job = next(stream)
        assert [one.status for one in stream.fail_many([job], retryable=False)] == ["DEAD"]
        assert [one.status for one in stream.redrive_many([job])] == ["QUEUED"]
        job = next(stream)
        assert [one.cancel_requested for one in stream.cancel_many([job])] == [True]
        assert [one.status for one in stream.conclude_many([job])] == ["CANCELLED"]
        assert [one.status for one in stream.purge_many([job])] == ["CANCELLED"]
        with pytest.raises(Refused) as caught:
            stream.enqueue(priority=-1)
        assert (caught.value.code, caught.value.pointer) == ("invalid_field", "/priority")


def test_threads_may_share_it(node: Node) -> None:
    """Each gets jobs that no other gets."""
    with Client(address_of(node)) as client, client.stream(credit=8) as stream, ThreadPoolExecutor(4) as pool:
        client.enqueue_many([{}] * 40)

        def work(_: int) -> list[int]:
            seen = []
            for job in islice(stream, 10):
                seen.append(job.id)
                stream.conclude_many([job])
            return seen

        seen = [job_id for ids in pool.map(work, range(4)) for job_id in ids]
    assert sorted(seen) == list(range(1, 41))


def test_a_wish_that_cannot_be_is_refused(node: Node) -> None:
    """To whoever iterates, and to whoever says something later."""
    with Client(address_of(node), timeout_s=1) as client, client.stream(credit=-1) as stream:
        with pytest.raises(Refused) as caught:
            next(stream)
        assert caught.value.code == "invalid_field"
        with pytest.raises(Refused):
            stream.enqueue()


def test_where_nobody_listens_the_error_says_so(node: Node) -> None:
    """After the time that the client has."""
    node.kill()
    with Client(address_of(node), timeout_s=0.3) as client, client.stream() as stream, pytest.raises(Unavailable):
        next(stream)


def test_a_stream_that_is_closed_ends(node: Node) -> None:
    """Whoever waits for a job is told that there is none."""
    with Client(address_of(node)) as client, ThreadPoolExecutor(1) as pool, client.stream() as stream:
        waiting = pool.submit(list, stream)
        stream.close()
        assert waiting.result(timeout=30) == []


def test_a_node_that_dies_costs_neither_jobs_nor_answers(start_cluster: StartCluster) -> None:
    """SIGKILL of the node at the other end: what was said is said again under its key, jobs come from another."""
    cluster = start_cluster()
    doomed, *others = cluster.nodes
    concluded: Counter[object] = Counter()
    with Client(*map(address_of, [doomed, *others])) as client, client.stream(credit=10, lease_seconds=2) as stream:
        for number in range(30):
            stream.enqueue(number)
        for job in stream:
            if len(concluded) == 10 and doomed.processes():
                doomed.kill()
                for number in range(30, 40):
                    stream.enqueue(number)
            (outcome,) = stream.conclude_many([job])
            concluded[job.payload] += outcome.status == "CONCLUDED"
            if len(+concluded) == 40:
                break
        assert set(concluded.values()) == {1}
        with Client(*map(address_of, others)) as other:
            assert other.stats().jobs["CONCLUDED"] == other.stats().total == 40


def test_both_streams_have_the_same_names() -> None:
    """Only how a result is had differs."""
    verbs = [name for name in vars(Stream) if not name.startswith("_")]
    assert verbs == [name for name in vars(AsyncStream) if not name.startswith("_")]
    assert {name for name in verbs if name != "close"} <= set(vars(jobs))


def test_it_can_be_awaited(node: Node) -> None:
    """As with the other client."""

    async def main() -> None:
        async with AsyncClient(address_of(node)) as client, client.stream(credit=3) as stream:
            await asyncio.gather(*(stream.enqueue(number) for number in range(9)))
            seen = []
            async for job in stream:
                seen.append(job.payload)
                await stream.conclude_many([job])
                if len(seen) == 9:
                    break
            assert sorted(seen) == list(range(9))
            with pytest.raises(Refused):
                await stream.enqueue(priority=-1)
            waiting = asyncio.create_task(anext(stream))
            await stream.close()
            with pytest.raises(StopAsyncIteration):
                await waiting
        async with AsyncClient(address_of(node)) as client, client.stream(credit=-1) as stream:
            with pytest.raises(Refused):
                await anext(stream)
        node.kill()
        async with AsyncClient(address_of(node), timeout_s=0.3) as client, client.stream() as stream:
            with pytest.raises((Unavailable, OutcomeUnknown)):
                await anext(stream)

    asyncio.run(main())
