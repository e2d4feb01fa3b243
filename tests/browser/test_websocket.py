"""`WebSocket`: browsers open one to anybody, for any page, and leave it to the server to refuse."""

from __future__ import annotations

import pytest

from tests.browser.conftest import OpenPage, Site
from tests.browser.test_fetch import url_of
from tests.cluster.fixtures import StartNode

pytestmark = [pytest.mark.browser, pytest.mark.cluster]

OPEN = """url => new Promise(settle => {
    const socket = new WebSocket(url.replace("http:", "ws:") + "/stream", "cqueue.v1");
    socket.onopen = () => settle("open");
    socket.onclose = event => settle(event.code);
})"""
ABNORMAL = 1006
"""What a page is told that a connection ended without a close frame (RFC 6455, 7.4.1)."""


WORK = """url => new Promise(settle => {
    const socket = new WebSocket(url.replace("http:", "ws:") + "/stream", "cqueue.v1");
    const say = (id, verb, body) => socket.send(JSON.stringify({do: verb, id, body}));
    socket.onopen = () => {
        say(1, "subscribe", {credit: 1});
        say(2, "enqueue", {payload: {from: "a page"}});
    };
    socket.onmessage = ({data}) => [JSON.parse(data)].flat().forEach(message => {
        if (message.event === "jobs") {
            const [job] = message.jobs;
            say(3, "conclude", {jobs: [{id: job.id, lease_token: job.lease_token, result: job.payload}]});
        } else if (message.re === 3) {
            socket.close(1000);
            settle(message.body.results);
        }
    });
    socket.onclose = event => settle(event.code);
})"""


def test_a_page_of_an_allowed_origin_is_a_client(start_node: StartNode, open_page: OpenPage, site: Site) -> None:
    """It enqueues, gets and concludes a job over one connection, with the browser's own frames."""
    node = start_node(allowed_origins=site.far)
    results = open_page(site.far).evaluate(WORK, url_of(node))
    assert results == [{"id": 1, "status": "CONCLUDED"}]
    assert node.call("GET", "/jobs/1").body["result"] == {"from": "a page"}


@pytest.mark.parametrize("name", ["near", "far"])
def test_a_page_of_another_origin_opens_none(start_node: StartNode, open_page: OpenPage, site: Site, name: str) -> None:
    """403, which the browser's console has and the page has not."""
    node = start_node(allowed_origins="https://app.example")
    page = open_page(getattr(site, name))
    with page.expect_console_message(lambda message: "WebSocket" in message.text) as said:
        assert page.evaluate(OPEN, url_of(node)) == ABNORMAL
    assert "Unexpected response code: 403" in said.value.text
