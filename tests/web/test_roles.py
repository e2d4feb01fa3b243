"""Every route and every role: who is let in, and who is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from cqueue.web.auth.principals import ROLES
from cqueue.web.auth.routes import AUDITED
from cqueue.web.cluster import placeholders
from tests.web.callers import Callers, Door, given_door

TABLE: Final = """
    route                          nobody producer consumer viewer operator admin
    GET /livez                     yes    yes      yes      yes    yes      yes
    GET /readyz                    yes    yes      yes      yes    yes      yes
    GET /healthz                   yes    yes      yes      yes    yes      yes
    GET /openapi.json              yes    yes      yes      yes    yes      yes
    GET /docs                      yes    yes      yes      yes    yes      yes
    GET /docs/{asset}              yes    yes      yes      yes    yes      yes
    GET /ui                        yes    yes      yes      yes    yes      yes
    GET /ui/{file}                 yes    yes      yes      yes    yes      yes
    GET /                          -      yes      yes      yes    yes      yes
    POST /tickets                  -      yes      yes      yes    yes      yes
    GET /whoami                    -      yes      yes      yes    yes      yes
    PUT /jobs/enqueue              -      yes      -        -      yes      yes
    POST /jobs/dequeue             -      -        yes      -      yes      yes
    POST /jobs/conclude/{id}       -      -        yes      -      yes      yes
    POST /jobs/{id}/conclude       -      -        yes      -      yes      yes
    POST /jobs/conclude            -      -        yes      -      yes      yes
    POST /jobs/{id}/fail           -      -        yes      -      yes      yes
    POST /jobs/fail                -      -        yes      -      yes      yes
    POST /jobs/{id}/release        -      -        yes      -      yes      yes
    POST /jobs/release             -      -        yes      -      yes      yes
    POST /jobs/{id}/extend         -      -        yes      -      yes      yes
    POST /jobs/extend              -      -        yes      -      yes      yes
    POST /jobs/{id}/progress       -      -        yes      -      yes      yes
    POST /jobs/progress            -      -        yes      -      yes      yes
    GET /jobs/{id}                 -      yes      yes      yes    yes      yes
    GET /jobs/{id}/history         -      yes      yes      yes    yes      yes
    GET /jobs/{id}/explain         -      yes      yes      yes    yes      yes
    GET /jobs                      -      -        -        yes    yes      yes
    GET /jobs/stats                -      -        -        yes    yes      yes
    GET /events                    -      -        -        yes    yes      yes
    GET /stream                    -      yes      yes      -      yes      yes
    GET /queues                    -      -        -        yes    yes      yes
    GET /queues/{name}             -      -        -        yes    yes      yes
    GET /cluster                   -      -        -        yes    yes      yes
    GET /metrics                   -      -        -        yes    yes      yes
    POST /jobs/{id}/cancel         -      -        -        -      yes      yes
    POST /jobs/cancel              -      -        -        -      yes      yes
    POST /jobs/{id}/redrive        -      -        -        -      yes      yes
    POST /jobs/redrive             -      -        -        -      yes      yes
    POST /jobs/{id}/purge          -      -        -        -      yes      yes
    POST /jobs/purge               -      -        -        -      yes      yes
    DELETE /jobs/{id}              -      -        -        -      yes      yes
    PATCH /queues/{name}           -      -        -        -      yes      yes
    DELETE /queues/{name}          -      -        -        -      yes      yes
    POST /queues/{name}/pause      -      -        -        -      yes      yes
    POST /queues/{name}/resume     -      -        -        -      yes      yes
    POST /queues/{name}/purge      -      -        -        -      yes      yes
    POST /queues/{name}/redrive    -      -        -        -      yes      yes
    POST /cluster/members          -      -        -        -      -        yes
    DELETE /cluster/members/{id}   -      -        -        -      -        yes
    POST /cluster/transfer         -      -        -        -      -        yes
    POST /cluster/bootstrap        -      -        -        -      -        yes
    GET /cluster/backup            -      -        -        -      -        yes
    POST /cluster/verify           -      -        -        -      -        yes
"""


def rows() -> dict[str, dict[str, bool]]:
    """{route: {who: whether they are let in}}."""
    header, *lines = [line.split() for line in TABLE.strip().splitlines()]
    assert header == ["route", "nobody", *ROLES]
    return {
        " ".join(line[:2]): dict(zip(header[1:], (cell == "yes" for cell in line[2:]), strict=True)) for line in lines
    }


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A gate in front of a queue that does not answer, and one caller of each role."""
    directory = tmp_path_factory.mktemp("roles")
    callers = Callers(directory)
    for role in ROLES:
        callers.add(role, role)
    with given_door(callers, directory / "nobody.sock") as door:
        yield door


def test_every_route_is_in_the_table(door: Door) -> None:
    """A new route has to be given to somebody before anybody can call it."""
    taken = {
        f"{method} {placeholders(rule.rule)}"
        for rule in door.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert set(rows()) == taken


@pytest.mark.parametrize("who", ["nobody", *ROLES])
@pytest.mark.parametrize("route", rows())
def test_who_is_let_in(door: Door, route: str, who: str) -> None:
    """As the table says: 401 for nobody, 403 for another role, and whatever the route answers for those who may."""
    method, path = route.replace("{id}", "17").replace("{name}", "mail").split()

    with door.call(None if who == "nobody" else who, method, path) as reply:
        if rows()[route][who]:
            assert reply.status_code not in {401, 403}
        elif who == "nobody":
            assert (reply.status_code, reply.json["code"]) == (401, "unauthenticated")  # type: ignore[index]
        else:
            assert (reply.status_code, reply.json["code"]) == (403, "insufficient_scope")  # type: ignore[index]


def test_a_head_is_a_get(door: Door) -> None:
    """It tells no less."""
    assert door.call("producer", "HEAD", "/jobs").status_code == 403
    assert door.call("viewer", "HEAD", "/jobs").status_code not in {401, 403}


def test_a_route_that_is_not_in_the_table_is_nobodys(tmp_path: Path) -> None:
    """Not even an admin's: it was forgotten, and nobody said who may."""
    callers = Callers(tmp_path)
    callers.add("admin", "admin")
    with given_door(callers, tmp_path / "nobody.sock") as door:
        door.app.add_url_rule("/new/<name>", view_func=lambda name: name)

        assert door.call("admin", "GET", "/new/thing").status_code == 403


@pytest.mark.parametrize("path", ["/jobs/17/conclude/", "//jobs/enqueue", "/queues/17/pause/x", "/jobs/{id}/conclude"])
def test_unusual_paths_get_nobody_past_the_gate(door: Door, path: str) -> None:
    """Without a token they are 401, whatever they are; with one they are what they are."""
    assert door.call(None, "POST", path).status_code == 401
    assert door.call("viewer", "POST", path).status_code in {403, 404, 405}


def test_a_queue_that_is_called_like_a_number_is_a_queue(door: Door) -> None:
    """The name in the path does not make another route of it."""
    assert door.call("viewer", "POST", "/queues/17/pause").status_code == 403
    assert door.call("operator", "POST", "/queues/17/pause").status_code == 503


def test_what_operators_and_admins_alone_may_do_is_audited() -> None:
    """And nothing else: what all do all the time is no news."""
    assert {
        route for route, row in rows().items() if not (row["producer"] or row["consumer"] or row["viewer"])
    } == AUDITED
