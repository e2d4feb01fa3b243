"""Each recipe is run as it stands in docs/recipes, with a node, and does what it says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from cqueue import testing
from cqueue.testing import LocalQueue
from tests.cluster.harness import START_S, environment
from tests.support import eventually

RECIPES = Path(__file__).parents[2] / "docs" / "recipes"
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def q() -> Iterator[LocalQueue]:
    """An empty queue, for one test."""
    with testing.queue() as queue:
        yield queue


def program_of(name: str, language: str) -> str:
    """The program in a recipe: its one block in that language."""
    text = (RECIPES / f"{name}.md").read_text(encoding="utf-8")
    (program,) = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return str(program)


@pytest.fixture
def start(q: LocalQueue, tmp_path: Path) -> Iterator[Start]:
    """Starts a program that finds the queue; it is killed, with all that it started, when the test ends."""
    with ExitStack() as cleanup:

        def started(*command: str) -> subprocess.Popen[str]:
            variables = {
                **environment(),
                "CQUEUE_NODE": q.address,
                "GOCACHE": str(tmp_path / "go"),
                "GOFLAGS": "-mod=mod",
            }
            variables["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            process = subprocess.Popen(
                command, cwd=tmp_path, env=variables, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
            cleanup.callback(kill, process)
            return process

        yield started


def kill(process: subprocess.Popen[str]) -> None:
    """Kill it and all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, 9)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def concluded(q: LocalQueue, job_id: int) -> object:
    """The result of a job, once it has one."""
    eventually(lambda: q.get(job_id).status == "CONCLUDED", within_s=START_S)
    return q.get(job_id).result


def test_every_recipe_is_run() -> None:
    """By a test below, and is in the list of recipes."""
    names = {path.stem for path in RECIPES.glob("*.md")} - {"README"}
    here = Path(__file__).read_text(encoding="utf-8")
    listed = (RECIPES / "README.md").read_text(encoding="utf-8")
    assert {name for name in names if f'program_of("{name}"' not in here or f"({name}.md)" not in listed} == set()


def test_something_happens_every_hour(q: LocalQueue, start: Start) -> None:
    """Once, with two that would do it; and again an hour later."""
    program = program_of("cron", "python")
    for process in [start(sys.executable, "-c", program) for _ in range(2)]:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("the first is at ")
    assert q.stats().total == 1
    for hour in (1, 2):
        q.advance(3_600)
        eventually(lambda hour=hour: q.stats().jobs["CONCLUDED"] == hour, within_s=START_S)
        assert q.stats().jobs["SCHEDULED"] == 1
    planned = [job for job in q.iter_jobs() if job.status == "SCHEDULED"]
    assert planned[0].run_at > datetime.now(UTC) + timedelta(hours=2)


def test_a_web_hook_is_delivered_in_the_end(q: LocalQueue, start: Start) -> None:
    """Refused twice for now, then taken; one that is refused for good is dead at once."""
    seen: list[tuple[str, str]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((self.headers["Idempotency-Key"], body.decode()))
            self.send_response(404 if self.path == "/gone" else 503 if len(seen) < 3 else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        start(sys.executable, "-c", program_of("webhooks", "python"))
        hook = q.enqueue({"url": f"{url}/hook", "body": {"n": 1}}, queue="hooks", max_attempts=20)
        for attempts in (1, 2):
            eventually(lambda attempts=attempts: len(q.get(hook.id).errors) == attempts, within_s=START_S)
            q.advance(60)
        concluded(q, hook.id)
        gone = q.enqueue({"url": f"{url}/gone", "body": 2}, queue="hooks")
        eventually(lambda: q.get(gone.id).status == "DEAD", within_s=START_S)
        server.shutdown()
    assert seen == [(f"job-{hook.id}", '{"n": 1}')] * 3 + [(f"job-{gone.id}", "2")]


def test_results_are_gathered(q: LocalQueue, start: Start) -> None:
    """All hundred of them."""
    said, _ = start(sys.executable, "-c", program_of("fan-out", "python")).communicate(timeout=START_S)
    assert int(said) == sum(number**2 for number in range(100))
    assert q.stats().jobs["CONCLUDED"] == 100


def test_an_import_survives_a_kill(q: LocalQueue, start: Start, tmp_path: Path) -> None:
    """Started again it goes on, and each line is there once."""
    count = 60_000
    lines = "".join(json.dumps({"payload": number}) + "\n" for number in range(count))
    (tmp_path / "jobs.ndjson").write_text(lines)
    program = program_of("bulk-import", "sh")

    killed = start("sh", "-c", program)
    eventually(lambda: q.stats().total, within_s=START_S)
    kill(killed)
    assert start("sh", "-c", program).wait(START_S) == 0

    assert [job.payload for job in q.iter_jobs(limit=1_000)] == list(range(count))


@pytest.mark.skipif(shutil.which("jq") is None, reason="this machine has no jq")
def test_bash_consumes(q: LocalQueue, start: Start) -> None:
    """With curl and jq."""
    start("bash", "-c", program_of("bash", "bash"))
    added = q.enqueue({"name": 'Ada "the first"'}, queue="greetings")
    assert concluded(q, added.id) == 'hello Ada "the first"'


@pytest.mark.skipif(shutil.which("node") is None, reason="this machine has no Node.js")
def test_node_consumes(q: LocalQueue, start: Start, tmp_path: Path) -> None:
    """And says what went wrong where something did."""
    (tmp_path / "consumer.mjs").write_text(program_of("node", "js"))
    start("node", "consumer.mjs")
    assert concluded(q, q.enqueue([1, 2, 3], queue="sums").id) == 6
    bad = q.enqueue({}, queue="sums")
    eventually(lambda: q.get(bad.id).errors, within_s=START_S)


@pytest.mark.skipif(shutil.which("go") is None, reason="this machine has no Go")
def test_go_consumes(q: LocalQueue, start: Start, tmp_path: Path) -> None:
    """Compiled and run."""
    (tmp_path / "consumer.go").write_text(program_of("go", "go"))
    start("go", "run", "consumer.go")
    added = q.enqueue("hello", queue="shouts")
    eventually(lambda: q.get(added.id).status == "CONCLUDED", within_s=100)
    assert q.get(added.id).result == "HELLO"
