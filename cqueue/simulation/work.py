"""Work beside the loop, where there are no processes: it is done at once, and found in the next round."""

from __future__ import annotations

from collections.abc import Callable

from cqueue.replication.children import Failed


class Inline:
    """`cqueue.replication.children.Work` that is done in place; in a seed nothing may depend on a real process."""

    def __init__(self, body: Callable[[], bytes]) -> None:
        self._found: bytes | Failed
        try:
            self._found = body()
        except OSError as error:
            self._found = Failed(str(error))

    def found(self) -> bytes | None:
        """See `Work`."""
        if isinstance(self._found, Failed):
            raise self._found
        return self._found

    def end(self) -> None:
        """See `Work`."""
