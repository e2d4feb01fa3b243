"""A worker in a thread of the test's own, until the test has seen what it wants. It knows no queue."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from cqueue import Worker
from tests import support

END_S = 60

T = TypeVar("T")


def eventually(predicate: Callable[[], T], *, ignoring: type[Exception] | tuple[type[Exception], ...] = ()) -> T:
    """As `tests.support.eventually`, with patience for processes that start on a busy machine."""
    return support.eventually(predicate, within_s=END_S, ignoring=ignoring)


@contextmanager
def running(worker: Worker) -> Iterator[None]:
    """Let it run meanwhile; when this ends it has stopped gracefully."""
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join(END_S)
    assert not thread.is_alive(), "it did not stop"
