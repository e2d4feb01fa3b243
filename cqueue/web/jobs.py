"""The routes that move jobs: enqueue, dequeue, and the verbs on jobs by id. docs/protocol.md is their contract."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from cqueue.core.operations import Purge
from cqueue.core.results import Refusal
from cqueue.errors import Refused
from cqueue.web import by_filter, headers
from cqueue.web.answer import Answer
from cqueue.web.asking import Desk, flask_view
from cqueue.web.contract import INDEX, LOCATION, WAITED, Call, Gives, changing
from cqueue.web.headers import DequeueHeaders
from cqueue.web.presence import Presence
from cqueue.web.problems import Problem
from cqueue.web.shapes import dequeue, enqueue, job, verbs
from cqueue.web.shapes.filters import Filter, FilteredAnswer
from cqueue.web.shapes.verbs import VERBS, AnyonesVerb

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment
    from flask import Flask

_JOB: Final = {"id": "$response.body#/id"}
_TO_JOB: Final = dict.fromkeys(("get_job", "get_history", "explain_job", "cancel_job", "delete_job"), _JOB)
"""What may be asked of any job that an answer shows."""
_TO_HELD: Final = dict.fromkeys((*(f"{verb}_job" for verb in VERBS), "conclude_job_too"), _JOB)
_ADDED: Final = (enqueue.EnqueuedAnswer, enqueue.EnqueuedManyAnswer)

ENQUEUE: Final = changing(
    "enqueue",
    "Adds one job, or many.",
    {
        201: Gives("jobs were added", _ADDED, (INDEX, LOCATION), links=_TO_JOB),
        200: Gives("nothing was added: each unique key was taken already", _ADDED, (INDEX, LOCATION), links=_TO_JOB),
    },
    "too_many_queues",
    "queue_full",
    says=(enqueue.OneBody, enqueue.ManyBody),
)
DEQUEUE: Final = changing(
    "dequeue",
    "Hands out the next job, or several.",
    {
        200: Gives(
            "the job; or with `count` a list of jobs, which may be empty",
            (job.JobAnswer, job.JobsAnswer),
            (INDEX, WAITED),
            links=_TO_JOB | _TO_HELD | {"get_queue": {"name": "$response.body#/queue"}},
        ),
        204: Gives("without `count`: there is no job", (), (INDEX, WAITED)),
    },
    "too_many_waiting",
    says=(dequeue.Body,),
    headers=DequeueHeaders,
)


def _promise_of_one(verb: str, name: str) -> Call:
    said = VERBS[verb]
    shown = Gives("the job as it is now; where it is kept no more, how it ended", (job.JobAnswer, verbs.ResultAnswer))
    gives = {204: Gives("it is forgotten")} if verb == "purge" else {200: shown}
    return changing(name, said.meaning, gives, "not_found", "gone", *said.codes, says=(said.says_of_one,))


def _promise_of_many(verb: str) -> Call:
    said = VERBS[verb]
    shapes = (verbs.ResultsAnswer, FilteredAnswer) if isinstance(said, AnyonesVerb) else (verbs.ResultsAnswer,)
    gives = {200: Gives("one outcome per job; or with a filter, to how many it was done", shapes)}
    return changing(f"{verb}_jobs", f"{said.meaning} Of many jobs.", gives, says=(said.says_of_many,), must_say=True)


class JobRoutes:
    """The routes, over the replica behind `desk`. Each takes the WSGI environment of its request."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def add_to(self, app: Flask) -> None:
        """Make them routes of `app`."""
        routes: list[tuple[str, str, Callable[..., Answer], Call]] = [
            ("PUT", "/jobs/enqueue", self.enqueue, ENQUEUE),
            ("POST", "/jobs/dequeue", self.dequeue, DEQUEUE),
            (
                "POST",
                "/jobs/conclude/<id:job_id>",
                partial(self.one, verb="conclude"),
                _promise_of_one("conclude", "conclude_job_too"),
            ),
            ("DELETE", "/jobs/<id:job_id>", partial(self.one, verb="purge"), _promise_of_one("purge", "delete_job")),
        ]
        for verb in VERBS:
            routes += (
                (
                    "POST",
                    f"/jobs/<id:job_id>/{verb}",
                    partial(self.one, verb=verb),
                    _promise_of_one(verb, f"{verb}_job"),
                ),
                ("POST", f"/jobs/{verb}", partial(self.many, verb=verb), _promise_of_many(verb)),
            )
        for method, rule, view, promise in routes:
            app.add_url_rule(rule, f"{method} {rule}", flask_view(view, promise), methods=[method])

    def enqueue(self, environ: WSGIEnvironment) -> Answer:
        """Add one job or many."""
        operation, many = enqueue.operation_of(self._desk.read(environ))
        enqueued, index = self._desk.operate(environ, enqueue.decode, operation)
        location = () if many else (("Location", f"/jobs/{enqueued.ids[0]}"),)
        status, body = enqueue.answer(enqueued, many=many)
        return Answer(status, body, index, location)

    def dequeue(self, environ: WSGIEnvironment) -> Answer:
        """Hand out one job or many, waiting for the first one if asked to."""
        data = self._desk.read(environ)
        operation, many, wait_ms = dequeue.operation_of(data, headers.consumer(environ))
        more: tuple[tuple[str, str], ...] = ()
        if wait_ms is None:
            wait_ms, more = headers.preferred_wait(environ)
        caller = Presence(environ)
        with self._desk.counts.waiting("http") if wait_ms else nullcontext():
            dequeued, index = self._desk.operate(environ, dequeue.decode, operation, wait_ms, caller)
        jobs = dequeued.jobs
        if jobs and not caller.is_there() and not headers.has_key(environ):
            self._desk.give_back(jobs)
            jobs = []
        if not jobs and not many:
            return Answer(204, b"", index, more)
        answer = Answer(200, job.jobs_json(jobs) if many else job.job_json(jobs[0]), index, more)
        if jobs and not headers.has_key(environ):
            # With a key the caller can still ask for them again.
            answer.on_lost = partial(self._desk.give_back, jobs)
        return answer

    def one(self, environ: WSGIEnvironment, job_id: int, verb: str) -> Answer:
        """Do what `verb` says to the job in the path."""
        operation = VERBS[verb].of_one(self._desk.read(environ), job_id)
        settled, index = self._desk.operate(environ, verbs.decode, operation)
        outcome = settled.outcomes[0]
        if isinstance(outcome, Refusal):
            raise Problem(outcome.code, outcome.detail, index=index)
        if isinstance(operation, Purge):
            return Answer(204, b"", index)
        if settled.job is None:
            # It is forgotten already: done under a key some time ago, or its queue keeps no finished jobs.
            return Answer(200, verbs.result_json(job_id, outcome), index)
        return Answer(200, job.job_json(settled.job), index)

    def many(self, environ: WSGIEnvironment, verb: str) -> Answer:
        """Do what `verb` says to the jobs that the body names, each on its own."""
        asked = VERBS[verb].of_many(self._desk.read(environ))
        if isinstance(asked, Filter):
            return filtered(self._desk, environ, asked)
        ids, operation = asked
        settled, index = self._desk.operate(environ, verbs.decode, operation)
        return Answer(200, verbs.results_json(ids, settled), index)


def filtered(desk: Desk, environ: WSGIEnvironment, asked: Filter) -> Answer:
    """The answer to a verb that was given a filter."""
    if "HTTP_IDEMPOTENCY_KEY" in environ:
        raise Refused("a filter takes no header Idempotency-Key: it is many operations; to send it again is safe")
    answer, index = by_filter.do(desk, environ, asked)
    return Answer(200, msgspec.json.encode(answer), index)
