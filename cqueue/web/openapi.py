"""`GET /openapi.json`: what all routes promise, as one OpenAPI 3.1 document.

It is made of the routes that the application has, of what each promises (`cqueue.web.contract`) and
of the shapes that decode requests and encode answers. Nothing about a single route is said here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from http import HTTPStatus
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

import cqueue
from cqueue.protocol import Index, NodeId
from cqueue.web import problems
from cqueue.web.answer import Answer
from cqueue.web.auth.routes import OPEN, ROLES_OF
from cqueue.web.cluster import placeholders
from cqueue.web.contract import EVENTS, EVERY, GATE, INDEX, JSON, LOCATION, WAITED, Call, Gives, promise_of, promises
from cqueue.web.docs import Asset
from cqueue.web.problems import KINDS, Problem, ProblemBody
from cqueue.web.shapes import fields
from cqueue.web.ui import UiFile

if TYPE_CHECKING:
    from flask import Flask, Response

OPENAPI_VERSION: Final = "3.1.1"
_BEARER: Final = "bearer"
METHODS_IMPLIED: Final = frozenset(("HEAD", "OPTIONS"))
"""What Flask adds to routes by itself."""

_DESCRIPTION: Final = """\
A job queue over HTTP. docs/protocol.md is the same contract in prose: what fields mean, and what to do with an answer.

