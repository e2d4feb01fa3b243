"""`cqueue cluster verify`: do all nodes hold the same state?"""

from __future__ import annotations

import json

import click

from cqueue.cli import exits
from cqueue.cli.command import Command
from cqueue.cli.options import At, json_option, node_option

EXIT_DIFFER = 1
_MARGIN_S = 60.0
"""Beyond what the nodes have: to get the mark into the log."""
_MEANINGS = {
    "equal": "equal",
    "differs": "DIFFERS",
    "busy": "has no digest: it was at another, or could not compute one",
    "silent": "did not answer in time",
}
_RESULTS = {
    "equal": "all members hold the same state",
    "differ": "the members' states DIFFER",
    "incomplete": "what was told is equal, but not every member told something; try again",
}


@click.command(cls=Command, examples=[("cqueue cluster verify", "whether all hold the same")])
@node_option
@click.option("--wait", default=30.0, show_default=True, type=click.FloatRange(0, 600), help="Seconds the nodes have.")
@json_option
def verify(at: At, wait: float, *, as_json: bool) -> None:
    """Compare the state of all members at one index of the log, while they work.

    Exit code 0: they are equal; 1: they differ; 69: not every member told in time.
    """
    from cqueue.cli.http import Node  # noqa: PLC0415 - a process that serves must not load it

    verdict = Node(at).call("POST", "/cluster/verify", {"wait": wait}, answer_s_max=wait + _MARGIN_S)
    if as_json:
        click.echo(json.dumps(verdict))
    else:
        for member in verdict["members"]:
            click.echo(f"{member['id']}  {verdict['index']}  {member['digest'] or '-'}  {_MEANINGS[member['state']]}")
        click.echo(f"index {verdict['index']}: {_RESULTS[verdict['result']]}", err=True)
    codes = {"equal": 0, "differ": EXIT_DIFFER, "incomplete": exits.UNAVAILABLE}
    click.get_current_context().exit(codes[verdict["result"]])
