"""How a backup is put in a store's place."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from stores.places import fill_disk, ordinary_user, small_disk
from vestryd.domain.errors import StoreUnavailable, StoreUnusable
from vestryd.domain.store import Commit
from vestryd.stores.restore import restore
from vestryd.stores.sqlite import SqliteStore

NOW = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)


async def values(path: Path) -> dict[str, bytes]:
    """Return what the store at `path` holds."""
    store = await SqliteStore.open(path)
    entries = (await store.read("")).entries
    await store.close()
    return {entry.key: entry.value for entry in entries}


@pytest.fixture
async def backup(tmp_path: Path) -> Path:
    """A backup of a store that has moved on since, and was then killed: its newest commit is in its -wal file alone."""
    made = tmp_path / "backup.db"
    path = tmp_path / "running" / "store.db"
    path.parent.mkdir()
    store = await SqliteStore.open(path)
    await store.commit(Commit(puts={"a": b"backed up"}))
    await store.backup(str(made))
    await store.commit(Commit(puts={"a": b"newest", "b": b"v" * 50_000}))
    (tmp_path / "state").mkdir()
    for name in ("store.db", "store.db-wal"):
        shutil.copy(path.with_name(name), tmp_path / "state" / name)
    await store.close()
    return made


@pytest.fixture
def target(tmp_path: Path, backup: Path) -> Path:
    """The store that was killed."""
    return tmp_path / "state" / "store.db"


async def test_restored_store_has_a_new_incarnation(backup: Path, target: Path) -> None:
    """A restored store has the backup's entries and store_id, and an incarnation of its own; the backup is unchanged."""
    before = backup.read_bytes()
    assert restore(backup, target, now=NOW)
    assert backup.read_bytes() == before
    original, restored = await SqliteStore.open(backup), await SqliteStore.open(target)
    assert restored.store_id == original.store_id
    assert restored.incarnation != original.incarnation
    assert await restored.read("") == await original.read("")
    await original.close()
    await restored.close()
    assert target.stat().st_mode & 0o777 == 0o600


async def test_restored_store_belongs_to_the_owner_of_its_directory(backup: Path) -> None:
    """What root restores, the service's user can open."""
    with ordinary_user() as place:
        owner = place.stat().st_uid
    with tempfile.TemporaryDirectory() as name:
        target = Path(name) / "store.db"
        if os.geteuid() == 0:
            os.chown(name, owner, owner)
        restore(backup, target, now=NOW)
        assert {file.stat().st_uid for file in Path(name).iterdir()} == {owner}


async def test_replaced_store_is_kept_whole(backup: Path, target: Path) -> None:
    """The replaced store is kept under a name with the time, with everything that was acknowledged."""
    kept = restore(backup, target, now=NOW)
    assert kept == target.with_name("store.db.before-restore-20261123T123000.000000Z")
    assert await values(kept) == {"a": b"newest", "b": b"v" * 50_000}
    assert await values(target) == {"a": b"backed up"}
    assert {file.name for file in target.parent.iterdir() if file.suffix != ".lock"} == {target.name, kept.name}


async def test_restore_to_where_nothing_is(backup: Path, tmp_path: Path) -> None:
    """Without a store at the target, the backup becomes one, and there is nothing to keep."""
    target = tmp_path / "new.db"
    assert restore(backup, target, now=NOW) is None
    assert await values(target) == {"a": b"backed up"}


@pytest.mark.parametrize("is_damaged_at", [0, 4096], ids=["header", "page"])
async def test_corrupt_store_is_replaced_and_kept(backup: Path, target: Path, is_damaged_at: int) -> None:
    """A store that is too corrupt to open is replaced all the same, and kept as it was, with its log."""
    damaged = bytearray(target.read_bytes())
    damaged[is_damaged_at : is_damaged_at + 100] = b"\xff" * 100
    target.write_bytes(damaged)
    log = target.with_name("store.db-wal")
    log.write_bytes(log.read_bytes()[:100])
    kept = restore(backup, target, now=NOW)
    assert kept is not None
    assert kept.read_bytes() == damaged
    assert await values(target) == {"a": b"backed up"}


async def test_store_in_use_is_not_replaced(backup: Path, target: Path) -> None:
    """A restore over a store that a daemon has open is refused, naming its process."""
    store = await SqliteStore.open(target)
    with pytest.raises(StoreUnusable, match=f"process {os.getpid()} is using it"):
        restore(backup, target, now=NOW)
    assert (await store.read("a")).entries[0].value == b"newest"
    await store.close()


def cut(backup: Path) -> None:
    """Lose the end of it."""
    backup.write_bytes(backup.read_bytes()[:-4096])


def empty(backup: Path) -> None:
    """Lose all of it."""
    backup.write_bytes(b"")


def garble(backup: Path) -> None:
    """Make it another kind of file."""
    backup.write_bytes(b"\x1f\x8b" + backup.read_bytes())


def add_log(backup: Path) -> None:
    """Make it half of a store in use."""
    backup.with_name("backup.db-wal").write_bytes(b"log")


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (cut, "corrupt"),
        (empty, "empty"),
        (garble, "not an SQLite database"),
        (add_log, "-wal"),
        (Path.unlink, "no such file"),
    ],
)
async def test_what_is_no_backup_is_refused(
    backup: Path, target: Path, spoil: Callable[[Path], None], problem: str
) -> None:
    """A file that is not a whole backup is refused, and the store stays."""
    spoil(backup)
    with pytest.raises(StoreUnusable, match=problem) as caught:
        restore(backup, target, now=NOW)
    assert caught.value.path == str(backup)
    assert await values(target) == {"a": b"newest", "b": b"v" * 50_000}


async def test_full_disk_leaves_the_store_in_place(backup: Path, target: Path, tmp_path: Path) -> None:
    """A restore for which there is no room raises StoreUnavailable, and the store stays as it was."""
    with small_disk(tmp_path / "disk", size="1m") as disk:
        shutil.copytree(target.parent, disk, dirs_exist_ok=True)
        ballast = fill_disk(disk)
        with pytest.raises(StoreUnavailable, match="No space"):
            restore(backup, disk / "store.db", now=NOW)
        ballast.unlink()
        assert await values(disk / "store.db") == {"a": b"newest", "b": b"v" * 50_000}


class PowerCutError(BaseException):
    """The machine stops."""


def cut_power_after(steps: int, patch: pytest.MonkeyPatch) -> None:
    """Let so many more changes to the file system happen, and none after them."""
    left = steps

    def limited(change: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            if left == 0:
                raise PowerCutError
            left -= 1
            return change(*arguments, **options)

        return step

    for module, name in ((os, "rename"), (os, "link"), (os, "unlink"), (os, "fsync"), (shutil, "copyfile")):
        patch.setattr(module, name, limited(getattr(module, name)))


async def test_power_cut_leaves_the_old_store_or_the_new(
    backup: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever step of a restore is the last that happens, the target is one store or the other, complete."""
    left: list[bytes] = []
    is_done = False
    while not is_done:
        place = tmp_path / f"cut-after-{len(left)}"
        shutil.copytree(target.parent, place)
        with monkeypatch.context() as patch, suppress(PowerCutError):
            cut_power_after(len(left), patch)
            restore(backup, place / "store.db", now=NOW)
            is_done = True
        left.append((await values(place / "store.db"))["a"])
    switch = left.index(b"backed up")
    assert switch >= 5
    assert left == [b"newest"] * switch + [b"backed up"] * (len(left) - switch)
