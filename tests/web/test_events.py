"""`GET /events` while the replica cannot serve it."""

from __future__ import annotations

import pytest

from cqueue import protocol
from cqueue.web import events
from tests.web.web import Web


@pytest.mark.parametrize("code", ["not_ready", "too_many_followers"])
def test_an_event_source_is_told_in_a_stream_to_come_again(web: Web, code: str) -> None:
    """It would give up for good at a 503; everybody else gets that."""
    web.replica.failure = (protocol.UNAVAILABLE, protocol.Failure(code, "the replica's sentence"))
    told = web.send("GET", "/events", accept=events.CONTENT_TYPE)
    assert (told.status, told.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    end = b'event: end\ndata: {"code":"%b","detail":"the replica\'s sentence"}\n\n' % code.encode()
    assert told.body == b"retry: 1000\n\n" + end
    for accept in ("*/*", "text/event-stream, */*"):
        refused = web.send("GET", "/events", accept=accept)
        assert (refused.status, refused.json["code"]) == (503, code)


def test_an_event_source_whose_events_are_gone_gives_up(web: Web) -> None:
    """To come again would not bring them back."""
    web.replica.failure = (protocol.REFUSED, protocol.Failure("events_gone", "the replica's sentence"))
    refused = web.send("GET", "/events", accept=events.CONTENT_TYPE)
    assert (refused.status, refused.json["code"]) == (410, "events_gone")
