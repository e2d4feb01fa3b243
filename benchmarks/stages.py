"""Which rows there are, and how each is measured.

A stage is one queue with the reference beside it. In each repetition every row's slice of load lies
between two slices of the reference, and its ratio is taken to their mean: what slows the machine
down for seconds slows both. The repetitions go over the whole stage one after the other, so that a
longer disturbance spoils one ratio of many rows and not all ratios of one; medians drop it.
"""

from __future__ import annotations

import fnmatch
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Final

from benchmarks import bare, file, load, servers, streaming, workers, workload
from benchmarks.load import Address
from benchmarks.results import Row, key_of
from benchmarks.servers import Cpu, Server

CLIENTS_ONE_BY_ONE: Final = (1, 16, 64)
CLIENTS_BATCHES: Final = (1, 2, 4)
BATCHES: Final = (100, 1_000)
BARE_CLIENTS_BATCHES: Final = 16
"""What batches are compared with: a bare route that is kept busy."""
_PREPARED: Final = 2.5
"""Jobs prepared for a slice, in bare requests per slice; where they do not last, it ends early."""
_LINES: Final = 25
"""Lines of a file for a slice, in bare requests per slice."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One row to be. batch: jobs in a request. at_leader: the client talks to the leader, not to a follower."""

    what: str
    clients: int
    batch: int = 1
    at_leader: bool = False

    @property
    def requests(self) -> int:
        """How many requests make one latency."""
        return 3 if self.what.startswith("batch") else 1


@dataclass(frozen=True, slots=True)
class Group:
    """Cells that are measured between the same two slices of the reference."""

    bare_clients: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """One queue. data_root: where its nodes keep their journals; None: in memory."""

    name: str
    nodes: int
    data_root: Path | None
    groups: tuple[Group, ...]

    def slices(self, repetitions: int) -> int:
        """How many slices of load it takes."""
        return repetitions * sum(len(group.cells) + 2 for group in self.groups)


def plan(only: tuple[str, ...], data_root: Path | None) -> list[Stage]:
    """The stages, with those cells whose key holds or matches one of `only`; all if it is empty."""
    stages = [Stage("one", 1, None, _groups(1)), Stage("three", 3, None, _groups(3))]
    if data_root is not None:
        stages += [
            Stage("one-durable", 1, data_root, _groups(1)),
            Stage("three-durable", 3, data_root, _groups(3)),
        ]
    return [chosen for stage in stages if (chosen := _chosen(stage, only)).groups]


def _groups(nodes: int) -> tuple[Group, ...]:
    groups = []
    for clients in CLIENTS_ONE_BY_ONE:
        cells = [Cell(what, clients) for what in ("enqueue", "dequeue", "conclude")]
        if clients == 1 and nodes > 1:
            cells.append(Cell("enqueue-leader", 1, at_leader=True))
        groups.append(Group(clients, tuple(cells)))
    for clients in CLIENTS_BATCHES:
        cells = [Cell(f"batch-{batch}", clients, batch) for batch in BATCHES]
        groups.append(Group(BARE_CLIENTS_BATCHES, tuple(cells)))
    groups.append(Group(BARE_CLIENTS_BATCHES, (Cell("stream", 1, streaming.CREDIT), Cell("worker", 1))))
    groups.append(Group(BARE_CLIENTS_BATCHES, (Cell("file", 1, file.PART_JOBS),)))
    return tuple(groups)


def _chosen(stage: Stage, only: tuple[str, ...]) -> Stage:
    def is_wanted(cell: Cell) -> bool:
        key = key_of(stage.name, cell.what, cell.clients)
        return not only or any(text in key or fnmatch.fnmatch(key, text) for text in only)

    groups = [Group(group.bare_clients, tuple(filter(is_wanted, group.cells))) for group in stage.groups]
    return Stage(stage.name, stage.nodes, stage.data_root, tuple(group for group in groups if group.cells))


# -- measuring -----------------------------------------------------------------------------------


@dataclass(slots=True)
class Sample:
    """One slice. latencies_s: sorted."""

    jobs: int
    rate_per_s: float
    latencies_s: list[float]
    server_cpu: Cpu
    client_cpu_s: float


@dataclass(slots=True)
class _Series:
    """A cell's slices, each with those of the reference before and after it."""

    samples: list[Sample] = field(default_factory=list)
    bare: list[tuple[Sample, Sample]] = field(default_factory=list)


