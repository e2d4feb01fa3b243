"""`cqueue enqueue --file`: each line once, whatever stops it; and what is wrong is named by its line."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cqueue import testing
from cqueue.cli import exits, filing, lines
from cqueue.core import limits
from cqueue.testing import LocalQueue
from tests.cli.running import Said, run
from tests.cluster.fixtures import StartNode
from tests.cluster.harness import CQUEUE, START_S, environment
from tests.support import eventually


@pytest.fixture
def q() -> Iterator[LocalQueue]:
    """An empty queue, for one test."""
    with testing.queue() as queue:
        yield queue


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of few lines, so that a short file has several."""
    monkeypatch.setattr(lines, "PART_BYTES_MAX", 60)


def given_file(directory: Path, *jobs: Any) -> Path:
    """A file with these jobs; a string is a line as it is."""
    file = directory / "jobs.ndjson"
    file.write_text("".join(f"{job if isinstance(job, str) else json.dumps(job)}\n" for job in jobs), encoding="utf-8")
    return file


def added(q: LocalQueue, file: object, *words: object, stdin: str | None = None) -> Said:
    """Add the jobs of a file."""
    return run("enqueue", "--file", file, "--retry", 1, *words, node=q.address, stdin=stdin)


def payloads(q: LocalQueue) -> list[Any]:
    """Of all jobs, in the order of their ids."""
    return [job.payload for job in q.iter_jobs(limit=1_000)]


def test_every_line_is_a_job_and_empty_ones_are_none(q: LocalQueue, tmp_path: Path) -> None:
    """In their order; it says how many, and leaves nothing behind."""
    file = given_file(tmp_path, {"payload": 1}, "", '  {"payload": 2, "queue": "mail"}  ', {})
    said = added(q, file)
    assert (said.exit_code, said.stdout) == (exits.DONE, "3\n")
    assert [(job.payload, job.queue) for job in q.iter_jobs()] == [(1, "default"), (2, "mail"), (None, "default")]
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.usefixtures("small_parts")
def test_a_file_goes_in_parts_in_its_order(q: LocalQueue, tmp_path: Path) -> None:
    """As many lines at once as fit."""
    file = given_file(tmp_path, *({"payload": n} for n in range(50)))
    assert json.loads(added(q, file, "--json").stdout).items() >= {"jobs": 50, "duplicates": 0, "lines": 50}.items()
    assert payloads(q) == list(range(50))


def test_the_options_count_where_a_line_does_not_say_otherwise(q: LocalQueue, tmp_path: Path) -> None:
    """Of a job without any field, too."""
    file = given_file(tmp_path, {}, {"queue": "sms", "payload": {"queue": "no"}})
    assert added(q, file, "--queue", "mail", "--priority", 3).exit_code == exits.DONE
    assert [(job.queue, job.priority) for job in q.iter_jobs()] == [("mail", 3), ("sms", 3)]


def test_jobs_come_from_stdin(q: LocalQueue) -> None:
    """`-`; the last line need not end."""
    assert added(q, "-", stdin='{"payload": 1}\n{"payload": 2}').stdout == "2\n"


def test_jobs_that_are_there_under_their_unique_key_are_counted_apart(q: LocalQueue, tmp_path: Path) -> None:
    """They are no error."""
    file = given_file(tmp_path, {"unique_key": "a"}, {"unique_key": "a"}, {"unique_key": "b"})
    assert json.loads(added(q, file, "--json").stdout).items() >= {"jobs": 2, "duplicates": 1, "lines": 3}.items()


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "no JSON object"),
        ("[1]", "no JSON object"),
        ("{}, {}", "no JSON object"),
        ('{"payload": "\udcff"}', "UTF-8"),
        ('{"payload": "\\ud800"}', "JSON"),
        ('{"typ": 1}', "there is no such field"),
        ('{"priority": -1}', "priority"),
        ('{"payload": NaN}', "no JSON object"),
    ],
)
def test_a_bad_line_is_named_and_once_mended_the_rest_follows(
    q: LocalQueue, tmp_path: Path, line: str, words: str
) -> None:
    """What was before its part is added once, and only once."""
    good: list[Any] = [{"payload": n} for n in range(10)]
    file = tmp_path / "jobs.ndjson"
    text = "".join(f"{json.dumps(job)}\n" for job in good)
    file.write_bytes(f"{text}{line}\n{text}".encode("utf-8", "surrogateescape"))

    said = added(q, file)
    assert said.exit_code == exits.REFUSED
    assert f"{file}, line 11: " in said.stderr
    assert words in said.stderr
    assert said.stdout == ""
    assert f"; {len(payloads(q))} lines are done" in said.stderr

    file.write_text(text + json.dumps({"payload": "mended"}) + "\n" + text)
    assert added(q, file).exit_code == exits.DONE
    assert payloads(q) == [*range(10), "mended", *range(10)]