Every `GET` route also takes `HEAD`, and every route takes `OPTIONS`. A path that is none of these is answered 404
`not_found`."""

_REF: Final = "#/components/schemas/{name}"
_NAME: Final = re.compile(r"{(\w+)}")
_VARIABLE: Final = re.compile(r"<(?:\w+:)?(\w+)>")
_VARIABLES: Final[dict[str, Any]] = {
    "job_id": fields.Id,
    "name": fields.QueueName,
    "member": NodeId,
    "asset": Asset,
    "file": UiFile,
}
"""The variables of rules, and their types."""
_TAGS: Final = ("jobs", "queues", "events", "stream", "cluster")
_HEADERS: Final[dict[str, Any]] = {
    INDEX: Index,
    LOCATION: fields.JobPath,
    WAITED: fields.Waited,
    "Content-Disposition": fields.FileName,
}
_SOMETIMES: Final = frozenset((LOCATION, WAITED))
"""Headers that an answer may be without."""

_PROBLEM_HEADERS: Final = {
    "X-Request-Id": {
        "description": "the `request_id`",
        "required": True,
        "schema": {"type": "string"},
        "example": "a5976c7d52e56eaa",
    }
}
_RETRY_AFTER: Final = {
    "description": "seconds after which to try again",
    "schema": {"type": "integer", "minimum": 1},
    "example": 1,
}


def add_routes(app: Flask) -> None:
    """Add the route to `app`. The document is made when it is first asked for: then all routes are known."""
    made = cache(lambda: document_json(app))

    @app.get("/openapi.json")
    @promises(Call("get_openapi", "This document.", {200: Gives("the document", (dict,), headers=())}))
    def openapi() -> Response:
        return Answer(200, made()).response()


def document_json(app: Flask) -> bytes:
    """The document of `app`, for people and programs to read."""
    return msgspec.json.format(msgspec.json.encode(document(app)), indent=2)


def document(app: Flask) -> dict[str, Any]:
    """The document of `app`.

    Raises:
        LookupError: a route promises nothing.
    """
    calls = [*_calls_of(app)]
    schemas = _Schemas(
        [*_HEADERS.values(), *_VARIABLES.values(), *(shape for *_, call in calls for shape in _shapes_of(call))]
    )
    paths: dict[str, dict[str, Any]] = {}
    for path, method, variables, call in calls:
        paths.setdefault(path, {})[method] = _operation(path, variables, call, schemas) | _security(path, method)
    codes = sorted({code for *_, call in calls for code in _codes_of(call)})
    return {
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": "cqueue",
            "version": cqueue.__version__,
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in (*_TAGS, "node")],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "responses": dict(sorted(_responses(calls).items())),
            "examples": {code: _example(code) for code in codes},
            "securitySchemes": {_BEARER: {"type": "http", "scheme": "bearer"}},
        },
    }


class _Schemas:
    """The JSON schemas of all shapes, made in one go: msgspec takes its time for each.

    components: {name: schema} of the structs; where one stands, it is only named.
    """

    def __init__(self, shapes: list[Any]) -> None:
        schemas, components = msgspec.json.schema_components(shapes, ref_template=_REF)
        self.components = dict(sorted(components.items()))
        # By identity: what is annotated with an example cannot be hashed.
        self._by_id = {id(shape): schema for shape, schema in zip(shapes, schemas, strict=True)}
        self._taken: dict[str, dict[str, Any]] = {}

    def of(self, *shapes: Any) -> dict[str, Any]:
        """One of these, where it stands."""
        schemas = [self._by_id[id(shape)] for shape in shapes]
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}

    def taken_out(self, shape: type[Struct]) -> dict[str, Any]:
        """One that is no component of the document: its fields stand by themselves."""
        if shape.__name__ not in self._taken:
            self._taken[shape.__name__] = self.components.pop(shape.__name__)
        return self._taken[shape.__name__]


def _calls_of(app: Flask) -> Iterator[tuple[str, str, list[str], Call]]:
    """Every call as (path, method, variables of the path, promise), by path."""
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        for method in sorted((rule.methods or set()) - METHODS_IMPLIED):
            promise = promise_of(app.view_functions[rule.endpoint])
            path = placeholders(rule.rule)
            if f"{method} {path}" not in OPEN:
                promise = replace(promise, codes=(*promise.codes, *GATE))
            yield path, method.lower(), _VARIABLE.findall(rule.rule), promise


def _security(path: str, method: str) -> dict[str, Any]:
    """No token, where a node asks for none; else one with one of these roles."""
    route = f"{method.upper()} {path}"
    return {"security": [] if route in OPEN else [{}, {_BEARER: sorted(ROLES_OF[route])}]}


def _operation(path: str, variables: list[str], call: Call, schemas: _Schemas) -> dict[str, Any]:
    tag = path.split("/")[1]
    operation: dict[str, Any] = {
        "operationId": call.name,
        "summary": call.summary,
        "tags": [tag if tag in _TAGS else "node"],
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": schemas.of(_VARIABLES[variable])}
        for name, variable in zip(_NAME.findall(path), variables, strict=True)
    ]
    for place, shape in (("query", call.query), ("header", call.headers)):
        if shape is not None:
            parameters += _parameters(place, schemas.taken_out(shape))
    if parameters:
        operation["parameters"] = parameters
    if call.says:
        content = {JSON: {"schema": schemas.of(*call.says)}}
        operation["requestBody"] = {"required": call.must_say, "content": content}
    answers = {str(status): _answer(gives, schemas) for status, gives in call.gives.items()}
    answers |= {str(status): {"$ref": f"#/components/responses/{name}"} for status, name, _ in _problems_of(call)}
    operation["responses"] = dict(sorted(answers.items()))
    return operation


def _parameters(place: str, schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, described in schema["properties"].items():
        # What it is about is said once, where tools look for it.
        of_value = {key: value for key, value in described.items() if key != "description"}
        about = {key: value for key, value in described.items() if key == "description"}
        yield {"name": name, "in": place, "required": False, **about, "schema": of_value}


# -- answers ------------------------------------------------------------------------------------------


def _answer(gives: Gives, schemas: _Schemas) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": gives.meaning}
    if gives.headers:
        answer["headers"] = {
            name: {"required": name not in _SOMETIMES, "schema": schemas.of(_HEADERS[name])} for name in gives.headers
        }
    if gives.shapes or gives.media != (JSON,):
        answer["content"] = {media: _content(media, gives, schemas) for media in gives.media}
    if gives.links:
        answer["links"] = {
            name: {"operationId": name, "parameters": dict(parameters)} for name, parameters in gives.links.items()
        }
    return answer


def _content(media: str, gives: Gives, schemas: _Schemas) -> dict[str, Any]:
    if media == JSON:
        return {"schema": schemas.of(*gives.shapes)}
    if media == EVENTS:
        # A stream is no JSON; what its events carry is described beside it.
        events = {"type": "string", "description": "Server-Sent Events", "x-event-data": schemas.of(*gives.shapes)}
        return {"schema": events}
    return {}


def _codes_of(call: Call) -> set[str]:
    return {*EVERY, *call.codes}


def _problems_of(call: Call) -> Iterator[tuple[int, str, list[str]]]:
    """Its problems by status: (status, name of the component, codes)."""
    codes = sorted(_codes_of(call), key=lambda code: (KINDS[code].status, code))
    for status, group in groupby(codes, key=lambda code: KINDS[code].status):
        those = list(group)
        yield status, ".".join((str(status), *those)), those


def _responses(calls: list[tuple[str, str, list[str], Call]]) -> dict[str, Any]:
    """Every set of problems with one status that some call has, as a component of the document."""
    problems_of_all = {name: codes for *_, call in calls for _, name, codes in _problems_of(call)}
    return {name: _problem(codes) for name, codes in problems_of_all.items()}


def _problem(codes: list[str]) -> dict[str, Any]:
    schema = {"$ref": _REF.format(name=ProblemBody.__name__), "properties": {"code": {"enum": codes}}}
    headers: dict[str, Any] = dict(_PROBLEM_HEADERS)
    again = [KINDS[code].retry_after_s is not None for code in codes]
    if any(again):
        headers["Retry-After"] = _RETRY_AFTER | {"required": all(again)}
    if "method_not_allowed" in codes:
        headers["Allow"] = {"description": "the methods there are", "required": True, "schema": {"type": "string"}}
    if any(KINDS[code].challenge is not None for code in codes):
        challenged = all(KINDS[code].challenge is not None for code in codes)
        headers["WWW-Authenticate"] = {"required": challenged, "schema": {"type": "string"}}
    if "upgrade_required" in codes:
        headers["Upgrade"] = {"required": True, "schema": {"const": "websocket"}}
    examples = {code: {"$ref": f"#/components/examples/{code}"} for code in codes}
    return {
        "description": "; ".join(KINDS[code].title for code in codes),
        "headers": headers,
        "content": {problems.CONTENT_TYPE: {"schema": schema, "examples": examples}},
    }


def _example(code: str) -> dict[str, Any]:
    _, _, body = problems.render(Problem(code, KINDS[code].title.lower()), "/jobs/17", "a5976c7d52e56eaa")
    return {
        "summary": f"{KINDS[code].status} {HTTPStatus(KINDS[code].status).phrase}",
        "value": msgspec.json.decode(body),
    }


def _shapes_of(call: Call) -> list[Any]:
    taken = [shape for shape in (call.query, call.headers) if shape is not None]
    return [*taken, *call.says, *(shape for gives in call.gives.values() for shape in gives.shapes), ProblemBody]
