"""The page at `/ui` as a node serves it: what it is made of, and what a browser is told it may do."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from cqueue.web.auth.routes import ROLES_OF
from cqueue.web.ui import FILES
from tests.web.callers import Callers, given_door
from tests.web.web import Web

BYTES_MAX = 300_000
"""Of all files together, as they are sent."""


def given_callers(directory: Path) -> Callers:
    """Ann, who looks at and consumes from some queues."""
    callers = Callers(directory)
    callers.add("ann", "viewer", "consumer", queues=("mail-*",))
    return callers


def policy_of(web: Web, path: str) -> dict[str, str]:
    """Its Content-Security-Policy by directive."""
    policy = web.send("GET", path).headers["Content-Security-Policy"]
    return dict(each.strip().split(" ", 1) for each in policy.split(";"))


def test_the_page_is_made_of_what_the_node_has(web: Web) -> None:
    """Its scripts, styles and icon are its files, and it names no other place."""
    page = web.send("GET", "/ui")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    parts = set(re.findall(r'(?:src|href)="([^"#]+)"', page.body.decode()))
    assert {part.removeprefix("ui/") for part in parts} <= FILES
    assert b"//" not in page.body


def test_every_module_that_is_imported_is_there(web: Web) -> None:
    """A name that is misspelt would leave an empty page; and all are named at the start, so that none is waited for."""
    page = web.send("GET", "/ui").body.decode()
    for name in sorted(FILES):
        if name.endswith(".js"):
            text = web.send("GET", f"/ui/{name}").body.decode()
            imported = set(re.findall(r'^import .*from "\./([^"]+)"', text, re.MULTILINE))
            assert imported <= FILES, name
            assert all(f'<link rel="modulepreload" href="ui/{other}">' in page for other in imported), name


def test_the_whole_page_is_small(web: Web) -> None:
    """All of it is sent as it is, so that is what counts."""
    paths = ["/ui", *(f"/ui/{name}" for name in FILES)]
    assert sum(len(web.send("GET", path).body) for path in paths) < BYTES_MAX


@pytest.mark.parametrize("path", ["/ui", "/ui/app.js", "/ui/style.css", "/ui/uplot.js", "/ui/icon.svg"])
def test_the_page_runs_nothing_but_its_files(web: Web, path: str) -> None:
    """No script or style that stands in it, none from elsewhere, no HTML made of text, in nobody's frame."""
    policy = policy_of(web, path)
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["img-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert (policy["require-trusted-types-for"], policy["trusted-types"]) == ("'script'", "'none'")
    headers = web.send("GET", path).headers
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")


def test_no_file_of_the_page_makes_html_of_text() -> None:
    """Nor code: what is in a job gets in as text alone."""
    for name in sorted(FILES - {"uplot.js"}):
        text = (files("cqueue.web.ui") / "static" / name).read_text(encoding="utf-8")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(|new Function", text
        )


@pytest.mark.parametrize(
    ("name", "media"),
    [
        ("app.js", "text/javascript; charset=utf-8"),
        ("style.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml; charset=utf-8"),
        ("uplot-LICENSE.txt", "text/plain; charset=utf-8"),
    ],
)
def test_a_part_of_the_page_is_sent_once(web: Web, name: str, media: str) -> None:
    """After that a browser asks whether it is still the same."""
    first = web.send("GET", f"/ui/{name}")
    assert (first.status, first.headers["Content-Type"]) == (200, media)
    again = web.send("GET", f"/ui/{name}", if_none_match=first.headers["ETag"])
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize("name", ["index.html", "..%2f__init__.py", "%2e%2e", "missing.js"])
def test_no_other_file_is_served(web: Web, name: str) -> None:
    """404 as a problem."""
    reply = web.send("GET", f"/ui/{name}")
    assert (reply.status, reply.json["code"]) == (404, "not_found")


def test_the_page_may_ask_the_other_nodes_too(tmp_path: Path) -> None:
    """It knows where they are, it may fetch from them and from nobody else, and their pages may call this node."""
    urls = ("http://a.example:3001", "https://b.example")
    with given_door(given_callers(tmp_path), tmp_path / "nobody.sock", node_urls=urls) as door:
        page = door.call(None, "GET", "/ui")
        assert '<meta name="cqueue-nodes" content="http://a.example:3001 https://b.example">' in page.text
        assert "connect-src 'self' http://a.example:3001 https://b.example;" in page.headers["Content-Security-Policy"]
        for origin, status, shown in ((urls[1], 200, urls[1]), ("https://c.example", 403, None)):
            reply = door.call("ann", "POST", "/tickets", headers={"Origin": origin})
            assert (reply.status_code, reply.headers.get("Access-Control-Allow-Origin")) == (status, shown)


def test_a_caller_is_told_what_is_theirs(tmp_path: Path) -> None:
    """Their roles, their queues, and the routes of those roles."""
    callers = given_callers(tmp_path)
    with given_door(callers, tmp_path / "nobody.sock") as door:
        who = door.call("ann", "GET", "/whoami").json
    assert who is not None
    assert (who["name"], who["roles"], who["queues"]) == ("ann", ["consumer", "viewer"], ["mail-*"])
    assert set(who["routes"]) == {route for route, roles in ROLES_OF.items() if roles & {"consumer", "viewer"}}


def test_anybody_may_do_everything_where_nobody_is_asked(web: Web) -> None:
    """And is told so."""
    who = web.send("GET", "/whoami").json
    assert (who["name"], who["roles"], who["queues"]) == ("anybody", ["admin"], None)
    assert {"POST /cluster/transfer", "PUT /jobs/enqueue", "GET /jobs"} <= set(who["routes"])


def test_whoami_takes_no_parameters(web: Web) -> None:
    """As it says."""
    assert web.send("GET", "/whoami?name=ann").json["code"] == "invalid_field"
