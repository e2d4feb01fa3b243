"""How an attempt ends, and what is said of it to the queue. It decides nothing but the words.

    conclude    the handler returned
    fail        it raised, or its time ran out
    release     it was told to stop, or never began

What is said must not be refused, because it goes out with others': results are encoded here, and errors cut.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

import msgspec

ERROR_CHARS_MAX: Final = 4_096
"""Source: docs/protocol.md#limits."""
RETRY_S_MAX: Final = 31_622_400
"""366 days. Source: docs/protocol.md#post-jobsidfail."""
FRAMES_MAX: Final = 12
"""Lines of a traceback in an error, innermost first."""

Verb = Literal["conclude", "fail", "release"]


class Retry(Exception):
    """Raise it in a handler: this attempt failed, and the job is to be tried again, should attempts be left.

    Args:
        error: what went wrong; kept in the job's `errors`.
        in_seconds: when, 0 to 31,622,400 from now; None: after its backoff.

    Raises:
        ValueError: `in_seconds` is out of range.
    """

    def __init__(self, error: str = "", *, in_seconds: float | None = None) -> None:
        super().__init__(error)
        if in_seconds is not None and not 0 <= in_seconds <= RETRY_S_MAX:
            raise ValueError(f"in_seconds: expected 0 to {RETRY_S_MAX}")
        self.in_seconds = in_seconds


class Dead(Exception):
    """Raise it in a handler: this attempt failed, and there is no use in another. The job is `DEAD`."""

    def __init__(self, error: str = "") -> None:
        super().__init__(error)


class Cancelled(Exception):
    """Raised in a handler that asks whether to go on, by `Context.check` or `progress`, and shall not."""


class Ending(NamedTuple):
    """What is said. weight_bytes: about how much of a request it takes."""

    verb: Verb
    fields: Mapping[str, Any] = MappingProxyType({})
    weight_bytes: int = 0


RELEASED: Final = Ending("release")
_CONCLUDED: Final = Ending("conclude")
_encode: Final = msgspec.json.Encoder().encode


def concluded(result: Any) -> Ending:
    """The handler returned this. None: no result. What cannot be written as JSON is the end of the job."""
    if result is None:
        return _CONCLUDED
    try:
        encoded = _encode(result)
    except Exception as error:  # noqa: BLE001 - msgspec calls what the result is made of
        return refused(summary_of(error))
    return Ending("conclude", {"result": msgspec.Raw(encoded)}, len(encoded))


def failed(error: str, **fields: Any) -> Ending:
    """The attempt failed. fields: of docs/protocol.md#post-jobsidfail."""
    said = text_of(error)[:ERROR_CHARS_MAX]
    return Ending("fail", fields | ({"error": said} if said else {}), len(said))


def refused(why: str) -> Ending:
    """The result cannot be kept. Another attempt would do its work once more for the same result."""
    return failed(f"the result was refused: {why}", retryable=False)


def text_of(text: str) -> str:
    """Text that can be sent: what is no character, such as half of a surrogate pair, is replaced."""
    return text.encode("utf-8", "replace").decode()


def raised(error: BaseException) -> Ending:
    """The handler raised this."""
    match error:
        case Retry(in_seconds=None):
            return failed(str(error))
        case Retry():
            return failed(str(error), retry_in_seconds=error.in_seconds)
        case Dead():
            return failed(str(error), retryable=False)
        case _:
            return failed(summary_of(error))


def summary_of(error: BaseException) -> str:
    """Type and message of an exception, and where it came from, innermost first; the worker's own lines aside."""
    *_, said = traceback.format_exception_only(error)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_OWN)]
    lines = [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in reversed(frames[-FRAMES_MAX:])]
    return "\n".join((said.strip(), *lines))


_OWN: Final = __file__.rpartition("/")[0]
