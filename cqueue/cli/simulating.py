"""`cqueue simulate`: real replicas in a simulated world."""

from __future__ import annotations

import sys

import click

from cqueue.cli import exits
from cqueue.cli.command import Command


@click.command(
    cls=Command,
    examples=[
        ("cqueue simulate --seed 1-500", "five hundred stories"),
        ("cqueue simulate --seed 17 --story", "what happened in one"),
    ],
    ends=(exits.DONE, exits.REFUSED, exits.USAGE),
)
@click.option("--seed", default="", metavar="N|N-M", help="Seed, or range of seeds; without it fresh ones.")
@click.option("--count", default=1, show_default=True, type=click.IntRange(1, 1_000_000), help="How many fresh seeds.")
@click.option("--nodes", default=3, show_default=True, type=click.IntRange(1, 9), help="Nodes of the cluster.")
@click.option("--seconds", default=20.0, show_default=True, type=click.FloatRange(1, 3600), help="Simulated seconds.")
@click.option(
    "--faults", default="all", show_default=True, metavar="NAME,...", help="Kinds of faults; all, none or some."
)
@click.option("--scenario", metavar="NAME", help="Run this directed scenario instead of seeds; all: every one.")
@click.option("--without", metavar="MEND", help="Take a mend away, to see what it is worth.")
@click.option("--jobs", default=0, show_default=True, type=click.IntRange(0, 256), help="Processes; 0: one a core.")
@click.option("--story", is_flag=True, help="Tell what happened, even where nothing broke.")
@click.option("--json", "as_json", is_flag=True, help="Print the verdicts as JSON.")
def simulate(  # noqa: PLR0917 - click passes them by name
    seed: str,
    count: int,
    nodes: int,
    seconds: float,
    faults: str,
    scenario: str | None,
    without: str | None,
    jobs: int,
    *,
    story: bool,
    as_json: bool,
) -> None:
    """Run real replicas on a simulated network, disk and clock, and look for lost or doubled jobs.

    A seed decides everything that happens: the same seed tells the same story again.
    """
    from cqueue.cli import seeds  # noqa: PLC0415 - only this command loads the simulator
    from cqueue.simulation.faults import KINDS  # noqa: PLC0415
    from cqueue.simulation.scenarios import SCENARIOS  # noqa: PLC0415
    from cqueue.simulation.unmended import MENDS  # noqa: PLC0415

    kinds = KINDS if faults == "all" else frozenset(name for name in faults.split(",") if name != "none")
    unknown = sorted(kinds - KINDS)
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(sorted(KINDS))}", param_hint="--faults")
    if without is not None and without not in MENDS:
        raise click.BadParameter(f"{without!r} is none of {', '.join(MENDS)}", param_hint="--without")
    if scenario is not None:
        if scenario not in {"all", *SCENARIOS}:
            raise click.BadParameter(f"{scenario!r} is none of {', '.join(SCENARIOS)}", param_hint="--scenario")
        first = seeds.parse(seed)[0] if seed else 0
        sys.exit(seeds.tell(scenario, first, without, as_json=as_json, story=story))
    chosen = seeds.parse(seed) if seed else seeds.fresh(count)
    plan = seeds.Plan(nodes=nodes, seconds=seconds, faults=kinds, without=without, jobs=jobs)
    sys.exit(seeds.simulate(chosen, plan, as_json=as_json, story=story))
