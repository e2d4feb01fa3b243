"""A queue for your own tests: a whole node in this process, in memory, whose clock can be moved.

    with cqueue.testing.queue() as q:
        q.enqueue("later", delay_seconds=3600)
        q.advance(3600)
        job = q.dequeue()

It is no imitation: the replica and the routes are those of `cqueue serve`, in two threads instead of
processes. `cqueue.pytest_plugin` has the same as a fixture of pytest, `cqueue_queue`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from cqueue.client.sync import Client
from cqueue.config import Settings
from cqueue.testing.replica import InMemoryReplica
from cqueue.testing.web import Web

__all__ = ["LocalQueue", "queue"]


class LocalQueue(Client):
    """A client of the node, and the node's clock.

    address: for other clients, `host:port`; there may be any number of them, of any kind.
    """

    def __init__(self, address: str, replica: InMemoryReplica) -> None:
        super().__init__(address)
        self.address = address
        self._replica = replica

    @property
    def now(self) -> datetime:
        """The queue's time."""
        return self._replica.clock.now()

    def advance(self, seconds: float) -> None:
        """Move the queue's time on. When this returns, what is due by then has happened.

        Raises:
            ValueError: time does not run backwards.
        """
        self._replica.advance(seconds)


@contextmanager
def queue() -> Iterator[LocalQueue]:
    """An empty queue, which is gone after the `with` statement."""
    settings = Settings()
    # Not below a directory of the caller's: a unix socket's path has 107 characters at most.
    with tempfile.TemporaryDirectory(prefix="cqueue-") as directory:
        path = Path(directory) / "inbox.sock"
        with (
            InMemoryReplica(settings, path) as replica,
            Web(settings, path) as web,
            LocalQueue(web.address, replica) as local,
        ):
            yield local
