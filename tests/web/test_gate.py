"""How callers are asked who they are, and what those are told who do not say it, or not rightly (RFC 6750)."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cqueue.logs import AUDIT
from cqueue.web.auth import tickets as ticketing
from cqueue.web.auth import tokens
from cqueue.web.auth.failures import FAILURES_MAX
from cqueue.web.auth.principals import Principal
from cqueue.web.auth.tickets import TICKET_CHARS_MAX, TICKET_S, Tickets
from tests.web.callers import Callers, Door, given_door, given_open_door
from tests.web.replica import StandInReplica
from tests.web.web import Web

WRONG = {"Authorization": "Bearer cqueue_" + "x" * 43}
CLUSTER_SECRET = "0123456789abcdef" * 3


@pytest.fixture
def callers(tmp_path: Path) -> Callers:
    """One of each kind that is needed here."""
    callers = Callers(tmp_path)
    callers.add("viewer", "viewer")
    callers.add("operator", "operator")
    return callers


@pytest.fixture
def door(callers: Callers, own_replica: StandInReplica) -> Iterator[Door]:
    """A gate in front of an empty queue."""
    with given_open_door(callers, own_replica) as door:
        yield door


def test_without_tokens_nobody_is_asked(web: Web) -> None:
    """As on loopback by default: whatever is shown is not looked at."""
    assert web.send("GET", "/jobs/stats").status == 200
    assert web.send("GET", "/jobs/stats", authorization="Bearer nonsense").status == 200
    assert web.send("POST", "/queues/mail/pause").status == 200


def test_who_shows_nothing_is_told_what_to_show(door: Door) -> None:
    """401 with a challenge, and without an error: nothing was wrong with what was shown."""
    reply = door.call(None, "GET", "/jobs/stats")

    assert reply.status_code == 401
    assert reply.headers["WWW-Authenticate"] == 'Bearer realm="cqueue"'
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.json is not None
    assert "Authorization: Bearer" in reply.json["detail"]


@pytest.mark.parametrize("header", ["", "Basic YTpi", "cqueue_x", "Digest a=b"])
def test_another_scheme_is_nothing_shown(door: Door, header: str) -> None:
    """Only Bearer is taken."""
    reply = door.call(None, "GET", "/jobs/stats", headers={"Authorization": header})
    assert (reply.status_code, reply.headers["WWW-Authenticate"]) == (401, 'Bearer realm="cqueue"')


@pytest.mark.parametrize("shown", ["cqueue_" + "x" * 43, "a.b.c", "é", " ", "x" * 4_000])
def test_a_wrong_token_is_told_so(door: Door, shown: str) -> None:
    """401 invalid_token; the answer does not repeat what was shown."""
    reply = door.call(None, "GET", "/jobs/stats", headers={"Authorization": f"Bearer {shown}"})

    assert reply.status_code == 401
    assert reply.headers["WWW-Authenticate"] == 'Bearer realm="cqueue", error="invalid_token"'
    assert shown == " " or shown not in reply.text


def test_the_scheme_is_read_without_regard_to_case(door: Door) -> None:
    """RFC 9110, 11.1."""
    secret = door.callers.secrets["viewer"]
    assert door.call(None, "GET", "/jobs/stats", headers={"Authorization": f"bearer  {secret} "}).status_code == 200


def test_a_role_that_is_not_enough_is_told_which_is(door: Door) -> None:
    """403 with a challenge."""
    reply = door.call("viewer", "PUT", "/jobs/enqueue")

    assert reply.status_code == 403
    assert reply.headers["WWW-Authenticate"] == 'Bearer realm="cqueue", error="insufficient_scope"'
    assert reply.json is not None
    assert "admin or operator or producer" in reply.json["detail"]


def test_a_path_that_is_none_is_told_to_callers_only(door: Door) -> None:
    """404 and 405 with a token, 401 without: strangers learn no routes."""
    assert door.call("viewer", "GET", "/nothing").status_code == 404
    assert door.call("viewer", "PATCH", "/jobs/enqueue").status_code == 405
    assert door.call(None, "GET", "/nothing").status_code == 401
    assert door.call(None, "PATCH", "/jobs/enqueue").status_code == 401


def test_what_a_browser_asks_beforehand_needs_no_token(door: Door) -> None:
    """A preflight carries none; it is told methods and nothing else."""
    reply = door.call(None, "OPTIONS", "/jobs/enqueue")
    assert (reply.status_code, reply.text) == (200, "")


def test_a_token_that_has_expired_is_told_so(own_replica: StandInReplica, tmp_path: Path) -> None:
    """Its holder knows what to renew; a stranger cannot ask."""
    callers = Callers(tmp_path)
    secret = callers.add("ann", "viewer")
    callers.path.write_text(callers.path.read_text() + "expires = 2001-01-01T00:00:00Z\n")
    with given_open_door(callers, own_replica) as door:
        reply = door.call(None, "GET", "/jobs/stats", headers={"Authorization": f"Bearer {secret}"})

    assert reply.status_code == 401
    assert reply.json is not None
    assert "expired" in reply.json["detail"]


# -- wrong tokens ----------------------------------------------------------------------------------


def test_an_address_that_goes_on_guessing_has_to_wait(door: Door) -> None:
    """429 with Retry-After after so many; who shows a right token is let in all the same."""
    for _ in range(FAILURES_MAX):
        assert door.call(None, "GET", "/jobs/stats", headers=WRONG).status_code == 401

    reply = door.call(None, "GET", "/jobs/stats", headers=WRONG)

    assert (reply.status_code, reply.json["code"]) == (429, "too_many_failures")  # type: ignore[index]
    assert 1 <= int(reply.headers["Retry-After"]) <= 60
    assert door.call("viewer", "GET", "/jobs/stats").status_code == 200
    assert door.call(None, "GET", "/jobs/stats").status_code == 401


def test_who_shows_nothing_has_guessed_nothing(door: Door) -> None:
    """Health checks and browsers do so all the time."""
    for _ in range(FAILURES_MAX + 1):
        assert door.call(None, "GET", "/jobs/stats").status_code == 401


# -- the audit -------------------------------------------------------------------------------------


def test_what_an_operator_does_is_written_down(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    """Who, what, and how it went; also where it was refused. What everybody does all the time is not."""
    with caplog.at_level(logging.INFO, AUDIT):
        door.call("operator", "POST", "/queues/caf%C3%A9%0A/pause")
        door.call("operator", "POST", "/queues/mail/pause")
        door.call("viewer", "POST", "/queues/mail/resume")
        door.call("operator", "PUT", "/jobs/enqueue")
        door.call(None, "POST", "/queues/mail/resume")

    pause, resume = "POST /queues/{name}/pause /queues", "POST /queues/{name}/resume /queues"
    said = [record.getMessage() for record in caplog.records if record.name == AUDIT]
    assert [line.partition(" index=")[0].partition(" request_id=")[0] for line in said] == [
        f"operator_acted who=operator what='{pause}/caf%C3%A9%0A/pause' outcome=422 address=127.0.0.1",
        f"operator_acted who=operator what='{pause}/mail/pause' outcome=200 address=127.0.0.1",
        f"operator_acted who=viewer what='{resume}/mail/resume' outcome=403 address=127.0.0.1",
    ]
    assert " index=" in said[1]
    assert " request_id=" in said[2]


def test_where_nobody_is_asked_it_is_written_down_too(own_web: Web) -> None:
    """Without a name."""
    own_web.send("POST", "/queues/mail/pause")
    assert "operator_acted who=anybody what='POST /queues/{name}/pause /queues/mail/pause' outcome=200" in own_web.log


# -- tickets ---------------------------------------------------------------------------------------


def ticket_of(door: Door, name: str) -> str:
    """What a page in a browser fetches for itself."""
    reply = door.call(name, "POST", "/tickets")
    assert reply.status_code == 200
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.json is not None
    assert set(reply.json) == {"ticket", "expires_at"}
    ticket: str = reply.json["ticket"]
    return ticket


def test_a_ticket_is_its_callers_token_for_following_only(callers: Callers, tmp_path: Path) -> None:
    """It opens GET /events, within the caller's role, and nothing else."""
    callers.add("producer", "producer")
    with given_door(callers, tmp_path / "nobody.sock") as door:
        ticket = ticket_of(door, "viewer")

        assert door.call(None, "GET", f"/events?ticket={ticket}").status_code == 503
        assert door.call(None, "GET", f"/events?ticket={ticket_of(door, 'producer')}").status_code == 403
        for method, path in (("GET", "/jobs"), ("POST", "/tickets"), ("GET", "/jobs/stats")):
            assert door.call(None, method, f"{path}?ticket={ticket}").status_code == 401


