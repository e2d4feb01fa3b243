"""The client against a real node: each verb does what docs/protocol.md says, in Python's types."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from cqueue import Client
from cqueue.errors import Refused, Unavailable
from tests.cluster.fixtures import StartNode
from tests.cluster.harness import Node

pytestmark = pytest.mark.cluster


@pytest.fixture
def node(start_node: StartNode) -> Node:
    """One node."""
    return start_node()


@pytest.fixture
def client(node: Node) -> Iterator[Client]:
    """A client of it."""
    with Client(f"{node.host}:{node.port}", consumer="tester ü") as client:
        yield client


def test_a_job_goes_from_enqueue_to_its_result(client: Client) -> None:
    """Payload and result are Python values, times are datetimes."""
    payload = {"to": "ada@example.org", "big": 2**80, "none": None, "deep": [[1.5, "ü"]]}
    added = client.enqueue(payload, queue="mail", tags={"shop": "north"}, max_attempts=3)
    assert not added.duplicate
    job = client.dequeue(queue="mail")
    assert job is not None
    assert (job.id, job.payload, job.status, job.consumer) == (added.id, payload, "IN_PROGRESS", "tester ü")
    assert (job.tags, job.max_attempts, job.attempt) == ({"shop": "north"}, 3, 1)
    assert job.lease_expires_at is not None
    assert job.lease_expires_at > datetime.now(UTC)
    assert client.progress(job, percent=40, note="half").progress.percent == 40  # type: ignore[union-attr]
    assert client.extend(job, lease_seconds=600).lease_token == job.lease_token
    done = client.conclude(job, result={"sent": True})
    assert (done.status, done.result, done.is_finished) == ("CONCLUDED", {"sent": True}, True)
    assert client.wait(job, 10) == client.get(job)
    assert [change.event for change in client.history(job).changes] == ["enqueue", "hand_out", "conclude"]
    assert client.explain(job).reasons == ("finished",)
    assert client.dequeue(queue="mail") is None


def test_many_are_added_taken_and_settled_in_one_request_each(client: Client) -> None:
    """Each has an outcome of its own."""
    added = client.enqueue_many([{"payload": 1, "unique_key": "k"}, {"payload": 2}, {"unique_key": "k"}])
    assert [one.duplicate for one in added] == [False, False, True]
    first, second = client.dequeue_many(10)
    outcomes = client.conclude_many(
        [{"id": first.id, "lease_token": first.lease_token, "result": None}, second, {"id": 99}]
    )
    assert [(one.status, one.code) for one in outcomes] == [
        ("CONCLUDED", None),
        ("CONCLUDED", None),
        (None, "not_found"),
    ]


def test_an_attempt_that_failed_is_tried_again_or_given_up(client: Client) -> None:
    """And a dead job can be redriven, by id or by what it is."""
    client.enqueue_many([{}, {}, {}])
    first, second, third = client.dequeue_many(3)
    assert client.fail(first, error="not now", retry_in_seconds=60).status == "SCHEDULED"
    assert client.fail(second, retryable=False).status == "DEAD"
    assert client.release(third).status == "QUEUED"
    assert client.redrive(second).status == "QUEUED"
    held = client.dequeue_many(2)
    assert [one.status for one in client.extend_many(held, lease_seconds=60)] == ["IN_PROGRESS"] * 2
    assert [one.status for one in client.progress_many(held, percent=1)] == ["IN_PROGRESS"] * 2
    assert [one.status for one in client.fail_many(held, error="no", retryable=False)] == ["DEAD"] * 2
    assert client.redrive_where(queue="default").matched == 2
    assert [one.status for one in client.release_many(client.dequeue_many(2))] == ["QUEUED"] * 2
    assert client.get(first).errors[0].error == "not now"
    client.fail_many(client.dequeue_many(2), retryable=False)
    assert client.redrive_queue("default").matched == 2
    assert [one.code for one in client.redrive_many([first])] == ["not_dead"]


def test_jobs_are_cancelled_and_purged(client: Client) -> None:
    """By id, many, and by what they are."""
    ids = [one.id for one in client.enqueue_many([{"type": "report"}] * 6)]
    assert client.cancel(ids[0]).status == "CANCELLED"
    assert [one.status for one in client.cancel_many(ids[1:3])] == ["CANCELLED"] * 2
    assert client.cancel_where(type="report").matched == 3
    client.purge(ids[0])
    with pytest.raises(Refused) as caught:
        client.get(ids[0])
    assert caught.value.code == "gone"
    assert [one.status for one in client.purge_many(ids[1:3])] == ["CANCELLED"] * 2
    assert client.purge_where(statuses=["CANCELLED"]).matched == 3
    assert client.stats().total == 0


def test_lists_go_on_page_by_page(client: Client) -> None:
    """Filters are those of the protocol; the iterator asks for the next page by itself."""
    client.enqueue_many([{"tags": {"n": str(number % 2)}, "type": f"t{number % 3}"} for number in range(12)])
    assert [job.id for job in client.iter_jobs(limit=5)] == list(range(1, 13))
    assert [job.id for job in client.iter_jobs(tags={"n": "1"}, type=["t0", "t1"])] == [2, 4, 8, 10]
    page = client.list_jobs(limit=2, status="QUEUED", created_from=datetime.now(UTC) - timedelta(days=1))
    assert [job.id for job in page.jobs] == [1, 2]
    assert [job.id for job in client.list_jobs(limit=2, cursor=page.next).jobs] == [3, 4]
    assert client.list_jobs(created_before=datetime(2020, 1, 1, tzinfo=UTC)).jobs == ()


def test_queues_are_set_paused_and_forgotten(client: Client) -> None:
    """Names may need percent-encoding."""
    queue = client.configure_queue("mail & more", max_attempts=2, backoff={"kind": "linear", "seconds": 30})
    assert (queue.settings.max_attempts, queue.settings.backoff.kind) == (2, "linear")
    client.enqueue(queue="mail & more")
    assert client.pause_queue("mail & more").paused
    assert client.dequeue(queue="mail & more") is None
    assert "queue_paused" in client.explain(1).reasons
    assert not client.resume_queue("mail & more").paused
    assert client.purge_queue("mail & more").matched == 1
    assert [queue.name for queue in client.iter_queues()] == ["mail & more"]
    assert client.get_queue("mail & more").totals["enqueued"] == 1
    client.delete_queue("mail & more")
    with pytest.raises(Refused) as caught:
        client.get_queue("mail & more")
    assert caught.value.code == "queue_not_found"


def test_the_node_says_who_it_is(client: Client) -> None:
    """And a single node refuses what only a cluster can do."""
    assert client.cluster().role == "leader"
    assert client.verify().result == "equal"
    for change in (client.transfer_leadership, lambda: client.add_member("a:1"), lambda: client.remove_member("a:1")):
        with pytest.raises(Refused) as caught:
            change()
        assert caught.value.code == "no_cluster"


def test_a_stale_read_is_not_older_than_what_was_seen(client: Client) -> None:
    """`index` is that of the newest answer."""
    added = client.enqueue()
    assert client.index > 0
    assert client.get(added.id, consistency="stale", min_index=client.index).id == added.id


def test_a_key_of_the_callers_is_remembered(client: Client) -> None:
    """Also by another client."""
    key = str(uuid4())
    assert client.enqueue(1, key=key) == client.enqueue(1, key=key)
    with pytest.raises(Refused) as caught:
        client.enqueue(2, key=key)
    assert caught.value.code == "key_reused"


def test_a_misspelt_field_is_refused_by_name(client: Client) -> None:
    """What the type checker did not see the node does."""
    with pytest.raises(Refused) as caught:
        client.enqueue(quuee="mail")  # type: ignore[call-arg]
    assert (caught.value.code, caught.value.pointer) == ("invalid_field", "/quuee")
    assert caught.value.request_id


def test_where_nobody_listens_the_error_says_so(node: Node) -> None:
    """Nothing was done, and the client tried for as long as it was told to."""
    node.kill()
    with Client(f"{node.host}:{node.port}", timeout_s=0.3) as client, pytest.raises(Unavailable) as caught:
        client.enqueue()
    assert caught.value.code == "unreachable"


def test_a_call_goes_on_after_its_node_is_back(node: Node, client: Client) -> None:
    """A connection that was kept is none of the new node's."""
    client.enqueue()
    node.kill()
    node.start()
    assert client.enqueue().id == 1
