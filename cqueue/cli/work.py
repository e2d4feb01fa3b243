"""`cqueue work`: any program is a worker. `cqueue.worker` does the work; this knows its options."""

from __future__ import annotations

import os
import shutil

import click

from cqueue.cli import exits
from cqueue.cli.command import Command
from cqueue.cli.options import At, nodes_option
from cqueue.config import LOG_LEVELS
from cqueue.errors import CqueueError, Unusable


@click.command(
    cls=Command,
    examples=[
        ("cqueue work --type email.send -- ./send.sh --fast", "a script for each job of a type"),
        (
            "cqueue work --queue images --concurrency 4 --until-empty -- convert.py",
            "four at a time, to the end",
        ),
    ],
    ends=(exits.DONE, exits.REFUSED, exits.USAGE),
)
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Take jobs of this type; several: any of them.")
@click.option("--queue", "queues", multiple=True, default=("default",), show_default=True, metavar="QUEUE",
              help="Take from this queue; several: from the next where the one before has nothing.")  # fmt: skip
@click.option("--concurrency", default=1, show_default=True, type=click.IntRange(1, 1000), help="Runs at a time.")
@click.option("--lease-seconds", default=30, show_default=True, type=click.IntRange(1, 86_400),
              help="How long a job stays away if this is killed; it is extended meanwhile.")  # fmt: skip
@click.option("--timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
              help="How long a run may take; without it as long as it likes.")  # fmt: skip
@click.option("--kill-after", default=5.0, show_default=True, type=click.FloatRange(0, 9), metavar="SECONDS",
              help="From SIGTERM to SIGKILL, where a run is to stop.")  # fmt: skip
@click.option("--grace", default=30.0, show_default=True, type=click.FloatRange(0, 86_400), metavar="SECONDS",
              help="After a first SIGTERM or Ctrl-C: for runs to end by themselves.")  # fmt: skip
@click.option("--until-empty", is_flag=True, help="End when there is no job any more.")
@click.option("--log-level", default="info", show_default=True, type=click.Choice(LOG_LEVELS, case_sensitive=False),
              help="Least severe log lines to show.")  # fmt: skip
@nodes_option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def work(  # noqa: PLR0917 - click passes them by name
    at: At,
    types: tuple[str, ...],
    queues: tuple[str, ...],
    concurrency: int,
    lease_seconds: int,
    timeout: float | None,
    kill_after: float,
    grace: float,
    log_level: str,
    command: tuple[str, ...],
    *,
    until_empty: bool,
) -> None:
    """Run COMMAND for each job, until Ctrl-C or SIGTERM.

    It gets the payload as JSON on stdin, and CQUEUE_JOB_ID, CQUEUE_TYPE, CQUEUE_QUEUE, CQUEUE_ATTEMPT,
    CQUEUE_MAX_ATTEMPTS, CQUEUE_LEASE_TOKEN, CQUEUE_TAGS and CQUEUE_NODE in its environment. What it writes to stdout
    is the job's result: JSON, or else text.

    \b
    exit code 0     the job is done
    75              try again after the job's backoff
    65              never again: the job is DEAD
    any other       it failed, with the end of stderr as its error; try again after the job's backoff

    A job that is cancelled, lost or out of time has the program's process group sent SIGTERM, then SIGKILL.
    """  # noqa: D301 - the backspace itself tells click to leave the lines as they are
    from cqueue import logs  # noqa: PLC0415 - for whoever works, not for its help
    from cqueue.worker.program import Program  # noqa: PLC0415 - only this command loads the worker
    from cqueue.worker.worker import Worker  # noqa: PLC0415

    if shutil.which(command[0]) is None:
        raise click.BadParameter(f"{command[0]}: there is no such program", param_hint="COMMAND")
    logs.configure(log_level, "auto")
    try:
        worker = Worker(
            *at.urls,
            queues=queues,
            concurrency=concurrency,
            prefetch=0,
            lease_seconds=lease_seconds,
            timeout_s=timeout,
            grace_s=grace,
            token=at.token,
            ca_file=at.ca,
            cert_file=at.cert,
            key_file=at.key,
        )
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--node") from error
    program = Program(command, kill_after, {"CQUEUE_NODE": at.urls[0]})
    worker.job(*types)(program.run)
    try:
        worker.run(until_empty=until_empty)
    except SystemExit as second_signal:
        # At once: threads that still read what programs say must not be waited for, nor disturb the end.
        program.kill()
        os._exit(int(second_signal.code or 0))
    except CqueueError as error:
        raise Unusable(error.detail) from error
    except OSError as error:
        raise Unusable(f"a file for TLS cannot be used: {error}") from error
    finally:
        program.kill()
