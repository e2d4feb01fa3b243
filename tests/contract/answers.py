"""Holds answers to the document: every status, header and body that a test sees is one that was promised.

It is asked by the client of the tests in tests/web, so whatever they provoke is compared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from jsonschema_rs import Draft202012Validator

from tests.contract.documents import COPY

Document = dict[str, Any]


def check(method: str, target: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Compare one answer.

    Raises:
        AssertionError: the document has no such answer to such a call.
    """
    operation = _operation_of(method, urlsplit(target).path)
    if operation is None:
        return
    promised = _promised(operation["operationId"], str(status))
    assert promised is not None, f"{method} {target}: {status} is not in the document"
    for name, header in promised.get("headers", {}).items():
        assert name in headers or not header["required"], f"{method} {target}: {status} without {name}"
    content = promised.get("content", {})
    media = headers.get("Content-Type", "").partition(";")[0]
    assert media in content or not (content or body), f"{method} {target}: {status} with {media!r}"
    if body and media.endswith("json"):
        validator = _validator(operation["operationId"], str(status), media)
        errors = [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(json.loads(body))]
        assert not errors, f"{method} {target}: {status}: {errors}"


@cache
def _document() -> Document:
    document: Document = json.loads(COPY.read_bytes())
    return document


@cache
def _templates() -> list[tuple[re.Pattern[str], str]]:
    """The paths, those without variables first: /jobs/stats is no job."""
    paths = sorted(_document()["paths"], key=lambda path: path.count("{"))
    return [(re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))), path) for path in paths]


def _operation_of(method: str, path: str) -> Document | None:
    for pattern, template in _templates():
        if pattern.fullmatch(path):
            operation: Document | None = _document()["paths"][template].get(method.lower())
            if operation is not None:
                return operation
    return None


@cache
def _operations() -> dict[str, Document]:
    methods = [operation for path in _document()["paths"].values() for operation in path.values()]
    return {operation["operationId"]: operation for operation in methods}


def _promised(name: str, status: str) -> Document | None:
    answer: Document | None = _operations()[name]["responses"].get(status)
    if answer is not None and "$ref" in answer:
        component: Document = _document()["components"]["responses"][answer["$ref"].rpartition("/")[2]]
        return component
    return answer


@cache
def _validator(name: str, status: str, media: str) -> Draft202012Validator:
    promised = _promised(name, status) or {}
    schema = promised["content"][media].get("schema", {})
    return Draft202012Validator({"allOf": [schema], "components": _document()["components"]}, validate_formats=True)
