"""The routes of queues. docs/protocol.md is their contract."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from cqueue.core.operations import DropQueue, Purge, Redrive, SetQueue
from cqueue.core.queries import GetQueue, ListQueues
from cqueue.web import body, jobs, parameters
from cqueue.web.answer import Answer
from cqueue.web.asking import Desk, flask_view
from cqueue.web.contract import Call, Gives, Links, changing, looking
from cqueue.web.parameters import LookParameters, PageParameters, queue_name
from cqueue.web.shapes import filters, queues
from cqueue.web.shapes.verbs import NothingBody

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment
    from flask import Flask

_read_nothing = msgspec.json.Decoder(NothingBody).decode
_read_purge = msgspec.json.Decoder(filters.PurgeQueueBody).decode

_QUEUE: Final = Gives("the queue", (queues.QueueAnswer,))
_TO_QUEUE: Final = {
    call: {"name": "$response.body#/name"}
    for call in ("get_queue", "pause_queue", "resume_queue", "purge_queue", "redrive_queue", "delete_queue")
}

LIST: Final = looking(
    "list_queues", "Lists queues by name.", Gives("some queues", (queues.QueuesAnswer,)), query=PageParameters
)
SHOW: Final = looking("get_queue", "Shows one queue.", _QUEUE, "queue_not_found", "not_found")


def _setting(name: str, summary: str, says: type[Struct], links: Links = MappingProxyType({})) -> Call:
    return changing(name, summary, {200: replace(_QUEUE, links=links)}, "too_many_queues", "not_found", says=(says,))


def _filtering(name: str, summary: str, says: type[Struct]) -> Call:
    gives = {200: Gives("to how many jobs it was done", (filters.FilteredAnswer,))}
    return changing(name, summary, gives, "not_found", says=(says,), headers=None)


CHANGE: Final = _setting("change_queue", "Changes settings of a queue.", queues.QueueBody, _TO_QUEUE)
PAUSE: Final = _setting("pause_queue", "Hands out no more jobs of a queue.", NothingBody)
RESUME: Final = _setting("resume_queue", "Hands out jobs of a queue again.", NothingBody)
PURGE: Final = _filtering("purge_queue", "Forgets jobs of a queue, those that wait.", filters.PurgeQueueBody)
REDRIVE: Final = _filtering("redrive_queue", "Gives all dead jobs of a queue their attempts again.", NothingBody)
DROP: Final = changing(
    "delete_queue",
    "Forgets a queue.",
    {204: Gives("it is forgotten")},
    "queue_not_found",
    "queue_not_empty",
    "not_found",
    says=(NothingBody,),
)


class QueueRoutes:
    """The routes, over the replica behind `desk`. Each takes the WSGI environment of its request."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def add_to(self, app: Flask) -> None:
        """Make them routes of `app`."""
        for method, rule, view, promise in (
            ("GET", "/queues", self.queues, LIST),
            ("GET", "/queues/<name>", self.queue, SHOW),
            ("PATCH", "/queues/<name>", self.change, CHANGE),
            ("DELETE", "/queues/<name>", self.drop, DROP),
            ("POST", "/queues/<name>/pause", partial(self.pause, paused=True), PAUSE),
            ("POST", "/queues/<name>/resume", partial(self.pause, paused=False), RESUME),
            ("POST", "/queues/<name>/purge", self.purge, PURGE),
            ("POST", "/queues/<name>/redrive", self.redrive, REDRIVE),
        ):
            app.add_url_rule(rule, f"{method} {rule}", flask_view(view, promise), methods=[method])

    def queues(self, environ: WSGIEnvironment) -> Answer:
        """List queues by name."""
        given = parameters.read(environ, PageParameters)
        after, kind = parameters.cursor(given.cursor), self._desk.kind_of_look(given)
        page, index = self._desk.look(environ, queues.decode_queues, ListQueues(after or "", given.limit), kind)
        return Answer(200, queues.queues_json(page.queues, parameters.cursor_of(page.next), _now_ms()), index)

    def queue(self, environ: WSGIEnvironment, name: str) -> Answer:
        """Show one queue."""
        kind = self._desk.kind_of_look(parameters.read(environ, LookParameters))
        state, index = self._desk.look(environ, queues.decode_queue, GetQueue(_name(name)), kind)
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
