"""The connections of both clients: what they show, whom they trust, and that they send nothing twice by themselves."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from cqueue import AsyncClient, Client
from cqueue.errors import OutcomeUnknown, Refused, Unavailable
from tests.cluster.fixtures import StartNode
from tests.replication.authority import Authority
from tests.web.callers import Callers

ADDED = b'HTTP/1.1 201 CREATED\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n{"id":1}'


def blocking(address: str, **settings: Any) -> None:
    """Add two jobs on one connection."""
    with Client(address, **settings) as client:
        client.enqueue()
        client.enqueue()


def awaited(address: str, **settings: Any) -> None:
    """The same with the other client."""

    async def main() -> None:
        async with AsyncClient(address, **settings) as client:
            await client.enqueue()
            await client.enqueue()

    asyncio.run(main())


both = pytest.mark.parametrize("add_two", [blocking, awaited])
AddTwo = Callable[..., None]


class Listener:
    """Something that is no node: `serve` is given each connection. heads: of the requests it took."""

    def __init__(self, answers: int, tls: ssl.SSLContext | None = None) -> None:
        self.heads: list[bytes] = []
        self._answers, self._tls = answers, tls
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def run(self) -> None:
        """Answer so many requests of each connection; close it at the next one, over TLS with an odd word."""
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                try:
                    self._serve(
                        connection if self._tls is None else self._tls.wrap_socket(connection, server_side=True)
                    )
                except OSError:
                    continue  # it did not like the certificate

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as received:
            for number in range(self._answers + 1):
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    line = received.readline()
                    if not line:
                        return
                    head += line
                length = next(
                    int(line[15:]) for line in head.lower().splitlines() if line.startswith(b"content-length:")
                )
                received.read(length)
                self.heads.append(head)
                if number < self._answers:
                    connection.sendall(ADDED)
                elif self._tls is not None:
                    os.write(connection.fileno(), b"no record of TLS")

    def close(self) -> None:
        """Listen no more."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@contextmanager
def listening(answers: int, tls: ssl.SSLContext | None = None) -> Iterator[Listener]:
    """A listener in a thread of its own."""
    listener = Listener(answers, tls)
    thread = threading.Thread(target=listener.run)
    thread.start()
    try:
        yield listener
    finally:
        listener.close()
        thread.join()


@both
def test_a_kept_connection_that_breaks_under_a_request_is_not_tried_again_by_itself(add_two: AddTwo) -> None:
    """Whether to is decided where keys are known: without keys the caller is told."""
    with listening(answers=1) as listener:
        with pytest.raises(OutcomeUnknown):
            add_two(listener.address, keys=False)
        assert len(listener.heads) == 2


@both
def test_tls_that_breaks_in_the_answer_does_not_mean_that_nothing_was_done(add_two: AddTwo, tmp_path: Path) -> None:
    """The request had arrived by then."""
    authority = Authority(tmp_path, "ca")
    files = authority.given_files("127.0.0.1")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(files.cert, files.key)
    with listening(answers=0, tls=tls) as listener:
        with pytest.raises(OutcomeUnknown):
            add_two(f"https://{listener.address}", ca_file=str(authority.path), keys=False)
        assert len(listener.heads) == 1


@both
def test_connections_are_kept(add_two: AddTwo) -> None:
    """Two calls, one connection."""
    with listening(answers=2) as listener:
        add_two(listener.address)
        assert len(listener.heads) == 2


@both
def test_certificates_are_checked_against_the_file_that_was_named(add_two: AddTwo, tmp_path: Path) -> None:
    """And one that another authority signed ends it before anything is sent."""
    authority, other = Authority(tmp_path, "ca"), Authority(tmp_path, "other")
    files = authority.given_files("127.0.0.1")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(files.cert, files.key)
    with listening(answers=2, tls=tls) as listener:
        add_two(f"https://{listener.address}", ca_file=str(authority.path))
        assert len(listener.heads) == 2
        with pytest.raises(Unavailable, match=r"(?i)certificate"):
            add_two(f"https://{listener.address}", ca_file=str(other.path), timeout_s=0.1)
        assert len(listener.heads) == 2


@both
def test_a_certificate_is_shown_to_who_asks_for_it(add_two: AddTwo, tmp_path: Path) -> None:
    """And without one nothing is sent."""
    authority = Authority(tmp_path, "ca")
    files, own = authority.given_files("127.0.0.1"), authority.given_files("client", name="client")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.path))
    tls.load_cert_chain(files.cert, files.key)
    tls.verify_mode = ssl.CERT_REQUIRED
    with listening(answers=2, tls=tls) as listener:
        add_two(
            f"https://{listener.address}", ca_file=str(authority.path), cert_file=str(own.cert), key_file=str(own.key)
        )
        assert len(listener.heads) == 2
        with pytest.raises((Unavailable, OutcomeUnknown)):
            add_two(f"https://{listener.address}", ca_file=str(authority.path), timeout_s=0.1)
        assert len(listener.heads) == 2


@pytest.mark.cluster
def test_a_token_is_shown_with_everything(start_node: StartNode, tmp_path: Path) -> None:
    """With calls, events and streams; without it they are refused, and say why."""
    callers = Callers(tmp_path)
    token = callers.add("ann", "operator")
    node = start_node(tokens=str(callers.path))
    address = f"{node.host}:{node.port}"
    with Client(address, token=token) as client, client.stream() as stream:
        stream.enqueue()
        assert next(stream).id == 1
        with closing(client.events(after="0.0")) as events:
            assert next(events).id == 1
    with Client(address) as client, client.stream() as stream, closing(client.events()) as events:
        for ask in (client.stats, lambda: next(stream), lambda: next(events)):
            with pytest.raises(Refused) as caught:
                ask()
            assert caught.value.code == "unauthenticated"


@pytest.mark.cluster
def test_threads_may_share_a_client(start_node: StartNode) -> None:
    """More of them than connections are kept."""
    node = start_node()
    with Client(f"{node.host}:{node.port}") as client, ThreadPoolExecutor(40) as pool:
        ids = [added.id for added in pool.map(client.enqueue, range(400))]
    assert sorted(ids) == list(range(1, 401))
