"""The contract as a node serves it, and the page that shows it."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from cqueue.web.docs import Asset
from tests.contract.documents import COPY
from tests.web.web import Web

ASSETS = get_args(Asset)


def test_a_node_serves_the_contract(web: Web) -> None:
    """The same bytes as the copy in the docs, and the replica is not asked for it."""
    reply = web.send("GET", "/openapi.json")
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.body == COPY.read_bytes()
    assert web.replica.kinds == []


def test_the_page_is_made_of_what_the_node_has(web: Web) -> None:
    """Its scripts, styles and icon are assets, and it names no other place."""
    page = web.send("GET", "/docs")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    parts = re.findall(r'(?:src|href)="([^"]+)"', page.body.decode())
    assert parts == [
        f"docs/{asset}" for asset in ("swagger-ui.css", "favicon-32x32.png", "swagger-ui-bundle.js", "start.js")
    ]
    assert b"//" not in page.body
    assert set(ASSETS) == {part.removeprefix("docs/") for part in parts}


def test_the_page_asks_this_node_alone(web: Web) -> None:
    """The contract comes from here, and no validator elsewhere is told of it."""
    start = web.send("GET", "/docs/start.js").body.decode()
    assert 'url: "openapi.json"' in start
    assert "validatorUrl: null" in start


@pytest.mark.parametrize("path", ["/docs", *(f"/docs/{asset}" for asset in ASSETS)])
def test_the_page_may_do_nothing_but_that(web: Web, path: str) -> None:
    """No script that is not a file of this node, nothing fetched from elsewhere, in nobody's frame."""
    headers = web.send("GET", path).headers
    policy = dict(each.strip().split(" ", 1) for each in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert "http" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("asset", "media"),
    [
        ("swagger-ui.css", "text/css; charset=utf-8"),
        ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        ("favicon-32x32.png", "image/png"),
    ],
)
def test_a_part_of_the_page_is_sent_once(web: Web, asset: str, media: str) -> None:
    """After that a browser asks whether it is still the same."""
    first = web.send("GET", f"/docs/{asset}")
    assert (first.status, first.headers["Content-Type"]) == (200, media)
    assert len(first.body) == int(first.headers["Content-Length"])
    again = web.send("GET", f"/docs/{asset}", if_none_match=first.headers["ETag"])
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize("asset", ["LICENSE", "oauth2-redirect.html", "..%2f__init__.py", "%2e%2e", "start.js.map"])
def test_no_other_file_is_served(web: Web, asset: str) -> None:
    """404 as a problem, whatever else the package has."""
    reply = web.send("GET", f"/docs/{asset}")
    assert (reply.status, reply.json["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
def test_the_contract_may_be_asked_for_with_head(web: Web, path: str) -> None:
    """As every GET."""
    reply = web.request("HEAD", path)
    assert (reply.status, reply.body) == (200, b"")
