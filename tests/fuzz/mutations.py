"""Valid input and what becomes of it: values after a JSON schema, and changes to values and bytes.

All chance comes from the `random.Random` that is passed in: a seed tells the same story again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from random import Random
from typing import Any, Final

NASTY: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400),
    *(1.5, -0.0, 1e308, 5e-324, "", " ", "\x00", "\u202e", "\ud7ff", "é" * 300, "x" * 10_000, "../..", "$", "*"),
    *("1970-01-01T00:00:00Z", "9999-12-31T23:59:60+14:00", "null", "[]", [], {}, [[]], [None] * 1_100),
    *({"": None}, {"id": 1}, [{"id": 1}] * 3, [1, "1", None, 1.0]),
)
BYTES: Final = (b"\0", b"\xff", b"\r\n", b"\n", b'"', b"{", b"[" * 300, b"\x80", b"%00", b"\xed\xa0\x80", b"1" * 400)
DEEP: Final = 200


class Schemas:
    """Samples of the shapes in an OpenAPI document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def sample(self, rng: Random, schema: Any) -> Any:
        """A value that the schema allows, nearly always."""
        if not isinstance(schema, dict):
            return rng.choice(NASTY)
        if "$ref" in schema:
            return self.sample(rng, self._resolve(schema["$ref"]))
        for several in ("anyOf", "oneOf"):
            if several in schema:
                return self.sample(rng, rng.choice(schema[several]))
        if "const" in schema or "enum" in schema:
            return schema.get("const", None) if "const" in schema else rng.choice(schema["enum"])
        if schema.get("examples") and rng.random() < 0.4:
            return rng.choice(schema["examples"])
        kind = schema.get("type", "any")
        if isinstance(kind, list):
            kind = rng.choice(kind)
        if kind == "object":
            return self._object(rng, schema)
        if kind == "array":
            low = schema.get("minItems", 0)
            count = rng.randint(low, max(low, min(low + 3, schema.get("maxItems", 10))))
            return [self.sample(rng, schema.get("items", {})) for _ in range(count)]
        return _plain(rng, kind, schema)

    def _object(self, rng: Random, schema: Mapping[str, Any]) -> dict[str, Any]:
        required = schema.get("required", ())
        wanted = [name for name in schema.get("properties", {}) if name in required or rng.random() < 0.3]
        value = {name: self.sample(rng, schema["properties"][name]) for name in wanted}
        more = schema.get("additionalProperties")
        if isinstance(more, dict):
            value |= {rng.choice(("a", "b", "é")): self.sample(rng, more) for _ in range(rng.randint(0, 2))}
        return value

    def _resolve(self, reference: str) -> Any:
        found: Any = self._document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
        return found


def _plain(rng: Random, kind: str, schema: Mapping[str, Any]) -> Any:
    low, high = schema.get("minimum", 0), schema.get("maximum", 1_000)
    match kind:
        case "integer":
            return rng.choice((low, high, rng.randint(low, min(high, low + 20))))
        case "number":
            return rng.choice((low, high, round(rng.uniform(low, min(high, low + 20)), 3)))
        case "boolean":
            return rng.random() < 0.5
        case "string":
            return "2026-01-02T03:04:05Z" if "format" in schema else rng.choice(("a", "mail", "default", "x" * 30))
        case "null":
            return None
    return rng.choice(NASTY)


def changed_value(rng: Random, value: Any) -> Any:
    """The same value with something wrong somewhere in it."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        name = rng.choice(list(value))
        match rng.randrange(5):
            case 0:
                return {each: inner for each, inner in value.items() if each != name}
            case 1:
                return {
                    (rng.choice(("", name + "x", name.upper(), "\0")) if each == name else each): inner
                    for each, inner in value.items()
                }
            case 2:
                return {**value, rng.choice(("x", "id", "filter", "é")): rng.choice(NASTY)}
        return {**value, name: changed_value(rng, value[name])}
    if isinstance(value, list) and value and rng.random() < 0.8:
        place = rng.randrange(len(value))
        match rng.randrange(3):
            case 0:
                return value * rng.choice((2, 40))
            case 1:
                return [*value[:place], *value[place + 1 :]]
        return [*value[:place], changed_value(rng, value[place]), *value[place + 1 :]]
    return rng.choice(NASTY)


def changed_bytes(rng: Random, data: bytes) -> bytes:
    """The same bytes, a few of them otherwise."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        place = rng.randrange(len(out) + 1)
        end = min(len(out), place + rng.choice((1, 1, 4, 30)))
        match rng.randrange(6):
            case 0:
                out[place:end] = rng.randbytes(end - place)
            case 1:
                del out[place:end]
            case 2:
                out[place:place] = rng.choice(BYTES)
            case 3:
                out[place:place] = out[place:end]
            case 4:
                del out[place:]
            case _ if place < len(out):
                out[place] ^= 1 << rng.randrange(8)
    return bytes(out)


def as_json(rng: Random, value: Any) -> bytes:
    """A value as JSON text, now and then as no parser wants it."""
    text = json.dumps(value, ensure_ascii=rng.random() < 0.8).encode(errors="surrogatepass")
    match rng.randrange(40):
        case 0:
            return b'{"payload":' + b"[" * DEEP + b"]" * DEEP + b"}"
        case 1 if text.startswith(b"{") and len(text) > 2:
            return text[:-1] + b"," + text[1:]
        case 2:
            return b"\xef\xbb\xbf" + text
        case 3:
            return text.replace(b"null", b"NaN").replace(b"true", b"Infinity")
    return text
