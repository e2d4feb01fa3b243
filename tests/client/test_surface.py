"""What the client is made of: all routes, all fields, and no more imports than it needs."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import cqueue
from cqueue import protocol
from cqueue.client import cluster, jobs, looking, queues, results
from cqueue.client.call import Call
from cqueue.web import cluster as web_cluster
from cqueue.web import events
from cqueue.web.shapes import dequeue, enqueue, fields, filters, job, verbs
from cqueue.web.shapes import looking as web_looking
from cqueue.web.shapes import queues as web_queues

OPENAPI = json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text(encoding="utf-8"))

NOT_CALLED = {
    "POST /jobs/conclude/{id}": "another spelling",
    "DELETE /jobs/{id}": "another spelling",
    "POST /cluster/bootstrap": "concerns one node alone",
    "GET /cluster/backup": "concerns one node alone",
    "POST /tickets": "for browsers",
    "GET /events": "not a call",
    "GET /stream": "not a call",
    "GET /metrics": "for Prometheus",
    "GET /livez": "for load balancers",
    "GET /readyz": "for load balancers",
    "GET /healthz": "for load balancers",
    "GET /": "for people",
    "GET /openapi.json": "for people",
    "GET /docs": "for people",
    "GET /docs/{asset}": "for people",
    "GET /ui": "for people",
    "GET /ui/{file}": "for people",
    "GET /whoami": "for people",
}
"""Routes without a method of the client, and why."""

SERVER_PARTS = {"flask", "gevent", "gunicorn", "pysyncobj", "cryptography", "click"}
HTTP_LIBRARIES = {"urllib3", "aiohttp", "websockets"}


def given_calls() -> list[Call[Any]]:
    """What each verb makes of the least that it takes."""
    held = [jobs.conclude, jobs.fail, jobs.release, jobs.extend, jobs.progress]
    many = [jobs.conclude_many, jobs.fail_many, jobs.release_many, jobs.extend_many, jobs.progress_many]
    anyones = [jobs.cancel, jobs.redrive, jobs.purge, jobs.wait, looking.get, looking.history, looking.explain]
    anyones_many = [jobs.cancel_many, jobs.redrive_many, jobs.purge_many]
    where = [jobs.cancel_where, jobs.redrive_where, jobs.purge_where]
    named = [queues.get_queue, queues.configure_queue, queues.delete_queue, queues.pause_queue, queues.resume_queue]
    return [
        jobs.enqueue(),
        jobs.enqueue_many([]),
        jobs.dequeue(),
        jobs.dequeue_many(1),
        *(verb(1) for verb in (*held, *anyones)),  # type: ignore[operator]
        *(verb([1]) for verb in (*many, *anyones_many)),  # type: ignore[operator]
        *(verb(queue="q") for verb in where),
        looking.list_jobs(),
        looking.stats(),
        *(verb("q") for verb in (*named, queues.purge_queue, queues.redrive_queue)),  # type: ignore[operator]
        queues.list_queues(),
        cluster.cluster(),
        cluster.add_member("a:1"),
        cluster.remove_member("a:1"),
        cluster.transfer_leadership(),
        cluster.verify(),
    ]


def route_of(call: Call[Any]) -> str:
    """The heading of the route that a call is for."""
    path = call.target.partition("?")[0]
    for given, placeholder in (("/1", "/{id}"), ("/queues/q", "/queues/{name}"), ("/members/a%3A1", "/members/{id}")):
        path = path.replace(given, placeholder)
    return f"{call.method} {path}"


def test_every_route_has_its_method() -> None:
    """But for those that are no calls, or are for others than programs."""
    routes = {f"{method.upper()} {path}" for path, item in OPENAPI["paths"].items() for method in item}
    called = {route_of(call) for call in given_calls()}
    assert called | set(NOT_CALLED) == {route for route in routes if not route.startswith(("OPTIONS", "HEAD"))}
    assert called & set(NOT_CALLED) == set()


def test_every_verb_is_a_method_with_its_signature_and_its_sentence() -> None:
    """Editors show them."""
    made = {
        name: make
        for module in (jobs, looking, queues, cluster)
        for name, make in vars(module).items()
        if inspect.isfunction(make) and make.__module__ == module.__name__ and not name.startswith("_")
    }
    del made["sweep"]
    for name, make in made.items():
        method = getattr(cqueue.Client, name)
        assert inspect.signature(method) == inspect.signature(make), name
        assert method.__doc__ == make.__doc__


def fields_of(struct: type[Any]) -> tuple[str, ...]:
    """The names of a struct's fields."""
    names: tuple[str, ...] = struct.__struct_fields__
    return names


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (results.Job, job.JobAnswer),
        (results.Progress, job.ProgressAnswer),
        (results.FailedAttempt, job.ErrorAnswer),
        (results.Outcome, verbs.ResultAnswer),
        (results.Page, web_looking.PageAnswer),
        (results.Change, web_looking.ChangeAnswer),
        (results.History, web_looking.HistoryAnswer),
        (results.Explanation, web_looking.ExplanationAnswer),
        (results.Stats, web_looking.StatsAnswer),
        (results.Backoff, fields.BackoffAnswer),
        (results.QueueSettings, web_queues.SettingsAnswer),
        (results.Queue, web_queues.QueueAnswer),
        (results.QueuePage, web_queues.QueuesAnswer),
        (results.Cluster, web_cluster.ClusterAnswer),
        (results.Member, protocol.Member),
        (results.ClusterChange, protocol.Change),
        (results.Members, protocol.Ordered),
        (results.Verdict, protocol.Verdict),
        (results.MemberDigest, protocol.MemberDigest),
    ],
)
def test_results_have_the_fields_of_the_answers(given: type[Any], shown: type[Any]) -> None:
    """In their order: what a node shows, a client has."""
    assert fields_of(given) == fields_of(shown)


