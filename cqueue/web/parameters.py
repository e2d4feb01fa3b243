"""The query string: parameters by name, each with its range; what is not known is refused by name.

Parameters are no part of the body, so there is no pointer to them: the sentence names them.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

import msgspec

from cqueue.core import limits
from cqueue.core.jobs import STATUSES, Status
from cqueue.errors import Refused
from cqueue.protocol import PEEK, QUERY
from cqueue.web.shapes import fields

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

LIMIT_DEFAULT: Final = 100

_LOOK_KINDS: Final = {"linearizable": QUERY, "stale": PEEK}
_NUMBER: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")


def refuse_all(environ: WSGIEnvironment) -> None:
    """Refuse a query string where there is nothing to say in it."""
    for name, _ in parse_qsl(environ["QUERY_STRING"], keep_blank_values=True):
        raise Refused(f"there is no parameter {name[:100]!r} here; the fields of a request go into its body")


class Parameters:
    """Those of one request. Each is taken once; `end` refuses what nobody took."""

    def __init__(self, environ: WSGIEnvironment) -> None:
        self._values: dict[str, list[str]] = {}
        text = environ["QUERY_STRING"]
        for name, value in parse_qsl(text, keep_blank_values=True) if text else ():
            self._values.setdefault(name, []).append(value)

    def end(self) -> None:
        """There are no more.

        Raises:
            Refused: but the caller gave more.
        """
        for name in self._values:
            raise Refused(f"there is no parameter {name[:100]!r} here")

    def one(self, name: str) -> str | None:
        """One that may be there once."""
        values = self._values.pop(name, None)
        if values is None:
            return None
        if len(values) > 1:
            raise Refused(f"the parameter {name} is there {len(values)} times; it may be there once")
        return values[0]

    def kind(self) -> int:
        """How a question is asked, from `consistency`: linearizable where nothing is said."""
        consistency = self.one("consistency")
        if consistency is None:
            return QUERY
        if consistency not in _LOOK_KINDS:
            raise Refused(f"the parameter consistency is one of {', '.join(_LOOK_KINDS)}")
        return _LOOK_KINDS[consistency]

    def min_index(self) -> int | None:
        """The log index the node must have got to; None: any will do."""
        text = self.one("min_index")
        if text is None:
            return None
        if not re.fullmatch("[0-9]{1,19}", text) or int(text) > fields.ID_MAX:
            raise Refused(f"the parameter min_index is a whole number from 0 to {fields.ID_MAX}")
        return int(text)

    def limit(self) -> int:
        """How many to show on one page."""
        text = self.one("limit")
        if text is None:
            return LIMIT_DEFAULT
        if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= limits.PAGE_JOBS_MAX:
            raise Refused(f"the parameter limit is a whole number from 1 to {limits.PAGE_JOBS_MAX}")
        return int(text)

    def wait_ms(self) -> int:
        """How long to wait, from `wait` in seconds, for what `until` says."""
        text, until = self.one("wait"), self.one("until")
        if until not in {None, "finished"}:
            raise Refused("the parameter until is finished")
        if text is None:
            if until is not None:
                raise Refused("the parameter until goes with wait, which is missing")
            return 0
        if not _NUMBER.fullmatch(text) or float(text) > fields.WAIT_S_MAX:
            raise Refused(f"the parameter wait is a number of seconds from 0 to {fields.WAIT_S_MAX}")
        return fields.ms(float(text))

    def job(self) -> int | None:
        """The id of a job."""
        text = self.one("job")
        if text is None:
            return None
        if not re.fullmatch("[1-9][0-9]{0,18}", text) or int(text) > fields.ID_MAX:
            raise Refused(f"the parameter job is a job's id, from 1 to {fields.ID_MAX}")
        return int(text)

    def queue(self) -> str | None:
        """The name of a queue."""
        name = self.one("queue")
        return None if name is None else queue_name(name, "the parameter queue")

    def statuses(self) -> tuple[Status, ...]:
        """Every `status`."""
        given = self._values.pop("status", [])
        for text in given:
            if text not in STATUSES:
                raise Refused(f"the parameter status is one of {', '.join(STATUSES)}")
        return tuple(status for status in STATUSES if status in given)

    def types(self) -> tuple[str, ...]:
        """Every `type`."""
        types = self._values.pop("type", [])
        if len(types) > limits.DEQUEUE_NAMES_MAX:
            raise Refused(f"the parameter type may be there {limits.DEQUEUE_NAMES_MAX} times")
        for name in types:
            if not 1 <= len(name) <= limits.TYPE_CHARS_MAX or not name.isprintable():
                raise Refused(f"the parameter type takes 1 to {limits.TYPE_CHARS_MAX} printable characters")
        return tuple(dict.fromkeys(types))

    def tags(self) -> dict[str, str] | None:
        """Every `tag`, which is a name and a value with `:` between them."""
        tags: dict[str, str] = {}
        for text in self._values.pop("tag", []):
            name, colon, value = text.partition(":")
            why = fields.why_no_tag(name, value) if colon else "there is no `:` in it"
            if why is None and tags.get(name, value) != value:
                why = f"no job has two values of {name}"
            if why is not None:
                raise Refused(f"the parameter tag is name:value; {why}")
            tags[name] = value
        if len(tags) > limits.TAGS_MAX:
            raise Refused(f"the parameter tag may be there {limits.TAGS_MAX} times")
        return tags or None

    def time_ms(self, name: str) -> int:
        """A time, in ms since the Unix epoch; 0: it is not there."""
        text = self.one(name)
        if text is None:
            return 0
        try:
            return fields.at_ms(msgspec.convert(text, fields.Time), "")
        except (msgspec.ValidationError, Refused):
            # A + that was not escaped is a space here; say what else could be wrong.
            hint = "; write + as %2B" if " " in text else ""
            raise Refused(f"the parameter {name} is a time with an offset (RFC 3339){hint}") from None

    def cursor(self) -> str | None:
        """Where a list goes on, as `cursor_of` made it."""
        text = self.one("cursor")
        if text is None:
            return None
        try:
            return b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True).decode()
        except (binascii.Error, UnicodeError):
            raise _no_cursor() from None

    def cursor_id(self) -> int:
        """The same where it is an id; 0: from the start."""
        place = self.cursor()
        if place is None:
            return 0
        if not re.fullmatch("[1-9][0-9]{0,18}", place) or int(place) > fields.ID_MAX:
            raise _no_cursor()
        return int(place)


def cursor_of(place: int | str | None) -> str | None:
    """Where a list goes on, in a form that nobody is tempted to make up; None: nowhere."""
    return None if place is None else urlsafe_b64encode(str(place).encode()).decode().rstrip("=")


def queue_name(name: str, where: str) -> str:
    """The name of a queue that stands in the address. where: for the sentence, if it is no name."""
    if not 1 <= len(name) <= limits.QUEUE_CHARS_MAX:
        raise Refused(f"{where} takes 1 to {limits.QUEUE_CHARS_MAX} characters")
    if (why := fields.why_no_queue(name)) is not None:
        raise Refused(f"{where}: {why}")
    return name


def _no_cursor() -> Refused:
    return Refused("the parameter cursor is the `next` of the page before")
