"""The exit codes of the command line: one table, which every command's help quotes and docs/cli.md shows."""

from __future__ import annotations

from typing import Final

from cqueue.errors import CqueueError, OutcomeUnknown, Unavailable, Unusable

DONE: Final = 0
REFUSED: Final = 1
USAGE: Final = 2
PORT: Final = 3
DATA: Final = 4
NOTHING: Final = 66
UNAVAILABLE: Final = 69
UNKNOWN: Final = 75
INTERRUPTED: Final = 130
CLOSED: Final = 141

MEANINGS: Final[dict[int, str]] = {
    DONE: "done",
    REFUSED: "refused: the same call will not succeed as things are; of many jobs, at least one was refused",
    USAGE: "wrong usage, or a wrong setting: nothing was asked of a node",
    PORT: "an address or port that cannot be used",
    DATA: "a data directory that cannot be used",
    NOTHING: "there was no job",
    UNAVAILABLE: "nothing was done, and later it may succeed: no node answered, or none could just now",
    UNKNOWN: "it may or may not have been done",
    INTERRUPTED: "stopped by Ctrl-C",
    CLOSED: "whoever read the output is gone",
}
"""What each means; 66, 69 and 75 are those of sysexits.h, above 128 stands 128 + signal."""


def code_of(error: CqueueError) -> int:
    """The exit code for an error."""
    match error:
        case Unusable():
            return error.exit_code
        case Unavailable():
            return UNAVAILABLE
        case OutcomeUnknown():
            return UNKNOWN
    return REFUSED
