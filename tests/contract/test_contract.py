"""The document says everything there is to say, and nothing that was promised is taken back."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openapi_spec_validator import validate

import cqueue
from cqueue.web.cluster import placeholders
from cqueue.web.openapi import METHODS_IMPLIED, document
from cqueue.web.problems import KINDS
from tests.contract import documents
from tests.contract.breaking import breaks

Document = dict[str, Any]

DOCUMENT: Document = json.loads(documents.made())
SCHEMAS: dict[str, Document] = DOCUMENT["components"]["schemas"]
OPERATIONS: dict[str, Document] = {
    f"{method.upper()} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}


def test_the_document_is_valid() -> None:
    """By OpenAPI 3.1, and by JSON Schema 2020-12."""
    assert DOCUMENT["openapi"].startswith("3.1.")
    validate(DOCUMENT)


def test_every_route_is_in_it_and_nothing_else() -> None:
    """The calls are those that Flask knows, what it adds by itself aside."""
    routes = {
        f"{method} {placeholders(rule.rule)}"
        for rule in documents.given_app().url_map.iter_rules()
        for method in (rule.methods or set()) - METHODS_IMPLIED
    }
    assert set(OPERATIONS) == routes


def test_a_route_that_promises_nothing_is_told() -> None:
    """Who adds one hears which it is."""
    app = documents.given_app()
    app.add_url_rule("/new", view_func=test_the_document_is_valid)
    with pytest.raises(LookupError, match="test_the_document_is_valid promises nothing"):
        document(app)


def test_the_copy_in_the_docs_is_the_document() -> None:
    """`make contract` writes it."""
    assert documents.COPY.read_bytes() == documents.made()


def test_every_call_has_a_name_of_its_own() -> None:
    """What generated clients call it."""
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() for name in names)


def test_every_link_leads_to_a_call_and_its_parameter() -> None:
    """A link that leads nowhere is not followed by anyone."""
    by_name = {operation["operationId"]: operation for operation in OPERATIONS.values()}
    links = [
        (name, link)
        for operation in OPERATIONS.values()
        for answer in operation["responses"].values()
        for name, link in answer.get("links", {}).items()
    ]
    assert links
    for name, link in links:
        parameters = {parameter["name"] for parameter in by_name[link["operationId"]]["parameters"]}
        assert set(link["parameters"]) <= parameters, name


def test_every_code_is_an_answer_of_some_call_with_its_status() -> None:
    """The table of codes and the document have the same ones."""
    answers = DOCUMENT["components"]["responses"]
    found = {
        (code, name.split(".")[0])
        for name, answer in answers.items()
        if "application/problem+json" in answer["content"]
        for code in answer["content"]["application/problem+json"]["schema"]["properties"]["code"]["enum"]
    }
    # The answers to messages on a WebSocket are no HTTP.
    assert found == {(code, str(kind.status)) for code, kind in KINDS.items() if code != "unknown_verb"}


def test_every_call_tells_of_its_failures() -> None:
    """Whatever is called, there may be a bug, or a request that is no HTTP."""
    for call, operation in OPERATIONS.items():
        assert {"400", "405", "414", "431", "500"} <= set(operation["responses"]), call


def test_a_503_and_the_change_in_progress_say_when_to_try_again() -> None:
    """And a 429; `Retry-After` is promised where it always comes."""
    for name, answer in DOCUMENT["components"]["responses"].items():
        headers = answer.get("headers", {})
        if name.startswith(("429.", "503.")):
            assert headers["Retry-After"]["required"], name
        else:
            assert ("Retry-After" in headers) == ("change_in_progress" in name), name


def fields() -> Iterator[tuple[str, Document]]:
    """Every field of every shape, and every parameter: (where, schema)."""
    for name, schema in SCHEMAS.items():
        for field, described in schema.get("properties", {}).items():
            yield f"{name}.{field}", described
    for call, operation in OPERATIONS.items():
        for parameter in operation.get("parameters", ()):
            yield f"{call} {parameter['name']}", parameter["schema"]


def has_example(schema: Document) -> bool:
    """Whether a reader, or a page that shows it, has something to go by."""
    if schema.get("default") is not None or not {"examples", "enum", "const", "$ref"}.isdisjoint(schema):
        return True
    return any(map(has_example, schema.get("anyOf", [schema["items"]] if "items" in schema else [])))


def test_every_field_has_an_example() -> None:
    """Or a list of all there is, or is a shape of its own."""
    assert [where for where, schema in fields() if not has_example(schema)] == []


def has_limits(schema: Document) -> bool:
    """Whether it says how much it may be."""
    if "enum" in schema or "const" in schema or "$ref" in schema:
        return True
    limits = {
        "string": {"maxLength", "pattern", "format"},
        "integer": {"maximum"},
        "number": {"maximum"},
        "array": {"maxItems"},
        "object": {"maxProperties"},
    }
    wanted = limits.get(schema.get("type", ""), set())
    return not wanted or bool(wanted & set(schema))


UNBOUNDED = {"cursor", "status", "members", "Prefer"}
"""What comes from an answer before, what has few values, and what only the body's own limit bounds."""


