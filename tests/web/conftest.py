"""One web process for all tests of a pytest process; each test finds an empty queue behind it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import gevent
import pytest

from cqueue import protocol
from cqueue.config import Settings
from cqueue.errors import Unavailable
from cqueue.web.app import create_app
from cqueue.web.link import ReplicaLink
from tests.support import eventually
from tests.web.replica import StandInReplica
from tests.web.web import Web

if TYPE_CHECKING:
    from flask import Flask


@pytest.fixture(scope="session")
def running_web() -> Iterator[Web]:
    """The web, started once."""
    # Not tmp_path: a unix socket's path has 107 characters at most.
    with tempfile.TemporaryDirectory(prefix="cqueue-") as name:
        directory = Path(name)
        replica = StandInReplica(directory / "replica.sock")
        replica.start()
        web = Web(replica, directory, {"body_bytes_max": 256 * 1024})
        try:
            web.start()
            eventually(lambda: web.send("GET", "/readyz").status == 200)
            yield web
        finally:
            web.stop()
            replica.stop()


@pytest.fixture
def web(running_web: Web) -> Web:
    """The web in front of an empty queue."""
    running_web.replica.reset()
    return running_web


@pytest.fixture
def replica(web: Web) -> StandInReplica:
    """The replica behind `web`."""
    return web.replica


@pytest.fixture
def own_replica() -> Iterator[StandInReplica]:
    """A replica for this test alone, already listening."""
    with tempfile.TemporaryDirectory(prefix="cqueue-") as name:
        replica = StandInReplica(Path(name) / "replica.sock")
        replica.start()
        try:
            yield replica
        finally:
            replica.stop()


@pytest.fixture
def own_web(own_replica: StandInReplica) -> Iterator[Web]:
    """A web for this test alone: it may be stopped, killed and misled."""
    web = Web(own_replica, own_replica.path.parent, {"request_timeout_s": 1})
    try:
        web.start()
        eventually(lambda: web.send("GET", "/readyz").status == 200)
        yield web
    finally:
        web.stop()


@pytest.fixture
def link(own_replica: StandInReplica) -> Iterator[ReplicaLink]:
    """A connected link, on an event loop of this process (nothing is patched)."""
    link = ReplicaLink(str(own_replica.path), request_timeout_s=30)
    try:
        ask_until_connected(link)
        yield link
    finally:
        link.close()


def ask_until_connected(link: ReplicaLink) -> None:
    """Ask for the status until there is one."""
    with gevent.Timeout(30):
        while True:
            try:
                link.ask(protocol.STATUS)
            except Unavailable:
                gevent.sleep(0.01)
            else:
                return


@contextmanager
def given_app(*allowed_origins: str) -> Iterator[Flask]:
    """An application in front of an empty queue of its own."""
    with tempfile.TemporaryDirectory(prefix="cqueue-") as name:
        replica = StandInReplica(Path(name) / "replica.sock")
        replica.start()
        try:
            with closing(ReplicaLink(str(replica.path), request_timeout_s=10)) as link:
                ask_until_connected(link)
                yield create_app(link, Settings(body_bytes_max=1_024, allowed_origins=allowed_origins))
        finally:
            replica.stop()