@pytest.mark.cluster
def test_a_node_that_takes_less_at_once_is_sent_less(start_node: StartNode, tmp_path: Path) -> None:
    """A line that is too large by itself is named."""
    node = start_node(body_bytes_max=2_000)
    file = given_file(tmp_path, *({"payload": "x" * 300} for _ in range(40)))
    assert run("enqueue", "--file", file, node=node.url).stdout == "40\n"

    said = run("enqueue", "--file", given_file(tmp_path, {}, {"payload": "x" * 3_000}, {}), node=node.url)

    assert f"{file}, line 2: " in said.stderr
    assert said.exit_code == exits.REFUSED


@pytest.mark.parametrize("was_added", [True, False])
def test_a_part_that_was_on_its_way_is_added_once(q: LocalQueue, tmp_path: Path, *, was_added: bool) -> None:
    """Whether it came through or not: nobody who was killed in the middle can know."""
    file = given_file(tmp_path, *({"payload": n} for n in range(5)))
    killed_in_the_middle(q, file, lines_sent=3, was_added=was_added, ago_s=60)

    assert added(q, file).exit_code == exits.DONE
    assert payloads(q) == [0, 1, 2, 3, 4]
    assert list(tmp_path.iterdir()) == [file]


def killed_in_the_middle(q: LocalQueue, file: Path, lines_sent: int, *, was_added: bool, ago_s: float) -> None:
    """Leave what a command leaves that is killed after it has sent the first lines."""
    with file.open("rb") as source:
        part = lines.Lines(str(file), source, {}).part(1, lines_sent)
    state = filing.State(
        secrets.token_hex(4), lines=lines_sent, digest=filing._digest(part), sent_s=time.time() - ago_s
    )
    Path(f"{file}.state").write_bytes(filing.msgspec.json.encode(state))
    if was_added:
        q.enqueue_many([json.loads(line) for line in part.lines], key=state.key)


def test_what_is_in_doubt_for_too_long_is_named_and_left_to_a_person(q: LocalQueue, tmp_path: Path) -> None:
    """Nodes forget keys after ten minutes: then it is refused, until somebody says how it is."""
    file = given_file(tmp_path, *({"payload": n} for n in range(4)))
    for word, expected in (("skip", [2, 3]), ("add", [2, 3, 0, 1, 2, 3])):
        killed_in_the_middle(q, file, lines_sent=2, was_added=False, ago_s=590)
        said = added(q, file)
        assert said.exit_code == exits.UNKNOWN
        assert "lines 1 to 2 were sent too long ago" in said.stderr
        assert added(q, file, "--in-doubt", word).exit_code == exits.DONE
        assert payloads(q) == expected


def test_another_file_or_other_options_do_not_go_on(q: LocalQueue, tmp_path: Path) -> None:
    """What was on its way is not what would be sent: refused, and nothing is added."""
    file = given_file(tmp_path, {"payload": 1}, {"payload": 2})
    killed_in_the_middle(q, file, lines_sent=2, was_added=False, ago_s=0)
    assert added(q, file, "--queue", "mail").exit_code == exits.USAGE
    given_file(tmp_path, {"payload": 1}, {"payload": 3})
    said = added(q, file)
    assert said.exit_code == exits.USAGE
    assert "lines 1 to 2 were on their way, and are not what they were" in said.stderr
    Path(f"{file}.state").write_bytes(filing.msgspec.json.encode(filing.State("run", line=9, offset=999)))
    assert "shorter than what was added" in added(q, file).stderr
    assert q.stats().total == 0


