"""Holds the table of events in docs/operations.md to what is logged in the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cqueue import logs
from tests.docs.test_docs import ROOT, rows_of, sections_of

SECTION: Final = sections_of((ROOT / "docs" / "operations.md").read_text(encoding="utf-8"))["The log"]
LEVELS: Final = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}
LOGGERS: Final = {"log", "audit_log"}


def calls() -> Iterator[tuple[Path, ast.Call]]:
    """Every call of a module's logger in cqueue/."""
    for path in sorted((ROOT / "cqueue").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                of = node.func.value
                if isinstance(of, ast.Name) and of.id in LOGGERS:
                    yield path, node


def events() -> set[tuple[str, str]]:
    """(event, level) of each; level "": it is decided when it happens."""
    found = {(logs.FOREIGN, "any")}
    for path, call in calls():
        assert isinstance(call.func, ast.Attribute)
        if path.name == "refusals.py":
            continue
        event = call.args[1] if call.func.attr == "log" else call.args[0]
        assert isinstance(event, ast.Constant), f"{path}: an event is a word, and what it is about are fields"
        found.add((event.value, LEVELS.get(call.func.attr, "")))
    for path in (ROOT / "cqueue").rglob("*.py"):
        for what in re.findall(r'Refusals\("(\w+)"', path.read_text(encoding="utf-8")):
            found |= {(f"{what}_refused", "warning"), (f"{what}s_refused_too", "warning")}
    return found


def test_every_event_has_its_row_and_every_row_its_event() -> None:
    """With its level, where that does not depend on what happened."""
    rows = {name: row[1] for row in rows_of(SECTION) for name in re.findall(r"`(\w+)`", row[0])}
    assert rows.keys() == {event for event, _ in events()}
    assert {(event, rows[event]) for event, level in events() if level} == {found for found in events() if found[1]}


def test_events_are_named_alike_and_their_fields_are_no_part_of_the_line() -> None:
    """In snake case; a field has no name that every line has, and nothing is written into the event."""
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", event) for event, _ in events())
    for path, call in calls():
        names = {keyword.arg for keyword in call.keywords}
        assert not names & {*logs.RESERVED}, path
        assert len(call.args) <= 2, path


def test_what_every_line_has_is_named() -> None:
    """The line's own names, and those of what lines are about."""
    for name in (*(set(logs.RESERVED) - {"exception"}), "index", "job_id", "consumer", "request_id"):
        assert f"`{name}`" in SECTION, name
