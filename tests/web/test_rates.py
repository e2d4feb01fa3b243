"""How many requests a caller may send, and how it is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cqueue.web.auth import rates
from cqueue.web.auth.principals import Principal, let_in
from cqueue.web.auth.rates import Rates, Standing
from cqueue.web.problems import Problem
from tests.web.callers import Callers, Door, given_open_door
from tests.web.replica import StandInReplica

RATE = 2


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        """Now, in seconds."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """Whose time it is."""
    return Clock()


def taken(rates: Rates, address: str = "10.0.0.1", name: str | None = None) -> Standing:
    """One request of a caller, by its token's name or its address."""
    environ = {"REMOTE_ADDR": address}
    if name is not None:
        let_in(environ, Principal(name, frozenset(("admin",))))
    return rates.take(environ)


def test_so_many_requests_pass_and_more_as_time_goes_by(clock: Clock) -> None:
    """Those of a second at once, then one each half second; what is refused is not counted."""
    counted = Rates(RATE, clock)
    assert [taken(counted) for _ in range(4)] == [
        Standing(RATE, True, 1, 0),
        Standing(RATE, True, 0, 1),
        Standing(RATE, False, 0, 1),
        Standing(RATE, False, 0, 1),
    ]
    clock.now_s += 0.5
    assert [taken(counted).may_pass for _ in range(2)] == [True, False]
    clock.now_s += 60
    assert [taken(counted).may_pass for _ in range(3)] == [True, True, False]


def test_each_caller_is_counted_alone(clock: Clock) -> None:
    """By the name of its token, wherever it calls from; else by its address, or the network of that."""
    counted = Rates(1, clock)
    assert taken(counted, name="ann").may_pass
    assert not taken(counted, "10.0.0.2", name="ann").may_pass
    assert taken(counted, name="bob").may_pass
    assert taken(counted).may_pass
    assert taken(counted, "2001:db8::1").may_pass
    assert not taken(counted, "2001:db8::2").may_pass


def test_callers_that_are_counted_make_room_for_others(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was quiet for longest is counted anew."""
    monkeypatch.setattr(rates, "CALLERS_MAX", 2)
    counted = Rates(1, clock)
    assert all(taken(counted, name=name).may_pass for name in ("ann", "bob"))
    assert not taken(counted, name="ann").may_pass
    assert taken(counted, name="eve").may_pass
    assert not taken(counted, name="ann").may_pass
    assert taken(counted, name="bob").may_pass


def test_who_is_refused_is_told_when_to_come_again() -> None:
    """And what the limit is."""
    with pytest.raises(Problem, match="2 requests a second") as refused:
        Standing(RATE, False, 0, 1).check()
    assert (refused.value.code, refused.value.retry_after_s) == ("too_many_requests", 1)


@pytest.fixture
def door(tmp_path: Path, own_replica: StandInReplica) -> Iterator[Door]:
    """A gate that lets each caller send one request a second."""
    callers = Callers(tmp_path)
    callers.add("viewer", "viewer")
    with given_open_door(callers, own_replica, request_rate=1) as door:
        yield door


def test_every_answer_says_how_the_caller_stands(door: Door) -> None:
    """Also one that refuses; health checks are nobody's and are not counted."""
    first, second = (door.call("viewer", "GET", "/jobs/stats") for _ in range(2))

    assert (first.status_code, first.headers["RateLimit"]) == (200, '"caller";r=0;t=1')
    assert first.headers["RateLimit-Policy"] == '"caller";q=1;w=1'
    assert (second.status_code, second.headers["Retry-After"]) == (429, "1")
    assert second.headers["RateLimit"] == '"caller";r=0;t=1'
    assert second.json is not None
    assert second.json["code"] == "too_many_requests"
    for _ in range(3):
        health = door.call(None, "GET", "/livez")
        assert (health.status_code, "RateLimit" in health.headers) == (200, False)


def test_who_shows_nothing_is_not_counted(door: Door) -> None:
    """401 is all it gets; there is nobody to count for."""
    for _ in range(3):
        assert door.call(None, "GET", "/jobs/stats").status_code == 401
