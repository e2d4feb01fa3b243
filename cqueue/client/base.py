"""What `Client` and `AsyncClient` have in common: how they are made, and what they remember."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from cqueue.client.carrying import ANSWER_S_DEFAULT, TIMEOUT_S_DEFAULT, Carrier
from cqueue.client.trust import Tls


class Connections(Protocol):
    """Connections to all nodes."""

    def __init__(self, tls: Tls) -> None: ...


H = TypeVar("H", bound=Connections)


class Base(Generic[H]):
    """Names the nodes and how to call them; docs/client.md#settings says what the arguments mean.

    Raises:
        ValueError: an argument is wrong.
    """

    _connections: type[H]
    _carriers: type[Carrier] = Carrier

    def __init__(
        self,
        *nodes: str,
        token: str | None = None,
        ca_file: str | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
        consumer: str | None = None,
        timeout_s: float = TIMEOUT_S_DEFAULT,
        answer_s: float = ANSWER_S_DEFAULT,
        keys: bool = True,
    ) -> None:
        self._carrier = self._carriers(
            nodes, token=token, consumer=consumer, timeout_s=timeout_s, answer_s=answer_s, keys=keys
        )
        self._http = self._connections(Tls(ca_file, cert_file, key_file))

    @property
    def index(self) -> int:
        """The highest log index of any answer; for `min_index`, where a stale read must not be older."""
        return self._carrier.index
