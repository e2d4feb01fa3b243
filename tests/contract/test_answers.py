"""What holds the answers in tests to the document does tell when one is another."""

from __future__ import annotations

import pytest

from tests.contract.answers import check

JSON = {"Content-Type": "application/json", "X-Cqueue-Index": "3"}
PROBLEM = {"Content-Type": "application/problem+json", "X-Request-Id": "a", "X-Cqueue-Index": "3"}
GONE = b'{"type":"t","title":"t","status":410,"detail":"d","instance":"/jobs/1","code":"gone","request_id":"a"}'


def test_an_answer_that_was_promised_passes() -> None:
    """A success, a problem, and one without a body."""
    check("PUT", "/jobs/enqueue", 201, JSON | {"Location": "/jobs/1"}, b'{"id":1}')
    check("GET", "/jobs/1?consistency=stale", 410, PROBLEM, GONE)
    check("POST", "/jobs/dequeue", 204, {"X-Cqueue-Index": "3"}, b"")


def test_what_is_no_call_of_the_document_is_not_looked_at() -> None:
    """Paths and methods that there are not; they are not found, or not allowed."""
    check("GET", "/nothing", 200, {}, b"")
    check("PUT", "/jobs/stats", 200, {}, b"")


@pytest.mark.parametrize(
    ("call", "status", "headers", "body", "said"),
    [
        (("GET", "/jobs/1"), 418, JSON, b"{}", "418 is not in the document"),
        (("GET", "/jobs/stats"), 404, PROBLEM, GONE, "404 is not in the document"),
        (("PUT", "/jobs/enqueue"), 201, {"Content-Type": "application/json"}, b'{"id":1}', "without X-Cqueue-Index"),
        (("PUT", "/jobs/enqueue"), 201, JSON | {"Content-Type": "text/plain"}, b"1", "with 'text/plain'"),
        (("POST", "/jobs/dequeue"), 204, JSON, b"{}", "with 'application/json'"),
        (("PUT", "/jobs/enqueue"), 201, JSON, b'{"id":"1"}', "201: "),
        (("GET", "/jobs/1"), 410, PROBLEM, GONE.replace(b"gone", b"lost"), "410: "),
        (("GET", "/livez"), 200, {"Content-Type": "application/json"}, b'{"status":"dead"}', "200: "),
    ],
)
def test_an_answer_that_was_not_promised_is_told(
    call: tuple[str, str], status: int, headers: dict[str, str], body: bytes, said: str
) -> None:
    """By the call, and by what is wrong with it."""
    with pytest.raises(AssertionError, match=said):
        check(*call, status, headers, body)
