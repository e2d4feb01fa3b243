"""One link between two nodes, byte for byte, without a socket."""

from __future__ import annotations

import contextlib
import hmac
import struct

import msgspec
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from cqueue.replication.link import HANDSHAKE_BYTES_MAX, Link, LinkRefused, Message

SECRET = b"s" * 32
HELLO: Message = {"type": "hello", "entries": [[b"\x00\xff", 7, 1]], "nothing": None}


def given_two_ends(*, connector_secret: bytes = SECRET, private_key: bytes = b"a" * 32) -> tuple[Link, Link]:
    """A connector named b and an acceptor named a."""
    connector = Link(
        connector_secret, "b:1", {"a:1"}, private_key=private_key, frame_bytes_max=10_000, connect_to="a:1"
    )
    acceptor = Link(SECRET, "a:1", {"b:1"}, private_key=b"z" * 32, frame_bytes_max=10_000)
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
    liar = Link(b"w" * 32, "a:1", {"b:1"}, private_key=b"l" * 32, frame_bytes_max=10_000)
    pass_on(connector, liar)
    with pytest.raises(LinkRefused):
        list(connector.receive(liar.take_unsent()))
    assert connector.take_unsent() == b""


def test_a_node_that_is_no_member_is_refused() -> None:
    """The secret alone does not make a member."""
    stranger = Link(SECRET, "c:1", {"a:1"}, private_key=b"c" * 32, frame_bytes_max=10_000, connect_to="a:1")
    _, acceptor = given_two_ends()
    with pytest.raises(LinkRefused, match="no member"):
        list(acceptor.receive(stranger.take_unsent()))


def test_another_node_than_the_one_called_is_refused() -> None:
    """An address that leads to the wrong node of the same cluster."""
    connector = Link(SECRET, "c:1", {"a:1"}, private_key=b"c" * 32, frame_bytes_max=10_000, connect_to="a:1")
    other = Link(SECRET, "b:1", {"c:1"}, private_key=b"o" * 32, frame_bytes_max=10_000)
    pass_on(connector, other)
    with pytest.raises(LinkRefused, match="another node"):
        list(connector.receive(other.take_unsent()))


def test_a_proof_cannot_be_mirrored() -> None:
    """What an acceptor sends is of no use as a connector's proof, nor is its own key."""
    connector, acceptor = given_two_ends()
    pass_on(connector, acceptor)
    acceptance = acceptor.take_unsent()
    with pytest.raises(LinkRefused):
        list(acceptor.receive(struct.pack(">I", 32) + acceptance[4 + 8 + 32 :][:32]))
    mirror, _ = given_two_ends(private_key=b"z" * 32)
    _, fresh = given_two_ends()
    with pytest.raises(LinkRefused):
        list(fresh.receive(mirror.take_unsent()))


def test_a_recorded_connection_cannot_be_played_again() -> None:
    """The acceptor's key is new each time, and with it every other."""
    connector, acceptor = given_two_ends()
    recorded = pass_on(connector, acceptor)
    pass_on(acceptor, connector)
    recorded += pass_on(connector, acceptor) + connector.seal(HELLO)
    again = Link(SECRET, "a:1", {"b:1"}, private_key=b"y" * 32, frame_bytes_max=10_000)
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


class Handmade:
    """A connector made from docs/links.md alone, that may do each step wrong."""

    def __init__(self, private_key: bytes = b"h" * 32) -> None:
        self.private = X25519PrivateKey.from_private_bytes(private_key)
        self.public = self.private.public_key().public_bytes_raw()
        self.secret_key = derive(SECRET, None, b"cqueue link proof")
        self.transcript = b""
        self.keys: dict[str, AESGCM] = {}

    def greeting(self) -> bytes:
        """The first frame."""
        return frame(b"cqueue2\n" + self.public + b"b:1")

    def proof(self, acceptance: bytes, side: bytes = b"connector") -> bytes:
        """The third frame, in answer to the second."""
        body = acceptance[4:]
        theirs, proof, name = body[8:40], body[40:72], body[72:]
        self.transcript = msgspec.msgpack.encode([b"cqueue2\n", self.public, "b:1", theirs, name.decode()])
        assert proof == hmac.digest(self.secret_key, b"acceptor" + self.transcript, "sha256")
        self.secret_key += (
            b"" if self.public == bytes(32) else self.private.exchange(X25519PublicKey.from_public_bytes(theirs))
        )
        for part in ("acceptor", "connector"):
            self.keys[part] = AESGCM(derive(self.secret_key, self.transcript, b"cqueue link " + part.encode()))
        return frame(hmac.digest(self.secret_key[:32], side + self.transcript, "sha256"))

    def seal(self, count: int, plain: bytes) -> bytes:
        """The frame with this number."""
        return frame(self.keys["connector"].encrypt(struct.pack(">IQ", 0, count), plain, None))


def derive(key: bytes, salt: bytes | None, label: bytes) -> bytes:
    """HKDF-SHA-256, 32 bytes."""
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=label).derive(key)


