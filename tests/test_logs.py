"""Log lines: for a person and for a program, whatever is in their fields."""

from __future__ import annotations

import json
import logging
import os
import pty
import re
import subprocess
import sys
from typing import Any

import pytest

from cqueue import logs

PROGRAM = """
import logging
from cqueue import logs
logs.configure("info", {form!r})
log = logs.of("cqueue.some")
log.debug("nothing_happened")
log.info("job_seen", job_id=7, consumer="a b", index=3)
logging.getLogger("library").warning("it %s", "broke")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("process_failed")
logs.of(logs.AUDIT).info("operator_acted", who="ann")
"""


def said(form: str) -> list[str]:
    """What a program's lines are whose stderr is no terminal."""
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(form=form)], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr.splitlines()


@pytest.mark.parametrize("form", ["json", "auto"])
def test_a_program_gets_one_json_object_a_line(form: str) -> None:
    """With the event, its fields in their types, and the trace within."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in said(form)]
    stamps = [line.pop("timestamp") for line in lines]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", stamp) for stamp in stamps)
    trace = lines[2].pop("exception")
    assert trace.startswith("Traceback")
    assert trace.endswith("ZeroDivisionError: division by zero")
    assert lines == [
        {"level": "info", "event": "job_seen", "job_id": 7, "consumer": "a b", "index": 3},
        {"level": "warning", "event": "logged", "logger": "library", "message": "it broke"},
        {"level": "error", "event": "process_failed"},
        {"level": "info", "event": "operator_acted", "who": "ann"},
    ]


def test_a_person_gets_a_line_to_read() -> None:
    """Time, level, event, fields; a trace below."""
    lines = said("console")
    assert re.fullmatch(r"\S+\.\d{3}Z INFO    job_seen job_id=7 consumer='a b' index=3", lines[0])
    assert lines[1].endswith("Z WARNING it broke")
    assert lines[2].endswith("Z ERROR   process_failed")
    assert lines[3] == "Traceback (most recent call last):"


def test_in_a_terminal_lines_are_for_a_person() -> None:
    """Where nothing else is said."""
    ours, theirs = pty.openpty()
    try:
        subprocess.run([sys.executable, "-c", PROGRAM.format(form="auto")], stderr=theirs, check=True)
        shown = os.read(ours, 65_536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert " INFO    job_seen job_id=7 " in shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain-1:2/3", "plain-1:2/3"),
        ("", "''"),
        ("two words", "'two words'"),
        ("a=b", "'a=b'"),
        ("line\nfeed", r"'line\nfeed'"),
        ("it's", '"it\'s"'),
        ("\x1b[31m", r"'\x1b[31m'"),
        (["a:1", "b:2"], "a:1,b:2"),
        (1.5, "1.5"),
        (None, "None"),
    ],
)
def test_no_field_is_read_as_another_or_as_a_line(value: object, shown: str) -> None:
    """What could be is in quotes, so that nobody writes lines of his own."""
    assert logs.text_of("job_seen", {"said": value}) == f"job_seen said={shown}"


def test_where_nothing_was_set_up_a_line_is_a_record(caplog: pytest.LogCaptureFixture) -> None:
    """A program that uses parts of cqueue has its own logging; a percent sign is nothing special."""
    with caplog.at_level(logging.INFO):
        logs.of("cqueue.some").warning("job_seen", note="100 %s")
    [record] = caplog.records
    assert (record.name, record.levelname, record.getMessage()) == ("cqueue.some", "WARNING", "job_seen note='100 %s'")
    assert record.__dict__["fields"] == {"note": "100 %s"}
