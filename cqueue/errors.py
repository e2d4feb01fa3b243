"""Every error cqueue can show, sorted by what the caller does next.

    CqueueError
    ├── Refused          do not retry: the request itself is wrong, or the job's state forbids it   (4xx)
    ├── Unavailable      retry freely after `retry_after_s`: nothing was done                        (503)
    ├── OutcomeUnknown   it may or may not have been done                                            (504)
    └── Unusable         this node cannot start or go on: a setting, a port, a directory             (exit code)

This module does not know HTTP: the one table of status codes is `cqueue.web.problems`.
`code` is the stable, machine-readable name of an error; docs/protocol.md has a heading for each.
"""

from __future__ import annotations

from typing import ClassVar


class CqueueError(Exception):
    """Base of all errors.

    Args:
        detail: one sentence for a person, without a full stop's worth of secrets in it.
        code: the stable name, from `CODES`.
        pointer: JSON pointer (RFC 6901) to the offending part of the request, where there is one.
        request_id: what a node calls the request, where one answered it; its log has a 500 under it.
    """

    default_code: ClassVar[str] = "internal"

    def __init__(
        self, detail: str, *, code: str | None = None, pointer: str | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.default_code
        self.pointer = pointer
        self.request_id = request_id


class Refused(CqueueError):
    """The request cannot succeed as it is; sending it again changes nothing."""

    default_code = "invalid_field"


class Unavailable(CqueueError):
    """Nothing was done, and the same request may succeed after `retry_after_s` seconds."""

    default_code = "no_leader"

    def __init__(
        self, detail: str, *, code: str | None = None, request_id: str | None = None, retry_after_s: int = 1
    ) -> None:
        super().__init__(detail, code=code, request_id=request_id)
        self.retry_after_s = retry_after_s


class OutcomeUnknown(CqueueError):
    """The request may or may not have taken effect: it was on its way when time ran out."""

    default_code = "outcome_unknown"


class Unusable(CqueueError):
    """This node cannot run; the command line prints `detail` as one line and exits with `exit_code`."""

    default_code = "unusable"

    def __init__(self, detail: str, *, exit_code: int = 1) -> None:
        super().__init__(detail)
        self.exit_code = exit_code
