"""Counting wrong tokens: who has to wait, for how long, and how much is remembered."""

from __future__ import annotations

import logging

import pytest

from cqueue.web.auth import failures
from cqueue.web.auth.failures import FAILURES_MAX, FORGIVEN_S, Failures


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """One that stands still."""
    return Clock()


def given_failures(clock: Clock, address: str, count: int) -> Failures:
    """So many of one address."""
    counted = Failures(clock)
    for _ in range(count):
        counted.count(address)
    return counted


def test_a_few_failures_cost_nothing(clock: Clock) -> None:
    """A token that was mistyped, or has just expired."""
    assert given_failures(clock, "10.0.0.1", FAILURES_MAX - 1).wait_s("10.0.0.1") == 0


def test_then_one_more_try_comes_after_a_while(clock: Clock) -> None:
    """Failures are forgiven one by one."""
    counted = given_failures(clock, "10.0.0.1", FAILURES_MAX)
    assert counted.wait_s("10.0.0.1") == FORGIVEN_S
    clock.now_s += FORGIVEN_S
    assert counted.wait_s("10.0.0.1") == 0
    counted.count("10.0.0.1")
    assert counted.wait_s("10.0.0.1") == FORGIVEN_S
    clock.now_s += FAILURES_MAX * FORGIVEN_S
    counted.count("10.0.0.1")
    assert counted.wait_s("10.0.0.1") == 0


@pytest.mark.parametrize(
    ("address", "same", "other"),
    [
        ("10.0.0.1", "10.0.0.1", "10.0.0.2"),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"),
        ("fe80::1%eth0", "fe80::2%eth0", "fe80:0:0:1::1"),
        ("no:address", "no:address", "10.0.0.1"),
    ],
)
def test_an_address_is_counted_for_itself(clock: Clock, address: str, same: str, other: str) -> None:
    """Of IPv6 the /64 it is in."""
    counted = given_failures(clock, address, FAILURES_MAX)
    assert counted.wait_s(same) > 0
    assert counted.wait_s(other) == 0


def test_no_more_than_so_many_addresses_are_remembered(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that failed longest ago makes room."""
    monkeypatch.setattr(failures, "ADDRESSES_MAX", 2)
    counted = given_failures(clock, "a", FAILURES_MAX)
    counted.count("b")
    counted.count("a")
    counted.count("c")
    assert counted.wait_s("a") > 0
    counted.count("d")
    counted.count("e")
    assert counted.wait_s("a") == 0


def test_the_log_has_one_line_in_a_while(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever guesses must not fill it; the next line says how many there were."""
    counted = given_failures(clock, "10.0.0.1", FAILURES_MAX + 5)
    clock.now_s += failures.SAID_S
    counted.count("10.0.0.1")

    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert said == ["callers_told_to_wait address=10.0.0.1 others=0", "callers_told_to_wait address=10.0.0.1 others=5"]
