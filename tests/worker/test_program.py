"""`cqueue work`: what a program is given, and what becomes of the job by how it ends."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from cqueue.client.results import Job
from cqueue.testing import LocalQueue
from cqueue.worker import program
from cqueue.worker.endings import ERROR_CHARS_MAX
from tests.cluster.fixtures import StartCommand
from tests.cluster.harness import CQUEUE, Command, environment
from tests.worker.running import eventually

LEASE_S = "3"
END_S = 100
ENDS: list[tuple[str, str, str | None, object]] = [
    ("cat", "CONCLUDED", None, {"to": "ada"}),
    ("true", "CONCLUDED", None, None),
    ("echo done; echo well", "CONCLUDED", None, "done\nwell"),
    ("echo '{\"a\": 1'", "CONCLUDED", None, '{"a": 1'),
    ("printf '\\377'", "CONCLUDED", None, "\ufffd"),
    ("echo not now >&2; exit 75", "SCHEDULED", "not now", None),
    ("echo nonsense >&2; exit 65", "DEAD", "nonsense", None),
    ("echo part; echo why >&2; exit 3", "SCHEDULED", "exit code 3: why", None),
    ("exit 1", "SCHEDULED", "exit code 1", None),
    ("kill -9 $$", "SCHEDULED", "ended by SIGKILL", None),
]


def work(q: LocalQueue, script: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run `cqueue work` with a script of the shell, until there is no job any more."""
    return run(q, ["--until-empty", *options, "--", "sh", "-c", script])


