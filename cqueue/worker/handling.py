"""One handler, with the middleware around it, run to its end: what it gave becomes an ending.

Nothing that a handler does gets past this, not even `sys.exit`: it fails its attempt and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from inspect import isgeneratorfunction
from typing import cast

from cqueue.worker import endings
from cqueue.worker.context import Around, Attempt, Middleware
from cqueue.worker.endings import RELEASED, Cancelled, Ending


def around_of(middleware: Middleware) -> Around:
    """A middleware as a function that makes context managers."""
    return cast("Around", contextmanager(middleware) if isgeneratorfunction(middleware) else middleware)


def run(attempt: Attempt, middleware: Sequence[Around]) -> Ending:
    """Run a handler that blocks."""
    job, context = attempt.job, attempt.context
    result = None
    try:
        with ExitStack() as stack:
            for around in middleware:
                stack.enter_context(around(job, context))
            result = attempt.entry.handler(job, context)
        return endings.concluded(result)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it ends this attempt alone
        return _ending_of(error, attempt)


async def run_async(attempt: Attempt, middleware: Sequence[Around]) -> Ending:
    """Run a handler that awaits."""
    job, context = attempt.job, attempt.context
    result = None
    try:
        with ExitStack() as stack:
            for around in middleware:
                stack.enter_context(around(job, context))
            result = await attempt.entry.handler(job, context)
        return endings.concluded(result)
    except BaseException as error:  # noqa: BLE001 - as above
        return _ending_of(error, attempt)


def timed_out(attempt: Attempt) -> Ending:
    """Its time ran out."""
    return endings.failed(f"timed out after {attempt.entry.timeout_s:g} s")


def _ending_of(error: BaseException, attempt: Attempt) -> Ending:
    reason = attempt.context.reason
    if reason is None or not isinstance(error, Cancelled | asyncio.CancelledError):
        return endings.raised(error)
    # Whatever is said of a job that was cancelled, it is CANCELLED.
    return timed_out(attempt) if reason == "timed_out" else RELEASED
