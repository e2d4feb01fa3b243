"""What a web process does when it has more to do than it can: it refuses the rest, early and cheaply.

How far behind it is, `ReplicaLink.is_behind` tells: by how long the oldest request has been on its way that
was handed to the replica. Beyond `--overload-ms` new work is refused, which is everything but what
consumers say of jobs they hold; that is refused last. What operators and their tools ask (`/readyz`,
`/cluster` and their like) never is.

To refuse a request in the application would cost two thirds of doing it, since parsing and answering by the
server's means is most of both. So it is done here, on the bytes as they came, for a twelfth of the cost, and
only where their meaning is beyond doubt: a whole head in one piece, HTTP/1.1, a body of known length, and
not from a page in a browser, which needs more headers. Everything else takes its usual way.
"""

from __future__ import annotations

import re
import time
from typing import Final, NamedTuple
from urllib.parse import unquote

from cqueue.web import problems
from cqueue.web.link import HELD_FACTOR, OVERLOADED, OVERLOADED_RETRY_S, ReplicaLink
from cqueue.web.problems import Problem
from cqueue.web.writing import answer_of

_LINE: Final = re.compile(rb"[A-Z]+ (/[!->@-~]*)[!-~]* HTTP/1\.1\r\n").match
_NEVER: Final = re.compile(rb"/(?:(?:livez|readyz|healthz|metrics|openapi\.json)?|(?:cluster|docs)(?:/.*)?)").fullmatch
_HELD: Final = re.compile(rb"/jobs/(?:[0-9]+/)?(?:conclude|extend|fail|release|progress)(?:/[0-9]+)?").fullmatch
_AWKWARD: Final = re.compile(
    rb"\r\n(?:origin|sec-fetch-site|transfer-encoding|expect|upgrade)[ \t]*:", re.IGNORECASE
).search
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([^\r\n]*)", re.IGNORECASE).findall
_DIGITS: Final = re.compile(rb"[0-9]{1,10}").fullmatch
_CLOSE: Final = re.compile(rb"\r\nconnection:[^\r\n]*\bclose\b", re.IGNORECASE).search
_REQUEST_ID: Final = re.compile(rb"\r\nx-request-id:[ \t]*([^\r\n]*)", re.IGNORECASE).search
_PROBLEM: Final = Problem("overloaded", OVERLOADED)


class Refusal(NamedTuple):
    """How a request is refused. size: the request's in bytes, with its body; closes: so does the connection."""

    size: int
    answer: bytes
    closes: bool


class Overload:
    """Over the way to the replica. body_bytes_max: a larger body is refused for that, and not here.

    found_s: when there was too much last.
    """

    def __init__(self, link: ReplicaLink, *, body_bytes_max: int) -> None:
        self._link = link
        self._body_bytes_max = body_bytes_max
        self._found_s = -float(OVERLOADED_RETRY_S)

    def refuses(self, data: bytes) -> bool:
        """Whether the request that begins with `data` is more than can be done just now."""
        if not self._link.is_behind():
            return False
        line = _LINE(data)
        if line is None or _NEVER(line[1]) or (_HELD(line[1]) and not self._link.is_behind(HELD_FACTOR)):
            return False
        self._found_s = time.monotonic()
        return True

    def is_lasting(self) -> bool:
        """Whether there is too much to do just now, or was until shortly before."""
        return self._link.is_behind() or time.monotonic() < self._found_s + OVERLOADED_RETRY_S / 2

    def refusal(self, data: bytes) -> Refusal | None:
        """How the request that begins with `data` is refused; None: not here."""
        line = _LINE(data)
        end = data.find(b"\r\n\r\n")
        if line is None or end < 0:
            return None
        head = data[: end + 2]
        lengths = _LENGTH(head)
        if _AWKWARD(head) or len(lengths) > 1 or not all(map(_DIGITS, lengths)):
            return None
        body_bytes = int(lengths[0]) if lengths else 0
        if body_bytes > self._body_bytes_max:
            return None
        closes = _CLOSE(head) is not None
        given = _REQUEST_ID(head)
        request_id = problems.request_id_or_fresh(given[1].decode("latin-1") if given else "")
        answer = answer_of(_PROBLEM, unquote(line[1].decode()), request_id, closes=closes)
        for notice in tuple(self._link.on_refusal):
            notice(line[0].partition(b" ")[0].decode())
        return Refusal(end + 4 + body_bytes, answer, closes)
