"""What a newer contract takes away from those who rely on an older one.

A request that was right must stay right, and an answer must stay one that was to be expected. So
both come down to one question, asked in two directions: is everything that one schema allows still
allowed by another? It looks at success only: problems may be added, and callers go by their kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Any, Final

Schema = dict[str, Any]

_INSIDE: Final = {"items": "-", "additionalProperties": "*"}
_MOST: Final = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}
_LEAST: Final = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}
_WHOLE: Final = {"pattern", "format", "not", "dependentRequired", "propertyNames"}
"""What is not compared in parts: it is the same, or gone, or narrower."""


def breaks(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """A sentence for each thing in `new`, an OpenAPI document, that may break a client of `old`."""
    return list(_Comparison(old, new).run())


class _Comparison:
    def __init__(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        self._old, self._new = old, new

    def run(self) -> Iterator[str]:
        for path, methods in self._old["paths"].items():
            for method, was in methods.items():
                where = f"{method.upper()} {path}"
                is_ = self._new["paths"].get(path, {}).get(method)
                if is_ is None:
                    yield f"{where}: removed"
                    continue
                if was["operationId"] != is_["operationId"]:
                    yield f"{where}: its operationId was {was['operationId']}"
                yield from self._parameters(where, was, is_)
                yield from self._body(where, was.get("requestBody"), is_.get("requestBody"))
                yield from self._answers(where, was["responses"], is_["responses"])

    def _parameters(self, where: str, was: Schema, is_: Schema) -> Iterator[str]:
        before, after = (
            {(each["in"], each["name"]): each for each in operation.get("parameters", ())} for operation in (was, is_)
        )
        for key, parameter in before.items():
            at = f"{where}, {' '.join(key)}"
            if key not in after:
                yield f"{at}: removed"
            else:
                yield from self._narrowed(at, (self._old, parameter["schema"]), (self._new, after[key]["schema"]))
        for key, parameter in after.items():
            if parameter["required"] and not before.get(key, {"required": False})["required"]:
                yield f"{where}, {' '.join(key)}: required"

    def _body(self, where: str, was: Schema | None, is_: Schema | None) -> Iterator[str]:
        if is_ is None:
            if was is not None:
                yield f"{where}: takes no body any more"
            return
        if is_["required"] and not (was and was["required"]):
            yield f"{where}: needs a body"
        if was is not None:
            before, after = (each["content"]["application/json"]["schema"] for each in (was, is_))
            yield from self._narrowed(f"{where}, body", (self._old, before), (self._new, after))

    def _answers(self, where: str, was: Schema, is_: Schema) -> Iterator[str]:
        before, after = ({status: all_[status] for status in all_ if status[0] == "2"} for all_ in (was, is_))
        for status in before.keys() ^ after.keys():
            yield f"{where}: answers no {status} any more" if status in before else f"{where}: may answer {status}"
        for status in before.keys() & after.keys():
            at = f"{where}, {status}"
            for name, header in before[status].get("headers", {}).items():
                if (
                    header["required"]
                    and not after[status].get("headers", {}).get(name, {"required": False})["required"]
                ):
                    yield f"{at}: header {name} removed"
            media_before, media_after = (each.get("content", {}) for each in (before[status], after[status]))
            if media_before.keys() != media_after.keys():
                yield f"{at}: was {', '.join(media_before) or 'without a body'}"
            for media in media_before.keys() & media_after.keys():
                old, new = media_before[media].get("schema", {}), media_after[media].get("schema", {})
                # The other way round: whatever is answered now must have been to be expected.
                yield from self._narrowed(at, (self._new, new), (self._old, old))
                yield from self._lost(at, (self._old, old), (self._new, new))

    def _lost(self, where: str, was: tuple[Any, Schema], is_: tuple[Any, Schema]) -> Iterator[str]:
        """Fields of answers that are there no more, those that not every answer had included."""
        for old, new in zip(_choices(*was), _choices(*is_), strict=False):
            before, after = old.get("properties", {}), new.get("properties", {})
            yield from (f"{where}/{name}: removed" for name in before.keys() - after.keys())
            for name in before.keys() & after.keys():
                yield from self._lost(f"{where}/{name}", (was[0], before[name]), (is_[0], after[name]))
            if "items" in old and "items" in new:
                yield from self._lost(f"{where}/-", (was[0], old["items"]), (is_[0], new["items"]))

    def _narrowed(self, where: str, was: tuple[Any, Schema], is_: tuple[Any, Schema]) -> Iterator[str]:
        """What the first schema allows and the second does not."""
        after = _choices(*is_)
        for before in _choices(*was):
            reasons = [[*self._narrower(where, (was[0], before), (is_[0], choice))] for choice in after]
            if all(reasons):
                yield from min(reasons, key=len)

    def _narrower(self, where: str, was: tuple[Any, Schema], is_: tuple[Any, Schema]) -> Iterator[str]:
        old, new = was[1], is_[1]
        yield from _bounded(where, old, new)
        required = {*new.get("required", ())} - {*old.get("required", ())}
        yield from (f"{where}/{name}: required" for name in sorted(required))
        inside = [
            (name, schema, new.get("properties", {}).get(name)) for name, schema in old.get("properties", {}).items()
        ]
        inside += [(at, old.get(word, {}), new.get(word)) for word, at in _INSIDE.items()]
        for name, before, after in inside:
            if isinstance(before, dict) and isinstance(after, dict):
                yield from self._narrowed(f"{where}/{name}", (was[0], before), (is_[0], after))
            elif after is None and name not in _INSIDE.values() and new.get("additionalProperties") is False:
                yield f"{where}/{name}: removed"


def _bounded(where: str, old: Schema, new: Schema) -> Iterator[str]:
    """What a value itself may be no more; what is inside of it aside."""
    if new_types := _types(new):
        lacking = (_types(old) or {"any"}) - new_types - ({"integer"} if "number" in new_types else set())
        if lacking:
            yield f"{where}: no {' or '.join(sorted(lacking))}"
    if "enum" in new and not {*map(repr, old.get("enum", ("any",)))} <= {*map(repr, new["enum"])}:
        yield f"{where}: only {new['enum']}"
    for word in new.keys() & _MOST:
        if new[word] < old.get(word, inf):
            yield f"{where}: {word} {new[word]}"
    for word in new.keys() & _LEAST:
        if new[word] > old.get(word, -inf):
            yield f"{where}: {word} {new[word]}"
    for word in new.keys() & _WHOLE:
        if new[word] != old.get(word):
            yield f"{where}: another {word}"


def _choices(document: dict[str, Any], schema: Schema) -> list[Schema]:
    """The schema without references at its top, one for each alternative it has."""
    if "$ref" in schema:
        target: Any = document
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        beside = {word: value for word, value in schema.items() if word != "$ref"}
        return _choices(document, target | beside)
    if "anyOf" in schema:
        return [choice for each in schema["anyOf"] for choice in _choices(document, each)]
    return [schema]


def _types(schema: Schema) -> set[str]:
    said = schema.get("type", [])
    return {said} if isinstance(said, str) else {*said}
