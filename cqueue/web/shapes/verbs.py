"""What is said of jobs by their ids: one in the path, or many in the body.

Each verb is a line of `VERBS`: what may be said of one job, and how that becomes an operation. The
routes, the short way and the documents' headings follow that table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from cqueue.core import limits
from cqueue.core.jobs import Status
from cqueue.core.operations import (
    Cancel,
    Conclude,
    Conclusion,
    Extend,
    Extension,
    Fail,
    FailedAttempt,
    Held,
    PerJob,
    Progress,
    Purge,
    Redrive,
    Release,
    Report,
)
from cqueue.core.results import Outcome, Refusal, Settled
from cqueue.web import body
from cqueue.web.body import SHALLOW_BYTES
from cqueue.web.shapes import fields
from cqueue.web.shapes.fields import place
from cqueue.web.shapes.filters import ByIds, Filter, SomeFilter, filter_of

S = TypeVar("S", bound="SaidBody")

_ONE_OF_THEM: Final = Meta(examples=[{"ids": [1, 2]}], extra_json_schema={"minProperties": 1, "maxProperties": 1})
_MANY: Final = Meta(min_length=1, max_length=limits.SETTLE_JOBS_MAX)

# -- what is said of one job -----------------------------------------------------------------------


class SaidBody(Struct, forbid_unknown_fields=True, gc=False):
    """Of a held job. Where the id is not in the path, it is among the fields: see `_each`."""

    lease_token: fields.LeaseToken | UnsetType = UNSET


class ConcludeBody(SaidBody):
    """It is done."""

    result: fields.Result | UnsetType = UNSET


class FailBody(SaidBody):
    """This attempt failed."""

    error: fields.ErrorText | UnsetType = UNSET
    retryable: fields.Flag = True
    retry_in_seconds: fields.Seconds | UnsetType = UNSET


class ReleaseBody(SaidBody):
    """It is given back."""


class ExtendBody(SaidBody):
    """It is held longer."""

    lease_seconds: fields.LeaseSeconds | UnsetType = UNSET


class ProgressBody(SaidBody):
    """How far it is."""

    percent: fields.Percent | UnsetType = UNSET
    note: fields.Note | UnsetType = UNSET


class NothingBody(Struct, forbid_unknown_fields=True, gc=False):
    """Nothing but which job."""


class ManyBody(Struct, forbid_unknown_fields=True):
    """Plain ids, or jobs with what is said of each: see `_many`."""

    ids: Annotated[list[fields.Id], _MANY] | UnsetType = UNSET
    jobs: Annotated[list[Any], _MANY] | UnsetType = UNSET


class ManyOrFilterBody(ManyBody):
    """The same, or a filter."""

    filter: SomeFilter | UnsetType = UNSET


def _token(said: SaidBody) -> int | None:
    return None if said.lease_token is UNSET else said.lease_token


def _conclusion(job_id: int, said: ConcludeBody, array: str | None, position: int) -> Conclusion:
    token, raw = said.lease_token, said.result
    result = None if raw is UNSET else bytes(raw)
    if result is not None and len(result) > SHALLOW_BYTES:
        body.check_nesting(result, place(position, array), "result")
    return Conclusion(job_id, None if token is UNSET else token, result)


def _failed(job_id: int, said: FailBody, array: str | None, position: int) -> FailedAttempt:
    retry_in_ms = None if said.retry_in_seconds is UNSET else fields.ms(said.retry_in_seconds)
    if retry_in_ms is not None and not said.retryable:
        raise body.invalid_field(f"{place(position, array)}/retry_in_seconds", "`retryable` is false")
    error = None if said.error is UNSET else said.error
    return FailedAttempt(job_id, _token(said), error, said.retryable, retry_in_ms)


def _held(job_id: int, said: ReleaseBody, _array: str | None, _position: int) -> Held:
    return Held(job_id, _token(said))


def _extension(job_id: int, said: ExtendBody, _array: str | None, _position: int) -> Extension:
    return Extension(job_id, _token(said), fields.ms(said.lease_seconds))


def _report(job_id: int, said: ProgressBody, _array: str | None, _position: int) -> Report:
    percent = None if said.percent is UNSET else said.percent
    return Report(job_id, _token(said), percent, None if said.note is UNSET else said.note)


# -- the table of verbs ----------------------------------------------------------------------------


class HeldVerb(Generic[S]):
    """A verb of whoever holds a job.

    Args:
        meaning: a sentence.
        operation: made of a list of items.
        item: what an operation holds of each job; made of a plain id, too.
        said: what may be said of one job.
        make: (id, said, array, position) → item; array: the pointer to the array it stands in, if any.
    """

    codes: Final = ("lease_lost", "not_in_progress", "token_required")
    """Of its refusals, those aside that any verb has."""

    def __init__(
        self,
        meaning: str,
        operation: Callable[[Any], PerJob],
        item: Callable[[int], Any],
        said: type[S],
        make: Callable[[int, S, str | None, int], Any],
    ) -> None:
        self.meaning = meaning
        self._operation, self._item, self._make = operation, item, make
        self._nothing = said()
        self._one: msgspec.json.Decoder[S] = msgspec.json.Decoder(said)
        self._many: msgspec.json.Decoder[ManyBody] = msgspec.json.Decoder(_many(ManyBody, said))
        self.says_of_one, self.says_of_many = said, Annotated[self._many.type, _ONE_OF_THEM]

    def of_one(self, data: bytes, job_id: int) -> PerJob:
        """The operation for the one job `job_id`."""
        said = body.decode(self._one.decode, data) if data else self._nothing
        return self._operation([self._make(job_id, said, None, 0)])

    def of_many(self, data: bytes) -> tuple[list[int], PerJob]:
        """The ids that the body names, and the operation for them."""
        ids, jobs = _ids_or_jobs(body.decode(self._many.decode, data or b"{}"), "`ids` and `jobs`")
        if jobs is None:
            return ids, self._operation([self._item(job_id) for job_id in ids])
        make = self._make
        return ids, self._operation([make(job.id, job, "/jobs", position) for position, job in enumerate(jobs)])


class AnyonesVerb:
    """A verb of whoever runs the queue: it takes no token, and a filter in the place of ids. Arguments as above."""

    def __init__(self, meaning: str, operation: ByIds, code: str) -> None:
        self.meaning, self.codes = meaning, (code,)
        self._operation = operation
        self.says_of_one, self.says_of_many = NothingBody, Annotated[_ids_or_filter.type, _ONE_OF_THEM]

    def of_one(self, data: bytes, job_id: int) -> PerJob:
        """The operation for the one job `job_id`."""
        if data:
            body.decode(_nothing.decode, data)
        return self._operation([job_id])

    def of_many(self, data: bytes) -> tuple[list[int], PerJob] | Filter:
        """The ids that the body names, and the operation for them; or the filter."""
        said = body.decode(_ids_or_filter.decode, data or b"{}")
        if said.filter is not UNSET:
            for name, value in (("ids", said.ids), ("jobs", said.jobs)):
                if value is not UNSET:
                    raise body.invalid_field("/filter", f"`{name}` is there too; send one of them")
            return filter_of(self._operation, said.filter, "/filter")
        ids, _ = _ids_or_jobs(said, "`ids`, `jobs` and `filter`")
        return ids, self._operation(ids)


B = TypeVar("B", bound=ManyBody)


def _many(base: type[B], said: type[Struct]) -> type[B]:
    """`base` with what `said` is where it stands in an array: with the id."""
    each = msgspec.defstruct(
        f"{said.__name__}OfMany",
        [("id", fields.Id)],
        bases=(said,),
        namespace={"__doc__": said.__doc__},
        kw_only=True,
        forbid_unknown_fields=True,
        gc=False,
    )
    jobs = Annotated[list[each], _MANY] | UnsetType  # type: ignore[valid-type]
    namespace = {"__doc__": base.__doc__}
    many: type[B] = msgspec.defstruct(  # type: ignore[assignment]
        said.__name__.replace("Body", "ManyBody"),
        [("jobs", jobs, UNSET)],
        bases=(base,),
        namespace=namespace,
        forbid_unknown_fields=True,
    )
    return many


def _ids_or_jobs(said: ManyBody, choices: str) -> tuple[list[int], list[Any] | None]:
    ids, jobs = said.ids, said.jobs
    if ids is UNSET:
        if jobs is UNSET:
            raise body.invalid_field("", f"one of the fields {choices} is required")
        return [job.id for job in jobs], jobs
    if jobs is not UNSET:
        raise body.invalid_field("/jobs", "`ids` is there too; send one of them")
    return ids, None


_nothing = msgspec.json.Decoder(NothingBody)
_ids_or_filter = msgspec.json.Decoder(_many(ManyOrFilterBody, NothingBody))

VERBS: Final[dict[str, HeldVerb[Any] | AnyonesVerb]] = {
    "conclude": HeldVerb("Says that a job is done.", Conclude, Conclusion, ConcludeBody, _conclusion),
    "fail": HeldVerb("Says that this attempt failed.", Fail, FailedAttempt, FailBody, _failed),
    "release": HeldVerb("Gives a job back untouched.", Release, Held, ReleaseBody, _held),
    "extend": HeldVerb("Holds a job longer.", Extend, Extension, ExtendBody, _extension),
    "progress": HeldVerb("Says how far a job is.", Progress, Report, ProgressBody, _report),
    "cancel": AnyonesVerb("Cancels a job, or asks its consumer to stop.", Cancel, "already_finished"),
    "redrive": AnyonesVerb("Gives a dead job all its attempts again.", Redrive, "not_dead"),
    "purge": AnyonesVerb("Forgets a job that nobody holds.", Purge, "in_progress"),
}

# -- answers -------------------------------------------------------------------------------------


class ResultAnswer(Struct, gc=False, omit_defaults=True):
    """One line of the answer to a verb of many: `status` where it worked, else `code`."""

    id: fields.Id
    status: Status | None = None
    code: fields.Code | None = None
    cancel_requested: fields.Flag = False


class ResultsAnswer(Struct):
    """The answer to a verb of many, in the order of the request."""

    results: list[ResultAnswer]


decode = msgspec.msgpack.Decoder(Refusal | Settled).decode
_encode = msgspec.json.Encoder().encode


def results_json(ids: list[int], settled: Settled) -> bytes:
    """The answer to a verb of many: outcomes come in the order of the request."""
    return _encode(ResultsAnswer(list(map(_result_of, ids, settled.outcomes))))


def result_json(job_id: int, outcome: Outcome) -> bytes:
    """One line of that, alone."""
    return _encode(_result_of(job_id, outcome))


def _result_of(job_id: int, outcome: Outcome) -> ResultAnswer:
    if isinstance(outcome, Refusal):
        return ResultAnswer(job_id, None, outcome.code)
    return ResultAnswer(job_id, outcome.status, None, outcome.cancel_requested)
