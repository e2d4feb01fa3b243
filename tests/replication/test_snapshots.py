"""A snapshot in its file: made in a child, kept, replaced, and refused where it is not whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cqueue.errors import Unusable
from cqueue.replication import snapshots
from cqueue.replication.snapshots import FILE_NAME, FileSnapshots, Image
from tests.support import eventually


def made(store: FileSnapshots, index: int, state: Callable[[], bytes]) -> Image:
    """A snapshot made by `store`, once it is finished."""
    assert store.begin(index, 7, state)
    image = eventually(store.finished)
    assert image is not None
    return image


def test_a_snapshot_is_made_beside_its_parent_and_kept_in_one_file(tmp_path: Path) -> None:
    """It holds the state as it was at the beginning, and another store finds it there."""
    state = bytearray(b"before")
    store = FileSnapshots(tmp_path, sync=True)
    assert store.load() is None

    assert store.begin(100, 7, lambda: bytes(state))
    state[:] = b"after!"
    image = eventually(store.finished)

    assert image == store.latest == Image(100, 7, 70)
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    assert FileSnapshots(tmp_path, sync=True).load() == (100, 7, b"before")
    assert store.read(0, 1000) == snapshots.encode(100, 7, b"before")
    assert store.read(64, 3) == b"bef"


def test_the_next_one_takes_its_place(tmp_path: Path) -> None:
    """Only one is kept, and pieces are read from the newest."""
    store = FileSnapshots(tmp_path, sync=False)
    made(store, 100, lambda: b"first")
    made(store, 200, lambda: b"second")
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    assert store.read(64, 100) == b"second"


def test_only_one_is_made_at_a_time(tmp_path: Path) -> None:
    """A second one is refused until the first is finished."""
    store = FileSnapshots(tmp_path, sync=False)
    gate = tmp_path / "gate"
    assert store.begin(100, 7, lambda: _after(gate))
    assert not store.begin(200, 7, lambda: b"")
    assert store.finished() is None
    gate.touch()
    assert eventually(store.finished) == Image(100, 7, 64)


def test_without_a_directory_it_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be read and replaced like any other, and there is nothing that could stay behind."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store = FileSnapshots(None, sync=False)
    assert store.load() is None
    made(store, 100, lambda: b"state")
    assert store.read(64, 100) == b"state"
    store.install(snapshots.encode(200, 7, b"from another node"))
    assert store.latest == Image(200, 7, 81)
    assert store.read(64, 100) == b"from another node"
    assert list(tmp_path.iterdir()) == []


def test_one_that_fails_leaves_the_last_one_and_is_not_tried_again_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A child that dies half way changes nothing; the next attempt waits."""
    store = FileSnapshots(tmp_path, sync=False)
    made(store, 100, lambda: b"good")

    assert store.begin(200, 7, lambda: os._exit(9))
    eventually(lambda: store.finished() is None and "snapshot_failed index=200" in caplog.text)

    assert store.latest == Image(100, 7, 68)
    assert FileSnapshots(tmp_path, sync=False).load() == (100, 7, b"good")
    assert not store.begin(300, 7, lambda: b"too soon")


def test_one_from_another_node_ends_the_one_in_the_making(tmp_path: Path) -> None:
    """What the child was about to write is older than what came."""
    store = FileSnapshots(tmp_path, sync=False)
    assert store.begin(100, 7, lambda: _after(tmp_path / "never"))
    store.install(snapshots.encode(200, 8, b"newer"))
    assert store.finished() is None
    assert FileSnapshots(tmp_path, sync=False).load() == (200, 8, b"newer")
    made(store, 300, lambda: b"newest")
    assert FileSnapshots(tmp_path, sync=False).load() == (300, 7, b"newest")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: data[:70] + bytes([data[70] ^ 1]) + data[71:],
        lambda data: b"cqsnap9\n" + data[8:],
        lambda data: data[:0],
    ],
    ids=["cut off", "too long", "a bit flipped", "another format", "empty"],
)
def test_what_is_not_whole_is_named_and_not_loaded(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    """The sentence has the file's path, and says that nothing was changed."""
    path = tmp_path / FILE_NAME
    path.write_bytes(damage(snapshots.encode(100, 7, b"some state")))
    with pytest.raises(Unusable, match=f"{path}: cannot be used: .*Nothing was changed"):
        FileSnapshots(tmp_path, sync=False).load()


def _after(gate: Path) -> bytes:
    eventually(gate.exists, within_s=60)
    return b""
