"""Any program as a handler: its payload on stdin, its job in the environment, its end by its exit code.

    exit code 0      concluded; what it wrote to stdout is the result
    75               failed, to be tried again (EX_TEMPFAIL of sysexits.h)
    65               failed for good: DEAD (EX_DATAERR)
    anything else    failed, to be tried again; the end of stderr is the error

Each run has a process group of its own. One that is to stop is sent SIGTERM, and what is left of it SIGKILL.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, cast

import msgspec

from cqueue.client.results import Job
from cqueue.worker.context import Context
from cqueue.worker.endings import ERROR_CHARS_MAX, Dead, Retry

EXIT_RETRY: Final = 75
EXIT_DEAD: Final = 65
RESULT_BYTES_MAX: Final = 524_288
"""Of stdout; with more the attempt fails."""
KILL_AFTER_S_DEFAULT: Final = 5.0
KILL_AFTER_S_MAX: Final = 9.0
"""Less than a worker that stops waits for its handlers."""
START_S_MAX: Final = 5.0
"""For a program to be started, before all are killed."""
_PIECE_BYTES: Final = 65_536
_TAIL_CHARS: Final = ERROR_CHARS_MAX - 96
_TAIL_BYTES: Final = 4 * _TAIL_CHARS


class Program:
    """Runs a command for each job.

    Args:
        command: what is run, and its arguments.
        kill_after_s: from SIGTERM to SIGKILL, where it is to stop.
        variables: more of its environment.
    """

    def __init__(self, command: Sequence[str], kill_after_s: float, variables: Mapping[str, str]) -> None:
        self._command, self._kill_after_s, self._variables = command, kill_after_s, variables
        self._living: set[int] = set()
        self._starting = 0
        self._changed = threading.Condition()

    async def run(self, job: Job, _context: Context) -> Any:
        """The handler.

        Raises:
            Dead, Retry: the program said so, or ended in another way than well.
            OSError: it could not be started.
        """
        process = await self._start(job)
        try:
            output, complaint = await _converse(process, msgspec.json.encode(job.payload))
        except asyncio.CancelledError:
            _signal(process.pid, signal.SIGTERM)
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), self._kill_after_s)
            _signal(process.pid, signal.SIGKILL)
            await process.wait()
            raise
        finally:
            self._living.discard(process.pid)
        return _result_of(await process.wait(), output, complaint)

    async def _start(self, job: Job) -> Process:
        # It may run for a while before it is known here by its number: whoever kills waits for that.
        with self._changed:
            self._starting += 1
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                env=os.environ | self._variables | variables_of(job),
                start_new_session=True,
            )
            self._living.add(process.pid)
        finally:
            with self._changed:
                self._starting -= 1
                self._changed.notify_all()
        return process

    def kill(self) -> None:
        """End all that still run, at once."""
        with self._changed:
            self._changed.wait_for(lambda: not self._starting, START_S_MAX)
        for pid in list(self._living):
            _signal(pid, signal.SIGKILL)


def variables_of(job: Job) -> dict[str, str]:
    """What the environment says of a job."""
    return {
        "CQUEUE_JOB_ID": str(job.id),
        "CQUEUE_TYPE": job.type,
        "CQUEUE_QUEUE": job.queue,
        "CQUEUE_ATTEMPT": str(job.attempt),
        "CQUEUE_MAX_ATTEMPTS": str(job.max_attempts),
        "CQUEUE_LEASE_TOKEN": str(job.lease_token),
        "CQUEUE_TAGS": msgspec.json.encode(job.tags).decode(),
    }


def _result_of(code: int, output: bytes, complaint: str) -> Any:
    if code == EXIT_RETRY:
        raise Retry(complaint)
    if code == EXIT_DEAD:
        raise Dead(complaint)
    if code != 0:
        how = f"exit code {code}" if code > 0 else f"ended by {signal.Signals(-code).name}"
        raise Retry(f"{how}: {complaint}" if complaint else how)
    if len(output) > RESULT_BYTES_MAX:
        raise Dead(f"its output has more than {RESULT_BYTES_MAX:,} bytes")
    try:
        return msgspec.json.decode(output)
    except msgspec.DecodeError:
        return output.decode(errors="replace").rstrip("\n") or None


async def _converse(process: Process, payload: bytes) -> tuple[bytes, str]:
    """Until it has closed its output: what it wrote to stdout, one byte too many at most, and the end of stderr."""
    ends = (process.stdin, process.stdout, process.stderr)
    stdin, stdout, stderr = cast("tuple[StreamWriter, StreamReader, StreamReader]", ends)
    _, output, complaint = await asyncio.gather(_feed(stdin, payload), _output(stdout), _complaint(stderr))
    return output, complaint


async def _feed(stdin: StreamWriter, payload: bytes) -> None:
    # It need not read what it is given.
    with suppress(BrokenPipeError, ConnectionResetError):
        stdin.write(payload)
        await stdin.drain()
    stdin.close()


async def _output(stdout: StreamReader) -> bytes:
    kept = bytearray()
    while piece := await stdout.read(_PIECE_BYTES):
        kept += piece[: RESULT_BYTES_MAX + 1 - len(kept)]
    return bytes(kept)


async def _complaint(stderr: StreamReader) -> str:
    """What it says there is also for whoever reads what the worker says."""
    kept = b""
    while piece := await stderr.read(_PIECE_BYTES):
        sys.stderr.buffer.write(piece)
        sys.stderr.flush()
        kept = (kept + piece)[-_TAIL_BYTES:]
    return kept.decode(errors="replace").strip()[-_TAIL_CHARS:]


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
