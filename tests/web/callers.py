"""Callers with tokens, for tests of the gate: a tokens file, and clients in one process that show them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from werkzeug.test import Client, TestResponse

from cqueue.config import Settings
from cqueue.web.app import create_app
from cqueue.web.auth import tokens
from cqueue.web.auth.access import Access
from cqueue.web.auth.principals import Role
from cqueue.web.link import ReplicaLink
from tests.web.conftest import ask_until_connected
from tests.web.replica import StandInReplica

if TYPE_CHECKING:
    from flask import Flask


class Callers:
    """A tokens file at `path`, and the secret of each token in it by its name."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "tokens.toml"
        self.secrets: dict[str, str] = {}

    def add(self, name: str, *roles: Role, queues: tuple[str, ...] = ("*",)) -> str:
        """One more token; its secret."""
        secret, body = tokens.new(name, list(roles), list(queues), None)
        tokens.append(self.path, body)
        self.secrets[name] = secret
        return secret

    def header(self, name: str) -> dict[str, str]:
        """What a caller of this name sends."""
        return {"Authorization": f"Bearer {self.secrets[name]}"}


class Door:
    """An application with a gate, and whoever comes to it."""

    def __init__(self, app: Flask, callers: Callers) -> None:
        self.app = app
        self.callers = callers
        self._client = Client(app)

    def call(
        self, name: str | None, method: str, path: str, value: Any = None, headers: dict[str, str] | None = None
    ) -> TestResponse:
        """One request of the caller of this name, None: of nobody, with `value` as its JSON body."""
        shown = {} if name is None else self.callers.header(name)
        body = {} if value is None else {"data": json.dumps(value), "content_type": "application/json"}
        # Buffered: an answer that is not read to its end gives its jobs back.
        return self._client.open(
            path,
            method=method,
            headers={**shown, **(headers or {})},
            environ_base={"REMOTE_ADDR": "127.0.0.1"},
            buffered=True,
            **body,
        )


@contextmanager
def given_door(callers: Callers, replica_path: Path, **settings: Any) -> Iterator[Door]:
    """The application over a replica that need not be there."""
    with closing(ReplicaLink(str(replica_path), request_timeout_s=10)) as link:
        yield Door(_app(link, Settings(tokens=str(callers.path), **settings)), callers)


@contextmanager
def given_open_door(callers: Callers, replica: StandInReplica, **settings: Any) -> Iterator[Door]:
    """The same over a replica that is there."""
    with closing(ReplicaLink(str(replica.path), request_timeout_s=10)) as link:
        ask_until_connected(link)
        yield Door(_app(link, Settings(tokens=str(callers.path), **settings)), callers)


def _app(link: ReplicaLink, settings: Settings) -> Flask:
    access = Access(settings)
    access.load_keys()
    return create_app(link, settings, access)