@pytest.mark.parametrize("change", ["A{}", "{}A", "{}é", "", "x" * (TICKET_CHARS_MAX + 1)])
def test_a_ticket_that_was_changed_is_none(door: Door, change: str) -> None:
    """401 invalid_token, and it counts as a wrong token."""
    reply = door.call(None, "GET", f"/events?ticket={change.format(ticket_of(door, 'viewer'))}")
    assert (reply.status_code, reply.json["code"]) == (401, "invalid_token" if change else "unauthenticated")  # type: ignore[index]


def test_a_ticket_is_taken_where_nobody_is_asked(web: Web) -> None:
    """A page need not know how the node is run."""
    ticket = web.send("POST", "/tickets").json["ticket"]
    assert web.send("GET", f"/events?ticket={ticket}&job=0").json["detail"].startswith("the parameter job")
    assert web.send("POST", "/tickets?x=1").status == 422


def test_a_ticket_is_good_for_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the clock of the node it is shown to."""
    tickets, ann = Tickets(), Principal("ann", frozenset(("viewer", "consumer")), ("mail-*",))
    ticket, expires_ms = tickets.issue(ann)
    assert tickets.redeem(ticket) == ann
    assert abs(expires_ms / 1000 - time.time() - TICKET_S) < 5

    monkeypatch.setattr(ticketing, "time", _Clock(expires_ms))

    assert tickets.redeem(ticket) is None


class _Clock:
    """A clock that stands still."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def time_ns(self) -> int:
        """In place of `time.time_ns`."""
        return self._now_ms * 1_000_000


