"""The routes that look at jobs and change nothing. docs/protocol.md is their contract."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from cqueue.core import limits
from cqueue.core.jobs import Job
from cqueue.core.queries import Explain, GetHistory, GetJob, GetStats, ListJobs
from cqueue.web import contract, parameters
from cqueue.web.answer import Answer
from cqueue.web.asking import Desk, flask_view
from cqueue.web.contract import Gives
from cqueue.web.parameters import JobParameters, JobsParameters, LookParameters, StatsParameters
from cqueue.web.shapes import job, looking

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment
    from flask import Flask

LIST_TIME_S_MAX: Final = 1
"""How long a list goes on looking for jobs that fit before it answers with those it has."""

JOBS: Final = contract.looking(
    "list_jobs", "Lists jobs, by when they came.", Gives("some jobs", (looking.PageAnswer,)), query=JobsParameters
)
JOB: Final = contract.looking(
    "get_job",
    "What the queue knows of one job, or: wait for its result.",
    Gives("the job, as it is at the index of the answer", (job.JobAnswer,)),
    *contract.JOB,
    "too_many_waiting",
    query=JobParameters,
)
HISTORY: Final = contract.looking(
    "get_history",
    "Every change of a job, oldest first.",
    Gives("what happened", (looking.HistoryAnswer,)),
    *contract.JOB,
)
EXPLAIN: Final = contract.looking(
    "explain_job", "Why a job is not running.", Gives("the reasons", (looking.ExplanationAnswer,)), *contract.JOB
)
STATS: Final = contract.looking(
    "get_stats",
    "How many jobs there are, by status and queue.",
    Gives("the counts", (looking.StatsAnswer,)),
    query=StatsParameters,
)


class LookRoutes:
    """The routes, over the replica behind `desk`. Each takes the WSGI environment of its request."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def add_to(self, app: Flask) -> None:
        """Make them routes of `app`."""
        for rule, view, promise in (
            ("/jobs", self.jobs, JOBS),
            ("/jobs/<id:job_id>", self.job, JOB),
            ("/jobs/<id:job_id>/history", self.history, HISTORY),
            ("/jobs/<id:job_id>/explain", self.explain, EXPLAIN),
            ("/jobs/stats", self.stats, STATS),
        ):
            app.add_url_rule(rule, f"GET {rule}", flask_view(view, promise), methods=["GET"])

    def job(self, environ: WSGIEnvironment, job_id: int) -> Answer:
        """Show one job, when it is finished if asked to wait for that."""
        given = parameters.read(environ, JobParameters)
        wait_ms, kind = given.wait_ms, self._desk.kind_of_look(given)
        found, index = self._desk.look(environ, job.decode_found, GetJob(job_id), kind, wait_ms)
        return Answer(200, job.job_json(found.job), index)

    def history(self, environ: WSGIEnvironment, job_id: int) -> Answer:
        """Show what happened to one job."""
        history, index = self._desk.look(environ, looking.decode_history, GetHistory(job_id), self._kind(environ))
        return Answer(200, looking.history_json(job_id, history), index)

    def explain(self, environ: WSGIEnvironment, job_id: int) -> Answer:
        """Show why one job is not running."""
        explanation, index = self._desk.look(environ, looking.decode_explanation, Explain(job_id), self._kind(environ))
        return Answer(200, looking.explanation_json(job_id, explanation), index)

    def stats(self, environ: WSGIEnvironment) -> Answer:
        """Count the jobs."""
        given = parameters.read(environ, StatsParameters)
        query, kind = GetStats(given.by_queue), self._desk.kind_of_look(given)
        counts, index = self._desk.look(environ, looking.decode_stats, query, kind)
        return Answer(200, looking.stats_json(counts), index)

    def jobs(self, environ: WSGIEnvironment) -> Answer:
        """List jobs, by when they came."""
        given = parameters.read(environ, JobsParameters)
        query = ListJobs(
            after=parameters.cursor_id(given.cursor),
            count=given.limit,
            queue=parameters.queue(given.queue),
            statuses=parameters.statuses(given.status),
            types=parameters.types(given.type),
            tags=parameters.tags(given.tag),
            created_from_ms=parameters.time_ms(given.created_from, "created_from"),
            created_before_ms=parameters.time_ms(given.created_before, "created_before"),
            newest_first=given.order == "newest",
        )
        jobs, place, index = self._find(environ, query, self._desk.kind_of_look(given))
        return Answer(200, looking.page_json(jobs, parameters.cursor_of(place)), index)

    def _kind(self, environ: WSGIEnvironment) -> int:
        return self._desk.kind_of_look(parameters.read(environ, LookParameters))

    def _find(self, environ: WSGIEnvironment, query: ListJobs, kind: int) -> tuple[list[Job], int | None, int]:
        """The jobs of one page, the id where the next one begins (None: there is none), and the index."""
        give_up_at = time.monotonic() + LIST_TIME_S_MAX
        jobs: list[Job] = []
        room = limits.DEQUEUE_PAYLOAD_BYTES_MAX
        while True:
            page, index = self._desk.look(environ, looking.decode_page, query, kind)
            for found in page.jobs:
                room -= len(found.payload) + len(found.result or b"")
                if room < 0 and jobs:
                    return jobs, jobs[-1].id, index
                jobs.append(found)
            if page.next is None or len(page.jobs) == query.count or time.monotonic() >= give_up_at:
                return jobs, page.next, index
            query = replace(query, after=page.next, count=query.count - len(page.jobs))
