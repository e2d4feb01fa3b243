"""cqueue: a job queue anyone can run with one command and use with curl.

    with cqueue.Client("localhost:3000") as client:
        client.enqueue({"to": "ada@example.org"})

Importing this loads nothing: each name below is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cqueue.client.asynchronous import AsyncClient
    from cqueue.client.sync import Client
    from cqueue.errors import CqueueError, OutcomeUnknown, Refused, Unavailable
    from cqueue.worker.context import Context
    from cqueue.worker.endings import Cancelled, Dead, Retry
    from cqueue.worker.worker import Worker

__all__ = [
    "AsyncClient",
    "Cancelled",
    "Client",
    "Context",
    "CqueueError",
    "Dead",
    "OutcomeUnknown",
    "Refused",
    "Retry",
    "Unavailable",
    "Worker",
    "__version__",
]

__version__ = "0.1.0"

_HOMES = {
    "AsyncClient": "cqueue.client.asynchronous",
    "Cancelled": "cqueue.worker.endings",
    "Client": "cqueue.client.sync",
    "Context": "cqueue.worker.context",
    "CqueueError": "cqueue.errors",
    "Dead": "cqueue.worker.endings",
    "OutcomeUnknown": "cqueue.errors",
    "Refused": "cqueue.errors",
    "Retry": "cqueue.worker.endings",
    "Unavailable": "cqueue.errors",
    "Worker": "cqueue.worker.worker",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
