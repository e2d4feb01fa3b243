"""The document that the code makes, and where its copies are."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cqueue.config import Settings
from cqueue.web.app import create_app
from cqueue.web.link import ReplicaLink
from cqueue.web.openapi import document_json

if TYPE_CHECKING:
    from flask import Flask

DOCS: Final = Path(__file__).parents[2] / "docs"
COPY: Final = DOCS / "openapi.json"
"""What the code makes."""
RELEASED: Final = DOCS / "openapi-released.json"
"""What it made when it was last released."""


def given_app() -> Flask:
    """The application, with a replica that never answers."""
    with closing(ReplicaLink("/nowhere", request_timeout_s=1)) as link:
        return create_app(link, Settings())


def made() -> bytes:
    """The document, as it is served."""
    return document_json(given_app()) + b"\n"
