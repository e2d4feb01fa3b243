"""Pages of other origins: what allowed ones are told, and that the others change nothing."""

from __future__ import annotations

from typing import Final

import pytest
from werkzeug.test import Client, TestResponse

from cqueue.web.origins import ANSWER_HEADERS, PREFLIGHT_S, REQUEST_HEADERS
from tests.web.conftest import given_app

APP: Final = "https://app.example"
OTHER: Final = "https://other.example"
HOST: Final = "queue.example:3000"
SHOWN: Final = "Access-Control-Allow-Origin"
CHANGES: Final = [
    ("PUT", "/jobs/enqueue"),
    ("POST", "/jobs/dequeue"),
    ("POST", "/jobs/1/conclude"),
    ("DELETE", "/jobs/1"),
    ("PATCH", "/queues/default"),
    ("POST", "/no/such/path"),
]


def sent(client: Client, method: str, path: str, **headers: str) -> TestResponse:
    """The answer to a request to HOST; `sec_fetch_site=` is `Sec-Fetch-Site:`."""
    lines = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.open(path, method=method, headers={"Host": HOST, **lines}, buffered=True)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": OTHER},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://queue.example"},
        {"origin": f"{APP}.other.example"},
        {"origin": OTHER, "sec_fetch_site": "cross-site"},
        {"origin": f"http://{HOST}", "sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "same-origin, cross-site"},
    ],
    ids=str,
)
def test_a_page_of_another_origin_changes_nothing(headers: dict[str, str]) -> None:
    """Refused before it reaches a route, whichever way that would be; the answer is not for the page either."""
    with given_app(APP) as app:
        client = Client(app)
        assert sent(client, "PUT", "/jobs/enqueue").status_code == 201
        for method, path in CHANGES:
            answer = sent(client, method, path, x_request_id="mine", **headers)
            problem = answer.get_json()
            assert (answer.status_code, problem["code"], problem["instance"]) == (403, "origin_not_allowed", path)
            assert "--allowed-origins" in problem["detail"]
            assert (answer.headers["X-Request-Id"], answer.headers["Vary"]) == ("mine", "Origin")
            assert SHOWN not in answer.headers
        assert sent(client, "GET", "/jobs/1").get_json()["status"] == "QUEUED"
        assert sent(client, "GET", "/jobs/2").status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": f"http://{HOST}"},
        {"origin": f"https://{HOST}"},
        {"origin": f"http://{HOST}", "sec_fetch_site": "same-origin"},
        {"origin": "https://public.example", "sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "none"},
    ],
    ids=str,
)
def test_its_own_pages_and_what_is_no_page_need_no_permission(headers: dict[str, str]) -> None:
    """Also behind a proxy that rewrites Host, where the browser itself says that it is the same origin."""
    with given_app() as app:
        answer = sent(Client(app), "POST", "/jobs/dequeue", **headers)
        assert answer.status_code == 204
        assert SHOWN not in answer.headers


@pytest.mark.parametrize(("allowed", "shown"), [(APP, APP), ("*", "*")])
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/jobs/enqueue", 201),
        ("POST", "/jobs/dequeue", 204),
        ("POST", "/jobs/7/conclude", 404),
        ("PUT", "/jobs/enqueue?x=1", 422),
        ("GET", "/jobs/stats", 200),
        ("GET", "/no/such/path", 404),
        ("PUT", "/jobs/stats", 405),
    ],
)
def test_an_allowed_page_may_read_every_answer(allowed: str, shown: str, method: str, path: str, status: int) -> None:
    """Errors too, from both ways, with the headers that mean something."""
    with given_app(allowed) as app:
        answer = sent(Client(app), method, path, origin=APP, sec_fetch_site="cross-site")
        assert answer.status_code == status
        assert answer.headers.getlist(SHOWN) == [shown]
        assert answer.headers["Access-Control-Expose-Headers"] == ", ".join(ANSWER_HEADERS)
        assert answer.headers["Vary"] == "Origin"
        assert "Access-Control-Allow-Credentials" not in answer.headers


def test_other_pages_may_ask_but_browsers_do_not_show_them_the_answer() -> None:
    """Reading is the browser's to refuse; what is cached for one origin is not shown to another."""
    with given_app(APP) as app:
        answer = sent(Client(app), "GET", "/jobs/stats", origin=OTHER, sec_fetch_site="cross-site")
        assert (answer.status_code, answer.headers["Vary"]) == (200, "Origin")
        assert SHOWN not in answer.headers


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/jobs/enqueue", {"PUT", "OPTIONS"}),
        ("/jobs/dequeue", {"POST", "OPTIONS"}),
        ("/jobs/1", {"GET", "HEAD", "DELETE", "OPTIONS"}),
        ("/queues/mail", {"GET", "HEAD", "PATCH", "DELETE", "OPTIONS"}),
    ],
)
def test_a_preflight_of_an_allowed_page_is_told_all_there_is(path: str, methods: set[str]) -> None:
    """The route's methods and the headers that mean something, for as long as browsers remember it."""
    with given_app(APP) as app:
        answer = sent(Client(app), "OPTIONS", path, origin=APP, access_control_request_method="PUT")
        assert (answer.status_code, answer.data) == (204, b"")
        assert set(answer.headers["Access-Control-Allow-Methods"].split(", ")) == methods
        assert answer.headers["Access-Control-Allow-Headers"] == ", ".join(REQUEST_HEADERS)
        assert answer.headers["Access-Control-Max-Age"] == str(PREFLIGHT_S)
        assert (answer.headers[SHOWN], answer.headers["Vary"]) == (APP, "Origin")


@pytest.mark.parametrize("path", ["/no/such/path", "/jobs/0", "//jobs/enqueue"])
def test_a_preflight_for_no_route_finds_none(path: str) -> None:
    """404, which the page may read."""
    with given_app(APP) as app:
        answer = sent(Client(app), "OPTIONS", path, origin=APP, access_control_request_method="GET")
        assert (answer.status_code, answer.headers[SHOWN]) == (404, APP)


def test_a_preflight_of_another_page_is_told_nothing() -> None:
    """What any OPTIONS is answered, so the browser does not send what it asked about."""
    with given_app(APP) as app:
        answer = sent(Client(app), "OPTIONS", "/jobs/enqueue", origin=OTHER, access_control_request_method="PUT")
        assert answer.status_code == 200
        assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize(
    ("origin", "status"), [(OTHER, 403), ("null", 403), (APP, 404), (f"http://{HOST}", 404), (None, 404)]
)
def test_a_websocket_is_opened_for_allowed_pages_only(origin: str | None, status: int) -> None:
    """Browsers ask nobody before they open one, and show what it says to whoever opened it."""
    headers = {"upgrade": "websocket", "connection": "Upgrade"} | ({} if origin is None else {"origin": origin})
    with given_app(APP) as app:
        # A path that is no route shows who gets as far as a route.
        assert sent(Client(app), "GET", "/no/such/path", **headers).status_code == status
