"""`cqueue completion`: what a shell has to read once, so that Tab knows commands, options and queues."""

from __future__ import annotations

from typing import Any, Final

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ZshComplete

from cqueue.cli import exits
from cqueue.cli.command import Command

_KINDS: Final = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
_VARIABLE: Final = "_CQUEUE_COMPLETE"
_SILENCE_S_MAX: Final = 1.0
"""Nobody waits for a Tab."""


@click.command(
    cls=Command,
    examples=[
        ("cqueue completion bash > ~/.local/share/bash-completion/completions/cqueue", "for bash"),
        ("cqueue completion zsh > ~/.zfunc/_cqueue", "for zsh, where ~/.zfunc is in fpath"),
        ("cqueue completion fish > ~/.config/fish/completions/cqueue.fish", "for fish"),
    ],
    ends=(exits.DONE, exits.USAGE),
)
@click.argument("shell", type=click.Choice(list(_KINDS)))
def completion(shell: str) -> None:
    """Print the script that lets a shell complete commands, options, and names of queues.

    Names of queues come from the node that CQUEUE_NODE or the config names; without an answer there are none.
    """
    click.echo(_KINDS[shell](click.get_current_context().find_root().command, {}, "cqueue", _VARIABLE).source())


class QueueName(click.ParamType[str]):
    """The name of a queue; which there are, a node says."""

    name = "queue"

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002 - click gives it
        incomplete: str,
    ) -> list[CompletionItem]:
        """See `click.ParamType`."""
        from cqueue.cli.calling import asking  # noqa: PLC0415 - a process that serves must not load it
        from cqueue.cli.options import at_of  # noqa: PLC0415
        from cqueue.errors import CqueueError  # noqa: PLC0415

        told: dict[str, Any] = ctx.params
        try:
            with asking(at_of(told)._replace(retry_s=_SILENCE_S_MAX)) as client:
                names = [queue.name for queue in client.list_queues(limit=1_000, consistency="stale").queues]
        except (CqueueError, click.ClickException):
            return []
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


QUEUE: Final = QueueName()
