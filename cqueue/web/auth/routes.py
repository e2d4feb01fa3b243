"""The one table of who may call what: route → roles, of which a caller needs one.

Routes are spelt as in docs/protocol.md. A route that is not here is nobody's.
"""

from __future__ import annotations

from typing import Final

from cqueue.errors import Refused
from cqueue.web.auth.principals import ROLES, Principal, Role

Roles = frozenset[Role]

EVERYONE: Final[Roles] = frozenset(ROLES)
PRODUCERS: Final[Roles] = frozenset(("producer", "operator", "admin"))
CONSUMERS: Final[Roles] = frozenset(("consumer", "operator", "admin"))
VIEWERS: Final[Roles] = frozenset(("viewer", "operator", "admin"))
OPERATORS: Final[Roles] = frozenset(("operator", "admin"))
ADMINS: Final[Roles] = frozenset(("admin",))

OPEN: Final = frozenset(
    (
        "GET /livez",
        "GET /readyz",
        "GET /healthz",
        "GET /openapi.json",
        "GET /docs",
        "GET /docs/{asset}",
        "GET /ui",
        "GET /ui/{file}",
    )
)
"""For whoever looks after the process, or reads its contract; they tell nothing of what is in the queue."""
TICKETED: Final = frozenset(("GET /events", "GET /stream"))
"""What a ticket is good for: the calls a browser makes without headers of its own."""

ROLES_OF: Final[dict[str, Roles]] = {
    "GET /": EVERYONE,
    "POST /tickets": EVERYONE,
    "GET /whoami": EVERYONE,
    "PUT /jobs/enqueue": PRODUCERS,
    "POST /jobs/dequeue": CONSUMERS,
    "POST /jobs/conclude/{id}": CONSUMERS,
    "POST /jobs/{id}/conclude": CONSUMERS,
    "POST /jobs/conclude": CONSUMERS,
    "POST /jobs/{id}/fail": CONSUMERS,
    "POST /jobs/fail": CONSUMERS,
    "POST /jobs/{id}/release": CONSUMERS,
    "POST /jobs/release": CONSUMERS,
    "POST /jobs/{id}/extend": CONSUMERS,
    "POST /jobs/extend": CONSUMERS,
    "POST /jobs/{id}/progress": CONSUMERS,
    "POST /jobs/progress": CONSUMERS,
    # Producers wait here for results, consumers look here whether they are to stop.
    "GET /jobs/{id}": EVERYONE,
    "GET /jobs/{id}/history": EVERYONE,
    "GET /jobs/{id}/explain": EVERYONE,
    "GET /jobs": VIEWERS,
    "GET /jobs/stats": VIEWERS,
    "GET /events": VIEWERS,
    # What is said there is held to the routes of the same verbs.
    "GET /stream": PRODUCERS | CONSUMERS,
    "GET /queues": VIEWERS,
    "GET /queues/{name}": VIEWERS,
    "GET /cluster": VIEWERS,
    "GET /metrics": VIEWERS,
    "POST /jobs/{id}/cancel": OPERATORS,
    "POST /jobs/cancel": OPERATORS,
    "POST /jobs/{id}/redrive": OPERATORS,
    "POST /jobs/redrive": OPERATORS,
    "POST /jobs/{id}/purge": OPERATORS,
    "POST /jobs/purge": OPERATORS,
    "DELETE /jobs/{id}": OPERATORS,
    "PATCH /queues/{name}": OPERATORS,
    "DELETE /queues/{name}": OPERATORS,
    "POST /queues/{name}/pause": OPERATORS,
    "POST /queues/{name}/resume": OPERATORS,
    "POST /queues/{name}/purge": OPERATORS,
    "POST /queues/{name}/redrive": OPERATORS,
    "POST /cluster/members": ADMINS,
    "DELETE /cluster/members/{id}": ADMINS,
    "POST /cluster/transfer": ADMINS,
    "POST /cluster/bootstrap": ADMINS,
    "GET /cluster/backup": ADMINS,
    "POST /cluster/verify": ADMINS,
}

AUDITED: Final = frozenset(route for route, roles in ROLES_OF.items() if roles <= OPERATORS)
"""What leaves a line in the audit: all that only an operator or an admin may do."""


def check_role(principal: Principal, route: str) -> None:
    """Let the caller pass if the route is theirs.

    Raises:
        Refused: insufficient_scope; the sentence says which role it takes.
    """
    roles = ROLES_OF.get(route, frozenset())
    if roles.isdisjoint(principal.roles):
        needed = " or ".join(sorted(roles)) or "none there is"
        raise Refused(f"{route} takes a token with another role: {needed}", code="insufficient_scope")