def test_an_event_has_the_fields_of_the_answer_and_its_place() -> None:
    """The place is the id of the event, not one of its fields."""
    assert results.Event.__struct_fields__ == (*events.EventAnswer.__struct_fields__, "place")


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        (jobs.NewJob, set(enqueue.EnqueueBody.__struct_encode_fields__) - {"Type"}),
        (jobs.Wish, set(dequeue.DequeueBody.__struct_fields__) - {"count"}),
        (jobs.Filter, set(filters.FilterBody.__struct_fields__)),
        (jobs.BackoffOptions, set(fields.BackoffBody.__struct_fields__)),
        (queues.Settings, set(web_queues.QueueBody.__struct_fields__)),
    ],
)
def test_options_are_the_fields_of_the_request(options: type, taken: set[str]) -> None:
    """What a node takes, a client can say."""
    assert set(options.__annotations__) | set(getattr(options, "__optional_keys__", ())) == taken


def test_the_public_names_are_these() -> None:
    """Each can be had, and asking for another says so as any module does."""
    assert cqueue.__all__ == sorted(cqueue.__all__, key=lambda name: (name.startswith("_"), name))
    for name in cqueue.__all__:
        assert getattr(cqueue, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Cilent'"):
        cqueue.Cilent  # noqa: B018


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has after `code`."""
    asked = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, check=True, text=True
    )
    return set(asked.stdout.split())


def test_to_import_cqueue_loads_next_to_nothing() -> None:
    """Fewer modules than `import http.client` does: importing is never what a script waits for."""
    bare = loaded_by("")
    assert len(loaded_by("import cqueue") - bare) < len(loaded_by("import http.client") - bare)


def test_the_client_loads_no_part_of_the_server() -> None:
    """Not even when it has made a call, and until then no HTTP library."""
    loaded = loaded_by("import cqueue; client = cqueue.Client(); client = cqueue.AsyncClient()")
    assert {name for name in loaded if name.partition(".")[0] in SERVER_PARTS | HTTP_LIBRARIES} == set()
    called = loaded_by(
        "import cqueue\ntry: cqueue.Client('127.0.0.1:1', timeout_s=0.01).enqueue()\nexcept cqueue.Unavailable: pass"
    )
    assert "urllib3" in called
    assert {name for name in called if name.partition(".")[0] in SERVER_PARTS} == set()
    ours = {name for name in called if name.startswith("cqueue.") and not name.startswith("cqueue.client")}
    assert ours == {"cqueue.errors"}