def test_every_node_of_a_cluster_knows_a_ticket_and_no_other_node_does() -> None:
    """The key comes from the cluster's secret; a node alone draws one."""
    ann = Principal("ann", frozenset(("viewer",)))
    ticket, _ = Tickets(CLUSTER_SECRET).issue(ann)

    assert Tickets(CLUSTER_SECRET).redeem(ticket) == ann
    assert Tickets(CLUSTER_SECRET + "0").redeem(ticket) is None
    assert Tickets().redeem(Tickets().issue(ann)[0]) is None


def test_the_largest_ticket_fits_into_a_request_line() -> None:
    """As many patterns and as long a name as there may be."""
    ann = Principal("\U0001f600" * 128, frozenset(("viewer", "consumer", "producer")), ("é" * 32,) * 16)
    ticket, _ = Tickets().issue(ann)
    assert len(ticket) <= TICKET_CHARS_MAX
    assert Tickets().redeem("=" * 8) is None


def test_no_secret_is_in_the_log(own_replica: StandInReplica, tmp_path: Path) -> None:
    """Not of a token, right or wrong, nor a ticket, at the chattiest level."""
    callers = Callers(tmp_path)
    secret = callers.add("ann", "operator")
    web = Web(own_replica, own_replica.path.parent, {"tokens": str(callers.path)})
    try:
        web.start()
        ticket = web.send("POST", "/tickets", authorization=f"Bearer {secret}").json["ticket"]
        for _ in range(FAILURES_MAX + 1):
            web.send("GET", f"/events?ticket={ticket}x")
            web.send("POST", "/queues/mail/pause", authorization=WRONG["Authorization"])
        assert web.send("POST", "/queues/mail/pause", authorization=f"Bearer {secret}").status == 200
        log = web.log
    finally:
        web.stop()

    assert "callers_told_to_wait address=127.0.0.1" in log
    assert "who=ann" in log
    for hidden in (secret, tokens.digest_of(secret).hex(), ticket, WRONG["Authorization"]):
        assert hidden not in log