def run(q: LocalQueue, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run `cqueue work` to its end."""
    return subprocess.run(
        [*CQUEUE, "work", "--node", q.address, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=END_S,
        check=False,
    )


@pytest.mark.parametrize(("script", "status", "error", "result"), ENDS)
def test_the_exit_code_decides(q: LocalQueue, script: str, status: str, error: str | None, result: object) -> None:
    """And stdout is the result, stderr the error."""
    added = q.enqueue({"to": "ada"}, type="mail", backoff={"seconds": 3600})
    done = work(q, script, "--type", "mail")
    assert done.returncode == 0, done.stderr
    job = q.get(added.id)
    assert (job.status, job.result) == (status, result)
    assert [failed.error for failed in job.errors] == ([] if error is None else [error])


def test_a_program_knows_its_job(q: LocalQueue) -> None:
    """By its environment; and any client that it starts knows the node."""
    added = q.enqueue(2**70, type="mail", queue="out", tags={"shop": "north"}, max_attempts=7)
    names = ["JOB_ID", "TYPE", "QUEUE", "ATTEMPT", "MAX_ATTEMPTS", "LEASE_TOKEN", "TAGS", "NODE"]
    script = 'printf "%s\\n" "$(cat)" ' + " ".join(f'"$CQUEUE_{name}"' for name in names)
    assert work(q, script, "--queue", "other", "--queue", "out").returncode == 0
    token = next(change.lease_token for change in q.history(added.id).changes if change.event == "hand_out")
    expected = [str(2**70), str(added.id), "mail", "out", "1", "7", str(token), '{"shop":"north"}', q.address]
    assert q.get(added.id).result == "\n".join(expected)


def test_output_and_complaints_are_bounded(q: LocalQueue) -> None:
    """Too much of the one ends the job, of the other only the end is kept; neither fills the worker's memory."""
    big, loud, deaf = q.enqueue_many([{"type": "big"}, {"type": "loud"}, {"type": "deaf", "payload": "x" * 200_000}])
    script = f"""
        case $CQUEUE_TYPE in
        big) head -c {program.RESULT_BYTES_MAX + 1} /dev/zero ;;
        loud) head -c 1000000 /dev/zero | tr '\\0' x >&2; echo last >&2; exit 1 ;;
        deaf) exec <&-; echo ok ;;
        esac"""
    done = work(q, script)
    assert (q.get(big.id).status, q.get(big.id).errors[0].error) == (
        "DEAD",
        f"its output has more than {program.RESULT_BYTES_MAX:,} bytes",
    )
    error = q.get(loud.id).errors[0].error
    assert error is not None
    assert error.startswith("exit code 1: xxx")
    assert error.endswith("xlast")
    assert len(error) <= ERROR_CHARS_MAX
    assert q.get(deaf.id).result == "ok"
    assert done.stderr.count("x") >= 1_000_000, "what it says is passed on"


def test_a_time_out_ends_the_program_and_all_that_it_started(q: LocalQueue, tmp_path: Path) -> None:
    """First politely, then not: neither of the two listens."""
    added = q.enqueue(max_attempts=1)
    script = f"trap '' TERM; sleep 600 & echo $$ $! > {tmp_path}/pids; wait; wait; sleep 600"
    assert work(q, script, "--timeout", "0.5", "--kill-after", "0.2").returncode == 0
    assert (q.get(added.id).status, q.get(added.id).errors[0].error) == ("DEAD", "timed out after 0.5 s")
    for pid in (tmp_path / "pids").read_text().split():
        eventually(lambda pid=pid: not Path("/proc", pid).exists())


def start(start_command: StartCommand, q: LocalQueue, script: str, *options: str) -> Command:
    """Start `cqueue work` with a script of the shell."""
    arguments = [*CQUEUE, "work", "--node", q.address, "--lease-seconds", LEASE_S, *options, "--", "sh", "-c", script]
    return start_command(arguments)


def until_begun(path: Path) -> str:
    """What the program wrote when it had begun."""
    return eventually(path.read_text, ignoring=FileNotFoundError)


def test_a_cancelled_job_ends_its_program(q: LocalQueue, start_command: StartCommand, tmp_path: Path) -> None:
    """By SIGTERM, which it may make something of; its lease was extended until then."""
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    worker = start(
        start_command, q, f"trap 'echo ended > {ended}; exit 0' TERM; echo $$ > {begun}; while :; do sleep 0.05; done"
    )
    added = q.enqueue()
    until_begun(begun)
    first = q.get(added.id).lease_expires_at
    eventually(lambda: q.get(added.id).lease_expires_at != first)
    q.cancel(added.id)
    job: Job = eventually(lambda: (job := q.get(added.id)).is_finished and job)  # type: ignore[assignment]
    assert (job.status, job.attempt) == ("CANCELLED", 1)
    assert ended.read_text() == "ended\n"
    assert worker.stop() == 0


def test_a_lost_lease_ends_its_program(q: LocalQueue, start_command: StartCommand, tmp_path: Path) -> None:
    """What it would have said is not heard."""
    begun = tmp_path / "begun"
    worker = start(start_command, q, f"echo $$ > {begun}; exec sleep 600")
    added = q.enqueue(max_attempts=1)
    pid = until_begun(begun).strip()
    q.advance(60)
    eventually(lambda: not Path("/proc", pid).exists())
    assert q.get(added.id).status == "DEAD"
    assert worker.stop() == 0


def test_a_signal_lets_a_program_end(q: LocalQueue, start_command: StartCommand, tmp_path: Path) -> None:
    """Ctrl-C is not for it; after the grace period it is ended and its job given back."""
    begun, go = tmp_path / "begun", tmp_path / "go"
    script = f"echo $$ > {begun}; until test -e {go}; do sleep 0.02; done; echo finished"
    added = q.enqueue()
    worker = start(start_command, q, script)
    until_begun(begun)
    worker.send_signal_to_group(signal.SIGINT)
    eventually(lambda: "worker_stopping" in worker.log)
    go.touch()
    assert worker.wait() == 0
    assert q.get(added.id).result == "finished"

    begun.unlink()
    go.unlink()
    added = q.enqueue()
    worker = start(start_command, q, script, "--grace", "0")
    pid = until_begun(begun).strip()
    assert worker.stop() == 0
    assert not Path("/proc", pid).exists()
    assert (q.get(added.id).status, q.get(added.id).attempt) == ("QUEUED", 0)


def test_a_second_signal_ends_the_program_too(q: LocalQueue, start_command: StartCommand, tmp_path: Path) -> None:
    """At once, although it is in a session of its own."""
    begun = tmp_path / "begun"
    q.enqueue()
    worker = start(start_command, q, f"trap '' TERM INT; echo $$ > {begun}; while :; do sleep 600; done")
    pid = until_begun(begun).strip()
    worker.send_signal(signal.SIGTERM)
    worker.send_signal(signal.SIGINT)
    assert worker.wait() in {128 + signal.SIGINT, 128 + signal.SIGTERM}
    eventually(lambda: not Path("/proc", pid).exists())


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["--", "no-such-program"], 2, "COMMAND: no-such-program: there is no such program"),
        ([], 2, "Missing argument 'COMMAND...'"),
        (["--queue", "/", "--until-empty", "--", "true"], 1, "cqueue: "),
    ],
)
def test_what_cannot_work_is_said(q: LocalQueue, arguments: list[str], code: int, why: str) -> None:
    """In one line, with an exit code."""
    done = run(q, arguments)
    assert done.returncode == code
    assert why in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_node_is_said() -> None:
    """It is the option's."""
    done = subprocess.run(
        [*CQUEUE, "work", "--node", "ftp://x", "--", "true"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=END_S,
        check=False,
    )
    assert done.returncode == 2
    assert "--node" in done.stderr
