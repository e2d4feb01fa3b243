"""The access log: a line for each request where somebody wants that."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import eventually
from tests.web.replica import StandInReplica
from tests.web.web import Web


@pytest.fixture
def logging_web(own_replica: StandInReplica) -> Iterator[Web]:
    """A web that logs requests."""
    web = Web(own_replica, own_replica.path.parent, {"access_log": "1"})
    web.start()
    yield web
    web.stop()


def lines_of(web: Web) -> list[str]:
    """Its lines about requests, from the event on, without how long they took."""
    lines = [line.partition(" request_answered ")[2] for line in web.log.splitlines() if " request_answered " in line]
    return [f"{before} {after.partition(' ')[2]}" for before, _, after in (line.partition(" ms=") for line in lines)]


def test_a_line_says_what_was_asked_and_of_which_job(logging_web: Web) -> None:
    """Method, path, status; request, job, index and consumer where they apply; no query."""
    web = logging_web
    named = {"X-Request-Id": "r-1", "Consumer-Id": "a b"}
    web.request("PUT", "/jobs/enqueue", None, named)
    web.request("POST", "/jobs/conclude/1", None, {})
    web.request("GET", "/jobs/1?ticket=secret", None, {"X-Request-Id": "not safe"})
    web.request("GET", "/no%0Aroute", None, {"X-Request-Id": "r-2"})
    wanted = [
        "method=PUT path=/jobs/enqueue status=201 address=127.0.0.1 request_id=r-1 job_id=1 index=1 consumer='a b'",
        "method=POST path=/jobs/conclude/1 status=409 address=127.0.0.1 request_id=",
        "method=GET path=/jobs/1 status=422 address=127.0.0.1 request_id=",
        "method=GET path=/no%0Aroute status=404 address=127.0.0.1 request_id=r-2",
    ]

    def found() -> list[str]:
        return [line for line in lines_of(web) if "path=/livez" not in line and "path=/readyz" not in line]

    eventually(lambda: len(found()) >= len(wanted))
    for line, start in zip(found(), wanted, strict=True):
        assert line.startswith(start)
    assert " job_id=1" in found()[1]
    assert "secret" not in web.log


def test_without_it_no_request_is_in_the_log(web: Web) -> None:
    """As it is by default."""
    web.given_jobs()
    assert "request_answered" not in web.log
