"""What goes over the wire and what is read from it: one write an answer, and a head that is known is read as if new."""

from __future__ import annotations

import itertools
import socket
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http import message
from gunicorn.http.errors import ParseException
from gunicorn.http.unreader import IterUnreader

from cqueue.web import heads
from cqueue.web.answer import Answer, Checked
from cqueue.web.writing import Response

LINES = [
    b"Host: a\r\nContent-Length: 2\r\n",
    b"Host: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n",
    b"Host: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n",
    b"Host: a\r\nTransfer-Encoding: chunked\r\n",
    b"Host: a\r\nX-Forwarded-Proto: https\r\n",
    b"Host: a\r\nHost: b\r\n",
    b"Host: a\r\nX_Y: 1\r\n",
    b"Host: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n",
    b"Host: a\r\nX: \x01\r\n",
    b"Host: a\r\n folded: 1\r\n",
    b"Host: a\r\n" + b"".join(b"X-%d: 1\r\n" % number for number in range(101)),
    b"Host: a\r\nX: " + b"x" * heads.KEPT_BYTES_MAX + b"\r\n",
]
VERSIONS = (b"HTTP/1.1", b"HTTP/1.0")


def read(kind: type, version: bytes, lines: bytes) -> Any:
    """What a request with these lines is read as, or why it is refused."""
    cfg = Config()
    cfg.set("http_parser", "python")
    data = b"PUT /jobs/enqueue " + version + b"\r\n" + lines + b"\r\n{}"
    try:
        found = kind(cfg, IterUnreader([data]), ("127.0.0.1", 1), 1)
    except ParseException as error:
        return type(error), str(error)
    return found.headers, found.scheme, found._expected_100_continue, found.should_close(), type(found.body.reader)


def test_a_head_is_read_the_same_the_first_time_and_later() -> None:
    """And as gunicorn reads it; what it refuses is refused each time."""
    for (version, lines), _ in itertools.product(itertools.product(VERSIONS, LINES), range(3)):
        assert read(heads.Request, version, lines) == read(message.Request, version, lines), (version, lines)


def test_heads_without_end_are_not_kept() -> None:
    """Each with a key of its own."""
    for number in range(heads.KEPT_MAX + 2):
        read(heads.Request, b"HTTP/1.1", b"Host: a\r\nIdempotency-Key: %d\r\n" % number)
        assert len(heads._known) <= heads.KEPT_MAX


def served(answer: Any) -> list[bytes]:
    """What is written for a WSGI application, write by write."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        asked = SimpleNamespace(version=(1, 1), method="GET", should_close=lambda: False)
        response = Response(asked, ours, Config())
        for part in answer({"REQUEST_METHOD": asked.method}, response.start_response):
            response.write(part)
        response.close()
        ours.shutdown(socket.SHUT_WR)
        return list(iter(lambda: theirs.recv(65536), b""))


@pytest.mark.parametrize(
    ("answer", "tail"),
    [
        (Answer(200, b'{"id":1}', 7), b'\r\n\r\n{"id":1}\n'),
        (Answer(204, b"", 7), b"\r\n\r\n"),
    ],
)
def test_an_answer_is_one_write(answer: Answer, tail: bytes) -> None:
    """Head and body together."""
    (written,) = served(answer)
    assert written.endswith(tail)
    assert b"\r\nX-Cqueue-Index: 7\r\n" in written


def test_known_headers_are_sent_as_others_are() -> None:
    """The short cut for headers that were made here changes no byte."""

    def app(headers: list[tuple[str, str]]) -> Any:
        def call(_environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", headers)
            return [b"ab"]

        return call

    known = Checked([("X-Cqueue-Index", "7"), ("Content-Type", "application/json")], 2)
    without_date = [
        [line for line in b"".join(served(app(headers))).split(b"\r\n") if not line.startswith(b"Date")]
        for headers in (known, [*known])
    ]
    assert without_date[0] == without_date[1]


def test_a_stream_begins_before_it_has_anything_to_say() -> None:
    """An empty part lets the head go; each part leaves at once, and the end is said."""

    def stream(_environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return [b"", b"one", b"two"]

    first, *rest = served(stream)
    assert first.endswith(b"Transfer-Encoding: chunked\r\n\r\n")
    assert rest == [b"3\r\none\r\n", b"3\r\ntwo\r\n", b"0\r\n\r\n"]


def test_what_a_socket_does_not_take_at_once_follows() -> None:
    """Only the rest, and all of it."""
    body = b"x" * 4_000_000
    ours, theirs = socket.socketpair()
    with ours, theirs:
        asked = SimpleNamespace(version=(1, 1), method="GET", should_close=lambda: False)
        ours.settimeout(30)
        response = Response(asked, ours, Config())

        def write() -> None:
            for part in Answer(200, body)({"REQUEST_METHOD": "GET"}, response.start_response):
                response.write(part)
            response.close()
            ours.shutdown(socket.SHUT_WR)

        writer = Thread(target=write)
        writer.start()
        taken = b"".join(iter(lambda: theirs.recv(65536), b""))
        writer.join()
    assert taken.partition(b"\r\n\r\n")[2] == body + b"\n"
