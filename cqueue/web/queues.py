"""The routes of queues. docs/protocol.md is their contract."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from cqueue.core.operations import DropQueue, Purge, Redrive, SetQueue
from cqueue.core.queries import GetQueue, ListQueues
from cqueue.web import body, jobs
from cqueue.web.answer import Answer
from cqueue.web.asking import Desk, flask_view
from cqueue.web.parameters import Parameters, cursor_of, queue_name
from cqueue.web.shapes import filters, queues
from cqueue.web.shapes.verbs import NothingBody

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment
    from flask import Flask

_read_nothing = msgspec.json.Decoder(NothingBody).decode
_read_purge = msgspec.json.Decoder(filters.PurgeQueueBody).decode


class QueueRoutes:
    """The routes, over the replica behind `desk`. Each takes the WSGI environment of its request."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def add_to(self, app: Flask) -> None:
        """Make them routes of `app`."""
        for method, rule, view in (
            ("GET", "/queues", self.queues),
            ("GET", "/queues/<name>", self.queue),
            ("PATCH", "/queues/<name>", self.change),
            ("DELETE", "/queues/<name>", self.drop),
            ("POST", "/queues/<name>/pause", partial(self.pause, paused=True)),
            ("POST", "/queues/<name>/resume", partial(self.pause, paused=False)),
            ("POST", "/queues/<name>/purge", self.purge),
            ("POST", "/queues/<name>/redrive", self.redrive),
        ):
            app.add_url_rule(rule, f"{method} {rule}", flask_view(view), methods=[method])

    def queues(self, environ: WSGIEnvironment) -> Answer:
        """List queues by name."""
        given = Parameters(environ)
        count, after = given.limit(), given.cursor()
        kind = self._desk.kind_of_look(given)
        page, index = self._desk.ask(queues.decode_queues, kind, ListQueues(after or "", count))
        return Answer(200, queues.queues_json(page.queues, cursor_of(page.next), _now_ms()), index)

    def queue(self, environ: WSGIEnvironment, name: str) -> Answer:
        """Show one queue."""
        given = Parameters(environ)
        kind = self._desk.kind_of_look(given)
        state, index = self._desk.ask(queues.decode_queue, kind, GetQueue(_name(name)))
        return Answer(200, queues.queue_json(state, _now_ms()), index)

    def change(self, environ: WSGIEnvironment, name: str) -> Answer:
        """Change settings."""
        return self._set(environ, queues.operation_of(self._desk.read(environ), _name(name)))

    def pause(self, environ: WSGIEnvironment, name: str, *, paused: bool) -> Answer:
        """Hand out no more jobs of a queue, or do so again."""
        self._read_nothing(environ)
        return self._set(environ, SetQueue(_name(name), paused=paused))

    def drop(self, environ: WSGIEnvironment, name: str) -> Answer:
        """Forget a queue."""
        self._read_nothing(environ)
        _, index = self._desk.operate(environ, queues.decode_dropped, DropQueue(_name(name)))
        return Answer(204, b"", index)

    def purge(self, environ: WSGIEnvironment, name: str) -> Answer:
        """Forget jobs of a queue, those that wait unless the body says otherwise."""
        data = self._desk.read(environ)
        said = body.decode(_read_purge, data) if data else filters.PurgeQueueBody()
        return jobs.filtered(self._desk, environ, filters.of_queue(Purge, _name(name), said))

    def redrive(self, environ: WSGIEnvironment, name: str) -> Answer:
        """Queue all dead jobs of a queue again."""
        self._read_nothing(environ)
        asked = filters.of_queue(Redrive, _name(name), filters.PurgeQueueBody())
        return jobs.filtered(self._desk, environ, asked)

    def _set(self, environ: WSGIEnvironment, operation: SetQueue) -> Answer:
        state, index = self._desk.operate(environ, queues.decode_queue, operation)
        return Answer(200, queues.queue_json(state, _now_ms()), index)

    def _read_nothing(self, environ: WSGIEnvironment) -> None:
        data = self._desk.read(environ)
        if data:
            body.decode(_read_nothing, data)


def _name(name: str) -> str:
    return queue_name(name, "the queue's name in the path")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