class Stand:
    """One stage being measured. on_slice: called after each slice of load, for the progress bar.

    Args:
        reference: the bare route, running.
        stage: what to measure.
        slice_s: seconds of one slice.
    """

    def __init__(self, reference: Server, stage: Stage, slice_s: float, on_slice: Callable[[], None]) -> None:
        self._reference = reference
        self._stage = stage
        self._slice_s = slice_s
        self._on_slice = on_slice
        self._nodes: list[Server] = []
        self._books: workload.Books
        self._bare_per_s = 0.0
        self.leader_changed = False

    def run(self, repetitions: int) -> list[Row]:
        """Start the queue, measure, check the books, end it.

        Raises:
            NotServed: it did not start.
            WrongAnswer: it answered what it should not have.
        """
        with tempfile.TemporaryDirectory(prefix="bench-data-", dir=self._stage.data_root) as directory:
            nodes = servers.start_nodes(self._stage.nodes, Path(directory) if self._stage.data_root else None)
            try:
                for node in nodes:
                    node.wait_until_ready()
                self._nodes = servers.leader_last(nodes)
                self._books = workload.Books([node.address for node in self._nodes])
                series = self._repeat(repetitions)
                self._books.close()
                self.leader_changed = servers.leader_last(nodes) != self._nodes
            finally:
                for node in nodes:
                    node.ask_to_stop()
                for node in nodes:
                    node.stop()
        return [_row(self._stage, group, cell, series[cell]) for group in self._stage.groups for cell in group.cells]

    def _repeat(self, repetitions: int) -> dict[Cell, _Series]:
        series = {cell: _Series() for group in self._stage.groups for cell in group.cells}
        self._warm_up()
        for _ in range(repetitions):
            for group in self._stage.groups:
                before = self._bare(group.bare_clients)
                samples = [self._cell(cell) for cell in group.cells]
                self._books.settle()
                after = self._bare(group.bare_clients)
                for cell, sample in zip(group.cells, samples, strict=True):
                    series[cell].samples.append(sample)
                    series[cell].bare.append((before, after))
        return series

    def _warm_up(self) -> None:
        """Let caches fill, and learn roughly how fast this machine is; what is measured here is dropped."""
        seconds = self._slice_s / 2
        clients = BARE_CLIENTS_BATCHES
        found = load.run([self._reference.address], clients, seconds, _bare_scripts())
        self._bare_per_s = found.rate_per_s
        found = load.run(self._addresses, clients, seconds, workload.lifecycle(1))
        self._books.enqueued += found.jobs
        self._books.concluded += found.jobs

    @property
    def _addresses(self) -> list[Address]:
        return [node.address for node in self._nodes]

    def _bare(self, clients: int) -> Sample:
        sample, _ = self._slice([self._reference], clients, _bare_scripts(), requests=1)
        self._bare_per_s = max(self._bare_per_s, sample.rate_per_s)
        return sample

    def _cell(self, cell: Cell) -> Sample:
        """Measure one slice of `cell`, with the jobs it needs prepared, and keep the books."""
        books = self._books
        # A client alone talks to a follower, which most nodes are; the leader is the last of the nodes.
        nodes = self._nodes[-1:] if cell.at_leader else self._nodes
        prepared = int(_PREPARED * self._bare_per_s * self._slice_s) + cell.clients
        if cell.what == "stream":
            sample = self._stream(nodes[0])
            books.streamed += sample.jobs
        elif cell.what == "worker":
            books.have_queued(prepared)
            sample = self._worker(nodes[0])
            if sample.jobs != books.queued:
                raise load.WrongAnswer(f"{books.queued} jobs waited, the worker was given {sample.jobs}")
            books.concluded += sample.jobs
        elif cell.what == "file":
            sample = self._file(nodes[0], int(_LINES * self._bare_per_s * self._slice_s) + 1)
            books.enqueued += sample.jobs
        elif cell.batch > 1:
            sample, _ = self._slice(nodes, cell.clients, workload.lifecycle(cell.batch), cell.requests)
            books.enqueued += sample.jobs
            books.concluded += sample.jobs
        elif cell.what == "dequeue":
            books.have_queued(prepared)
            sample, kept = self._slice(nodes, cell.clients, workload.dequeue(), cell.requests)
            books.held += kept
        elif cell.what == "conclude":
            books.have_held(prepared)
            sample, kept = self._slice(nodes, cell.clients, workload.conclude(books.held), cell.requests)
            done = set(kept)
            books.held = [job for job in books.held if job not in done]
            books.concluded += len(done)
        else:
            scripts = workload.repeat(workload.enqueue_request(), b"201")
            sample, _ = self._slice(nodes, cell.clients, scripts, cell.requests)
            books.enqueued += sample.jobs
        return sample

    def _stream(self, target: Server) -> Sample:
        return self._sample(lambda at_go: streaming.run(target.address, self._slice_s, at_go))

    def _worker(self, target: Server) -> Sample:
        return self._sample(lambda at_go: workers.run(target.address, at_go))

    def _sample(self, run: Callable[[Callable[[], None]], load.Result]) -> Sample:
        before: list[Cpu] = []
        found = run(lambda: before.append(servers.cpu_of(self._nodes)))
        server_cpu = servers.cpu_of(self._nodes) - before[0]
        self._on_slice()
        return Sample(found.jobs, found.rate_per_s, sorted(found.latencies_s[0]), server_cpu, found.cpu_s)

    def _file(self, target: Server, jobs: int) -> Sample:
        before = servers.cpu_of(self._nodes)
        found = file.run(target.address, jobs)
        server_cpu = servers.cpu_of(self._nodes) - before
        self._on_slice()
        return Sample(found.jobs, found.rate_per_s, found.latencies_s[0], server_cpu, found.cpu_s)

    def _slice(
        self, targets: list[Server], clients: int, scripts: load.Scripts, requests: int
    ) -> tuple[Sample, list[load.Kept]]:
        before: list[Cpu] = []
        # All nodes work for a request, whichever of them it was sent to.
        weighed = targets if targets == [self._reference] else self._nodes
        found = load.run(
            [target.address for target in targets],
            clients,
            self._slice_s,
            scripts,
            at_go=lambda: before.append(servers.cpu_of(weighed)),
        )
        server_cpu = servers.cpu_of(weighed) - before[0]
        self._on_slice()
        latencies_s = [
            sum(one[i : i + requests]) for one in found.latencies_s for i in range(0, len(one) - requests + 1, requests)
        ]
        return Sample(found.jobs, found.rate_per_s, sorted(latencies_s), server_cpu, found.cpu_s), found.kept


