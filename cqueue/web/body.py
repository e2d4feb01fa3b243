"""Bytes of a request → a checked shape, or a refusal that names the place.

It reads no more than the limit, takes nothing but UTF-8 JSON, and never guesses: a number is not a
string, `true` is not 1, and a field nobody knows is an error. Payloads and results pass as the
bytes they came in; all that is checked of them is that they are JSON and not nested without end.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
from gunicorn.http.errors import ParseException

from cqueue.errors import Refused

NESTING_LEVELS_MAX: Final = 128
"""Levels of arrays and objects within one payload or result, so that every JSON parser can read it back."""
SHALLOW_BYTES: Final = NESTING_LEVELS_MAX * 2
"""A level takes two bytes: what is no longer than this cannot nest too deeply, and need not be looked through."""

T = TypeVar("T")

_PLACE = r"(?: - at (?:`key` in )?`(?P<place>\$(?:\[(?:\d+|\.\.\.)\]|\.\w+)*)`)?"
_UNKNOWN = re.compile(rf"Object contains unknown field `(?P<name>.*?)`{_PLACE}", re.DOTALL)
_MISSING = re.compile(rf"Object missing required field `(?P<name>\w+)`{_PLACE}")
_OTHER = re.compile(rf"(?P<what>.*?){_PLACE}", re.DOTALL)
_STEP = re.compile(r"\[(\d+)\]|\.(\w+)")
_WORDS = {
    "`str`": "a string",
    "`int`": "a whole number",
    "`float`": "a number",
    "`bool`": "a boolean",
    "`object`": "an object",
    "`array`": "an array",
    "`null`": "null",
    "`datetime`": "a time",
}
_WORD = re.compile("|".join(_WORDS))
_NAME_CHARS_MAX = 128
_LONE_SURROGATE = re.compile(
    rb"\\u[dD][89aAbB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89aAbB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)
_NESTING_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


def read(environ: dict[str, Any], bytes_max: int) -> bytes:
    """The request's body, empty where there is none.

    Raises:
        Refused: body_too_large, unsupported_media_type, or invalid_json where it ends too early.
    """
    length = environ.get("CONTENT_LENGTH")
    if length:
        size = int(length)
        if size > bytes_max:
            raise _too_large(bytes_max)
        if not size:
            return b""
    elif environ.get("HTTP_TRANSFER_ENCODING"):
        size = -1
    else:
        return b""
    try:
        data: bytes = environ["wsgi.input"].read(bytes_max + 1 if size < 0 else size)
    except (OSError, ParseException) as error:
        raise Refused(f"the body could not be read: {error}", code="invalid_json") from error
    if size < 0:
        if len(data) > bytes_max:
            raise _too_large(bytes_max)
    elif len(data) < size:
        raise Refused(f"the body ended after {len(data)} of {size} bytes", code="invalid_json")
    if data and environ.get("CONTENT_TYPE") != "application/json":
        _check_content_type(environ.get("CONTENT_TYPE", ""))
    return data


def decode(decoder: Callable[[bytes], T], data: bytes) -> T:
    """Decode `data`, the whole body.

    Raises:
        Refused: invalid_json, or invalid_field with a JSON pointer.
    """
    try:
        if not data.isascii():
            data.decode()
        return decoder(data)
    except msgspec.ValidationError as error:
        raise invalid_field(*fault_of(str(error))) from error
    except msgspec.DecodeError as error:
        raise Refused(_why_not_json(str(error), data), code="invalid_json") from error
    except UnicodeDecodeError as error:
        raise Refused(f"the body is not UTF-8 (byte {error.start})", code="invalid_json") from error
    except RecursionError as error:
        raise _nested_too_deeply(None) from error


def check_nesting(value: bytes, pointer: str, name: str) -> None:
    """Refuse `value`, the valid JSON of the field `name` at `pointer`, if it nests too deeply."""
    if len(value) <= NESTING_LEVELS_MAX or value.count(b"[") + value.count(b"{") <= NESTING_LEVELS_MAX:
        return
    level = 0
    for token in _NESTING_TOKEN.finditer(value):
        first = value[token.start()]
        if first in b"[{":
            level += 1
            if level > NESTING_LEVELS_MAX:
                raise _nested_too_deeply(f"{pointer}/{name}")
        elif first in b"]}":
            level -= 1


def invalid_field(pointer: str, what: str) -> Refused:
    """The refusal of one field: `what` says what is wrong with it."""
    return Refused(f"{pointer or 'the body'}: {what}", code="invalid_field", pointer=pointer)


def fault_of(message: str) -> tuple[str, str]:
    """What msgspec says of a value, as the pointer to it and what is wrong there."""
    # msgspec tells the place and the fault in one sentence; these are its forms.
    if match := _UNKNOWN.fullmatch(message):
        return f"{_pointer(match['place'])}/{step(match['name'])}", "there is no such field"
    if match := _MISSING.fullmatch(message):
        return f"{_pointer(match['place'])}/{match['name']}", "the field is required"
    match = _OTHER.fullmatch(message)
    place, what = (match["place"], match["what"]) if match else (None, message)
    what = _WORD.sub(lambda word: _WORDS[word[0]], what)
    return _pointer(place), what[:1].lower() + what[1:]


def step(name: str) -> str:
    """`name` as a part of a JSON pointer; a very long one is cut."""
    if len(name) > _NAME_CHARS_MAX:
        name = name[:_NAME_CHARS_MAX] + "..."
    return name.replace("~", "~0").replace("/", "~1")


def _pointer(place: str | None) -> str:
    """`$.jobs[3].id` → `/jobs/3/id`; the whole body is the empty pointer, and a map stands for its entries."""
    return "".join(f"/{index or name}" for index, name in _STEP.findall(place or ""))


def _why_not_json(message: str, data: bytes) -> str:
    if _LONE_SURROGATE.search(data):
        return r"the body is not JSON: a \u escape is one half of a surrogate pair"
    if message == "Input data was truncated":
        return "the body is not JSON: it ends too early"
    return f"the body is not JSON: {message.removeprefix('JSON is malformed: ')}"


def _nested_too_deeply(pointer: str | None) -> Refused:
    return Refused(
        f"{pointer or 'the body'}: nested too deeply, {NESTING_LEVELS_MAX} levels of arrays and objects are allowed",
        code="invalid_json",
        pointer=pointer,
    )


def _too_large(bytes_max: int) -> Refused:
    return Refused(f"the body is larger than {bytes_max} bytes", code="body_too_large")


def _check_content_type(value: str) -> None:
    kind, _, parameters = value.partition(";")
    kind = kind.strip().lower()
    if kind == "application/json":
        charset = parameters.replace(" ", "").replace('"', "").lower()
        if not charset or charset == "charset=utf-8":
            return
        raise Refused("the body must be UTF-8: Content-Type: application/json", code="unsupported_media_type")
    said = "names no content type" if not kind else f"is {kind[:100]!r}"
    hint = (
        "curl -d says that by itself: add -H 'Content-Type: application/json'"
        if kind == "application/x-www-form-urlencoded"
        else "send it with Content-Type: application/json"
    )
    raise Refused(f"the body {said}; {hint}", code="unsupported_media_type")
