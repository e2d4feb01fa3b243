"""What several shapes have in common: ranges of fields, and the checks that a type cannot say.

Every check names the place of what it refuses. Places are JSON pointers, made only when something
is wrong or large: of a batch of 1,000 most lines here are never reached.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Final, Literal, TypeVar, get_args

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from cqueue.core import limits
from cqueue.core.jobs import Backoff, Status
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

# What a type says here is checked where it stands in a request, and described wherever it stands. An
# example is one of the document's (cqueue.web.openapi); it decides nothing.

_CONTROLS: Final = r"\x00-\x1f\x7f-\x9f"
"""What is surely not printable; the rest of it is Unicode's to say, and no pattern that all tools can read."""
_PRINTABLE: Final = rf"^[^{_CONTROLS}]*$"

Id = Annotated[int, Meta(ge=1, le=ID_MAX, description="a job's id", examples=[1])]
LeaseToken = Annotated[
    int, Meta(ge=1, le=ID_MAX, description="of the hand-out; proves that the lease still holds", examples=[1])
]
Priority = Annotated[int, Meta(ge=0, le=limits.PRIORITY_MAX, description="0 is served first", examples=[500])]
Attempts = Annotated[
    int, Meta(ge=1, le=limits.ATTEMPTS_MAX_MAX, description="how often a job may be handed out", examples=[5])
]
LeaseSeconds = Annotated[
    int,
    Meta(
        ge=limits.LEASE_MS_MIN // 1000,
        le=limits.LEASE_MS_MAX // 1000,
        description="how long a job is leased",
        examples=[300],
    ),
]
Seconds = Annotated[float, Meta(ge=0, le=limits.DELAY_MS_MAX // 1000, examples=[30])]
SecondsAboveZero = Annotated[float, Meta(ge=SECONDS_MIN, le=limits.DELAY_MS_MAX // 1000, examples=[3600])]
WaitSeconds = Annotated[float, Meta(ge=0, le=WAIT_S_MAX, description="seconds to wait", examples=[20])]
Percent = Annotated[int, Meta(ge=0, le=100, examples=[40])]
Time = Annotated[datetime, Meta(tz=True, description="RFC 3339 with an offset", examples=["2026-01-02T03:04:05.678Z"])]
TypeName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=limits.TYPE_CHARS_MAX,
        description="printable",
        examples=["receipt"],
        extra_json_schema={"pattern": _PRINTABLE},
    ),
]
QueueName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=limits.QUEUE_CHARS_MAX,
        description="printable, no `/`, no `$` in front, neither `.` nor `..`",
        examples=["mail"],
        extra_json_schema={"pattern": rf"^[^{_CONTROLS}/$][^{_CONTROLS}/]*$"},
    ),
]
TypeNames = Annotated[list[TypeName], Meta(min_length=1, max_length=limits.DEQUEUE_NAMES_MAX)]
QueueNames = Annotated[list[QueueName], Meta(min_length=1, max_length=limits.DEQUEUE_NAMES_MAX)]
Tags = Annotated[
    dict[str, str],
    Meta(
        max_length=limits.TAGS_MAX,
        description="printable; no `:` in names",
        examples=[{"shop": "north"}],
        extra_json_schema={
            "propertyNames": {"minLength": 1, "maxLength": limits.TAG_CHARS_MAX, "pattern": rf"^[^{_CONTROLS}:]*$"},
            "additionalProperties": {"type": "string", "maxLength": limits.TAG_CHARS_MAX, "pattern": _PRINTABLE},
        },
    ),
]
UniqueKey = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=limits.UNIQUE_KEY_CHARS_MAX,
        description="printable",
        examples=["receipt-1017"],
        extra_json_schema={"pattern": _PRINTABLE},
    ),
]
ErrorText = Annotated[
    str, Meta(max_length=limits.ERROR_CHARS_MAX, description="what went wrong", examples=["connection refused"])
]
Note = Annotated[str, Meta(max_length=limits.NOTE_CHARS_MAX, description="in words", examples=["resizing"])]
Payload = Annotated[Raw, Meta(description="any JSON value", examples=[{"to": "ada@example.org"}])]
Result = Annotated[Raw, Meta(description="any JSON value", examples=[{"sent": True}])]

# -- those of answers alone --

TimeText = Annotated[
    str, Meta(description="RFC 3339", examples=["2026-01-02T03:04:05.678Z"], extra_json_schema={"format": "date-time"})
]
Count = Annotated[int, Meta(ge=0, description="how many", examples=[1])]
ShownSeconds = Annotated[float, Meta(ge=0, description="seconds", examples=[300])]
Consumer = Annotated[str, Meta(description="its `Consumer-Id`", examples=["mailer-1"])]
EventName = Annotated[str, Meta(description="what happened", examples=["hand_out"])]
EventId = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{1,18}\.[0-9]{1,9}$",
        description="`<log index>.<position>` of an event; 0.0 is before all of them",
        examples=["17.2"],
    ),
]
Cursor = Annotated[str, Meta(description="where a list goes on, as `next` of its last page says", examples=["MTAw"])]
ByStatus = Annotated[dict[Status, int], Meta(description="by status", examples=[{"QUEUED": 1, "CONCLUDED": 40}])]
JobPath = Annotated[str, Meta(pattern="^/jobs/[1-9][0-9]*$", description="of the one job", examples=["/jobs/1"])]
Waited = Annotated[str, Meta(pattern="^wait=[0-9]+$", description="the seconds that count", examples=["wait=20"])]
FileName = Annotated[str, Meta(examples=['attachment; filename="cqueue-1234.backup"'])]
Flag = Annotated[bool, Meta(examples=[True])]
Code = Annotated[str, Meta(description="the stable name of an error", examples=["lease_lost"])]


def not_both(*pairs: tuple[str, str], needs: dict[str, list[str]] | None = None) -> Meta:
    """Says of a struct which of its fields exclude each other, and which need others: {field: [those]}."""
    exclude = {"not": {"anyOf": [{"required": [*pair]} for pair in pairs]}}
    return Meta(extra_json_schema=exclude | ({"dependentRequired": needs} if needs else {}))


def one_of(words: Iterable[str]) -> Meta:
    """Says of a string which words it may be; `check_one_of` checks it, with a better sentence than a type's."""
    return Meta(extra_json_schema={"enum": [*words]})


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

Kind = Literal["fixed", "linear", "exponential"]

_KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
_BACKOFF: Final = limits.BACKOFF_DEFAULT


class BackoffBody(Struct, forbid_unknown_fields=True):
    """How long a job waits after a failed attempt. jitter: percent of it that may be taken off."""

    kind: Annotated[str, one_of(_KINDS)] = _BACKOFF.kind
    seconds: Seconds = _BACKOFF.base_ms / 1000
    cap_seconds: Seconds | UnsetType = UNSET
    jitter: Percent = _BACKOFF.jitter_percent


class BackoffAnswer(Struct):
    """A backoff as it is shown."""

    kind: Kind
    seconds: ShownSeconds
    cap_seconds: ShownSeconds
    jitter: Percent


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
