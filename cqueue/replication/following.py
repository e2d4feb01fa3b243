"""Following what changes: a question for changes after a place, answered when there are some.

Whoever follows asks again from where the answer left off, when it is ready for more. So nothing is
pushed to anybody, nothing is buffered for anybody, and who is too slow finds that the window has
moved on. It knows no job and no log, only the feed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cqueue import protocol
from cqueue.core.feed import Changed, Feed, Followed, Place, Wanted, decode_wanted
from cqueue.core.machine import Applied
from cqueue.protocol import Failure
from cqueue.replication.clock import Clock
from cqueue.replication.requests import Request

FOLLOWERS_MAX: Final = 10_000
"""Questions that may wait for changes on one node."""


@dataclass(slots=True, eq=False)
class _Follower:
    """One question. after: how far it has been looked for what it wants; until_s: when it is answered anyway."""

    request: Request
    wanted: Wanted
    after: Place
    until_s: float


class Followers:
    """Questions that wait; see `Errand`.

    waiting: those of this node, oldest first. seen: the place up to which they have looked.

    Args:
        clock: the node's.
        feed: the present one; None: changes are not kept.
    """

    def __init__(self, clock: Clock, feed: Callable[[], Feed | None]) -> None:
        self._clock = clock
        self._feed = feed
        self._waiting: deque[_Follower] = deque()
        self._seen: tuple[int, Place] | None = None

    @property
    def is_stirred(self) -> bool:
        """Whether there is something that those who wait have not been told."""
        feed = self._feed()
        return bool(self._waiting) and feed is not None and self._seen != (id(feed), feed.last)

    def take(self, request: Request, index: int, wait_ms: int) -> None:
        """See `Errand`."""
        feed, wanted = self._feed(), decode_wanted(request.body)
        if feed is None:
            self._refuse(request, index, Failure("events_off", "this node keeps no events: --events-max is 0"))
        elif len(self._waiting) >= FOLLOWERS_MAX:
            self._refuse(request, index, Failure("too_many_followers", f"{FOLLOWERS_MAX} wait for events already", 1))
        else:
            until_s = self._clock.monotonic_s() + wait_ms / 1000
            follower = _Follower(request, wanted, feed.last if wanted.after is None else wanted.after, until_s)
            if not self._look(follower, feed, index):
                self._waiting.append(follower)

    def moved(self, index: int, applied: Applied) -> None:
        """See `Errand`. Looked for is once a round, however many entries it brings."""

    def advance(self, index: int, now_s: float) -> None:
        """See `Errand`."""
        feed = self._feed()
        if not self._waiting or feed is None:
            return
        has_news = self.is_stirred
        self._seen = id(feed), feed.last
        for _ in range(len(self._waiting)):
            follower = self._waiting.popleft()
            if follower.request.done or (has_news and self._look(follower, feed, index)):
                continue
            if follower.until_s <= now_s:
                self._answer(follower, [], index)
            else:
                self._waiting.append(follower)

    def stop(self, request: Request, index: int) -> None:
        """See `Errand`."""
        for follower in [each for each in self._waiting if each.request is request]:
            self._waiting.remove(follower)
            self._answer(follower, [], index)

    def _look(self, follower: _Follower, feed: Feed, index: int) -> bool:
        """Look for what is new; whether it was answered."""
        # Who comes from a node that is further waits here until this one has got there, too.
        if follower.after < feed.since:
            since = f"{feed.since[0]}.{feed.since[1]}"
            why = f"this node no longer has the changes after {_text(follower.after)}; it has those after {since}"
            self._refuse(follower.request, index, Failure("events_gone", why))
            return True
        found, follower.after = feed.look(follower.wanted, follower.after)
        if found or follower.after < feed.last:
            self._answer(follower, found, index)
            return True
        return False

    def _answer(self, follower: _Follower, found: list[Changed], index: int) -> None:
        follower.request.answer(protocol.RESULT, index, protocol.encode(Followed(found, follower.after)))

    def _refuse(self, request: Request, index: int, failure: Failure) -> None:
        request.answer(
            protocol.UNAVAILABLE if failure.retry_after_s else protocol.REFUSED, index, protocol.encode(failure)
        )


def _text(place: Place) -> str:
    return f"{place[0]}.{place[1]}"
