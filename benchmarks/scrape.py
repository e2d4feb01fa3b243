"""`python -m benchmarks.scrape`: how long `GET /metrics` takes when there is much to show, and who waits for it.

A single node in memory holds a million jobs in a thousand queues, and one job of each queue has run. It is
scraped again and again, while another client of the same web process asks for one job at a time: what its
slowest answer took is what a scrape keeps others waiting.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from threading import Event, Thread
from typing import Final

import click

from benchmarks import scale, servers
from benchmarks.load import Address, Connection, body_of, expect, rendered
from benchmarks.scale import Figure

SCRAPE_MS_MAX: Final = 200.0
_BATCH: Final = 10_000
_LOOK: Final = rendered("GET", "/jobs/1")
_SCRAPE: Final = rendered("GET", "/metrics")
_LOOKS_MIN: Final = 10


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--jobs", default=1_000_000, show_default=True, type=click.IntRange(_BATCH, 5_000_000), help="How many.")
@click.option("--queues", default=1_000, show_default=True, type=click.IntRange(1, 10_000), help="In how many queues.")
@click.option("--scrapes", default=40, show_default=True, type=click.IntRange(1, 1_000), help="How often.")
@scale.options
def main(*, jobs: int, queues: int, scrapes: int, file: Path, check: bool) -> None:
    """Scrape a node with many queues and jobs."""
    about = f"A single node in memory with {jobs:,} jobs in {queues:,} queues, one web process, {scrapes} scrapes."
    scale.conclude("scrape", about, lambda: _measure(jobs, queues, scrapes), file, check=check)


def _measure(jobs: int, queues: int, scrapes: int) -> list[Figure]:
    with ExitStack() as stack:
        [node] = stack.enter_context(servers.running(servers.start_nodes(1, None, more=["--workers", "1"])))
        connection = stack.enter_context(Connection(node.address))
        for first in range(0, jobs, _BATCH):
            batch = [{"queue": f"queue-{number % queues}"} for number in range(first, first + _BATCH)]
            body = json.dumps(batch).encode()
            expect(connection.exchange(rendered("PUT", "/jobs/enqueue", body)), b"201")
        for number in range(queues):
            _run_one(connection, f"queue-{number}")
        quiet_ms = _looks_ms(node.address, scrapes)
        other = _Other(node.address)
        other.start()
        scrapes_ms, size = [], 0
        # A scrape or two may be over before the other has asked at all.
        while len(scrapes_ms) < scrapes or (other.is_alive() and other.looks < _LOOKS_MIN):
            begun_s = time.monotonic()
            answer = connection.exchange(_SCRAPE)
            scrapes_ms.append((time.monotonic() - begun_s) * 1000)
            expect(answer, b"200")
            size = len(body_of(answer))
        waits_ms = other.stop()
    return [
        scale.at_most("a scrape, median", median(scrapes_ms), "ms", SCRAPE_MS_MAX),
        Figure("a scrape, the longest", max(scrapes_ms), "ms"),
        Figure("its size", size / 1e6, "MB"),
        Figure("another request meanwhile, median", median(waits_ms), "ms"),
        Figure("another request meanwhile, 99th percentile", quantiles(waits_ms, n=100)[-1], "ms"),
        Figure("another request meanwhile, the longest", max(waits_ms), "ms"),
        Figure("a request without scrapes, median", median(quiet_ms), "ms"),
        Figure("a request without scrapes, the longest", max(quiet_ms), "ms"),
    ]


def _run_one(connection: Connection, queue: str) -> None:
    """Have one of its jobs run, so that it is shown how long such jobs wait and run."""
    answer = connection.exchange(rendered("POST", "/jobs/dequeue", json.dumps({"queue": queue}).encode()))
    expect(answer, b"200")
    job_id = json.loads(body_of(answer))["id"]
    expect(connection.exchange(rendered("POST", f"/jobs/{job_id}/conclude")), b"200")


def _looks_ms(address: Address, count: int) -> list[float]:
    """How long it takes to be shown a job, so many times."""
    with Connection(address) as connection:
        return [_look_ms(connection) for _ in range(count)]


def _look_ms(connection: Connection) -> float:
    begun_s = time.monotonic()
    expect(connection.exchange(_LOOK), b"200")
    return (time.monotonic() - begun_s) * 1000


class _Other(Thread):
    """Asks for a job again and again until it is stopped."""

    def __init__(self, address: Address) -> None:
        super().__init__()
        self._address = address
        self._over = Event()
        self._waits_ms: list[float] = []

    def run(self) -> None:
        """Ask."""
        with Connection(self._address) as connection:
            while not self._over.is_set():
                self._waits_ms.append(_look_ms(connection))

    @property
    def looks(self) -> int:
        """How many answers it has by now."""
        return len(self._waits_ms)

    def stop(self) -> list[float]:
        """How long each answer took, in ms."""
        self._over.set()
        self.join()
        return self._waits_ms


if __name__ == "__main__":
    main()
