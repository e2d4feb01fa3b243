"""What every answer says to browsers and caches, and what none of them gives away."""

from __future__ import annotations

from typing import Any

from tests.web.web import Web

CALLS: list[tuple[str, str, Any, int]] = [
    ("PUT", "/jobs/enqueue", {}, 201),
    ("POST", "/jobs/dequeue", {}, 200),
    ("POST", "/jobs/1/conclude", {}, 200),
    ("POST", "/jobs/dequeue", {}, 204),
    ("POST", "/jobs/dequeue", {"x": 1}, 422),
    ("POST", "/jobs/9/cancel", None, 404),
    ("GET", "/jobs/1", None, 200),
    ("HEAD", "/jobs/1", None, 200),
    ("GET", "/jobs/9", None, 404),
    ("GET", "/nowhere", None, 404),
    ("GET", "/jobs/enqueue", None, 405),
    ("GET", "/livez", None, 200),
    ("OPTIONS", "/jobs/1", None, 200),
]


def test_no_browser_guesses_what_an_answer_is(web: Web) -> None:
    """Short way and long, good answers and bad: the content type is the one that is said, and counts."""
    for method, path, body, status in CALLS:
        answer = web.send(method, path, body)
        assert answer.status == status, (method, path)
        assert answer.headers.getlist("X-Content-Type-Options") == ["nosniff"], (method, path)


def test_no_cache_keeps_what_was_looked_at(web: Web) -> None:
    """Answers to GET may hold payloads, and are true now only; answers to other methods no cache keeps anyway."""
    for method, path, body, _ in CALLS:
        caching = web.send(method, path, body).headers.getlist("Cache-Control")
        assert caching == (["no-store"] if method in {"GET", "HEAD"} else []), (method, path)


def test_no_answer_names_the_server_or_its_version(web: Web) -> None:
    """What runs here, and which version, helps only those who look for a hole in it."""
    for method, path, body, _ in CALLS:
        assert "Server" not in web.send(method, path, body).headers, (method, path)
    refused = web.request("GET", "/livez", headers={"X\x01": "1"})
    assert refused.status == 400
    assert b"gunicorn" not in refused.body.lower()
    assert "Server" not in refused.headers
