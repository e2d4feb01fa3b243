"""`fetch` and forms: what a page can make a browser send to a node, and what it gets to see."""

from __future__ import annotations

import pytest
from playwright.sync_api import Error, Page

from tests.browser.conftest import OpenPage, Site
from tests.cluster.fixtures import StartNode
from tests.cluster.harness import Node

pytestmark = [pytest.mark.browser, pytest.mark.cluster]

ENQUEUE = """async url => {
    const answer = await fetch(url + "/jobs/enqueue", {
        method: "PUT",
        headers: {"Content-Type": "application/json", "Idempotency-Key": '"k"', "X-Request-Id": "mine"},
        body: JSON.stringify({type: "mail"}),
    });
    const read = name => answer.headers.get(name);
    return [answer.status, await answer.json(), read("Location"), Number(read("X-Cqueue-Index"))];
}"""
ASK_FOR_NONE = """async url => {
    const answer = await fetch(url + "/jobs/7", {headers: {"X-Request-Id": "mine"}});
    return [answer.status, (await answer.json()).code, answer.headers.get("X-Request-Id")];
}"""
LOOK = "async url => (await fetch(url + '/jobs/stats')).status"
SEND_UNSEEN = """async url => {
    // Browsers send these without asking: they look like a form's.
    await fetch(url + "/jobs/dequeue", {method: "POST", mode: "no-cors"});
    await fetch(url + "/jobs/1/conclude", {method: "POST", mode: "no-cors", referrerPolicy: "no-referrer"});
    return navigator.sendBeacon(url + "/queues/default/pause");
}"""
SUBMIT = """url => {
    const form = document.createElement("form");
    form.method = "POST";
    form.action = url + "/jobs/dequeue";
    document.body.append(form);
    form.submit();
}"""

SEND_FROM_SANDBOX = """url => new Promise(settle => {
    addEventListener("message", message => settle([message.origin, message.data]));
    const frame = document.createElement("iframe");
    frame.sandbox = "allow-scripts";
    frame.srcdoc = `<script>
        const sent = mode => fetch("${url}/jobs/dequeue", {method: "POST", mode});
        const take = mode => sent(mode).then(() => "answered", () => "refused");
        Promise.all([take("no-cors"), take("cors")]).then(said => parent.postMessage(said, "*"));
    <\\/script>`;
    document.body.append(frame);
})"""


def url_of(node: Node) -> str:
    """Where pages find it."""
    return f"http://{node.host}:{node.port}"


def given_job(node: Node) -> None:
    """Job 1 waits in the default queue."""
    assert node.call("PUT", "/jobs/enqueue").body == {"id": 1}


def refusal(page: Page, script: str, url: str) -> str:
    """What the browser throws at the script."""
    with pytest.raises(Error) as caught:
        page.evaluate(script, url)
    return caught.value.message


@pytest.mark.parametrize("name", ["near", "far"])
def test_an_allowed_page_calls_the_node(start_node: StartNode, open_page: OpenPage, site: Site, name: str) -> None:
    """With headers that the browser asks about first; it reads the answer and its headers, and errors too."""
    origin = getattr(site, name)
    node = start_node(allowed_origins=origin)
    page = open_page(origin)
    status, body, location, index = page.evaluate(ENQUEUE, url_of(node))
    assert (status, body, location) == (201, {"id": 1}, "/jobs/1")
    assert index > 0
    assert node.call("GET", "/jobs/1").body["type"] == "mail"
    assert page.evaluate(ASK_FOR_NONE, url_of(node)) == [404, "not_found", "mine"]


def test_any_page_may_be_allowed(start_node: StartNode, open_page: OpenPage, site: Site) -> None:
    """`*`."""
    node = start_node(allowed_origins="*")
    assert open_page(site.far).evaluate(ENQUEUE, url_of(node))[0] == 201


@pytest.mark.parametrize("name", ["near", "far"])
def test_another_page_changes_nothing_and_sees_nothing(
    start_node: StartNode, open_page: OpenPage, site: Site, name: str
) -> None:
    """Neither with a fetch that the browser asks about first, nor with what it sends without asking."""
    node = start_node(allowed_origins="https://app.example")
    given_job(node)
    page = open_page(getattr(site, name))
    assert "Failed to fetch" in refusal(page, ENQUEUE, url_of(node))
    assert "Failed to fetch" in refusal(page, LOOK, url_of(node))
    with page.expect_event("requestfinished", lambda request: request.url.endswith("/pause")) as beacon:
        assert page.evaluate(SEND_UNSEEN, url_of(node))
    assert beacon.value.response().status == 403
    with page.expect_navigation() as submitted:
        page.evaluate(SUBMIT, url_of(node))
    assert submitted.value.status == 403
    assert submitted.value.json()["code"] == "origin_not_allowed"
    assert node.call("GET", "/jobs/1").body["status"] == "QUEUED"
    assert node.call("GET", "/jobs/stats").body["total"] == 1
    assert not node.call("GET", "/queues/default").body["paused"]


def test_a_page_in_a_sandbox_is_of_no_allowed_origin(start_node: StartNode, open_page: OpenPage, site: Site) -> None:
    """Its origin is `null`, which cannot be named, whoever serves it; what it sends without asking changes nothing."""
    node = start_node(allowed_origins=site.near)
    given_job(node)
    page = open_page(site.near)
    assert page.evaluate(SEND_FROM_SANDBOX, url_of(node)) == ["null", ["answered", "refused"]]
    assert node.call("GET", "/jobs/1").body["status"] == "QUEUED"


def test_the_nodes_own_page_needs_no_permission(start_node: StartNode, open_page: OpenPage) -> None:
    """What the node itself serves calls it as any client does."""
    node = start_node()
    page = open_page(url_of(node) + "/")
    assert page.evaluate(ENQUEUE, url_of(node))[0] == 201
