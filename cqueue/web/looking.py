"""The routes that look at jobs and change nothing. docs/protocol.md is their contract."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from cqueue.core import limits
from cqueue.core.jobs import Job
from cqueue.core.queries import Explain, GetHistory, GetJob, GetStats, ListJobs
from cqueue.web.answer import Answer
from cqueue.web.asking import Desk, flask_view
from cqueue.web.parameters import Parameters, cursor_of
from cqueue.web.shapes import job, looking

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment
    from flask import Flask

LIST_TIME_S_MAX: Final = 1
"""How long a list goes on looking for jobs that fit before it answers with those it has."""


class LookRoutes:
    """The routes, over the replica behind `desk`. Each takes the WSGI environment of its request."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def add_to(self, app: Flask) -> None:
        """Make them routes of `app`."""
        for rule, view in (
            ("/jobs", self.jobs),
            ("/jobs/<id:job_id>", self.job),
            ("/jobs/<id:job_id>/history", self.history),
            ("/jobs/<id:job_id>/explain", self.explain),
            ("/jobs/stats", self.stats),
        ):
            app.add_url_rule(rule, f"GET {rule}", flask_view(view), methods=["GET"])

    def job(self, environ: WSGIEnvironment, job_id: int) -> Answer:
        """Show one job, when it is finished if asked to wait for that."""
        given = Parameters(environ)
        wait_ms = given.wait_ms()
        kind = self._desk.kind_of_look(given)
        found, index = self._desk.ask(job.decode_found, kind, GetJob(job_id), wait_ms)
        return Answer(200, job.job_json(found.job), index)

    def history(self, environ: WSGIEnvironment, job_id: int) -> Answer:
        """Show what happened to one job."""
        history, index = self._desk.ask(
            looking.decode_history, self._desk.kind_of_look(Parameters(environ)), GetHistory(job_id)
        )
        return Answer(200, looking.history_json(job_id, history), index)

    def explain(self, environ: WSGIEnvironment, job_id: int) -> Answer:
        """Show why one job is not running."""
        explanation, index = self._desk.ask(
            looking.decode_explanation, self._desk.kind_of_look(Parameters(environ)), Explain(job_id)
        )
        return Answer(200, looking.explanation_json(job_id, explanation), index)

    def stats(self, environ: WSGIEnvironment) -> Answer:
        """Count the jobs."""
        counts, index = self._desk.ask(looking.decode_stats, self._desk.kind_of_look(Parameters(environ)), GetStats())
        return Answer(200, looking.stats_json(counts), index)

    def jobs(self, environ: WSGIEnvironment) -> Answer:
        """List jobs, oldest first."""
        given = Parameters(environ)
        query = ListJobs(
            after=given.cursor_id(),
            count=given.limit(),
            queue=given.queue(),
            statuses=given.statuses(),
            types=given.types(),
            tags=given.tags(),
            created_from_ms=given.time_ms("created_from"),
            created_before_ms=given.time_ms("created_before"),
        )
        jobs, place, index = self._find(self._desk.kind_of_look(given), query)
        return Answer(200, looking.page_json(jobs, cursor_of(place)), index)

    def _find(self, kind: int, query: ListJobs) -> tuple[list[Job], int | None, int]:
        """The jobs of one page, the id where the next one begins (None: there is none), and the index."""
        give_up_at = time.monotonic() + LIST_TIME_S_MAX
        jobs: list[Job] = []
        room = limits.DEQUEUE_PAYLOAD_BYTES_MAX
        while True:
            page, index = self._desk.ask(looking.decode_page, kind, query)
            for found in page.jobs:
                room -= len(found.payload) + len(found.result or b"")
                if room < 0 and jobs:
                    return jobs, jobs[-1].id, index
                jobs.append(found)
            if page.next is None or len(page.jobs) == query.count or time.monotonic() >= give_up_at:
                return jobs, page.next, index
            query = replace(query, after=page.next, count=query.count - len(page.jobs))
