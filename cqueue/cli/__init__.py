"""The command line: data on stdout, words on stderr, one clear line for what goes wrong.

The server's parts are imported by the commands that need them, not by this package.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import click

from cqueue import __version__
from cqueue.cli import backup, cluster, tls, token, work
from cqueue.config import ENV_PREFIX, LOG_LEVELS, Settings, flag_of, load, variable_of
from cqueue.errors import Unusable

DOCS_URL = "https://github.com/cqueue/cqueue/tree/main/docs"


class _Cli(click.Group):
    """A group whose commands may raise `Unusable`."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Unusable as error:
            click.echo(f"cqueue: {error.detail}", err=True)
            ctx.exit(error.exit_code)


def _settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give `command` a flag for every setting; the values come unparsed, None where not given."""
    for spec in reversed(fields(Settings)):
        choices, metavar = spec.metadata["choices"], spec.metadata["metavar"]
        is_switch = isinstance(spec.default, bool)
        default = "off" if is_switch else "none" if spec.default in ("", ()) else spec.default
        command = click.option(
            flag_of(spec.name),
            is_flag=is_switch,
            default=None,
            metavar=None if is_switch else "|".join(choices) if choices else metavar or "N",
            help=f"{spec.metadata['help']}  [{variable_of(spec.name)}; default: {default}]",
        )(command)
    return click.option(
        "--config", metavar="FILE", help=f"TOML file with settings; flags and variables win.  [{ENV_PREFIX}CONFIG]"
    )(command)


@click.group(cls=_Cli, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", message="cqueue %(version)s")
def main() -> None:
    """A job queue you run with one command and use with curl.

    \b
    Start one:        cqueue serve
    Add a job:        curl -X PUT localhost:3000/jobs/enqueue
    Take it:          curl -X POST localhost:3000/jobs/dequeue
    It is done:       curl -X POST localhost:3000/jobs/1/conclude
    """  # noqa: D301 - the backspace itself tells click to leave the lines as they are


@main.command()
@_settings_options
def serve(**flags: Any) -> None:
    """Serve a queue: one node, alone or with --peers."""
    from cqueue import node  # noqa: PLC0415 - only the commands that serve load the server

    settings = load(flags)

    def announce(url: str) -> None:
        about = {
            "memory": "in memory: a restart loses every job; --data-dir keeps them",
            "replicated-memory": "in the memory of all nodes: survives the loss of a minority",
            "durable": f"in {settings.data_dir}, fsync {settings.fsync}",
        }[settings.mode]
        where = f"node {settings.node_id} of {len(settings.peers) + 1}" if settings.is_cluster else "single node"
        click.echo(f"cqueue {__version__} serves {url} ({where}; {about})\npage: {url}/ui  docs: {DOCS_URL}", err=True)

    sys.exit(node.serve(settings, announce))


@main.command()
@click.option("--port", default=3001, show_default=True, type=click.IntRange(1, 65000), help="Port of the first node.")
@click.option("--nodes", default=3, show_default=True, type=click.IntRange(1, 9), help="How many nodes.")
@click.option(
    "--log-level",
    default="warning",
    show_default=True,
    type=click.Choice(LOG_LEVELS, case_sensitive=False),
    help="Least severe log lines to show of the nodes.",
)
def dev(port: int, nodes: int, log_level: str) -> None:
    """Serve a cluster on this machine, in one terminal, in memory.

    A node that is killed comes back by itself; Ctrl-C ends all.
    """
    from cqueue.cli.terminal import run  # noqa: PLC0415 - only the commands that serve load the server

    sys.exit(run(port, nodes, log_level))


@main.command()
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


for _command in (backup.backup, backup.restore, backup.inspect, cluster.cluster, tls.tls, token.token, work.work):
    main.add_command(_command)


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(__version__)
