"""Pages of other origins, before a whole node: the setting reaches every worker, and streams too."""

from __future__ import annotations

from typing import Final

import pytest

from tests.cluster.fixtures import StartNode
from tests.node.test_events import following

pytestmark = pytest.mark.cluster

APP: Final = "https://app.example"
OTHER: Final = {"Origin": "https://other.example"}


def test_an_allowed_page_may_change_and_another_may_not(start_node: StartNode) -> None:
    """What the other one was refused did not happen."""
    node = start_node(allowed_origins=f"http://localhost:8080,{APP}")
    made = node.ask("PUT", "/jobs/enqueue", {}, headers={"Origin": APP})
    assert (made.status, made.headers["access-control-allow-origin"]) == (201, APP)
    refused = node.ask("POST", "/jobs/dequeue", headers=OTHER)
    assert (refused.status, refused.body["code"]) == (403, "origin_not_allowed")
    assert node.call("GET", "/jobs/1").body["status"] == "QUEUED"


def test_a_stream_is_shown_to_allowed_pages(start_node: StartNode) -> None:
    """An EventSource of a page is under the same rules as a fetch."""
    node = start_node(allowed_origins="*")
    node.call("PUT", "/jobs/enqueue")
    with following(node, "?after=0.0", Origin=APP) as stream:
        assert stream.answer.headers["Access-Control-Allow-Origin"] == "*"
        assert [(event, job) for _, event, job in stream.events(1)] == [("enqueue", 1)]
