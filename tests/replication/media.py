"""What a journal may be kept on, for the conformance tests: opened, crashed and opened again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from cqueue.replication.journal import Store
from cqueue.replication.sqlite_store import SqliteStore
from cqueue.simulation.disk import Disk

NODE: Final = "10.0.0.1:4000"


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic_s(self) -> float:
        """See `cqueue.replication.clock.Clock`."""
        return self.now_s

    def wall_ms(self) -> int:
        """See `cqueue.replication.clock.Clock`."""
        return int(self.now_s * 1000)


class Medium(Protocol):
    """Outlives the stores that are opened on it, one after the other."""

    def open(self) -> Store:
        """Open it, as a process does at its start."""
        ...

    def crash(self) -> None:
        """End the process that has it open, between two instructions; what was not committed is gone."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class SqliteMedium:
    """A directory. A crash leaves the files as they are at that moment, which a copy shows."""

    def __init__(self, directory: Path, fsync: str) -> None:
        self._parent = directory
        self._fsync = fsync
        self._crashes = 0
        self._store: SqliteStore | None = None

    @property
    def directory(self) -> Path:
        """Where the files are now."""
        return self._parent / f"after {self._crashes}"

    def open(self) -> SqliteStore:
        """See `Medium`."""
        self._store = SqliteStore(self.directory, NODE, self._fsync, ManualClock())
        return self._store

    def crash(self) -> None:
        """See `Medium`."""
        left = self.directory
        self._crashes += 1
        shutil.copytree(left, self.directory)
        self.close()

    def close(self) -> None:
        """See `Medium`."""
        store, self._store = self._store, None
        if store is not None:
            store.close()


class DiskMedium:
    """The simulator's disk."""

    def __init__(self) -> None:
        self._disk = Disk()

    def open(self) -> Disk:
        """See `Medium`."""
        return self._disk

    def crash(self) -> None:
        """See `Medium`."""
        self._disk.crash()

    def close(self) -> None:
        """See `Medium`."""


MEDIA: Final[Mapping[str, Callable[[Path], Medium]]] = {
    "sqlite, fsync always": lambda directory: SqliteMedium(directory, "always"),
    "sqlite, fsync interval": lambda directory: SqliteMedium(directory, "interval"),
    "sqlite, fsync never": lambda directory: SqliteMedium(directory, "never"),
    "simulated disk": lambda _directory: DiskMedium(),
}
