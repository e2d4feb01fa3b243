"""What goes over `GET /stream`: messages, which are requests and answers without HTTP, and how they are written.

A frame holds one message or an array of them. The body of a message is the one that the route of
the same name takes or gives.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from cqueue.core import limits
from cqueue.core.operations import Dequeue
from cqueue.errors import Refused
from cqueue.web import body
from cqueue.web.shapes import fields
from cqueue.web.shapes.dequeue import WishBody, wish
from cqueue.web.shapes.job import JobAnswer

CREDIT_MAX: Final = 10_000
GRACE_S_DEFAULT: Final = 10
MESSAGE_ID_CHARS_MAX: Final = 128

MessageId = int | Annotated[str, Meta(max_length=MESSAGE_ID_CHARS_MAX)]


class Message(Struct, forbid_unknown_fields=True):
    """What a client sends. do: "subscribe" or a verb; id: its answer's `re`; key: as an `Idempotency-Key`."""

    do: str
    id: MessageId
    body: Raw | UnsetType = UNSET
    key: Annotated[str, Meta(max_length=limits.KEY_CHARS_MAX)] | UnsetType = UNSET


class SubscribeBody(WishBody, kw_only=True):
    """Which jobs to push. credit: how many may be unfinished at once on this connection; 0: no more.

    grace_seconds: how long the client has, once the connection is lost, to go on with its jobs elsewhere.
    """

    credit: Annotated[int, Meta(ge=0, le=CREDIT_MAX)]
    grace_seconds: fields.LeaseSeconds = GRACE_S_DEFAULT
    consumer: Annotated[str, Meta(min_length=1, max_length=limits.CONSUMER_CHARS_MAX)] | UnsetType = UNSET


class SubscribedAnswer(Struct):
    """The answer to a subscribe: what holds from now on."""

    credit: int
    grace_seconds: int


class Reply(Struct, omit_defaults=True):
    """The answer to the message `re`. retry_after: seconds."""

    re: MessageId
    status: int
    index: int | None = None
    retry_after: int | None = None
    body: Raw | UnsetType = UNSET


class Pushed(Struct, tag_field="event", tag="jobs"):
    """Jobs for the client."""

    index: int
    jobs: list[JobAnswer]


class Draining(Struct, tag_field="event", tag="drain"):
    """No more jobs come, and the connection ends: once all that it holds is settled, at the latest after `seconds`."""

    seconds: int


class Interrupted(Struct, tag_field="event", tag="interrupted"):
    """No jobs come just now; the problem says why. They come again without another subscribe."""

    body: Raw


_decode_messages = msgspec.json.Decoder(Message | list[Message]).decode
_decode_subscribe = msgspec.json.Decoder(SubscribeBody).decode
_decode_any = msgspec.json.Decoder().decode
encode = msgspec.json.Encoder().encode


class Json:
    """Text frames of JSON."""

    is_binary = False

    def read(self, frame: bytes) -> list[Message]:
        """The messages in a frame.

        Raises:
            Refused: it holds none.
        """
        messages = body.decode(_decode_messages, frame)
        return messages if isinstance(messages, list) else [messages]

    def written(self, messages: list[bytes]) -> bytes:
        """A frame of messages that are JSON."""
        return messages[0] if len(messages) == 1 else b"[%b]" % b",".join(messages)


class Msgpack(Json):
    """Binary frames of msgpack; what JSON cannot say is refused."""

    is_binary = True

    def read(self, frame: bytes) -> list[Message]:
        """See `Json`."""
        try:
            value = msgspec.msgpack.decode(frame)
            text = encode(value)
            # JSON writes bytes, times and other keys than strings as something else, and NaN as null.
            is_the_same = _decode_any(text) == value
        except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
            raise Refused(f"the frame is not msgpack of what JSON can say: {error}", code="invalid_json") from error
        if not is_the_same:
            what = "the frame holds what JSON cannot say: binary, a time, NaN or a key that is no string"
            raise Refused(what, code="invalid_json")
        return super().read(text)

    def written(self, messages: list[bytes]) -> bytes:
        """See `Json`."""
        return msgspec.msgpack.encode(_decode_any(super().written(messages)))


CODECS: Final = {"cqueue.v1": Json(), "cqueue.v1.msgpack": Msgpack()}
"""By subprotocol."""


def subscribe_of(said: Raw | UnsetType, consumer: str | None) -> tuple[SubscribeBody, Dequeue]:
    """A subscription, and the operation that hands out its jobs.

    Raises:
        Refused: a field is wrong.
    """
    asked = body.decode(_decode_subscribe, b"{}" if said is UNSET else bytes(said))
    name = consumer if asked.consumer is UNSET else fields.check_printable(asked.consumer, "/consumer")
    return asked, wish(asked, 1, name)