def test_every_field_of_a_request_has_its_limits() -> None:
    """How long, how much, how many, or which."""
    bodies = {name for name in SCHEMAS if name.endswith(("Body", "OfMany"))} - {"ProblemBody"}
    asked = [(where, schema) for where, schema in fields() if " " in where or where.split(".")[0] in bodies]
    assert len(asked) > len(OPERATIONS)
    without = {where.replace(".", " ").split()[-1] for where, schema in asked if not has_limits(schema)}
    assert without <= UNBOUNDED


def test_a_payload_is_any_json() -> None:
    """It says nothing of its type."""
    assert "type" not in SCHEMAS["EnqueueBody"]["properties"]["payload"]
    assert "type" not in SCHEMAS["JobAnswer"]["properties"]["payload"]


@pytest.mark.parametrize(
    ("shape", "field"), [("EnqueueBody", "run_at"), ("JobAnswer", "created_at"), ("EventAnswer", "at")]
)
def test_times_are_times(shape: str, field: str) -> None:
    """In requests, where they are decoded, as in answers, where they are text."""
    assert SCHEMAS[shape]["properties"][field]["format"] == "date-time"


def test_what_is_left_out_is_not_required() -> None:
    """Fields that may be UNSET are optional, and never null."""
    body = SCHEMAS["EnqueueBody"]
    assert body["required"] == []
    assert body["additionalProperties"] is False
    assert {"type", "Type"} <= set(body["properties"])
    assert all("anyOf" not in schema for schema in body["properties"].values())
    assert "lease_token" not in SCHEMAS["JobAnswer"]["required"]


# -- what was released ---------------------------------------------------------------------------------


def epoch_of(version: str) -> tuple[str, ...]:
    """The part of a version that changes with a break: the first number, and before 1.0 the second, too."""
    major, minor, _ = version.split(".", 2)
    return (major, minor) if major == "0" else (major,)


def test_nothing_that_was_released_is_taken_back() -> None:
    """Unless the version says that it is: CONTRIBUTING.md tells how."""
    released = json.loads(documents.RELEASED.read_bytes())
    if epoch_of(released["info"]["version"]) == epoch_of(cqueue.__version__):
        assert breaks(released, DOCUMENT) == []
    else:
        assert released["info"]["version"] != cqueue.__version__


def _set(*path: str, to: Any) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        for step in path[:-1]:
            document = document[step]
        document[path[-1]] = to

    return change


def _drop(*path: str) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        for step in path[:-1]:
            document = document[step]
        del document[path[-1]]

    return change


_IN = ("components", "schemas")
_DEQUEUE = ("paths", "/jobs/dequeue", "post")

