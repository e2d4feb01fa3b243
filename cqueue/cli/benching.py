"""`cqueue bench`: how many jobs a second go through, from here, by this client; in a queue of its own."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from cqueue.cli.command import Command
from cqueue.cli.options import At, json_option, nodes_option

if TYPE_CHECKING:
    from cqueue.client.sync import Client

VERBS: Final = ("enqueue", "dequeue", "conclude")
_PAYLOAD_BYTES_MAX: Final = 500_000


class _Took(NamedTuple):
    """One call: how many jobs, in how many seconds."""

    verb: str
    jobs: int
    seconds: float


@click.command(
    cls=Command,
    examples=[
        ("cqueue bench", "single jobs, one after the other: what one program gets"),
        ("cqueue bench --batch 1000 --threads 4", "a thousand at a time, four at once: what there is to get"),
    ],
)
@click.option("--seconds", default=5.0, show_default=True, type=click.FloatRange(0.1, 3600), help="For how long.")
@click.option(
    "--batch", default=1, show_default=True, type=click.IntRange(1, 1000), metavar="N", help="Jobs in a call."
)
@click.option(
    "--threads", default=1, show_default=True, type=click.IntRange(1, 256), metavar="N", help="How many at once."
)
@click.option(
    "--payload-bytes",
    default=100,
    show_default=True,
    type=click.IntRange(0, _PAYLOAD_BYTES_MAX),
    metavar="N",
    help="How large each is.",
)
@nodes_option
@json_option
def bench(at: At, seconds: float, batch: int, threads: int, payload_bytes: int, *, as_json: bool) -> None:
    """Enqueue, dequeue and conclude jobs for a while, and print rates and latencies.

    The jobs are in a queue of their own, which is gone at the end. Whatever else the nodes do counts, too.
    """
    from cqueue.cli import printing  # noqa: PLC0415
    from cqueue.cli.calling import asking  # noqa: PLC0415 - a process that serves must not load it

    queue = f"bench-{secrets.token_hex(4)}"
    until_s = time.monotonic() + seconds
    with asking(at, keys=False) as client:
        try:
            with ThreadPoolExecutor(threads) as pool:
                work = [pool.submit(_lifecycles, client, queue, batch, payload_bytes, until_s) for _ in range(threads)]
                took = [each for done in work for each in done.result()]
        finally:
            client.purge_queue(queue, statuses=["SCHEDULED", "QUEUED", "CONCLUDED", "DEAD"])
    rows = [_row(verb, [each for each in took if each.verb == verb], seconds) for verb in VERBS]
    if as_json:
        for row in rows:
            printing.line(printing.encoded(dict(zip(_COLUMNS, row, strict=True))))
    else:
        printing.table(_HEADS, rows)


_COLUMNS: Final = ("verb", "jobs", "jobs_per_s", "p50_ms", "p99_ms")
_HEADS: Final = ("verb", "jobs", "jobs/s", "p50 ms", "p99 ms")


def _lifecycles(client: Client, queue: str, batch: int, payload_bytes: int, until_s: float) -> list[_Took]:
    payload = "x" * payload_bytes
    many: list[Any] = [{"payload": payload, "queue": queue}] * batch
    took: list[_Took] = []

    def timed(verb: str, call: Callable[[], Any]) -> Any:
        began_s = time.monotonic()
        result = call()
        took.append(_Took(verb, batch, time.monotonic() - began_s))
        return result

    while time.monotonic() < until_s:
        if batch == 1:
            timed("enqueue", partial(client.enqueue, payload, queue=queue))
            job = timed("dequeue", partial(client.dequeue, queue=queue))
            if job is not None:
                timed("conclude", partial(client.conclude, job))
        else:
            timed("enqueue", partial(client.enqueue_many, many))
            held = timed("dequeue", partial(client.dequeue_many, batch, queue=queue))
            timed("conclude", partial(client.conclude_many, held))
    return took


def _row(verb: str, took: list[_Took], seconds: float) -> tuple[str, int, float, float, float]:
    jobs = sum(each.jobs for each in took)
    times = sorted(each.seconds * 1000 for each in took) or [0.0]
    return verb, jobs, jobs / seconds, times[len(times) // 2], times[min(len(times) * 99 // 100, len(times) - 1)]
