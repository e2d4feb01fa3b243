"""Forked children: what they say, how they fail, and what they must not keep."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress

import pytest

from cqueue.replication.children import FOUND_BYTES_MAX, Child, Failed
from tests.support import eventually


def found(child: Child) -> bytes:
    """What it finds, once it has."""
    said: list[bytes] = []

    def is_over() -> bool:
        answer = child.found()
        if answer is not None:
            said.append(answer)
        return bool(said)

    eventually(is_over)
    return said[0]


def test_a_child_says_what_it_computed_from_the_state_at_the_fork() -> None:
    """What changes afterwards is not in it."""
    state = [1, 2, 3]
    child = Child(lambda: bytes(state))
    state.append(4)
    assert found(child) == b"\x01\x02\x03"


def test_a_child_that_raises_says_why() -> None:
    """Its exception is the parent's reason."""

    def fail() -> bytes:
        raise OSError(28, "No space left on device")

    with pytest.raises(Failed, match="No space left on device"):
        found(Child(fail))


def test_a_child_that_dies_has_failed() -> None:
    """However it died."""
    with pytest.raises(Failed, match="status 9"):
        found(Child(lambda: bytes(os.kill(os.getpid(), 9) or 0)))


def test_a_child_never_waits_for_its_parent_to_read() -> None:
    """What is too long is cut off."""
    assert len(found(Child(lambda: b"x" * 1_000_000))) == FOUND_BYTES_MAX


def test_a_child_that_is_given_up_is_gone() -> None:
    """Nothing of it is left, not even its exit status."""
    child = Child(lambda: bytes(time.sleep(60) or 0))
    child.end()
    with pytest.raises(ChildProcessError):
        child.found()


def test_a_child_keeps_no_connection_alive() -> None:
    """The other end sees the end as soon as the parent has closed its own."""
    ours, theirs = socket.socketpair()
    child = Child(lambda: bytes(time.sleep(60) or 0))
    try:
        ours.close()
        theirs.settimeout(10)
        assert theirs.recv(1) == b""
    finally:
        theirs.close()
        with suppress(Failed):
            child.end()