def test_a_state_file_that_is_none_is_refused(q: LocalQueue, tmp_path: Path) -> None:
    """By its name."""
    file = given_file(tmp_path, {})
    Path(f"{file}.state").write_text("what?")
    said = added(q, file)
    assert (said.exit_code, f"{file}.state" in said.stderr) == (exits.USAGE, True)


def test_stdin_goes_on_too_with_a_state_file(q: LocalQueue, tmp_path: Path) -> None:
    """What was added is passed over."""
    state = tmp_path / "state"
    state.write_bytes(filing.msgspec.json.encode(filing.State("run", line=2, offset=len('{"payload": 1}\n') * 2)))
    text = "".join(f'{{"payload": {n}}}\n' for n in (1, 2, 3))
    assert added(q, "-", "--state", state, stdin=text).stdout == "1\n"
    assert payloads(q) == [3]


def test_more_jobs_than_nodes_remember_keys_for_wait_until_they_forget(
    q: LocalQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And are all added then."""
    monkeypatch.setattr(limits, "KEYS_WEIGHT_MAX", 5)
    q.enqueue_many([{"payload": "before"}] * 4, key="before")
    process = started(q, given_file(tmp_path, {"payload": 1}))
    try:
        assert process.stderr is not None
        assert "waiting" in process.stderr.readline()
        q.advance(601)
        assert process.wait(START_S) == exits.DONE
        assert q.stats().total == 5
    finally:
        process.kill()
        process.communicate()


def started(q: LocalQueue, file: Path) -> subprocess.Popen[str]:
    """The command in a process of its own, in parts of few lines."""
    small = "from cqueue.cli import lines, main; lines.PART_BYTES_MAX = 400; main()"
    command = [sys.executable, "-c", small, "enqueue", "--file", str(file), "--node", q.address]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment(), stdout=pipe, stderr=pipe, text=True)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_a_command_that_is_killed_again_and_again_adds_each_line_once(q: LocalQueue, tmp_path: Path, name: str) -> None:
    """Wherever it is at just then."""
    count, kills = 2_000, 4
    file = given_file(tmp_path, *({"payload": n} for n in range(count)))
    codes = [code_of_killed(q, file, getattr(signal, name)) for _ in range(kills)]
    assert codes[0] == (exits.INTERRUPTED if name == "SIGINT" else -signal.SIGKILL)
    if codes[-1] != exits.DONE:
        assert run("enqueue", "--file", file, node=q.address).exit_code == exits.DONE
    assert payloads(q)[:count] == list(range(count))
    assert len(payloads(q)) == count * (1 + codes[:-1].count(exits.DONE))


def code_of_killed(q: LocalQueue, file: Path, number: signal.Signals) -> int:
    """Start the command, send it a signal as soon as it has added something, and say how it ended."""
    before = q.stats().total
    process = started(q, file)
    try:
        eventually(lambda: process.poll() is not None or q.stats().total > before, within_s=START_S)
        process.send_signal(number)
        _, said = process.communicate(timeout=START_S)
    finally:
        process.kill()
    assert "Traceback" not in said
    return process.returncode


def test_a_file_is_added_by_one_command_at_a_time(q: LocalQueue, tmp_path: Path) -> None:
    """A second one is told so, and adds nothing."""
    import fcntl  # noqa: PLC0415

    file = given_file(tmp_path, {})
    with file.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        said = added(q, file)
    assert (said.exit_code, said.stdout) == (exits.REFUSED, "")
    assert "another cqueue" in said.stderr


@pytest.mark.parametrize(
    "words",
    [["--file", "x", "1"], ["--file", "x", "--text"], ["--state", "x"], ["--in-doubt", "add"], ["--file", "/no"]],
)
def test_options_that_do_not_go_together_are_wrong_usage(words: list[str]) -> None:
    """So is a file that is not there."""
    assert run("enqueue", *words, node="127.0.0.1:1").exit_code == exits.USAGE


def test_a_script_finds_the_command(tmp_path: Path) -> None:
    """Nobody there: 69, and the file can be given again."""
    file = given_file(tmp_path, {})
    words = [*CQUEUE, "enqueue", "--file", str(file), "--node", "127.0.0.1:1", "--retry", "0.01"]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False, timeout=START_S)
    assert done.returncode == exits.UNAVAILABLE
    assert "0 lines are done" in done.stderr
