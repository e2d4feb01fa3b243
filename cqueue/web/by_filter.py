"""Cancel, redrive and purge of jobs by what they are, not by their ids.

The log knows such operations by ids only, so that no entry takes longer than those do. Here the
jobs are looked up page by page, and each page's ids are an operation of their own. It ends at the
newest id there was at the start: a queue that keeps filling does not keep it busy for ever.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from cqueue.core import limits
from cqueue.core.results import Done
from cqueue.errors import Unavailable
from cqueue.web.asking import Desk
from cqueue.web.problems import KINDS, Problem
from cqueue.web.shapes import looking, verbs
from cqueue.web.shapes.filters import Filter, FilteredAnswer

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

TIME_S_MAX: Final = 5
"""How long one request goes on; then it answers `"done": false`."""


def do(desk: Desk, environ: WSGIEnvironment, asked: Filter) -> tuple[FilteredAnswer, int]:
    """Do it to every job that fits, as far as time allows; with the index of the last answer.

    Raises:
        Problem, CqueueError: nothing could be done at all, or (504) an outcome is unknown.
    """
    give_up_at = time.monotonic() + TIME_S_MAX
    query = replace(asked.jobs, count=limits.PAGE_JOBS_MAX)
    matched, index = 0, 0
    while True:
        try:
            page, index = desk.look(environ, looking.decode_page, query)
            if page.jobs:
                operation = asked.verb([job.id for job in page.jobs])
                settled, index = desk.operate(environ, verbs.decode, operation)
                matched += sum(isinstance(outcome, Done) for outcome in settled.outcomes)
        except (Problem, Unavailable) as error:
            # "Nothing was done" is true of this page, not of those before it.
            if not matched or (isinstance(error, Problem) and KINDS[error.code].retry_after_s is None):
                raise
            return FilteredAnswer(matched, done=False), index
        if page.next is None:
            return FilteredAnswer(matched, done=True), index
        if time.monotonic() >= give_up_at:
            return FilteredAnswer(matched, done=False), index
        query = replace(query, after=page.next, until=query.until or page.newest)
