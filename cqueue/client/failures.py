"""What an answer that is not a good one means, as an error of `cqueue.errors`.

    Retry-After              Unavailable       nothing was done: again, elsewhere
    500, 502, 503, 504       OutcomeUnknown    it may have been done
    anything else            Refused           never again

The second line is wider than a node's own answers: what a proxy says says nothing of the node behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from cqueue.errors import CqueueError, OutcomeUnknown, Refused, Unavailable

UNREACHABLE: Final = "unreachable"
"""The code where no connection came about."""
NO_ANSWER: Final = "no_answer"
"""The code where a connection was lost, or too silent."""

_SERVER_FAULT: Final = 500


class _Problem(Struct):
    """The part of a problem that a caller is told (RFC 9457)."""

    detail: str
    code: str
    request_id: str | None = None
    pointer: str | None = None


_read = msgspec.json.Decoder(_Problem).decode


def failure_of(status: int, headers: Mapping[str, str], body: bytes) -> CqueueError:
    """The error that an answer is; headers: names in lower case."""
    try:
        problem = _read(body)
    except msgspec.DecodeError:
        request_id = headers.get("x-request-id")
        problem = _Problem(
            f"answered with status {status}, and not as a node of cqueue does", f"http_{status}", request_id
        )
    detail, code, request_id = problem.detail, problem.code, problem.request_id
    retry_after = headers.get("retry-after", "")
    if retry_after.isdecimal():
        return Unavailable(detail, code=code, request_id=request_id, retry_after_s=int(retry_after))
    kind = OutcomeUnknown if status >= _SERVER_FAULT else Refused
    return kind(detail, code=code, pointer=problem.pointer, request_id=request_id)
