"""Heads of requests: what a client sends with every request is read once and remembered.

A client that keeps its connection sends the same lines again and again; only the first differs, and a length.
To split and check them anew is the largest part of what gunicorn's parser does for a short request.
"""

from __future__ import annotations

from typing import Final

from gunicorn.http import message

KEPT_MAX: Final = 512
"""So many heads are remembered; with more of them in use, they are forgotten and begun anew."""
KEPT_BYTES_MAX: Final = 1024
"""A longer one is read each time."""

_Header = tuple[str, str]

_known: dict[tuple[bytes, tuple[int, int]], tuple[list[_Header], bool, str]] = {}
"""{(lines, version of HTTP): (headers, whether the client waits for a 100, scheme)}."""


class Request(message.Request):  # type: ignore[misc] # gunicorn has no types
    """gunicorn's. What it makes of a head depends on who sent it only where proxies are trusted, and none is here."""

    scheme: str
    _expected_100_continue: bool

    def parse_headers(self, data: bytes, from_trailer: bool = False) -> list[_Header]:  # noqa: FBT001, FBT002 - gunicorn's
        """The headers in `data`, by upper-case name.

        Raises:
            ParseException: see gunicorn.
        """
        if from_trailer or len(data) > KEPT_BYTES_MAX:
            return list(super().parse_headers(data, from_trailer))
        key = data, self.version
        known = _known.get(key)
        if known is None:
            headers: list[_Header] = super().parse_headers(data, from_trailer)
            if len(_known) == KEPT_MAX:
                _known.clear()
            _known[key] = headers, self._expected_100_continue, self.scheme
            return headers
        headers, self._expected_100_continue, self.scheme = known
        return headers
