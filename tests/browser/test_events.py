"""`EventSource` on `GET /events`."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.browser.conftest import OpenPage, Site
from tests.browser.test_fetch import ENQUEUE, url_of
from tests.cluster.fixtures import StartNode

pytestmark = [pytest.mark.browser, pytest.mark.cluster]

FOLLOW = """url => {
    window.told = [];
    window.ends = [];
    window.failures = 0;
    window.source = new EventSource(url + "/events?after=0.0");
    source.onmessage = message => told.push(JSON.parse(message.data).id);
    source.addEventListener("end", message => ends.push(JSON.parse(message.data).code));
    source.onerror = () => failures++;
}"""
CLOSED = 2


def test_a_page_sees_jobs_live_and_goes_on_after_a_restart(
    start_node: StartNode, open_page: OpenPage, site: Site, tmp_path: Path
) -> None:
    """The browser connects again by itself and says which event it had last: no gap, no repeat."""
    node = start_node(allowed_origins=site.near, data_dir=str(tmp_path / "data"))
    page = open_page(site.near)
    page.evaluate(FOLLOW, url_of(node))
    assert page.evaluate(ENQUEUE, url_of(node))[0] == 201
    page.wait_for_function("told.length == 1")
    assert node.stop() == 0
    page.wait_for_function("ends.length == 1")
    node.start_ready()
    node.call("PUT", "/jobs/enqueue")
    # Its address says "from the start": without the header it would be told of the first job again, before the second.
    page.wait_for_function("told.length >= 2")
    assert page.evaluate("told") == [1, 2]


def test_a_page_goes_on_once_the_node_is_ready(start_node: StartNode, open_page: OpenPage, site: Site) -> None:
    """While a node cannot say anything, the browser asks again and again; a status of an error would end that."""
    node = start_node(allowed_origins=site.near, request_timeout_s=1)
    page = open_page(site.near)
    os.kill(node.replica_pid, signal.SIGSTOP)
    try:
        page.evaluate(FOLLOW, url_of(node))
        page.wait_for_function("ends.includes('not_ready')")
    finally:
        os.kill(node.replica_pid, signal.SIGCONT)
    node.call("PUT", "/jobs/enqueue")
    page.wait_for_function("told.length == 1")


@pytest.mark.parametrize("name", ["near", "far"])
def test_a_page_of_another_origin_is_told_nothing(
    start_node: StartNode, open_page: OpenPage, site: Site, name: str
) -> None:
    """The browser closes the connection, and does not try again."""
    node = start_node(allowed_origins="https://app.example")
    node.call("PUT", "/jobs/enqueue")
    page = open_page(getattr(site, name))
    page.evaluate(FOLLOW, url_of(node))
    page.wait_for_function(f"source.readyState == {CLOSED}")
    assert page.evaluate("[told, ends, failures]") == [[], [], 1]
