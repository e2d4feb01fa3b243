"""Who calls: a name, roles, and the queues they reach. It knows no header and no secret.

What an operation names itself, its queues, is refused here, before the log. What it names by ids only
is bound to the caller's queues and decided where the jobs are, by the log (`cqueue.core.reach`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeVar, get_args

from msgspec import Struct

from cqueue.core.operations import Dequeue, DropQueue, Enqueue, PerJob, SetQueue, Within
from cqueue.core.queries import GetQueue, ListJobs, LookWithin, Query
from cqueue.core.reach import Reach, reaches
from cqueue.errors import Refused

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

Role = Literal["producer", "consumer", "viewer", "operator", "admin"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
NAME_CHARS_MAX: Final = 128
"""Of a caller's name; a longer one of a JWT is cut."""
QUEUES_MAX: Final = 16
QUEUES_BYTES_MAX: Final = 1_024
"""Patterns of one caller, and their size together: a ticket with all of them has to fit into a URL."""
EVERYTHING: Final = "*"

_KEY: Final = "cqueue.principal"
_PER_JOB: Final = get_args(PerJob)

Said = TypeVar("Said", bound=Enqueue | Dequeue | PerJob | SetQueue | DropQueue)


class Principal(Struct, frozen=True):
    """One caller. name: for the audit. reach: patterns of the queues that are theirs; None: all queues."""

    name: str
    roles: frozenset[Role]
    reach: Reach | None = None

    def check_queue(self, queue: str) -> None:
        """Let the queue pass if it is theirs.

        Raises:
            Refused: insufficient_scope.
        """
        if self.reach is not None and not reaches(self.reach, queue):
            raise Refused(f"your token is not for the queue {queue!r}", code="insufficient_scope")

    def bound(self, operation: Said) -> Said | Within:
        """The operation as this caller may have it done.

        Raises:
            Refused: insufficient_scope, it names a queue that is not theirs.
        """
        if self.reach is None:
            return operation
        if isinstance(operation, _PER_JOB):
            return Within(self.reach, operation)
        for queue in _queues_of(operation):
            self.check_queue(queue)
        return operation

    def looking(self, query: Query) -> Query:
        """The query as this caller may have it answered.

        Raises:
            Refused: insufficient_scope, it names a queue that is not theirs.
        """
        if self.reach is None:
            return query
        if isinstance(query, GetQueue | ListJobs) and query.queue is not None:
            self.check_queue(query.queue)
        if isinstance(query, GetQueue | LookWithin):
            return query
        return LookWithin(self.reach, query)


ANYBODY: Final = Principal("anybody", frozenset(("admin",)))
"""Whoever calls a node that asks nobody who they are."""


def reach_of(queues: list[str], roles: frozenset[Role]) -> Reach | None:
    """Patterns → the queues they reach; None: all.

    Raises:
        ValueError: there are too many, one is no pattern, or they do not go with a role.
    """
    if EVERYTHING in queues:
        return None
    if "admin" in roles:
        raise ValueError(f"an admin is for all queues: {EVERYTHING!r}")
    if len(queues) > QUEUES_MAX or len("".join(queues).encode()) > QUEUES_BYTES_MAX:
        raise ValueError(f"at most {QUEUES_MAX} queues, of {QUEUES_BYTES_MAX} bytes together")
    if not all(queue and queue.isprintable() for queue in queues):
        raise ValueError("a queue is a name, or a pattern with *, of printable characters")
    return tuple(dict.fromkeys(queues))


def principal_of(environ: WSGIEnvironment) -> Principal:
    """Whom the gate let in with this request; there is no request without."""
    principal: Principal = environ[_KEY]
    return principal


def known_principal_of(environ: WSGIEnvironment) -> Principal | None:
    """The same where the gate may have let in nobody."""
    principal: Principal | None = environ.get(_KEY)
    return principal


def let_in(environ: WSGIEnvironment, principal: Principal) -> None:
    """From here on the request is this caller's."""
    environ[_KEY] = principal


def _queues_of(operation: object) -> set[str]:
    if isinstance(operation, Enqueue):
        return {new.queue for new in operation.jobs}
    if isinstance(operation, Dequeue):
        return set(operation.queues)
    if isinstance(operation, SetQueue | DropQueue):
        return {operation.queue}
    raise TypeError(operation)
