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

__all__ = ["AsyncClient", "Client", "CqueueError", "OutcomeUnknown", "Refused", "Unavailable", "__version__"]

__version__ = "0.1.0"

_HOMES = {
    "AsyncClient": "cqueue.client.asynchronous",
    "Client": "cqueue.client.sync",
    "CqueueError": "cqueue.errors",
    "OutcomeUnknown": "cqueue.errors",
    "Refused": "cqueue.errors",
    "Unavailable": "cqueue.errors",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
