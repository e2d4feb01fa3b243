"""`cqueue cluster`: look at a cluster, change who belongs to it, move its leadership; and the way out.

Data on stdout, as JSON with `--json`; words on stderr.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click

from cqueue import config
from cqueue.cli import exits
from cqueue.cli.command import COMMON, Command
from cqueue.cli.options import At, json_option, node_option
from cqueue.cli.verify import verify

_MARGIN_S: Final = 60.0
"""Beyond the time a new node has to catch up."""
_STATES: Final = {"self": "this node"}
_WARNING: Final = """\
This makes {members} the whole cluster, whatever other nodes there were.
 - What only the others had is lost, though it was acknowledged: jobs, leases, conclusions.
 - What {node} has and was never acknowledged may become part of the queue.
 - The others must never start again with what they have: empty their data directories, start them
   and add them with `cqueue cluster add`.
{log}
Of the nodes that are left use the one whose log goes furthest, and only that one."""


def _address(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not config.is_address(value):
        raise click.BadParameter(f"{value!r} is not the host:port of a node")
    return value


def _addresses(ctx: click.Context, param: click.Parameter, value: str | None) -> list[str]:
    items = [item.strip() for item in (value or "").split(",") if item.strip()]
    for item in items:
        _address(ctx, param, item)
    return items


@click.group()
def cluster() -> None:
    """Look at a cluster and change it, through any of its nodes."""


cluster.add_command(verify)


@cluster.command(cls=Command, examples=[("cqueue cluster status", "members, leader, and how far the log is")])
@node_option
@json_option
def status(at: At, *, as_json: bool) -> None:
    """Show the cluster as one node sees it.

    Exit code 69: that node knows no leader.
    """
    from cqueue.cli.http import Node  # noqa: PLC0415 - a process that serves must not load it

    answer = Node(at).call("GET", "/cluster")
    if as_json:
        click.echo(json.dumps(answer))
    else:
        leader = answer["leader"]
        for member in answer["members"]:
            role = "leader" if member["id"] == leader else "member"
            click.echo(f"{member['id']}  {role}  {_STATES.get(member['state'], member['state'])}")
        click.echo(
            f"term {answer['term']}, committed up to {answer['commit_index']}, applied up to "
            f"{answer['applied_index']}, {answer['mode']}, level {answer['level']} of {answer['level_max']}",
            err=True,
        )
        if answer["node"] not in [member["id"] for member in answer["members"]]:
            click.echo(f"{answer['node']}, which was asked, is no member", err=True)
        if leader is None:
            click.echo("no leader is known", err=True)
        if answer["change"] is not None:
            change = answer["change"]
            click.echo(f"under way: {change['verb']} {change['node'] or ''} ({change['phase']})", err=True)
    click.get_current_context().exit(0 if answer["leader"] is not None else exits.UNAVAILABLE)


@cluster.command(
    cls=Command, examples=[("cqueue cluster add 10.0.0.4:4000", "one more; it runs already, with nothing in it")]
)
@click.argument("member", metavar="HOST:PORT", callback=_address)
@node_option
@click.option(
    "--wait",
    default=120.0,
    show_default=True,
    type=click.FloatRange(0, 3600, min_open=True),
    help="Seconds the new node may take to catch up.",
)
@json_option
def add(member: str, at: At, wait: float, *, as_json: bool) -> None:
    """Add the node HOST:PORT.

    It has to run already, with an empty data directory, --raft-addr HOST:PORT, the members as its
    --peers, and the cluster's secret. It is first brought up to date; if that fails, nothing changes.
    """
    asked = {"id": member, "wait": wait}
    _order(at, ("POST", "/cluster/members", asked), lambda _: f"{member} is a member", wait, as_json=as_json)


@cluster.command(cls=Command, examples=[("cqueue cluster remove 10.0.0.4:4000", "one less")])
@click.argument("member", metavar="HOST:PORT", callback=_address)
@node_option
@json_option
def remove(member: str, at: At, *, as_json: bool) -> None:
    """Remove the node HOST:PORT, whether it runs or not; a leader hands over first.

    It stays up, takes no requests any more and says why. Stop it, and do not start it again with its data.
    """
    path = f"/cluster/members/{quote(member, safe='')}"
    _order(at, ("DELETE", path, None), lambda _: f"{member} is no member", as_json=as_json)


@cluster.command(cls=Command, examples=[("cqueue cluster transfer", "whichever other one is furthest leads")])
@click.argument("to", metavar="[HOST:PORT]", required=False, callback=_address)
@node_option
@json_option
def transfer(to: str | None, at: At, *, as_json: bool) -> None:
    """Move leadership to the member HOST:PORT, or to whichever other one can take it."""
    asked = {} if to is None else {"to": to}
    _order(at, ("POST", "/cluster/transfer", asked), lambda answer: f"{answer['leader']} leads", as_json=as_json)


def _order(
    at: At,
    call: tuple[str, str, object],
    words: Callable[[dict[str, Any]], str],
    wait_s: float = 0.0,
    *,
    as_json: bool,
) -> None:
    from cqueue.cli.http import Node  # noqa: PLC0415

    answer = Node(at).call(*call, answer_s_max=wait_s + _MARGIN_S)
    if as_json:
        click.echo(json.dumps(answer))
    else:
        click.echo(f"{words(answer)}; the members are {', '.join(answer['members'])}", err=True)


@cluster.command(
    cls=Command,
    examples=[
        ("cqueue cluster bootstrap --force --node http://10.0.0.4:3000", "the node that is left is the whole cluster")
    ],
    ends=(*COMMON, exits.DATA),
)
@click.option("--force", is_flag=True, help="You know what may be lost; nothing is done without it.")
@click.option("--data-dir", metavar="DIR", help="Do it in the data directory of a node that is stopped.")
@click.option(
    "--members", metavar="HOST:PORT,...", callback=_addresses, help="Who shall be members; default: the node alone."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@node_option
@json_option
def bootstrap(at: At, data_dir: str | None, members: list[str], *, force: bool, yes: bool, as_json: bool) -> None:
    """The way out when a majority of the nodes is gone for good, or has lost its memory.

    Makes one node, which is left, the whole cluster; the others are then added again, with nothing
    in their data directories. It is told through --node, or, where it is stopped, in --data-dir.
    """
    if not force:
        raise click.UsageError("what only the other nodes had will be lost: say --force if they are gone for good")
    ask = not yes
    answer = _in_directory(Path(data_dir), members, ask=ask) if data_dir else _in_node(at, members, ask=ask)
    if as_json:
        click.echo(json.dumps(answer))
    else:
        click.echo(f"the members are {', '.join(answer['members'])}", err=True)


def _in_directory(directory: Path, members: list[str], *, ask: bool) -> dict[str, Any]:
    from cqueue.replication import bootstrap as kept  # noqa: PLC0415 - only this command loads it

    found = kept.look(directory)
    wanted = members or [found.node]
    whole = "" if found.is_whole else ", and it had lost its memory: it lacks what it had before"
    log = f"Its log goes up to index {found.last_index}, of term {found.last_term}{whole}."
    _warn(found.node, wanted, log, ask=ask)
    return {"members": kept.force(directory, wanted).members, "leader": None}


def _in_node(at: At, members: list[str], *, ask: bool) -> dict[str, Any]:
    from cqueue.cli.http import Node  # noqa: PLC0415

    node = Node(at)
    view = node.call("GET", "/cluster")
    log = f"Its state is as of index {view['applied_index']}, its term is {view['term']}."
    _warn(view["node"], members or [view["node"]], log, ask=ask)
    answer: dict[str, Any] = node.call("POST", "/cluster/bootstrap", {"force": True, "members": members})
    return answer


def _warn(node: str, members: list[str], log: str, *, ask: bool) -> None:
    click.echo(_WARNING.format(members=", ".join(members), node=node, log=log), err=True)
    if ask:
        click.confirm("Do it?", abort=True, err=True)
