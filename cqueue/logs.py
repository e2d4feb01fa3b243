"""Log lines: one line each, on stderr, a past-tense event and its fields; never a payload or a secret."""

from __future__ import annotations

import logging
import time
from typing import Final

AUDIT: Final = "cqueue.audit"
FORMAT: Final = "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(message)s"


def configure(level: str) -> None:
    """Send log lines of at least `level` to stderr."""
    formatter = logging.Formatter(FORMAT, datefmt="%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # What operators did is written down whatever the level is.
    logging.getLogger(AUDIT).setLevel(logging.INFO)
    # PySyncObj logs what it did about a name or a dump; we say such things ourselves.
    logging.getLogger("pysyncobj").setLevel(logging.CRITICAL)
