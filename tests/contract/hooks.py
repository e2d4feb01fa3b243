"""For schemathesis: what would make its requests useless, or slow.

A wait that is right is cut short; one that is wrong goes out as it is, to be refused. And a right
`Idempotency-Key` is made fresh: under one key all requests but the first would only be refused.
Where links are followed, a job that one request adds is one that the next takes.
"""

from __future__ import annotations

import atexit
import os
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Final

import schemathesis

WAIT_S_MAX: Final = 0.02
INDEX_MAX: Final = 2**63 - 1
EXAMPLE_OF_A_KEY: Final = '"order-1017"'

NARROWING: Final = {"queue", "queues", "type", "types", "tags", "count", "delay_seconds", "run_at", "lease_token"}
"""What may keep a job from the next request; an `Idempotency-Key` may, too."""

_numbers = count()
_seen: set[str] = set()


@schemathesis.hook
def before_call(_context: schemathesis.HookContext, case: schemathesis.Case, _kwargs: dict[str, Any]) -> None:
    """Change a request before it goes out."""
    for given in (case.body, case.query):
        if isinstance(given, dict):
            _cut(given, "wait", WAIT_S_MAX, 60)
            _cut(given, "min_index", 1, INDEX_MAX)
    if case.headers:
        if "wait" in str(case.headers.get("Prefer", "")):
            case.headers["Prefer"] = "wait=0"
        if case.headers.get("Idempotency-Key") == EXAMPLE_OF_A_KEY:
            case.headers["Idempotency-Key"] = f'"key-{next(_numbers)}"'
    if _follows_links(case) and case.meta.generation.mode.is_positive:
        case.headers.pop("Idempotency-Key", None)
        for said in case.body if isinstance(case.body, list) else [case.body]:
            if isinstance(said, dict):
                _widen(said)


@schemathesis.hook
def after_call(_context: schemathesis.HookContext, case: schemathesis.Case, response: schemathesis.Response) -> None:
    """Note what came up by following links."""
    if _follows_links(case):
        _seen.add(f"{case.method} {case.path} {response.status_code}")


@atexit.register
def _tell() -> None:
    Path(os.environ["SEEN_BY_LINKS"]).write_text("\n".join(sorted(_seen)), encoding="utf-8")


def _follows_links(case: schemathesis.Case) -> bool:
    return case.meta is not None and case.meta.phase.name.value == "stateful"


def _widen(said: dict[str, Any]) -> None:
    for name in NARROWING & said.keys():
        del said[name]


def _cut(given: dict[str, Any], name: str, most: float, right_up_to: float) -> None:
    value = given.get(name)
    if isinstance(value, bool):
        return
    with suppress(TypeError, ValueError):
        if most < float(value) <= right_up_to:
            given[name] = most