def _bare_scripts() -> load.Scripts:
    """The bare route gets the very body that an enqueue carries."""
    return workload.repeat(load.rendered("PUT", bare.PATH, workload.JOB), b"200")


def percentile_ms(sorted_s: list[float], percent: float) -> float:
    """The nearest-rank percentile, in ms."""
    if not sorted_s:
        return 0.0
    return sorted_s[min(len(sorted_s) - 1, int(len(sorted_s) * percent / 100))] * 1000


def _row(stage: Stage, group: Group, cell: Cell, series: _Series) -> Row:
    ratios, p50_ratios = [], []
    for sample, (before, after) in zip(series.samples, series.bare, strict=True):
        ratios.append(sample.rate_per_s / fmean((before.rate_per_s, after.rate_per_s)))
        bare_p50_ms = fmean(percentile_ms(each.latencies_s, 50) for each in (before, after))
        p50_ratios.append(percentile_ms(sample.latencies_s, 50) / bare_p50_ms)
    bare_samples = [each for pair in series.bare for each in pair]
    latencies_s = sorted(_latencies(series.samples))
    bare_latencies_s = sorted(_latencies(bare_samples))
    jobs = sum(sample.jobs for sample in series.samples)
    bare_requests = sum(sample.jobs for sample in bare_samples)
    server_s = sum(sample.server_cpu.sum_s for sample in series.samples)
    client_s = sum(sample.client_cpu_s for sample in series.samples)
    return Row(
        stage=stage.name,
        what=cell.what,
        clients=cell.clients,
        bare_clients=group.bare_clients,
        jobs=jobs,
        ratio=median(ratios),
        ratios=ratios,
        p50_ratio=median(p50_ratios),
        jobs_per_s=median(sample.rate_per_s for sample in series.samples),
        bare_per_s=median(sample.rate_per_s for sample in bare_samples),
        p50_ms=percentile_ms(latencies_s, 50),
        p99_ms=percentile_ms(latencies_s, 99),
        bare_p50_ms=percentile_ms(bare_latencies_s, 50),
        bare_p99_ms=percentile_ms(bare_latencies_s, 99),
        server_cpu_us=server_s / jobs * 1e6,
        replica_cpu_us=sum(sample.server_cpu.replica_s for sample in series.samples) / jobs * 1e6,
        bare_cpu_us=sum(sample.server_cpu.sum_s for sample in bare_samples) / bare_requests * 1e6,
        client_cpu_share=client_s / max(client_s + server_s, 1e-9),
    )


def _latencies(samples: list[Sample]) -> Iterator[float]:
    for sample in samples:
        yield from sample.latencies_s
