"""The parts of reading a request that need no server."""

from __future__ import annotations

import io
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cqueue.errors import Refused
from cqueue.web import body
from cqueue.web.shapes.fields import time_text


def _nested(levels: int, opening: bytes, closing: bytes) -> bytes:
    return opening * levels + b"0" + closing * levels


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'["[{",', b"]")])
def test_nesting_is_allowed_up_to_the_limit_and_not_beyond(opening: bytes, closing: bytes) -> None:
    """Exactly; what stands in strings does not count."""
    body.check_nesting(_nested(body.NESTING_LEVELS_MAX, opening, closing), "", "payload")
    with pytest.raises(Refused) as refused:
        body.check_nesting(_nested(body.NESTING_LEVELS_MAX + 1, opening, closing), "/3", "payload")
    assert (refused.value.code, refused.value.pointer) == ("invalid_json", "/3/payload")


def test_wide_is_not_deep() -> None:
    """Any number of small things side by side."""
    body.check_nesting(b"[" + b",".join([b'{"a":[]}'] * 10_000) + b"]", "", "payload")


@given(st.integers(min_value=0, max_value=4_102_444_800_000))
def test_times_are_rfc_3339_in_utc_to_the_millisecond(ms: int) -> None:
    """And mean the same instant."""
    text = time_text(ms)
    assert text[19] == "."
    assert text.endswith("Z")
    assert round(datetime.fromisoformat(text).timestamp() * 1000) == ms


def test_times_read_like_the_documents() -> None:
    """An example by hand."""
    assert time_text(1_767_323_045_678) == "2026-01-02T03:04:05.678Z"


def test_no_more_than_the_limit_is_read() -> None:
    """Of a body that does not say how long it is."""
    stream = io.BytesIO(b"x" * 100)
    with pytest.raises(Refused):
        body.read({"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input": stream}, 10)
    assert stream.tell() == 11
