"""How an SQLite store is copied while it is in use."""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path

import pytest

from stores.places import small_disk
from vestryd.domain.errors import StoreUnavailable
from vestryd.domain.store import BackupSource, Commit
from vestryd.stores import sqlite_backup
from vestryd.stores.sqlite import SqliteStore


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_backup, "_PAGES_PER_STEP", 8)


async def fill(store: SqliteStore) -> None:
    """Make the store 8 MB large, with 400 commits."""
    for start in range(0, 400, 50):
        await asyncio.gather(
            *(store.commit(Commit(puts={f"old/{n:03}": b"v" * 20_000})) for n in range(start, start + 50))
        )


async def test_backup_under_load_is_one_moment(path: Path, sqlite_store: SqliteStore) -> None:
    """Commits go on during a backup, and the copy is the store as it was at the revision that it names."""
    await fill(sqlite_store)
    is_over = asyncio.Event()

    async def write(name: str) -> None:
        for number in count():
            if is_over.is_set():
                return
            changes = {f"{name}/{number}": b"%d" % number, f"{name}/newest": b"%d" % number}
            await sqlite_store.commit(Commit(puts=changes, deletes=frozenset({f"old/{number:03}"})))

    copy = path.with_name("copy.db")
    async with asyncio.TaskGroup() as group:
        for name in "abcd":
            group.create_task(write(name))
        before = (await sqlite_store.read("")).revision
        revision = await sqlite_store.backup(str(copy))
        is_over.set()
    assert revision > before + 20
    assert not list(path.parent.glob("copy.db?*"))
    assert copy.stat().st_mode & 0o777 == 0o600

    copied = await SqliteStore.open(copy)
    assert (copied.store_id, copied.incarnation) == (sqlite_store.store_id, sqlite_store.incarnation)
    snapshot = await copied.read("")
    assert snapshot.revision == revision
    present = {entry.key: entry.value for entry in snapshot.entries}
    for name in "abcd":
        newest = int(present[f"{name}/newest"])
        assert [f"{name}/{number}" in present for number in range(newest + 2)] == [True] * (newest + 1) + [False]
    watch, copied_watch = sqlite_store.watch("", after=0), copied.watch("", after=0)
    for _ in range(revision):
        assert await anext(watch) == await anext(copied_watch)
    await watch.aclose()
    await copied_watch.aclose()
    await copied.close()


async def test_store_is_a_backup_source(sqlite_store: SqliteStore) -> None:
    """The daemon finds out by the port's type whether a store can be copied."""
    assert isinstance(sqlite_store, BackupSource)


async def test_backups_take_turns(path: Path, sqlite_store: SqliteStore) -> None:
    """Two backups at once are both whole."""
    await fill(sqlite_store)
    names = [path.with_name(name) for name in ("one.db", "two.db")]
    assert await asyncio.gather(*(sqlite_store.backup(str(name)) for name in names)) == [400, 400]
    assert names[0].stat().st_size == names[1].stat().st_size


async def test_existing_file_is_not_overwritten(path: Path, sqlite_store: SqliteStore) -> None:
    """A backup to a file that exists raises StoreUnavailable, and that file stays as it is."""
    taken = path.with_name("taken")
    taken.write_bytes(b"precious")
    with pytest.raises(StoreUnavailable, match="exists"):
        await sqlite_store.backup(str(taken))
    assert taken.read_bytes() == b"precious"


async def test_backup_to_nowhere_fails(path: Path, sqlite_store: SqliteStore) -> None:
    """A backup to a directory that does not exist raises StoreUnavailable."""
    with pytest.raises(StoreUnavailable, match="No such file"):
        await sqlite_store.backup(str(path.parent / "nowhere" / "copy.db"))


async def test_backup_to_a_full_disk_leaves_nothing(tmp_path: Path, sqlite_store: SqliteStore) -> None:
    """A backup that runs out of space raises StoreUnavailable, leaves no file, and the store works on."""
    await fill(sqlite_store)
    with small_disk(tmp_path / "disk", size="1m") as disk:
        with pytest.raises(StoreUnavailable, match="full"):
            await sqlite_store.backup(str(disk / "copy.db"))
        assert list(disk.iterdir()) == []
    assert await sqlite_store.commit(Commit(puts={"a": b""})) == 401


async def test_closing_ends_a_backup(path: Path) -> None:
    """A store that is closed doesn't wait for a backup: that fails, and leaves no file."""
    store = await SqliteStore.open(path)
    await fill(store)
    backup = asyncio.create_task(store.backup(str(path.with_name("copy.db"))))
    async with asyncio.timeout(10):
        while not path.with_name("copy.db.partial").exists():  # noqa: ASYNC110 - a file announces itself to nobody
            await asyncio.sleep(0)
    await store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await backup
    assert not list(path.parent.glob("copy*"))
