"""Log lines: past-tense events with fields, one line each, on stderr; never a payload or a secret.

    log = logs.of(__name__)
    log.info("leader_elected", node="a:4000", term=3)

A person gets `leader_elected node=a:4000 term=3`, a program one JSON object. docs/operations.md#the-log has
every event. What is set up here is this process's logging alone: a program that only uses parts of cqueue
gets the lines as records of `logging`, and does with them what it likes.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec
import structlog
from structlog.stdlib import BoundLogger, filter_by_level

AUDIT: Final = "cqueue.audit"
CONSOLE: Final = "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(message)s"
RESERVED: Final = ("timestamp", "level", "event", "exception")
"""No field has such a name: they are the line's own."""
FOREIGN: Final = "logged"
"""The event of a line that a library wrote, with fields `logger` and `message`."""

_PLAIN: Final = re.compile(r"[^\s'\"=\\]+")

_encode: Final = msgspec.json.Encoder(enc_hook=str).encode


def of(name: str) -> BoundLogger:
    """The logger of a module. What its level leaves out costs no more than looking at that."""
    return cast(
        "BoundLogger",
        structlog.wrap_logger(
            logging.getLogger(name),
            processors=(filter_by_level, _as_record),
            wrapper_class=BoundLogger,
            cache_logger_on_first_use=True,
        ),
    )


def configure(level: str, form: str) -> None:
    """Send log lines of at least `level` to stderr. form: `console`, `json`, or `auto`: by whether it is a terminal."""
    handler = logging.StreamHandler()
    is_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    handler.setFormatter(_Json() if is_json else _Console())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # What operators did is written down whatever the level is.
    logging.getLogger(AUDIT).setLevel(logging.INFO)
    # PySyncObj logs what it did about a name or a dump; we say such things ourselves.
    logging.getLogger("pysyncobj").setLevel(logging.CRITICAL)


def text_of(event: str, fields: Mapping[str, Any]) -> str:
    """The line for a person: what could be read in two ways, or has more than one line, is in quotes."""
    return " ".join([event, *(f"{name}={_shown(value)}" for name, value in fields.items())])


def _shown(value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text if _PLAIN.fullmatch(text) and text.isprintable() else repr(text)


def _as_record(_logger: Any, _method: str, fields: Any) -> tuple[tuple[str], dict[str, Any]]:
    """What `logging` is called with: the line as text, and beside it the event and its fields."""
    event, exc_info = fields.pop("event"), fields.pop("exc_info", None)
    return (text_of(event, fields),), {"exc_info": exc_info, "extra": {"event": event, "fields": fields}}


class _Console(logging.Formatter):
    def __init__(self) -> None:
        super().__init__(CONSOLE, datefmt="%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime


class _Json(_Console):
    def format(self, record: logging.LogRecord) -> str:
        said = record.__dict__
        line = {
            "timestamp": f"{self.formatTime(record, self.datefmt)}.{record.msecs:03.0f}Z",
            "level": record.levelname.lower(),
            "event": said.get("event", FOREIGN),
            **said.get("fields", {"logger": record.name, "message": record.getMessage()}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encode(line).decode()
