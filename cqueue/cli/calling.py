"""Calls of the command line by `cqueue.Client`, and what to say of one that failed.

Commands import this when they run: its HTTP client must not be in a process that serves, where
gevent wants to patch what it uses before anyone imports it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import click
import msgspec

from cqueue.cli.options import CA_VARIABLE, NODE_VARIABLE, TOKEN_VARIABLE, At
from cqueue.client import failures
from cqueue.client.call import Call
from cqueue.client.sync import Client
from cqueue.errors import CqueueError

T = TypeVar("T")

_HINTS: Final = (
    ("unauthenticated", "", f"say --token-file FILE, or put the token into {TOKEN_VARIABLE}"),
    (failures.UNREACHABLE, "CERTIFICATE_VERIFY_FAILED", f"name its CA with --ca FILE or {CA_VARIABLE}"),
    (failures.UNREACHABLE, "WRONG_VERSION_NUMBER", "a node without --tls-cert is at http://"),
    (failures.UNREACHABLE, "", f"say where one is with --node URL or {NODE_VARIABLE}"),
    ("http_400", "", "is it at https://?"),
)
"""Code, a part of the detail, and what then may help; the first that fits is said."""


@contextmanager
def asking(at: At, *, consumer: str | None = None, keys: bool = True) -> Iterator[Client]:
    """A client of these nodes; errors leave with a hint.

    Raises:
        click.BadParameter: an option for the nodes is wrong.
        CqueueError: as for `Client`.
    """
    if any(url.startswith("https:") for url in at.urls):
        from cqueue.cli.http import tls  # noqa: PLC0415 - most nodes have no certificate

        tls(at)
    try:
        client = Client(
            *at.urls,
            token=at.token,
            ca_file=at.ca,
            cert_file=at.cert,
            key_file=at.key,
            consumer=consumer,
            timeout_s=at.retry_s,
            keys=keys,
        )
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--node") from error
    with client:
        try:
            yield client
        except CqueueError as error:
            raise hinted(error) from None


def hinted(error: CqueueError) -> CqueueError:
    """The error, with what may help, and its code."""
    hints = (hint for code, part, hint in _HINTS if error.code == code and part in error.detail)
    hint = next(hints, None)
    error.detail += f" ({error.code})" if hint is None else f"; {hint} ({error.code})"
    return error


def with_body(call: Call[T]) -> Call[tuple[bytes, T]]:
    """The same call, whose result has the answer beside it as the node sent it."""

    def read(body: bytes) -> tuple[bytes, T]:
        return body, call.read(body)

    def then(result: tuple[bytes, T], seconds: float) -> Call[tuple[bytes, T]] | None:
        following = call.then and call.then(result[1], seconds)
        return following and with_body(following)

    return Call(call.method, call.target, read, call.body, call.again, call.key, call.consumer, call.wait_s, then)


def members_of(name: str) -> Callable[[bytes], list[msgspec.Raw]]:
    """Reads a list in an answer, the members of which are as the node sent them."""

    def read(body: bytes) -> list[msgspec.Raw]:
        found: dict[str, Any] = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        return msgspec.json.decode(found[name], type=list[msgspec.Raw])

    return read
