"""Exactly once: which batches of which session have been applied.

A proposal can fail after it was in fact committed, so a replica proposes the same batch again
until it sees it applied. A *session* is one incarnation of one replica process. It numbers its
batches from 1, and each batch says "everything of mine below N is settled". Numbers below that
mark, and numbers applied before, are refused here, in the log, on every replica alike.

Source: Raft dissertation (Ongaro 2014) 6.3, with a window instead of a single last number, so
that several batches can be on their way at once and arrive in any order.
"""

from __future__ import annotations

from collections import OrderedDict

from msgspec import Struct

from cqueue.core import limits


class SessionState(Struct, array_like=True):
    """One session. `done_below`: all smaller numbers are settled; `applied`: numbers above it."""

    id: int
    done_below: int
    applied: list[int]


class Sessions:
    """{session id: SessionState}, least recently used first."""

    __slots__ = ("_by_id",)

    def __init__(self) -> None:
        self._by_id: OrderedDict[int, SessionState] = OrderedDict()

    def __contains__(self, session_id: int) -> bool:
        return session_id in self._by_id

    def accept(self, session_id: int, number: int, done_below: int) -> bool:
        """Whether batch `number` is to be applied now; if so it is remembered as applied.

        A session opens with its batch 1. Any other number of an unknown session belongs to one
        that was forgotten, and may have been applied before: it is refused.
        """
        session = self._by_id.get(session_id)
        if session is None:
            if number != 1:
                return False
            session = self._by_id[session_id] = SessionState(session_id, 1, [])
            if len(self._by_id) > limits.SESSIONS_MAX:
                self._by_id.popitem(last=False)
        elif number < session.done_below or number in session.applied:
            return False
        self._by_id.move_to_end(session_id)
        session.applied.append(number)
        if done_below > session.done_below:
            session.done_below = done_below
            session.applied = [n for n in session.applied if n >= done_below]
        return True

    def was_applied(self, session_id: int, number: int) -> bool:
        """Whether the batch has been applied, as far as is remembered."""
        session = self._by_id.get(session_id)
        return session is not None and (number < session.done_below or number in session.applied)

    def dump(self) -> list[SessionState]:
        """The sessions for a snapshot, least recently used first."""
        return list(self._by_id.values())

    @classmethod
    def load(cls, states: list[SessionState]) -> Sessions:
        """The sessions out of a snapshot."""
        sessions = cls()
        sessions._by_id.update((state.id, state) for state in states)
        return sessions
