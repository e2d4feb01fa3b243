"""What digests of several nodes say together."""

from __future__ import annotations

import pytest

from cqueue.replication.digests import judge

MEMBERS = ["a:1", "b:1", "c:1"]
ONE, OTHER = b"1" * 32, b"2" * 32


@pytest.mark.parametrize(
    ("told", "result", "states"),
    [
        ({"a:1": (5, ONE), "b:1": (5, ONE), "c:1": (5, ONE)}, "equal", ["equal"] * 3),
        ({"a:1": (5, ONE), "b:1": (5, OTHER), "c:1": (5, ONE)}, "differ", ["equal", "differs", "equal"]),
        ({"a:1": (5, ONE), "b:1": (5, OTHER)}, "differ", ["differs", "differs", "silent"]),
        ({"a:1": (5, ONE), "b:1": (5, OTHER), "c:1": (5, b"3" * 32)}, "differ", ["differs"] * 3),
        ({"a:1": (5, ONE), "b:1": (5, ONE)}, "incomplete", ["equal", "equal", "silent"]),
        ({"a:1": (5, ONE), "b:1": (5, b""), "c:1": (5, ONE)}, "incomplete", ["equal", "busy", "equal"]),
        ({"a:1": (5, ONE), "b:1": (6, OTHER), "c:1": (5, ONE)}, "incomplete", ["equal", "silent", "equal"]),
        ({"a:1": (5, ONE), "x:1": (5, OTHER)}, "incomplete", ["equal", "silent", "silent"]),
        ({}, "incomplete", ["silent"] * 3),
    ],
)
def test_a_verdict_names_who_differs_and_who_said_nothing(
    told: dict[str, tuple[int, bytes]], result: str, states: list[str]
) -> None:
    """Those with the majority's digest are right; a digest of another index is none; strangers do not count."""
    verdict = judge(5, MEMBERS, told)
    assert (verdict.index, verdict.result) == (5, result)
    assert [member.id for member in verdict.members] == MEMBERS
    assert [member.state for member in verdict.members] == states
