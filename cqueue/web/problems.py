"""The one table of error codes: what each is called in HTTP, and how it looks (RFC 9457).

Nothing else in the project knows status codes of errors. `type` is `urn:cqueue:problem:<code>`, a
name and not an address; what each code means is in docs/protocol.md under the code itself. A caller
knows from status and headers alone what to do next: with `Retry-After` try again then, 504 means
the outcome is unknown, anything else is final.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from cqueue.errors import CqueueError, Unavailable
from cqueue.protocol import decode_failure

CONTENT_TYPE: Final = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Kind:
    """One line of the table. `retry_after_s`: seconds, or None where trying again is no use.

    challenge: `WWW-Authenticate`, where another token would help (RFC 6750, 3).
    """

    status: int
    title: str
    retry_after_s: int | None = None
    challenge: str | None = None


KINDS: Final[dict[str, Kind]] = {
    "invalid_json": Kind(400, "The body is not JSON"),
    "invalid_http": Kind(400, "It is not HTTP"),
    "invalid_handshake": Kind(400, "It is no WebSocket handshake"),
    "unauthenticated": Kind(401, "A token is needed", challenge='Bearer realm="cqueue"'),
    "invalid_token": Kind(401, "The token is not taken", challenge='Bearer realm="cqueue", error="invalid_token"'),
    "insufficient_scope": Kind(
        403, "The token is not for this", challenge='Bearer realm="cqueue", error="insufficient_scope"'
    ),
    "origin_not_allowed": Kind(403, "The page's origin is not allowed"),
    "not_found": Kind(404, "Not found"),
    "events_off": Kind(404, "This node keeps no events"),
    "queue_not_found": Kind(404, "There is no such queue"),
    "unknown_verb": Kind(404, "There is no such verb"),
    "method_not_allowed": Kind(405, "Method not allowed"),
    "too_slow": Kind(408, "The request came in too slowly"),
    "not_in_progress": Kind(409, "Nobody holds the job"),
    "change_in_progress": Kind(409, "Another change is under way", 1),
    "last_member": Kind(409, "It is the only member"),
    "leader_known": Kind(409, "The cluster has a leader"),
    "lease_lost": Kind(409, "The lease is no longer held"),
    "token_required": Kind(409, "The queue wants the lease token"),
    "already_finished": Kind(409, "The job is finished"),
    "not_dead": Kind(409, "The job is not dead"),
    "in_progress": Kind(409, "The job is held by a consumer"),
    "queue_not_empty": Kind(409, "The queue has jobs"),
    "too_many_queues": Kind(409, "There are too many queues"),
    "no_cluster": Kind(409, "This node is no cluster"),
    "no_majority": Kind(409, "The change could not be committed"),
    "not_caught_up": Kind(409, "The node did not catch up"),
    "gone": Kind(410, "The job is no longer kept"),
    "events_gone": Kind(410, "The events are no longer kept"),
    "body_too_large": Kind(413, "The body is too large"),
    "uri_too_long": Kind(414, "The request line is too long"),
    "unsupported_media_type": Kind(415, "The content type is not JSON"),
    "invalid_field": Kind(422, "A field is wrong"),
    "key_reused": Kind(422, "The key belongs to another request"),
    "upgrade_required": Kind(426, "It takes a WebSocket"),
    "too_many_failures": Kind(429, "Too many wrong tokens", 6),
    "too_many_requests": Kind(429, "Too many requests", 1),
    "headers_too_large": Kind(431, "The header is too large"),
    "internal": Kind(500, "Internal error"),
    "queue_full": Kind(503, "The queue is full", 5),
    "keys_full": Kind(503, "No more keys can be remembered", 5),
    "too_many_followers": Kind(503, "Too many follow the events", 1),
    "too_many_waiting": Kind(503, "Too many wait", 5),
    "overloaded": Kind(503, "The node has more to do than it can", 2),
    "busy": Kind(503, "This node is at it already", 5),
    "backup_failed": Kind(503, "The backup could not be made", 10),
    "index_not_reached": Kind(503, "This node is not that far yet", 1),
    "no_leader": Kind(503, "The cluster has no leader", 1),
    "not_ready": Kind(503, "This node is not ready", 1),
    "shutting_down": Kind(503, "This node is shutting down", 1),
    "outcome_unknown": Kind(504, "The outcome is unknown"),
}

_CODE_BY_STATUS: Final = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@~-]{1,128}")


class Problem(Exception):
    """An error on its way to the caller. `index`: the log index it reflects, if the replica said it."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        pointer: str | None = None,
        retry_after_s: int | None = None,
        index: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code if code in KINDS else "internal"
        self.detail = detail
        self.pointer = pointer
        self.retry_after_s = retry_after_s
        self.index = index

    @classmethod
    def of(cls, error: CqueueError) -> Problem:
        """The same error, as it is shown."""
        retry_after_s = error.retry_after_s if isinstance(error, Unavailable) else None
        return cls(error.code, error.detail, pointer=error.pointer, retry_after_s=retry_after_s)

    @classmethod
    def of_failure(cls, data: bytes, index: int) -> Problem:
        """What the replica said instead of a result; `data` is an encoded `Failure`."""
        failure = decode_failure(data)
        return cls(failure.code, failure.detail, retry_after_s=failure.retry_after_s, index=index)


