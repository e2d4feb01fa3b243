"""Run the web as a process of its own: `python -m tests.web.serve LISTEN_FD REPLICA_PATH NAME=VALUE...`."""

from __future__ import annotations

import logging
import sys
from typing import Any

from cqueue.config import load
from cqueue.web.auth.access import Access
from cqueue.web.server import serve

if __name__ == "__main__":
    listen_fd, replica_path, *settings = sys.argv[1:]
    logging.basicConfig(level=logging.DEBUG, format="%(levelname)s %(name)s %(message)s")
    given: dict[str, Any] = dict(setting.split("=", 1) for setting in settings)
    loaded = load(given, {})
    serve(loaded, Access(loaded), int(listen_fd), replica_path)
