"""The reference: one Flask route with a fixed answer, served exactly as cqueue's web part is.

Same gunicorn options, same worker class, same number of workers; no replica behind it. What this
costs, any Flask application on these settings costs. `python -m benchmarks.bare PORT` runs it.
"""

from __future__ import annotations

import sys
from typing import Any

from flask import Flask, Response
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from cqueue import logs, node
from cqueue.config import Settings, load
from cqueue.web.reading import Reader
from cqueue.web.server import gunicorn_options

PATH = "/bare"
ANSWER = b'{"id":1}\n'


class _Application(BaseApplication):  # type: ignore[misc] # gunicorn has no types
    tls = None

    def __init__(self, settings: Settings, listen_fd: int) -> None:
        self._options = gunicorn_options(settings, listen_fd)
        self._read_timeout_s = settings.read_timeout_s
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        app = Flask("bare", static_folder=None)

        @app.put(PATH)
        def bare() -> Response:
            return Response(ANSWER, mimetype="application/json")

        return app

    def reader(self, connection: Any) -> Reader:
        """The same as cqueue's, but nothing is ever too much."""
        return Reader(connection, self._read_timeout_s, None)

    def drain(self) -> None:
        """Nothing ever waits here."""


def main(port: str) -> None:
    """Serve on 127.0.0.1 until SIGTERM."""
    settings = load({"port": port, "log_level": "warning"}, {})
    logs.configure(settings.log_level, settings.log_format)
    listener: Any = node.bind(settings)
    Arbiter(_Application(settings, listener.fileno())).run()


if __name__ == "__main__":
    main(sys.argv[1])
