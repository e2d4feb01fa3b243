"""What replicas count, on a simulated network and clock: each thing once, on the node that was asked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cqueue import metrics, protocol
from cqueue.core.jobs import Unique
from cqueue.core.operations import (
    Conclude,
    Conclusion,
    Dequeue,
    Enqueue,
    Extend,
    Extension,
    Held,
    Keyed,
    NewJob,
    Operation,
    Options,
    Release,
    Within,
)
from cqueue.metrics import Histogram, Series, Tally
from cqueue.protocol import encode
from cqueue.replication.tallies import Tallies
from cqueue.simulation.cluster import Cluster, Setup
from cqueue.simulation.run import simulated
from cqueue.simulation.world import World
from tests.replication.test_errands import Asked, answered, leader_and_others, replica_of, replicas, until

ONE = NewJob("A", b"null")
WAIT: Series = ("cqueue_job_wait_seconds", "default", "A")
RUN: Series = ("cqueue_job_run_seconds", "default", "A")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Three nodes with a leader."""
    with simulated(None):
        made = Cluster(World(11), Setup(3))
        until(made, lambda: all(replica.status().not_ready is None for replica in replicas(made)))
        yield made


def do(cluster: Cluster, node_id: str, *operations: Operation) -> None:
    """Have a node do them, one after the other."""
    for operation in operations:
        asked = Asked(cluster, node_id, protocol.OPERATE, encode(operation))
        answered(cluster, asked)
        assert asked.answer[0] == protocol.RESULT


def tally_of(cluster: Cluster, node_id: str) -> Tally:
    """What a node has counted."""
    asked = Asked(cluster, node_id, protocol.TALLY, b"")
    return metrics.decode(asked.answer[2])


def observed(tally: Tally, series: Series) -> tuple[int, float]:
    """How many values, and their sum."""
    histogram = tally.histograms.get(series, Histogram.of(series[0]))
    return sum(histogram.counts), histogram.sum


def let_pass(cluster: Cluster, seconds: float) -> None:
    """Let simulated time go by."""
    cluster.world.run_until(cluster.world.now_s + seconds)


def test_waits_and_runs_are_counted_once_and_where_they_were_asked_for(cluster: Cluster) -> None:
    """All nodes apply the entry; only the one whose request it was counts."""
    leader, first, second = leader_and_others(cluster)
    do(cluster, leader, Enqueue([ONE, ONE, ONE]))
    let_pass(cluster, 20)
    do(cluster, first, Dequeue(2))
    let_pass(cluster, 3)
    do(cluster, second, Conclude([Conclusion(1), Conclusion(2)]), Conclude([Conclusion(1)]))
    waits, waited_s = observed(tally_of(cluster, first), WAIT)
    runs, ran_s = observed(tally_of(cluster, second), RUN)
    assert (waits, runs) == (2, 2)
    assert 40 <= waited_s < 44
    assert 6 <= ran_s < 10
    assert [observed(tally_of(cluster, node_id), WAIT)[0] for node_id in (leader, second)] == [0, 0]
    assert [observed(tally_of(cluster, node_id), RUN)[0] for node_id in (leader, first)] == [0, 0]


def test_a_job_has_waited_once_however_often_it_is_handed_out(cluster: Cluster) -> None:
    """Not again after it was given back, and not when a dequeue under a key is answered again."""
    leader, _, _ = leader_and_others(cluster)
    dequeue = Keyed("k", b"f", Dequeue(1))
    do(cluster, leader, Enqueue([ONE]), dequeue, dequeue, Release([Held(1)]), Dequeue(1))
    tally = tally_of(cluster, leader)
    assert observed(tally, WAIT)[0] == 1
    assert tally.counts["cqueue_deduplicated_total", "idempotency_key"] == 1


def test_a_delayed_job_waits_from_when_it_may_run(cluster: Cluster) -> None:
    """Its delay is what was asked for."""
    leader, _, _ = leader_and_others(cluster)
    do(cluster, leader, Enqueue([NewJob("A", b"null", options=Options(delay_ms=30_000))]))
    let_pass(cluster, 35)
    do(cluster, leader, Dequeue(1))
    waits, waited_s = observed(tally_of(cluster, leader), WAIT)
    assert waits == 1
    assert 4 <= waited_s < 8


def test_queues_and_types_beyond_the_limit_are_counted_together(cluster: Cluster) -> None:
    """The first pairs that are seen keep their labels, so that a series never changes its meaning."""
    leader, _, _ = leader_and_others(cluster)
    replica_of(cluster, leader).tallies.labels_max = 2
    kinds = [("A", "mail"), ("B", "mail"), ("A", "images"), ("C", "mail"), ("A", "mail")]
    do(cluster, leader, Enqueue([NewJob(kind, b"null", queue=queue) for kind, queue in kinds]))
    for queue in ("mail", "images"):
        do(cluster, leader, Dequeue(9, queues=(queue,)))
    do(cluster, leader, Conclude([Conclusion(job_id) for job_id in range(1, 6)]))
    histograms = tally_of(cluster, leader).histograms
    assert {(name, *labels): sum(histograms[name, *labels].counts) for name, *labels in histograms if labels} == {
        (name, *labels): jobs
        for name in ("cqueue_job_wait_seconds", "cqueue_job_run_seconds")
        for labels, jobs in ((("mail", "A"), 2), (("mail", "B"), 1), (("other", "other"), 2))
    }