BREAKS: dict[str, tuple[Callable[[Document], None], str]] = {
    "a path is gone": (_drop("paths", "/jobs/stats"), "GET /jobs/stats: removed"),
    "a method is gone": (_drop("paths", "/jobs/{id}", "delete"), "DELETE /jobs/{id}: removed"),
    "a call has another name": (_set(*_DEQUEUE, "operationId", to="take"), "its operationId was dequeue"),
    "a parameter is gone": (_set("paths", "/jobs/stats", "get", "parameters", to=[]), "query min_index: removed"),
    "a body is needed": (_set(*_DEQUEUE, "requestBody", "required", to=True), "needs a body"),
    "a body is not taken": (_drop(*_DEQUEUE, "requestBody"), "takes no body any more"),
    "an answer is gone": (_drop(*_DEQUEUE, "responses", "204"), "answers no 204 any more"),
    "an answer is new": (_set(*_DEQUEUE, "responses", "202", to={}), "may answer 202"),
    "a header is gone": (_set(*_DEQUEUE, "responses", "204", "headers", to={}), "X-Cqueue-Index removed"),
    "a field may not be sent": (_drop(*_IN, "DequeueBody", "properties", "wait"), "body/wait: removed"),
    "a field has to be sent": (_set(*_IN, "DequeueBody", "required", to=["count"]), "body/count: required"),
    "a limit is lower": (_set(*_IN, "DequeueBody", "properties", "count", "maximum", to=10), "count: maximum 10"),
    "a type is another": (_set(*_IN, "FailBody", "properties", "retryable", "type", to="string"), "no boolean"),
    "a word is not taken": (_set(*_IN, "FilterBody", "properties", "status", "enum", to=["DEAD"]), "only ['DEAD']"),
    "a rule is new": (_set(*_IN, "FailBody", "properties", "error", "pattern", to="x"), "another pattern"),
    "a field is not answered": (_drop(*_IN, "JobAnswer", "properties", "result"), "/result: removed"),
    "a field is not always answered": (_set(*_IN, "StatsAnswer", "required", to=["jobs"]), "/total: required"),
    "a field is answered otherwise": (
        _set(*_IN, "StatsAnswer", "properties", "total", "type", to="string"),
        "no string",
    ),
    "a word is answered that was not": (
        _set(*_IN, "HealthAnswer", "properties", "status", "enum", to=["alive", "ready", "so-so"]),
        "only ['alive', 'ready']",
    ),
}

NO_BREAKS: dict[str, Callable[[Document], None]] = {
    "a path is new": _set("paths", "/new", to={"get": OPERATIONS["GET /livez"]}),
    "a field may be sent": _set(*_IN, "DequeueBody", "properties", "more", to={"type": "string"}),
    "a field is answered, too": _set(*_IN, "JobAnswer", "properties", "more", to={"type": "string"}),
    "a limit is higher": _set(*_IN, "DequeueBody", "properties", "count", "maximum", to=5000),
    "a limit is gone": _drop(*_IN, "DequeueBody", "properties", "count", "maximum"),
    "a problem is new": _set(*_DEQUEUE, "responses", "429", to={"$ref": "#/components/responses/500.internal"}),
    "a description is another": _set("info", "description", to="other words"),
}


@pytest.mark.parametrize(("change", "said"), BREAKS.values(), ids=BREAKS)
def test_a_break_is_told(change: Callable[[Document], None], said: str) -> None:
    """By the call and the field, with what is not as it was."""
    changed = copy.deepcopy(DOCUMENT)
    change(changed)
    assert any(said in sentence for sentence in breaks(DOCUMENT, changed)), breaks(DOCUMENT, changed)


@pytest.mark.parametrize("change", NO_BREAKS.values(), ids=NO_BREAKS)
def test_what_harms_nobody_is_no_break(change: Callable[[Document], None]) -> None:
    """Contracts grow."""
    changed = copy.deepcopy(DOCUMENT)
    change(changed)
    assert breaks(DOCUMENT, changed) == []
