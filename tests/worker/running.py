"""A worker in a thread of the test's own, until the test has seen what it wants. It knows no queue."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cqueue import Worker

END_S = 60


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
