"""What a person sees: on a terminal of 80 and of 140 columns; and how commands are stopped."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from cqueue import testing
from cqueue.cli import exits, top
from cqueue.testing import LocalQueue
from tests.cli.running import run
from tests.cluster.harness import CQUEUE, START_S, environment
from tests.support import eventually

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.fixture
def q() -> Iterator[LocalQueue]:
    """An empty queue, for one test."""
    with testing.queue() as queue:
        yield queue


class Terminal:
    """A command on a terminal of this width."""

    def __init__(self, q: LocalQueue, columns: int, *words: str) -> None:
        self._main, side = pty.openpty()
        env = {**environment(), "CQUEUE_NODE": q.address, "COLUMNS": str(columns), "LINES": "24", "TERM": "xterm"}
        self.process = subprocess.Popen(
            [*CQUEUE, *words], stdin=side, stdout=side, stderr=side, env=env, start_new_session=True
        )
        os.close(side)
        self.text = ""

    def read(self) -> str:
        """All that was written so far, without colours."""
        while select.select([self._main], [], [], 0)[0]:
            try:
                self.text += os.read(self._main, 65536).decode()
            except OSError:
                break
        return ESCAPES.sub("", self.text)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._main, keys.encode())

    def wait(self) -> tuple[int, str]:
        """The exit code, and all that was written."""
        eventually(lambda: [self.read(), self.process.poll() is not None][1], within_s=START_S)
        told = self.read()
        os.close(self._main)
        return self.process.wait(), told


@pytest.mark.parametrize("columns", [80, 140])
def test_a_table_fits_its_terminal(q: LocalQueue, columns: int) -> None:
    """With a head, and with what is too long cut."""
    q.enqueue({"text": "long " * 60}, queue="a-queue-with-a-long-name", type="a.type.with.a.long.name")
    for words in (["list"], ["queues"], ["stats"], ["explain", "1"]):
        code, told = Terminal(q, columns, *words).wait()
        assert code == 0
        lines = [line.rstrip("\r") for line in told.splitlines()]
        assert max(map(len, lines)) <= columns, lines
        assert lines[0].split()[0] in {"id", "queue"}
    code, told = Terminal(q, columns, "show", "1").wait()
    assert (code, "payload" in told) == (0, True)


@pytest.mark.parametrize("columns", [80, 140])
def test_top_fits_its_terminal(q: LocalQueue, columns: int) -> None:
    """Nodes, leader, queues, and a line for those that do not fit."""
    q.enqueue_many([{"queue": f"queue-{number:02}"} for number in range(40)])
    seen = top.look(q, top.look(q, None))
    out = io.StringIO()
    Console(file=out, width=columns, height=24).print(top.drawn(seen, "", 24))
    lines = out.getvalue().splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= columns
    assert "leader" in lines[0]
    assert any(re.match(r"and \d+ more", line) for line in lines)
    assert any(line.startswith("all ") for line in lines)


@pytest.mark.parametrize("key", ["q", "\x03"], ids=["q", "Ctrl-C"])
def test_top_is_left_by_a_key(q: LocalQueue, key: str) -> None:
    """With exit code 0, and the terminal as it was."""
    terminal = Terminal(q, 80, "top", "--interval", "0.2")
    eventually(lambda: "leader" in terminal.read(), within_s=START_S)
    if key == "q":
        terminal.type(key)
    else:
        os.killpg(terminal.process.pid, signal.SIGINT)
    code, told = terminal.wait()
    assert code == exits.DONE
    assert "Traceback" not in told


def test_top_for_a_program_is_a_line_each_time_and_nothing_without_a_terminal(q: LocalQueue) -> None:
    """NDJSON, or wrong usage."""
    assert run("top", node=q.address).exit_code == exits.USAGE


def test_many_are_asked_about(q: LocalQueue) -> None:
    """And not touched where the answer is no."""
    q.enqueue()
    terminal = Terminal(q, 80, "purge", "--queue", "default")
    eventually(lambda: "purge all jobs with queue default?" in terminal.read(), within_s=START_S)
    terminal.type("n\n")
    assert terminal.wait()[0] == exits.REFUSED
    assert q.stats().total == 1


def given_events(q: LocalQueue) -> subprocess.Popen[bytes]:
    """`cqueue events`, which has told the first one."""
    q.enqueue()
    command = [*CQUEUE, "events", "--after", "0.0", "--json", "--node", q.address]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, env=environment())
    assert process.stdout is not None
    line = process.stdout.readline()
    assert b'"event":"enqueue"' in line
    assert b'"place":"' in line
    return process


def test_ctrl_c_is_no_traceback(q: LocalQueue) -> None:
    """130, and not a word."""
    process = given_events(q)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=START_S)
    assert (process.returncode, said) == (exits.INTERRUPTED, b"")


def test_a_pipe_that_is_closed_is_no_traceback(q: LocalQueue) -> None:
    """141, as if the signal had done it, and not a word."""
    process = given_events(q)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    q.enqueue()
    try:
        assert process.wait(START_S) == exits.CLOSED
        assert process.stderr.read() == b""
    finally:
        process.kill()
        process.stderr.close()


def test_a_bench_leaves_no_queue_behind(q: LocalQueue) -> None:
    """And says how fast each verb was."""
    said = run("bench", "--seconds", "0.2", "--batch", "5", "--threads", "2", "--json", node=q.address)
    assert [row["verb"] for row in said.values] == ["enqueue", "dequeue", "conclude"]
    assert all(row["jobs"] > 0 for row in said.values)
    assert q.list_queues().queues == ()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how_to_complete(shell: str) -> None:
    """The script names the function of click."""
    assert "_CQUEUE_COMPLETE" in run("completion", shell).stdout


def test_names_of_queues_are_completed(q: LocalQueue) -> None:
    """From the node; commands and options, too."""
    q.enqueue_many([{"queue": "mail"}, {"queue": "metrics"}, {"queue": "sms"}])
    for words, expected in (("cqueue queues m", {"mail", "metrics"}), ("cqueue con", {"conclude"})):
        env = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1), "_CQUEUE_COMPLETE": "bash_complete"}
        script = str(Path(sys.executable).with_name("cqueue"))
        done = subprocess.run(
            [script],
            env={**environment(), **env, "CQUEUE_NODE": q.address},
            capture_output=True,
            text=True,
            check=True,
            timeout=START_S,
        )
        assert {line.split(",")[1] for line in done.stdout.splitlines()} == expected


def test_progress_is_shown_on_a_terminal(q: LocalQueue, tmp_path: Path) -> None:
    """And gone at the end, which says how many and how fast."""
    file = tmp_path / "jobs.ndjson"
    file.write_text("{}\n" * 30_000)
    code, told = Terminal(q, 80, "enqueue", "--file", str(file)).wait()
    assert code == exits.DONE
    assert "jobs" in told
    assert "30,000 jobs added in" in told
