"""What a version can read: its operations, entries and snapshots, counted in levels.

A cluster in which two versions run must not log what one of them cannot read. Each node says which
level it reads up to, and the log says which level the members have agreed on (cqueue.replication.levels).
Whoever adds an operation, or a field to one, raises `LEVEL`, and says in docs/versions.md what for.
"""

from __future__ import annotations

from typing import Final

LEVEL_FIRST: Final = 1
"""What a cluster begins with, and what every version reads."""
LEVEL: Final = 1
"""What this version reads up to."""
