"""`GET /metrics`: what is told, of what, and that it is the same whichever worker tells it."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
import urllib3
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

import cqueue
from cqueue import metrics
from cqueue.core.jobs import STATUSES
from cqueue.metrics import METRICS, Tally
from cqueue.web.metrics import QUEUES_AT_A_TIME, TEXT_CHARS_AT_A_TIME
from tests.support import eventually
from tests.web.callers import Callers, given_open_door
from tests.web.replica import StandInReplica
from tests.web.stream import StreamClient
from tests.web.web import ANSWER_S, Web

OPEN_METRICS: Final = "application/openmetrics-text; version=1.0.0"

Shown = dict[str, float]
"""{a sample's name and labels as they are written: its value}."""


def samples_of(text: str) -> Shown:
    """What a text says."""
    return {_name(sample.name, sample.labels): sample.value for family in parse_text(text) for sample in family.samples}


def _name(name: str, labels: dict[str, str]) -> str:
    inner = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return f"{name}{{{inner}}}" if inner else name


def shown_by(web: Web) -> Shown:
    """What it shows now."""
    return samples_of(web.send("GET", "/metrics").body.decode())


def requests_between(before: Shown, after: Shown) -> Shown:
    """What was counted of requests from one look to the next, by labels; the looks aside."""
    name = "cqueue_http_requests_total"
    return {
        labels: count - before.get(name + labels, 0)
        for labels, count in ((key.removeprefix(name), after[key]) for key in after if key.startswith(name))
        if "/metrics" not in labels and count != before.get(name + labels, 0)
    }


def given_jobs_counted(replica: StandInReplica, *queues: str) -> None:
    """Have the replica count a job of each queue that waited and ran."""
    tally = Tally()
    for queue in queues:
        for name in ("cqueue_job_wait_seconds", "cqueue_job_run_seconds"):
            tally.observe((name, queue, "A"), 0.3)
    replica.tallies.report("test", metrics.encode(tally))


def test_every_metric_of_the_table_is_shown_with_its_labels(web: Web, replica: StandInReplica) -> None:
    """And none besides."""
    web.given_job_in_progress()
    given_jobs_counted(replica, "default")
    web.send("GET", "/metrics")
    families = {family.name: family for family in parse_text(web.send("GET", "/metrics").body.decode())}
    assert families.keys() == {
        name.removesuffix("_total") if metric.kind == "counter" else name for name, metric in METRICS.items()
    }
    for name, metric in METRICS.items():
        family = families[name.removesuffix("_total") if metric.kind == "counter" else name]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        assert {label for sample in family.samples for label in sample.labels} - {"le"} == set(metric.labels), name


def test_a_queue_is_shown_as_the_state_has_it(web: Web, replica: StandInReplica) -> None:
    """Jobs by state, what happened to them, how old the oldest is."""
    web.given_jobs(5, queue="mail", max_attempts=2)
    web.given_jobs(queue="mail", delay_seconds=60)
    jobs = web.send("POST", "/jobs/dequeue", {"queue": "mail", "count": 4, "lease_seconds": 1}).json["jobs"]
    web.send("POST", f"/jobs/{jobs[0]['id']}/conclude")
    web.send("POST", f"/jobs/{jobs[1]['id']}/fail", {"retryable": False})
    web.send("POST", f"/jobs/{jobs[2]['id']}/fail", {"retry_in_seconds": 60})
    replica.clock_ahead_ms += 5_000
    web.send("POST", "/queues/mail/pause")
    shown = shown_by(web)
    counts = dict.fromkeys(STATUSES, 0) | {"QUEUED": 2, "SCHEDULED": 2, "CONCLUDED": 1, "DEAD": 1}
    assert counts == {status: shown[f'cqueue_jobs{{queue="mail",state="{status}"}}'] for status in STATUSES}
    totals = {"enqueued": 6, "dequeued": 4, "concluded": 1, "failed": 2, "retried": 2, "dead": 1}
    assert totals == {name: shown[f'cqueue_jobs_{name}_total{{queue="mail"}}'] for name in totals}
    assert shown['cqueue_leases_expired_total{queue="mail"}'] == 1
    assert shown['cqueue_queue_paused{queue="mail"}'] == 1
    assert 5 <= shown['cqueue_queue_oldest_job_age_seconds{queue="mail"}'] < 5 + ANSWER_S


def test_the_oldest_job_grows_older_while_nothing_happens(web: Web, replica: StandInReplica) -> None:
    """An alert must see that nobody works; where nothing waits, nothing is old."""
    replica.clock_ahead_ms -= 3_600_000
    web.given_jobs()
    assert 3_600 <= shown_by(web)['cqueue_queue_oldest_job_age_seconds{queue="default"}'] < 3_700
    web.send("POST", "/jobs/dequeue")
    assert shown_by(web)['cqueue_queue_oldest_job_age_seconds{queue="default"}'] == 0


def test_the_node_says_how_it_stands(web: Web) -> None:
    """What `GET /cluster` says, as figures."""
    shown = shown_by(web)
    names = ("is_leader", "has_leader", "term", "commit_index", "applied_index")
    assert {name: shown[f"cqueue_raft_{name}"] for name in names} == dict(zip(names, (1, 1, 3, 7, 7), strict=True))
    assert shown[f'cqueue_build_info{{version="{cqueue.__version__}"}}'] == 1


def test_requests_are_counted_by_route_method_and_status(web: Web) -> None:
    """On both ways in, refusals at the door and errors included; a path's variables are no labels."""
    before = shown_by(web)
    web.given_job_in_progress()
    web.send("GET", "/jobs/1")
    web.send("GET", "/jobs/999")
    web.request("PUT", "/jobs/enqueue", b"{", {"Content-Type": "application/json"})
    web.request("PUT", "/jobs/enqueue", b"{}", {"Content-Type": "application/json", "Origin": "http://evil.example"})
    web.request("POST", "/jobs/1/conclude")
    after = shown_by(web)
    assert requests_between(before, after) == {
        '{code="201",method="PUT",route="/jobs/enqueue"}': 1,
        '{code="400",method="PUT",route="/jobs/enqueue"}': 1,
        '{code="403",method="PUT",route="none"}': 1,
        '{code="200",method="POST",route="/jobs/dequeue"}': 1,
        '{code="200",method="GET",route="/jobs/{id}"}': 1,
        '{code="404",method="GET",route="/jobs/{id}"}': 1,
        '{code="200",method="POST",route="/jobs/{id}/conclude"}': 1,
    }
    of_job = 'cqueue_http_request_duration_seconds_count{method="GET",route="/jobs/{id}"}'
    assert after[of_job] - before.get(of_job, 0) == 2


def test_a_caller_makes_up_no_labels(web: Web) -> None:
    """Whatever path, method or host it sends; and a method that is one stays what it is."""
    before = shown_by(web)
    for number in range(3):
        web.request(f"MADEUP{number}", f"/made/up/{number}", None, {"Host": f"h{number}"})
    web.request("PURGE", "/jobs/enqueue")
    web.request("DELETE", "/made/up")
    assert requests_between(before, shown_by(web)) == {
        '{code="404",method="DELETE",route="none"}': 1,
        '{code="404",method="other",route="none"}': 3,
        '{code="405",method="other",route="none"}': 1,
    }


def test_consumers_that_wait_are_counted_while_they_do(web: Web, replica: StandInReplica) -> None:
    """By the way they came: a dequeue with `wait`, or a WebSocket with credit left."""
    names = {way: f'cqueue_consumers_waiting{{transport="{way}"}}' for way in ("http", "websocket")}

    def waiting(http: int, websocket: int) -> bool:
        shown = shown_by(web)
        return (shown[names["http"]], shown[names["websocket"]]) == (http, websocket)

    streams = 'cqueue_http_requests_total{code="101",method="GET",route="/stream"}'
    before = shown_by(web).get(streams, 0)
    with StreamClient(web.port) as client:
        client.ask("subscribe", {"credit": 1})
        eventually(lambda: waiting(0, 1))
        with ThreadPoolExecutor() as threads:
            consumer = threads.submit(web.send, "POST", "/jobs/dequeue", {"queue": "other", "wait": 60})
            eventually(lambda: waiting(1, 1))
            web.given_jobs(queue="other")
            assert consumer.result(ANSWER_S).status == 200
        eventually(lambda: waiting(0, 1))
        web.given_jobs()
        client.jobs(1)
        eventually(lambda: waiting(0, 0))
    eventually(lambda: shown_by(web).get(streams, 0) == before + 1)


def test_open_metrics_is_written_for_those_who_ask_for_it(web: Web) -> None:
    """The same figures, in a text that its own parser takes; others get what Prometheus has always read."""
    web.given_jobs()
    reply = web.send("GET", "/metrics", accept=OPEN_METRICS)
    assert reply.headers["Content-Type"].startswith(OPEN_METRICS)
    assert {family.name for family in parse_open_metrics(reply.body.decode())} >= {"cqueue_jobs", "cqueue_fenced"}
    assert web.send("GET", "/metrics").headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize("accept", ["", OPEN_METRICS])
def test_more_queues_than_one_look_or_part_takes_are_all_shown(web: Web, accept: str) -> None:
    """Each once, in one family; names are escaped."""
    count = max(QUEUES_AT_A_TIME, TEXT_CHARS_AT_A_TIME // 200) + 10
    names = [f'q{number}"\\' for number in range(count)]
    web.send("PUT", "/jobs/enqueue", [{"queue": name} for name in names])
    text = web.send("GET", "/metrics", accept=accept).body.decode()
    assert text.count("# TYPE cqueue_jobs gauge") == 1
    parse = parse_open_metrics if accept else parse_text
    jobs = next(family for family in parse(text) if family.name == "cqueue_jobs")
    shown = [(sample.labels["queue"], sample.labels["state"]) for sample in jobs.samples]
    assert sorted(shown) == sorted((name, status) for name in names for status in STATUSES)


def test_queues_beyond_the_limit_are_shown_together(own_replica: StandInReplica) -> None:
    """The last by name: their sums, their oldest job; a queue that has the name of the rest is one of them."""
    web = Web(own_replica, own_replica.path.parent, {"metrics_labels_max": 2})
    web.start()
    try:
        for queue, jobs in (("a", 1), ("other", 2), ("b", 3), ("c", 4), ("d", 5)):
            web.given_jobs(jobs, queue=queue)
            own_replica.clock_ahead_ms += 1_000
        web.send("POST", "/queues/c/pause")
        shown = shown_by(web)
    finally:
        web.stop()
    assert {name: value for name, value in shown.items() if "QUEUED" in name} == {
        'cqueue_jobs{queue="a",state="QUEUED"}': 1,
        'cqueue_jobs{queue="b",state="QUEUED"}': 3,
        'cqueue_jobs{queue="other",state="QUEUED"}': 2 + 4 + 5,
    }
    assert shown['cqueue_jobs_enqueued_total{queue="other"}'] == 2 + 4 + 5
    assert shown['cqueue_queue_paused{queue="other"}'] == 1
    assert 4 <= shown['cqueue_queue_oldest_job_age_seconds{queue="other"}'] < 4 + ANSWER_S


def test_the_disk_under_the_data_directory_is_shown(own_replica: StandInReplica, tmp_path: Path) -> None:
    """Where there is one."""
    web = Web(own_replica, own_replica.path.parent, {"data_dir": str(tmp_path)})
    web.start()
    try:
        shown = shown_by(web)
    finally:
        web.stop()
    assert 0 <= shown["cqueue_disk_free_bytes"] <= shown["cqueue_disk_size_bytes"] == shutil.disk_usage(tmp_path).total


def test_without_its_replica_a_node_has_no_figures(own_web: Web, own_replica: StandInReplica) -> None:
    """503, so that a scrape fails, and not figures that are half there."""
    own_replica.stop()
    reply = eventually(lambda: (given := own_web.send("GET", "/metrics")).status == 503 and given)
    assert reply.json["code"] == "not_ready"


def test_a_viewer_of_some_queues_sees_no_others(own_replica: StandInReplica, tmp_path: Path) -> None:
    """As in `GET /queues`; what is of the node is for every viewer."""
    callers = Callers(tmp_path)
    callers.add("all", "admin")
    callers.add("some", "viewer", queues=("mail-*",))
    with given_open_door(callers, own_replica) as door:
        door.call("all", "PUT", "/jobs/enqueue", [{"queue": "mail-a"}, {"queue": "images"}])
        given_jobs_counted(own_replica, "mail-a", "images", "other")
        text = door.call("some", "GET", "/metrics").get_data(as_text=True)
    assert {
        sample.labels["queue"] for family in parse_text(text) for sample in family.samples if "queue" in sample.labels
    } == {"mail-a"}
    assert 'cqueue_job_wait_seconds_count{queue="mail-a"' in text
    assert "cqueue_raft_term 3\n" in text


@pytest.fixture
def two_workers(own_replica: StandInReplica) -> Iterator[Web]:
    """A web of two workers."""
    web = Web(own_replica, own_replica.path.parent, {"workers": 2})
    try:
        web.start()
        eventually(lambda: len(web.worker_pids()) == 2)
        yield web
    finally:
        web.stop()


def _served_by(web: Web) -> Iterator[urllib3.HTTPConnectionPool]:
    """Callers that each keep a connection of their own, and so a worker."""
    while True:
        yield urllib3.HTTPConnectionPool("127.0.0.1", web.port, maxsize=1, retries=False, timeout=ANSWER_S)


def test_two_workers_tell_the_same(two_workers: Web) -> None:
    """What both have counted, whichever is asked, and nothing twice."""
    name = 'cqueue_http_requests_total{code="201",method="PUT",route="/jobs/enqueue"}'
    for _, caller in zip(range(16), _served_by(two_workers), strict=False):
        with caller:
            assert caller.request("PUT", "/jobs/enqueue").status == 201

    def told() -> set[float]:
        texts = []
        for _, caller in zip(range(16), _served_by(two_workers), strict=False):
            with caller:
                texts.append(caller.request("GET", "/metrics").data.decode())
        return {samples_of(text).get(name, math.nan) for text in texts}

    eventually(lambda: told() == {16}, within_s=ANSWER_S)