class ProblemBody(Struct, omit_defaults=True):
    """The JSON of a problem. `pointer` is a JSON pointer (RFC 6901) into the request's body."""

    type: Annotated[
        str, Meta(description="`urn:cqueue:problem:` and the code", examples=["urn:cqueue:problem:not_found"])
    ]
    title: Annotated[str, Meta(description="the code in words", examples=["Not found"])]
    status: Annotated[int, Meta(description="the HTTP status again", examples=[404])]
    detail: Annotated[str, Meta(description="about this very error, for a person", examples=["there is no job 17"])]
    instance: Annotated[str, Meta(description="the path that was asked for", examples=["/jobs/17"])]
    code: Annotated[str, Meta(description="the stable name to program against", examples=["not_found"])]
    request_id: Annotated[str, Meta(description="names this request", examples=["a5976c7d52e56eaa"])]
    pointer: Annotated[str, Meta(description="into the body (RFC 6901)", examples=["/3/priority"])] | UnsetType = UNSET


_encode = msgspec.json.Encoder().encode


def code_of_status(status: int) -> str | None:
    """The code for an error that the web framework found, or None where it has none of ours."""
    return _CODE_BY_STATUS.get(status)


def request_id_of(environ: dict[str, Any]) -> str:
    """The caller's `X-Request-Id` where it is safe to repeat, else a fresh one."""
    return request_id_or_fresh(environ.get("HTTP_X_REQUEST_ID", ""))


def request_id_or_fresh(given: str) -> str:
    """`given` where it is safe to repeat, else a fresh one."""
    return _safe(given) or secrets.token_hex(8)


def given_request_id(environ: dict[str, Any]) -> str | None:
    """The caller's `X-Request-Id`; None: there is none, or it is not safe to repeat."""
    return _safe(environ.get("HTTP_X_REQUEST_ID", ""))


def _safe(given: str) -> str | None:
    return given if _REQUEST_ID.fullmatch(given) else None


def render(problem: Problem, path: str, request_id: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """The answer as `(status, headers, body)`; `path` is the request's path, decoded."""
    kind = KINDS[problem.code]
    headers = [("Content-Type", CONTENT_TYPE), ("X-Request-Id", request_id)]
    retry_s = retry_after_s(problem)
    if retry_s is not None:
        headers.append(("Retry-After", str(retry_s)))
    if kind.challenge is not None:
        headers.append(("WWW-Authenticate", kind.challenge))
    if problem.code == "upgrade_required":
        headers.append(("Upgrade", "websocket"))
    if problem.index is not None:
        headers.append(("X-Cqueue-Index", str(problem.index)))
    return kind.status, headers, body_of(problem, path, request_id) + b"\n"


def retry_after_s(problem: Problem) -> int | None:
    """After how many seconds it is worth another try; None: it is no use."""
    default_s = KINDS[problem.code].retry_after_s
    return default_s and (problem.retry_after_s or default_s)


def body_of(problem: Problem, path: str, request_id: str) -> bytes:
    """The JSON of a problem; `path` is the request's path, decoded."""
    kind = KINDS[problem.code]
    return _encode(
        ProblemBody(
            type=f"urn:cqueue:problem:{problem.code}",
            title=kind.title,
            status=kind.status,
            detail=problem.detail,
            instance=quote(path),
            code=problem.code,
            request_id=request_id,
            pointer=UNSET if problem.pointer is None else problem.pointer,
        )
    )
