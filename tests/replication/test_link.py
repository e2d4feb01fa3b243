"""One link between two nodes, byte for byte, without a socket."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cqueue.replication.link import HANDSHAKE_BYTES_MAX, Link, LinkRefused, Message

SECRET = b"s" * 32
HELLO: Message = {"type": "hello", "entries": [[b"\x00\xff", 7, 1]], "nothing": None}


def given_two_ends(*, connector_secret: bytes = SECRET, nonce: bytes = b"a" * 32) -> tuple[Link, Link]:
    """A connector named b and an acceptor named a."""
    connector = Link(connector_secret, "b:1", {"a:1"}, nonce=nonce, frame_bytes_max=10_000, connect_to="a:1")
    acceptor = Link(SECRET, "a:1", {"b:1"}, nonce=b"z" * 32, frame_bytes_max=10_000)
    return connector, acceptor


def pass_on(one: Link, other: Link) -> bytes:
    """Give `other` what `one` wants sent; returns it."""
    data = one.take_unsent()
    assert list(other.receive(data)) == []
    return data


def given_an_open_link() -> tuple[Link, Link]:
    """Both ends after the handshake."""
    connector, acceptor = given_two_ends()
    pass_on(connector, acceptor)
    pass_on(acceptor, connector)
    pass_on(connector, acceptor)
    assert (connector.peer, acceptor.peer) == ("a:1", "b:1")
    return connector, acceptor


def test_two_nodes_with_the_same_secret_understand_each_other() -> None:
    """Messages arrive as they were, both ways, in order."""
    connector, acceptor = given_an_open_link()
    assert list(acceptor.receive(connector.seal(HELLO) + connector.seal({"type": "two"}))) == [HELLO, {"type": "two"}]
    assert list(connector.receive(acceptor.seal(HELLO))) == [HELLO]


@given(st.lists(st.integers(1, 40), max_size=200))
def test_it_does_not_matter_how_the_bytes_are_cut(sizes: list[int]) -> None:
    """A stream has no borders."""
    connector, acceptor = given_an_open_link()
    stream = b"".join(connector.seal({"type": "n", "n": number}) for number in range(20))
    got = []
    for size in sizes:
        got += list(acceptor.receive(stream[:size]))
        stream = stream[size:]
    got += list(acceptor.receive(stream))
    assert [message["n"] for message in got] == list(range(20))


def test_a_connector_without_the_secret_is_refused_before_it_can_say_anything() -> None:
    """It cannot even check the acceptor's proof; if it does not care, its own proof is wrong."""
    connector, acceptor = given_two_ends(connector_secret=b"w" * 32)
    pass_on(connector, acceptor)
    with pytest.raises(LinkRefused, match="secret"):
        list(connector.receive(acceptor.take_unsent()))
    with pytest.raises(LinkRefused, match="secret"):
        list(acceptor.receive(struct.pack(">I", 32) + b"p" * 32))
    assert acceptor.peer is None


def test_an_acceptor_without_the_secret_gets_no_proof() -> None:
    """A connector shows its proof only to one that has shown its own."""
    connector, _ = given_two_ends()
    liar = Link(b"w" * 32, "a:1", {"b:1"}, nonce=b"l" * 32, frame_bytes_max=10_000)
    pass_on(connector, liar)
    with pytest.raises(LinkRefused):
        list(connector.receive(liar.take_unsent()))
    assert connector.take_unsent() == b""


def test_a_node_that_is_no_member_is_refused() -> None:
    """The secret alone does not make a member."""
    stranger = Link(SECRET, "c:1", {"a:1"}, nonce=b"c" * 32, frame_bytes_max=10_000, connect_to="a:1")
    _, acceptor = given_two_ends()
    with pytest.raises(LinkRefused, match="no member"):
        list(acceptor.receive(stranger.take_unsent()))


def test_another_node_than_the_one_called_is_refused() -> None:
    """An address that leads to the wrong node of the same cluster."""
    connector = Link(SECRET, "c:1", {"a:1"}, nonce=b"c" * 32, frame_bytes_max=10_000, connect_to="a:1")
    other = Link(SECRET, "b:1", {"c:1"}, nonce=b"o" * 32, frame_bytes_max=10_000)
    pass_on(connector, other)
    with pytest.raises(LinkRefused, match="another node"):
        list(connector.receive(other.take_unsent()))


def test_a_proof_cannot_be_mirrored() -> None:
    """What an acceptor sends is of no use as a connector's proof, nor is its own nonce."""
    connector, acceptor = given_two_ends()
    pass_on(connector, acceptor)
    acceptance = acceptor.take_unsent()
    with pytest.raises(LinkRefused):
        list(acceptor.receive(struct.pack(">I", 32) + acceptance[4 + 8 + 32 :][:32]))
    mirror, _ = given_two_ends(nonce=b"z" * 32)
    _, fresh = given_two_ends()
    with pytest.raises(LinkRefused):
        list(fresh.receive(mirror.take_unsent()))


def test_a_recorded_connection_cannot_be_played_again() -> None:
    """The acceptor's nonce is new each time, and with it every key."""
    connector, acceptor = given_two_ends()
    recorded = pass_on(connector, acceptor)
    pass_on(acceptor, connector)
    recorded += pass_on(connector, acceptor) + connector.seal(HELLO)
    again = Link(SECRET, "a:1", {"b:1"}, nonce=b"y" * 32, frame_bytes_max=10_000)
    with pytest.raises(LinkRefused):
        list(again.receive(recorded))


@pytest.mark.parametrize("change", ["repeated", "dropped", "swapped", "flipped"])
def test_a_frame_that_was_tampered_with_ends_the_link(change: str) -> None:
    """Each frame has its place in the stream and its tag."""
    connector, acceptor = given_an_open_link()
    first, second = connector.seal({"type": "1"}), connector.seal({"type": "2"})
    flipped = first[:-1] + bytes([first[-1] ^ 1])
    stream = {"repeated": first + first, "dropped": second, "swapped": second + first, "flipped": flipped}[change]
    with pytest.raises(LinkRefused, match="changed, repeated or is missing"):
        list(acceptor.receive(stream))


def test_a_long_frame_is_refused_by_its_length_alone() -> None:
    """Nothing is buffered for it: a gigabyte costs four bytes."""
    _, acceptor = given_two_ends()
    with pytest.raises(LinkRefused, match="a frame of"):
        list(acceptor.receive(struct.pack(">I", HANDSHAKE_BYTES_MAX + 1)))
    _, acceptor = given_an_open_link()
    with pytest.raises(LinkRefused, match="a frame of 1073741824 bytes"):
        list(acceptor.receive(struct.pack(">I", 1 << 30)))


@given(st.binary(max_size=2_000))
def test_random_bytes_are_refused_or_waited_on_and_never_believed(data: bytes) -> None:
    """Whatever comes, nobody is let in and nothing else is raised."""
    _, acceptor = given_two_ends()
    with contextlib.suppress(LinkRefused):
        assert list(acceptor.receive(data)) == []
    assert not acceptor.is_open