def frame(body: bytes) -> bytes:
    """Its length, and it."""
    return struct.pack(">I", len(body)) + body


def given_a_handmade_link() -> tuple[Handmade, Link]:
    """Both ends after the handshake."""
    handmade = Handmade()
    _, acceptor = given_two_ends()
    assert list(acceptor.receive(handmade.greeting())) == []
    assert list(acceptor.receive(handmade.proof(acceptor.take_unsent()))) == []
    assert acceptor.peer == "b:1"
    return handmade, acceptor


def test_the_protocol_is_the_one_that_is_written_down() -> None:
    """Who implements docs/links.md is understood, and understands."""
    handmade, acceptor = given_a_handmade_link()
    assert list(acceptor.receive(handmade.seal(0, msgspec.msgpack.encode(HELLO)))) == [HELLO]
    sealed = acceptor.seal({"type": "answer"})
    plain = handmade.keys["acceptor"].decrypt(struct.pack(">IQ", 0, 0), sealed[4:], None)
    assert msgspec.msgpack.decode(plain) == {"type": "answer"}


def test_the_keys_need_more_than_the_secret() -> None:
    """Secret and recording do not give them: what the two ends agreed on is not in what they sent."""
    handmade, acceptor = given_a_handmade_link()
    sealed = acceptor.seal(HELLO)
    from_recording = derive(handmade.secret_key[:32], handmade.transcript, b"cqueue link acceptor")
    with pytest.raises(InvalidTag):
        AESGCM(from_recording).decrypt(struct.pack(">IQ", 0, 0), sealed[4:], None)


def test_a_key_that_would_make_theirs_known_is_refused() -> None:
    """With a point of low order the ends agree on zero, which a recording gives away."""
    handmade = Handmade()
    handmade.public = bytes(32)
    _, acceptor = given_two_ends()
    list(acceptor.receive(handmade.greeting()))
    with pytest.raises(LinkRefused, match="its key is none"):
        list(acceptor.receive(handmade.proof(acceptor.take_unsent())))
    assert not acceptor.is_open


@pytest.mark.parametrize(
    "plain",
    [b"\x91" * 100_000 + b"\xc0", b"\xdd\xff\xff\xff\xff", b"\x01", b"", b"\x80\x80", b"\xc1", b"\x81\xa1\xff\x01"],
)
def test_a_frame_that_is_no_message_ends_the_link(plain: bytes) -> None:
    """Also when it comes from somebody with the keys: nested too deep, cut off, no map, nothing, no text."""
    handmade, acceptor = given_a_handmade_link()
    acceptor._frame_bytes_max = 1 << 20
    with pytest.raises(LinkRefused, match="a frame is no message"):
        list(acceptor.receive(handmade.seal(0, plain)))


@pytest.mark.parametrize("first", [0x15, 0x16])
def test_an_end_that_speaks_tls_is_told_from_noise(first: int) -> None:
    """What TLS says first is an alert or a handshake, and then its version."""
    _, acceptor = given_two_ends()
    with pytest.raises(LinkRefused, match="it speaks TLS, and this node does not"):
        list(acceptor.receive(bytes([first, 3, 1, 2, 0])))


@given(st.binary(max_size=2_000))
def test_random_bytes_are_refused_or_waited_on_and_never_believed(data: bytes) -> None:
    """Whatever comes, nobody is let in and nothing else is raised."""
    _, acceptor = given_two_ends()
    with contextlib.suppress(LinkRefused):
        assert list(acceptor.receive(data)) == []
    assert not acceptor.is_open


@given(data=st.data())
def test_a_stream_that_was_changed_is_believed_up_to_the_change_and_no_further(data: st.DataObject) -> None:
    """Bytes changed, cut out, put in or repeated at any place of either end's stream, in any pieces."""
    connector, acceptor = given_two_ends()
    greeting = connector.take_unsent()
    list(acceptor.receive(greeting))
    acceptance = acceptor.take_unsent()
    list(connector.receive(acceptance))
    sent: list[Message] = [{"type": "n", "n": number, "data": b"x" * number * 30} for number in range(4)]
    if data.draw(st.booleans(), label="to the acceptor"):
        stream = greeting + connector.take_unsent() + b"".join(map(connector.seal, sent))
        _, victim = given_two_ends()
    else:
        list(acceptor.receive(connector.take_unsent()))
        stream = acceptance + b"".join(map(acceptor.seal, sent))
        victim, _ = given_two_ends()
    start = data.draw(st.integers(0, len(stream)), label="start")
    end = data.draw(st.integers(start, min(len(stream), start + 80)), label="end")
    put = data.draw(st.binary(max_size=80) | st.just(stream[start:end] * 2), label="put")
    changed = stream[:start] + put + stream[end:]
    got: list[Message] = []
    with contextlib.suppress(LinkRefused):
        while changed:
            size = data.draw(st.integers(1, 400), label="size")
            got += victim.receive(changed[:size])
            changed = changed[size:]
            assert len(victim._buffer) <= 4 + (10_000 if victim.is_open else HANDSHAKE_BYTES_MAX)
    assert got == sent[: len(got)]
