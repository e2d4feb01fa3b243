"""An HTTP client for tests that must know exactly what an answer, or its absence, says of a request.

It never repeats a request by itself: `ask` sends once. `call` repeats where that is safe, and only
there: after 503 (nothing was done) and where the request never left this end. A request that was
sent and got no answer has an unknown outcome, and is never counted as done or as not done.
"""

from __future__ import annotations

import http.client
import json
import select
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from tests.support import eventually

REQUEST_S: Final = 40.0
"""Longer than a node takes to give a request up: its own answer says more than a time-out here."""
CALL_S: Final = 60.0
"""How long `call` goes on: far above what an election takes, as the machine may be busy."""
_JSON: Final = {"Content-Type": "application/json"}


class Unreachable(Exception):
    """No answer came."""


class NotSent(Unreachable):
    """The request never left this end: nothing was done, and it may be sent again."""


class NoAnswer(Unreachable):
    """The request was sent, or part of it: whether the node acted on it is unknown."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node answered. data: the body's bytes; headers: names in lower case."""

    status: int
    headers: Mapping[str, str]
    data: bytes

    @property
    def body(self) -> Any:
        """The body as JSON; None where there is none."""
        return json.loads(self.data) if self.data else None

    @property
    def did_nothing(self) -> bool:
        """Whether it says that nothing was done and that the request may be sent again."""
        return self.status == 503

    @property
    def is_unknown(self) -> bool:
        """Whether it says that the request may or may not have been done."""
        return self.status == 504


class Client:
    """Talks to one node at `host:port`, and waits `patience_s` for an answer; threads may share it.

    tls: what it speaks TLS with; None: it does not.
    """

    def __init__(
        self, host: str, port: int, *, patience_s: float = REQUEST_S, tls: ssl.SSLContext | None = None
    ) -> None:
        self._host, self._port, self._tls = host, port, tls
        self.url = f"{'http' if tls is None else 'https'}://{host}:{port}"
        self._http = urllib3.PoolManager(
            maxsize=32,
            retries=False,
            timeout=urllib3.Timeout(connect=patience_s, read=patience_s),
            ssl_context=tls,
        )

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Send one request once; `body` goes as JSON unless it is None.

        Raises:
            NotSent: there was no connection to send it on.
            NoAnswer: it was cut off, or took too long.
        """
        sent = dict(headers or {})
        data = None
        if body is not None:
            data, sent = json.dumps(body).encode(), _JSON | sent
        try:
            answer = self._http.request(method, self.url + path, body=data, headers=sent)
        except (NewConnectionError, ConnectTimeoutError) as error:
            raise NotSent(str(error)) from error
        except HTTPError as error:
            raise NoAnswer(repr(error)) from error
        return Answer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.data)

    def call(self, method: str, path: str, body: Any = None, *, within_s: float = CALL_S) -> Answer:
        """As `ask`, and again for as long as nothing was done, so that a node may come up or find a leader.

        Raises:
            AssertionError: still nothing was done after `within_s` seconds.
            NoAnswer: the outcome is unknown.
        """
        return eventually(partial(self._done, method, path, body), within_s=within_s, ignoring=NotSent)

    def _done(self, method: str, path: str, body: Any) -> Answer:
        answer = self.ask(method, path, body)
        if answer.did_nothing:
            assert "retry-after" in answer.headers, answer
            raise NotSent(answer.data.decode())
        return answer

    def send(self, method: str, path: str, body: Any = None) -> InFlight:
        """Send a request and do not wait for its answer; returns when the kernel has taken all of it.

        Raises:
            NotSent: there was no connection to send it on.
        """
        data = b"" if body is None else json.dumps(body).encode()
        return InFlight(self._connection(), method, path, data=data, first=data)

    def send_part(self, method: str, path: str, body: Any) -> tuple[InFlight, bytes]:
        """Send a request without the last byte of its body, which is for `InFlight.finish`.

        Returns when the node says that it is about to read the body.
        """
        data = json.dumps(body).encode()
        expecting = {"Expect": "100-continue"}
        flight = InFlight(self._connection(), method, path, data=data, first=b"", headers=expecting)
        eventually(flight.is_answered, within_s=CALL_S)
        flight.finish(data[:-1])
        return flight, data[-1:]

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=REQUEST_S)
        return http.client.HTTPSConnection(self._host, self._port, timeout=REQUEST_S, context=self._tls)

    def close(self) -> None:
        """Close the connections that are idle; there may be others later."""
        # To clear alone leaves them open until the collector comes by.
        self._http.connection_from_host(self._host, self._port).close()
        self._http.clear()


class InFlight:
    """A request on its way, on a connection of its own.

    Its head announces all of `data`; `first` of it is sent along.
    """

    def __init__(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        *,
        data: bytes,
        first: bytes,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._connection = connection
        try:
            self._connection.connect()
        except OSError as error:
            self._connection.close()
            raise NotSent(str(error)) from error
        self._connection.putrequest(method, path)
        if data:
            self._connection.putheader("Content-Type", "application/json")
            self._connection.putheader("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self._connection.putheader(name, value)
        self._connection.endheaders(first or None)

    def finish(self, rest: bytes) -> None:
        """Send more of the body."""
        self._connection.send(rest)

    def is_answered(self) -> bool:
        """Whether an answer (or the word to go on, or the end of the connection) has arrived."""
        return bool(select.select([self._connection.sock], [], [], 0)[0])

    def answer(self) -> Answer:
        """Wait for the answer.

        Raises:
            NoAnswer: it was cut off, or took too long.
        """
        try:
            answer = self._connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, headers, answer.read())
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(repr(error)) from error
        finally:
            self._connection.close()
