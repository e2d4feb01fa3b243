"""Jobs by what they are: the filter that cancel, redrive and purge take in the place of ids."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from cqueue.core.jobs import DEAD, FINISHED, IN_PROGRESS, STATUSES, WAITING, Status
from cqueue.core.operations import Cancel, Purge, Redrive
from cqueue.core.queries import ListJobs
from cqueue.web import body
from cqueue.web.shapes import fields

ByIds = type[Cancel] | type[Redrive] | type[Purge]

STATUSES_OF: Final[dict[ByIds, tuple[Status, ...]]] = {
    Cancel: tuple(status for status in STATUSES if status not in FINISHED),
    Redrive: (DEAD,),
    Purge: tuple(status for status in STATUSES if status != IN_PROGRESS),
}
"""The statuses a verb can be done to: what a filter that names none means, and all that it may name."""

OneStatus = Annotated[str, fields.one_of(STATUSES)]
Statuses = Annotated[list[OneStatus], Meta(min_length=1, max_length=len(STATUSES))]


class FilterBody(Struct, forbid_unknown_fields=True):
    """At least one of these; a job must fit all that are there."""

    queue: fields.QueueName | UnsetType = UNSET
    status: OneStatus | UnsetType = UNSET
    statuses: Statuses | UnsetType = UNSET
    type: fields.TypeName | UnsetType = UNSET
    types: fields.TypeNames | UnsetType = UNSET
    tags: fields.Tags | UnsetType = UNSET
    created_before: fields.Time | UnsetType = UNSET


SomeFilter = Annotated[
    FilterBody,
    fields.not_both(("status", "statuses"), ("type", "types")),
    Meta(examples=[{"queue": "mail", "type": "receipt"}], extra_json_schema={"minProperties": 1}),
]


class Filter(Struct, frozen=True):
    """What to do, and to which jobs; `jobs` is for the first page of them."""

    verb: ByIds
    jobs: ListJobs


_NOTHING: Final = FilterBody()


def filter_of(verb: ByIds, said: FilterBody, pointer: str) -> Filter:
    """The field `filter`, whose pointer this is."""
    if said == _NOTHING:
        raise body.invalid_field(pointer, "it names nothing; to mean all jobs, name a queue or statuses")
    queue, before = said.queue, said.created_before
    statuses = fields.one_or_many(said.status, said.statuses, "status", "statuses", pointer)
    return Filter(
        verb,
        ListJobs(
            queue=None if queue is UNSET else fields.check_queue(queue, f"{pointer}/queue"),
            statuses=statuses_of(verb, statuses),
            types=fields.types_of(said.type, said.types, pointer),
            tags=fields.tags_of(said.tags, f"{pointer}/tags"),
            created_before_ms=0 if before is UNSET else fields.at_ms(before, f"{pointer}/created_before"),
        ),
    )


def statuses_of(verb: ByIds, said: Collection[tuple[str, str]]) -> tuple[Status, ...]:
    """Pairs of (status, pointer) → the statuses, checked; where none is said, all that the verb can be done to."""
    allowed = STATUSES_OF[verb]
    return tuple(fields.check_one_of(status, allowed, place) for status, place in said) or allowed


# -- a queue's own ---------------------------------------------------------------------------------


class PurgeQueueBody(Struct, forbid_unknown_fields=True):
    """Which jobs of a queue to purge; those that wait where nothing is said."""

    statuses: Statuses | UnsetType = UNSET


def of_queue(verb: ByIds, queue: str, said: PurgeQueueBody) -> Filter:
    """All jobs of a queue in the statuses that are said."""
    statuses = fields.one_or_many(UNSET, said.statuses, "status", "statuses", "")
    if not statuses and verb is Purge:
        return Filter(verb, ListJobs(queue=queue, statuses=tuple(status for status in STATUSES if status in WAITING)))
    return Filter(verb, ListJobs(queue=queue, statuses=statuses_of(verb, statuses)))


class FilteredAnswer(Struct):
    """How many jobs it was done to, and whether that was all; if not: ask again."""

    matched: fields.Count
    done: fields.Flag
