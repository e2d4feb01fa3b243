"""A command whose help is a man page: what it is for, its options, examples, exit codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import click

from cqueue.cli import exits

COMMON: Final = (exits.DONE, exits.REFUSED, exits.USAGE, exits.UNAVAILABLE, exits.UNKNOWN, exits.INTERRUPTED)
"""How a command ends that makes a call to a node."""


class Command(click.Command):
    """See `click.Command`.

    Args:
        examples: pairs of a command line and what it is for.
        ends: the exit codes that it has; those of a call to a node where nothing is said.
        others: what follows, as for `click.Command`.
    """

    def __init__(
        self, *args: Any, examples: Sequence[tuple[str, str]], ends: Sequence[int] = COMMON, **others: Any
    ) -> None:
        super().__init__(*args, **others)
        self.examples = examples
        self.ends = ends

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write examples and exit codes below the options."""
        with formatter.section("Examples"):
            for line, why in self.examples:
                formatter.write_text(f"# {why}")
                # A command is never broken: it is there to be copied.
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), exits.MEANINGS[code]) for code in self.ends])
        super().format_epilog(ctx, formatter)