def test_jobs_whose_unique_key_is_taken_are_counted(cluster: Cluster) -> None:
    """Those not added, and not those that were."""
    leader, _, _ = leader_and_others(cluster)
    unique = NewJob("A", b"null", options=Options(unique=Unique("order-1")))
    do(cluster, leader, Enqueue([unique, unique, ONE]), Enqueue([unique]))
    assert tally_of(cluster, leader).counts["cqueue_deduplicated_total", "unique_key"] == 2


def test_verbs_of_a_lost_lease_are_counted_by_verb(cluster: Cluster) -> None:
    """One for each job that was refused, however the verb came; other refusals are none of them."""
    leader, _, _ = leader_and_others(cluster)
    do(
        cluster,
        leader,
        Enqueue([ONE, ONE]),
        Dequeue(2),
        Conclude([Conclusion(1, 99), Conclusion(2, 98), Conclusion(7)]),
        Within(("*",), Extend([Extension(1, 99)])),
        Keyed("k", b"f", Within(("*",), Release([Held(1, 99)]))),
        Release([Held(1)]),
        Release([Held(1)]),
    )
    fenced = {series[1]: times for series, times in tally_of(cluster, leader).counts.items() if "fenced" in series[0]}
    assert fenced == {"conclude": 2, "extend": 1, "release": 1}


def test_batches_and_their_commits_are_counted_where_they_were_proposed(cluster: Cluster) -> None:
    """However many operations they hold."""
    leader, first, _ = leader_and_others(cluster)
    together = [Asked(cluster, first, protocol.OPERATE, encode(Enqueue([ONE]))) for _ in range(5)]
    answered(cluster, *together)
    tally = tally_of(cluster, first)
    batches, operations = observed(tally, ("cqueue_raft_batch_operations",))
    commits, seconds = observed(tally, ("cqueue_raft_commit_seconds",))
    assert operations == 5
    assert 1 <= batches == commits <= 5
    assert 0 < seconds < 5
    assert observed(tally_of(cluster, leader), ("cqueue_raft_batch_operations",)) == (0, 0)


def test_a_leader_that_follows_another_is_a_change(cluster: Cluster) -> None:
    """On every node that saw both."""
    series = ("cqueue_raft_leader_changes_total",)
    leader, first, second = leader_and_others(cluster)
    before = [tally_of(cluster, node_id).counts.get(series, 0) for node_id in (first, second)]
    cluster.crash(leader, wipe=False)
    until(cluster, lambda: replica_of(cluster, first).status().leader not in {None, leader})
    until(cluster, lambda: replica_of(cluster, second).status().leader not in {None, leader})
    let_pass(cluster, 1)
    after = [tally_of(cluster, node_id).counts.get(series, 0) for node_id in (first, second)]
    assert after == [count + 1 for count in before]


def test_the_first_leader_and_none_are_no_change() -> None:
    """The same one in a later term is: for a while there was none."""
    tallies = Tallies()
    series = ("cqueue_raft_leader_changes_total",)
    for epoch, changes in (((1, None), 0), ((2, "a"), 0), ((2, "a"), 0), ((3, None), 0), ((3, "a"), 1), ((4, "b"), 2)):
        tallies.see(epoch)
        assert metrics.decode(tallies.encoded()).counts.get(series, 0) == changes


def test_a_worker_that_is_gone_leaves_what_it_counted_and_nobody_who_waits() -> None:
    """Counts of all workers that ever were add up; who waits is with those that are."""
    tallies = Tallies()
    for worker in ("first", "second"):
        report = Tally()
        report.count(("cqueue_http_requests_total", "/", "GET", "200"), 2)
        report.observe(("cqueue_http_request_duration_seconds", "/", "GET"), 0.02)
        report.shift(("cqueue_consumers_waiting", "http"), 3)
        tallies.report(worker, metrics.encode(report))
    tallies.forget("first")
    told = metrics.decode(tallies.encoded())
    assert told.counts == {("cqueue_http_requests_total", "/", "GET", "200"): 4}
    assert observed(told, ("cqueue_http_request_duration_seconds", "/", "GET")) == (2, 0.04)
    assert told.levels == {("cqueue_consumers_waiting", "http"): 3}


def test_a_value_on_a_bound_belongs_below_it() -> None:
    """As `le` has it, less than or equal."""
    histogram = Histogram.of("cqueue_raft_batch_operations")
    for value in (1, 1.5, 1_000, 1_001):
        histogram.observe(value)
    assert histogram.counts == [1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]
