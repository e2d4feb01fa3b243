"""`GET /docs`, the contract as a page: Swagger UI under the headers it is served with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import OpenPage
from tests.browser.test_fetch import url_of
from tests.cluster.fixtures import StartNode
from tests.cluster.harness import Node

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.cluster]

ENQUEUE = "#operations-jobs-enqueue"


def given_page(node: Node, open_page: OpenPage) -> tuple[Page, list[str], list[str]]:
    """The page once it shows the contract, what it has asked for, and what the browser complained of."""
    page = open_page("about:blank")
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{url_of(node)}/docs")
    page.wait_for_selector(ENQUEUE)
    return page, asked, complaints


def test_the_page_shows_every_call_and_asks_no_other_host(start_node: StartNode, open_page: OpenPage) -> None:
    """All of it comes from the node, and its policy hinders nothing that it needs."""
    node = start_node()
    page, asked, complaints = given_page(node, open_page)
    paths = node.call("GET", "/openapi.json").body["paths"]
    assert page.locator(".opblock").count() == sum(map(len, paths.values()))
    assert {url.startswith(f"{url_of(node)}/") for url in asked} == {True}
    assert complaints == []


def test_a_call_can_be_tried_on_the_page(start_node: StartNode, open_page: OpenPage) -> None:
    """The example that it fills in is a job that the queue takes."""
    node = start_node()
    page, _, complaints = given_page(node, open_page)
    for button in (".opblock-summary-control", ".try-out__btn", ".execute"):
        page.locator(f"{ENQUEUE} {button}").click()
    page.wait_for_selector(f"{ENQUEUE} .live-responses-table")
    job = node.call("GET", "/jobs/1").body
    assert (job["queue"], job["type"], job["payload"]) == ("mail", "receipt", {"to": "ada@example.org"})
    assert complaints == []
