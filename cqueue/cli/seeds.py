"""`cqueue simulate`: run seeds and scenarios, show what broke, tell the story."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass

import click
import msgspec

from cqueue.simulation.run import Verdict, run
from cqueue.simulation.scenarios import SCENARIOS, run_scenario

_SHOWN_MAX = 10
"""Seeds that failed, and lines of each."""
_TOGETHER = 8
"""Seeds a worker process runs before it reports, so that progress is seen and overhead is not."""


def parse(text: str) -> range:
    """`7` → that seed; `1-100` → these.

    Raises:
        click.BadParameter: neither.
    """
    first, dash, last = text.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
        raise click.BadParameter(f"{text!r} is neither a seed nor a range of seeds such as 1-100", param_hint="--seed")
    return range(int(first), int(last or first) + 1)


@dataclass(frozen=True)
class Plan:
    """How each seed is run. jobs: processes; 0: one a core."""

    nodes: int
    seconds: float
    faults: frozenset[str]
    without: str | None
    jobs: int

    def play(self, seeds: range) -> list[Verdict]:
        """Run seeds one after the other."""
        return [
            run(seed, nodes=self.nodes, seconds=self.seconds, faults=self.faults, without=self.without)
            for seed in seeds
        ]


def simulate(seeds: range, plan: Plan, *, as_json: bool, story: bool) -> int:
    """Run the seeds and print what they showed; returns the exit code: 1 if anything was broken."""
    verdicts: list[Verdict] = []
    with click.progressbar(length=len(seeds), label="seeds", hidden=len(seeds) == 1, file=sys.stderr) as bar:
        for part in _parts(seeds, plan):
            verdicts += part
            bar.update(len(part))
    verdicts.sort(key=lambda verdict: verdict.seed)
    failed = [verdict for verdict in verdicts if verdict.broken]
    for verdict in verdicts if story else failed[:_SHOWN_MAX]:
        _show(f"seed {verdict.seed}", verdict, story=story or verdict is failed[0])
    if as_json:
        click.echo(_as_json(verdicts))
    else:
        operations = sum(verdict.operations for verdict in verdicts)
        acknowledged = sum(verdict.acknowledged for verdict in verdicts)
        terms = sum(verdict.terms for verdict in verdicts)
        click.echo(
            f"{len(verdicts)} seeds of {plan.seconds:g} s on {plan.nodes} nodes: {operations} operations, "
            f"{acknowledged} acknowledged, {terms} terms, {sum(verdict.searched for verdict in verdicts)} histories "
            f"searched, {len(failed)} seeds with violations"
        )
    if failed and not story:
        again = f"--seed {failed[0].seed} --nodes {plan.nodes} --seconds {plan.seconds:g}"
        click.echo(f"see one again: cqueue simulate {again} --story", err=True)
    return 1 if failed else 0


def tell(name: str, seed: int, without: str | None, *, as_json: bool, story: bool) -> int:
    """Run one scenario, or all, and print what each showed; returns the exit code: 1 if anything was broken."""
    verdicts = []
    for each in SCENARIOS if name == "all" else (name,):
        verdict = run_scenario(each, seed=seed, without=without)
        verdicts.append(verdict)
        _show(each, verdict, story=story or (bool(verdict.broken) and name != "all"))
        if not as_json:
            click.echo(f"{each}: {'BROKEN' if verdict.broken else 'holds'}. {SCENARIOS[each].about}")
    if as_json:
        click.echo(_as_json(verdicts))
    return 1 if any(verdict.broken for verdict in verdicts) else 0


def _show(name: str, verdict: Verdict, *, story: bool) -> None:
    for at_s, line in verdict.story if story else ():
        click.echo(f"{at_s:9.3f} s  {line}", err=True)
    for line in verdict.broken[:_SHOWN_MAX]:
        click.echo(f"{name}: {line}", err=True)


def _as_json(verdicts: list[Verdict]) -> str:
    return json.dumps([{**asdict(v), "setup": msgspec.to_builtins(v.setup), "story": None} for v in verdicts])


def _parts(seeds: range, plan: Plan) -> Iterator[list[Verdict]]:
    if len(seeds) == 1 or plan.jobs == 1:
        for seed in seeds:
            yield plan.play(range(seed, seed + 1))
        return
    with ProcessPoolExecutor(plan.jobs or os.cpu_count()) as pool:
        parts = [seeds[start : start + _TOGETHER] for start in range(0, len(seeds), _TOGETHER)]
        for done in as_completed([pool.submit(plan.play, part) for part in parts]):
            yield done.result()


def fresh(count: int) -> range:
    """Seeds nobody has run before, probably."""
    first = secrets.randbelow(1 << 40)
    return range(first, first + count)
