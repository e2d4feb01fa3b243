"""What several shapes have in common: ranges of fields, and the checks that a type cannot say.

Every check names the place of what it refuses. Places are JSON pointers, made only when something
is wrong or large: of a batch of 1,000 most lines here are never reached.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Final, Literal, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType

from cqueue.core import limits
from cqueue.core.jobs import Backoff
from cqueue.web import body

ID_MAX: Final = 2**63 - 1
WAIT_S_MAX: Final = 60
RUN_AT_MAX: Final = datetime(9999, 1, 1, tzinfo=UTC)
"""`run_at` is before this, so that whatever is reckoned from it still has a year of four digits."""
SECONDS_MIN: Final = 0.001
"""Of durations that must not be 0: time is counted in milliseconds."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)

Word = TypeVar("Word", bound=str)

Id = Annotated[int, Meta(ge=1, le=ID_MAX)]
LeaseToken = Annotated[int, Meta(ge=1, le=ID_MAX)]
Priority = Annotated[int, Meta(ge=0, le=limits.PRIORITY_MAX)]
Attempts = Annotated[int, Meta(ge=1, le=limits.ATTEMPTS_MAX_MAX)]
LeaseSeconds = Annotated[int, Meta(ge=limits.LEASE_MS_MIN // 1000, le=limits.LEASE_MS_MAX // 1000)]
Seconds = Annotated[float, Meta(ge=0, le=limits.DELAY_MS_MAX // 1000)]
SecondsAboveZero = Annotated[float, Meta(ge=SECONDS_MIN, le=limits.DELAY_MS_MAX // 1000)]
WaitSeconds = Annotated[float, Meta(ge=0, le=WAIT_S_MAX)]
Time = Annotated[datetime, Meta(tz=True)]
TypeName = Annotated[str, Meta(min_length=1, max_length=limits.TYPE_CHARS_MAX)]
QueueName = Annotated[str, Meta(min_length=1, max_length=limits.QUEUE_CHARS_MAX)]
TypeNames = Annotated[list[TypeName], Meta(min_length=1, max_length=limits.DEQUEUE_NAMES_MAX)]
QueueNames = Annotated[list[QueueName], Meta(min_length=1, max_length=limits.DEQUEUE_NAMES_MAX)]
Tags = Annotated[dict[str, str], Meta(max_length=limits.TAGS_MAX)]


def ms(seconds: float | UnsetType) -> int:
    """Seconds as a client says them → milliseconds; 0 where it says nothing."""
    return 0 if seconds is UNSET else round(seconds * 1000)


def at_ms(time: datetime, pointer: str) -> int:
    """A time → ms since the Unix epoch. What is before it is as good as its first ms."""
    if time >= RUN_AT_MAX:
        raise body.invalid_field(pointer, f"expected a time before the year {RUN_AT_MAX.year}")
    return max((time - _EPOCH) // _MS, 1)


@lru_cache(maxsize=4096)
def time_text(ms: int) -> str:
    """Milliseconds since the epoch → RFC 3339 in UTC. A batch shares its times, hence the cache."""
    seconds, rest_ms = divmod(ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest_ms:03d}Z"


def place(position: int, array: str | None) -> str:
    """The pointer to an element of `array`; to the whole body where there is no array."""
    return "" if array is None else f"{array}/{position}"


# -- names ---------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def why_no_queue(name: str) -> str | None:
    """What is wrong with a name of a queue of the right length; None if nothing is."""
    if not name.isprintable():
        return "expected printable characters"
    if "/" in name or name in {".", ".."}:
        return "a name that stands in an address has no `/`, and is neither `.` nor `..`"
    return "names with `$` in front are kept for cqueue itself" if name[0] == "$" else None


def check_queue(name: str, pointer: str) -> str:
    """The name of a queue, whose length is known to be right."""
    why = why_no_queue(name)
    if why is not None:
        raise body.invalid_field(pointer, why)
    return name


def check_printable(text: str, pointer: str) -> str:
    """A type or a unique key, whose length is known to be right."""
    if not text.isprintable():
        raise body.invalid_field(pointer, "expected printable characters")
    return text


def check_one_of(value: str, allowed: Collection[Word], pointer: str) -> Word:
    """One of a few words."""
    for word in allowed:
        if word == value:
            return word
    raise body.invalid_field(pointer, f"expected one of {', '.join(allowed)}")


def one_or_many(
    one: str | UnsetType, many: list[str] | UnsetType, name: str, plural: str, pointer: str
) -> list[tuple[str, str]]:
    """What is said as one name or as an array of them: pairs of (value, pointer); empty where nothing is said."""
    if one is UNSET:
        return [] if many is UNSET else [(each, f"{pointer}/{plural}/{at}") for at, each in enumerate(many)]
    if many is not UNSET:
        raise body.invalid_field(f"{pointer}/{plural}", f"`{name}` is there too; send one of them")
    return [(one, f"{pointer}/{name}")]


def types_of(one: str | UnsetType, many: list[str] | UnsetType, pointer: str) -> tuple[str, ...]:
    """The fields `type` and `types`."""
    said = one_or_many(one, many, "type", "types", pointer)
    return tuple(dict.fromkeys(check_printable(name, place) for name, place in said))


# -- tags ----------------------------------------------------------------------------------------


def tags_of(tags: dict[str, str] | UnsetType, pointer: str) -> dict[str, str] | None:
    """The field `tags`, whose pointer this is; None where there is none."""
    if tags is UNSET or not tags:
        return None
    for name, value in tags.items():
        why = why_no_tag(name, value)
        if why is not None:
            raise body.invalid_field(f"{pointer}/{body.step(name)}", why)
    return tags


def why_no_tag(name: str, value: str) -> str | None:
    """What is wrong with a tag; None if nothing is."""
    if not 1 <= len(name) <= limits.TAG_CHARS_MAX or not name.isprintable() or ":" in name:
        return f"a tag's name has 1 to {limits.TAG_CHARS_MAX} printable characters, and no `:`"
    if len(value) > limits.TAG_CHARS_MAX or not value.isprintable():
        return f"a tag's value has up to {limits.TAG_CHARS_MAX} printable characters"
    return None


# -- backoff -------------------------------------------------------------------------------------

_KINDS: Final[tuple[Literal["fixed", "linear", "exponential"], ...]] = ("fixed", "linear", "exponential")
_BACKOFF: Final = limits.BACKOFF_DEFAULT


class BackoffBody(Struct, forbid_unknown_fields=True):
    """How long a job waits after a failed attempt. jitter: percent of it that may be taken off."""

    kind: str = _BACKOFF.kind
    seconds: Seconds = _BACKOFF.base_ms / 1000
    cap_seconds: Seconds | UnsetType = UNSET
    jitter: Annotated[int, Meta(ge=0, le=100)] = _BACKOFF.jitter_percent


class BackoffAnswer(Struct):
    """A backoff as it is shown."""

    kind: str
    seconds: float
    cap_seconds: float
    jitter: int


def backoff_of(said: BackoffBody, pointer: str) -> Backoff:
    """The field `backoff`, whose pointer this is."""
    kind = check_one_of(said.kind, _KINDS, f"{pointer}/kind")
    base_ms = ms(said.seconds)
    if said.cap_seconds is UNSET:
        cap_ms = max(base_ms, _BACKOFF.cap_ms)
    elif (cap_ms := ms(said.cap_seconds)) < base_ms:
        raise body.invalid_field(f"{pointer}/cap_seconds", "less than `seconds`")
    return Backoff(kind, base_ms, cap_ms, said.jitter)


def backoff_answer(backoff: Backoff) -> BackoffAnswer:
    """How it is shown."""
    return BackoffAnswer(
        backoff.kind, shown_seconds(backoff.base_ms), shown_seconds(backoff.cap_ms), backoff.jitter_percent
    )


def shown_seconds(ms: int) -> float:
    """Milliseconds → seconds: a whole number where it is one."""
    return ms / 1000 if ms % 1000 else ms // 1000
