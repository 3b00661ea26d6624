"""How an SQLite store is founded and opened, and what is refused with which words."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import threading
from contextlib import closing, suppress
from pathlib import Path

import pytest

from stores.places import ordinary_user
from vestryd.domain.errors import StoreUnusable
from vestryd.domain.store import Commit, Snapshot
from vestryd.stores import sqlite_file, sqlite_schema, sqlite_writer
from vestryd.stores.sqlite import SqliteStore

PAGE = 4096


async def refusal(path: Path) -> StoreUnusable:
    """Return the error with which opening `path` fails."""
    with pytest.raises(StoreUnusable) as caught:
        await SqliteStore.open(path)
    assert caught.value.path == str(path)
    return caught.value


def execute(path: Path, statement: str) -> None:
    """Run a statement in a database that nobody has open."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)


async def found(path: Path, *, entries: int = 0) -> Snapshot:
    """Leave a store at `path`, closed; return what it holds."""
    store = await SqliteStore.open(path)
    for number in range(entries):
        await store.commit(Commit(puts={f"key/{number:04}": bytes([number]) * (100 if number % 2 else 6000)}))
    snapshot = await store.read("")
    await store.close()
    return snapshot


async def test_files_are_private(path: Path, sqlite_store: SqliteStore) -> None:
    """The database, its write-ahead log and its lock have mode 0600; there is nothing else."""
    await sqlite_store.commit(Commit(puts={"a": b""}))
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db.lock": 0o600}


async def test_wide_mode_is_narrowed(path: Path) -> None:
    """A store that others may read (after a careless copy, say) is made private when it is opened."""
    await found(path)
    path.chmod(0o644)
    await found(path)
    assert path.stat().st_mode & 0o777 == 0o600


async def test_closed_store_is_one_file(path: Path) -> None:
    """A store that was closed has its log in its database: the file alone is the store."""
    await found(path, entries=3)
    assert {file.name for file in path.parent.iterdir()} == {"store.db", "store.db.lock"}


async def test_second_opening_is_refused(path: Path, sqlite_store: SqliteStore) -> None:
    """While a store is open, opening it again names the process that has it."""
    assert f"process {os.getpid()} is using it" in (await refusal(path)).problem


async def test_lock_is_of_the_file_not_of_its_name(path: Path, sqlite_store: SqliteStore) -> None:
    """A store that is reached by a link has the same lock."""
    link = path.parent / "link"
    link.mkdir()
    (link / "other.db").symlink_to(path)
    with pytest.raises(StoreUnusable, match="is using it"):
        await SqliteStore.open(link / "other.db")


async def test_other_programs_are_kept_out(path: Path, sqlite_store: SqliteStore) -> None:
    """While a store is open, no other program can read or write it."""
    with closing(sqlite3.connect(path, timeout=0)) as other, pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("SELECT * FROM log")


async def test_store_that_another_program_has_open_is_refused(path: Path) -> None:
    """A store that some other program has locked is refused, and is fine afterwards."""
    snapshot = await found(path, entries=1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert (await refusal(path)).problem == "another program has it open"
    assert await found(path) == snapshot


async def test_refusal_lets_go_of_the_lock(path: Path) -> None:
    """A store that was refused can be opened once the reason is gone."""
    path.write_bytes(b"")
    assert (await refusal(path)).problem == "it is empty"
    path.unlink()
    await found(path)


def test_cancelled_opening_lets_go_of_the_lock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An opening that is cancelled closes what it opens, even when its event loop is gone by then."""
    is_opening, may_open = threading.Event(), threading.Event()

    def open_slowly(path: Path) -> sqlite3.Connection:
        is_opening.set()
        assert may_open.wait(10)
        return sqlite_file.open_database(path)

    async def open_and_cancel() -> None:
        opening = asyncio.create_task(SqliteStore.open(path))
        assert await asyncio.to_thread(is_opening.wait, 10)
        assert "is using it" in (await refusal(path)).problem
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening

    async def open_at_last() -> None:
        async with asyncio.timeout(10):
            while True:
                with suppress(StoreUnusable):
                    await (await SqliteStore.open(path)).close()
                    return

    monkeypatch.setattr(sqlite_writer, "open_database", open_slowly)
    asyncio.run(open_and_cancel())
    may_open.set()
    asyncio.run(open_at_last())


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a store in which each table takes several pages, some of them overflow pages."""
    path = tmp_path_factory.mktemp("sound") / "store.db"
    asyncio.run(found(path, entries=200))
    return path.read_bytes()


async def test_page_that_is_overwritten_is_noticed(path: Path, sound: bytes) -> None:
    """Wherever a page of the file is overwritten, opening it names the corruption and the way out."""
    for page in range(len(sound) // PAGE):
        start = page * PAGE + (100 if page == 0 else 0)
        path.write_bytes(sound[:start] + b"\xff" * ((page + 1) * PAGE - start) + sound[(page + 1) * PAGE :])
        error = await refusal(path)
        assert error.problem.startswith("it is corrupt"), page
        assert "vestryctl backup restore" in error.remedy


@pytest.mark.parametrize("size", [PAGE, 3 * PAGE, 0.5, 0.99], ids=str)
async def test_file_that_is_cut_off_is_noticed(path: Path, sound: bytes, size: float) -> None:
    """A file that lost its end is corrupt."""
    path.write_bytes(sound[: int(size if size > 1 else size * len(sound)) // PAGE * PAGE])
    assert (await refusal(path)).problem.startswith("it is corrupt")


@pytest.mark.parametrize("statement", ["DELETE FROM log WHERE position = 3 * 1024", "DELETE FROM store"])
async def test_missing_row_is_noticed(path: Path, sound: bytes, statement: str) -> None:
    """A database that is sound but lacks a value, or its identity, is corrupt."""
    path.write_bytes(sound)
    execute(path, statement)
    assert (await refusal(path)).problem.startswith("it is corrupt")


async def test_torn_log_loses_nothing_before_it(path: Path, tmp_path: Path, sqlite_store: SqliteStore) -> None:
    """A write-ahead log whose end is torn (a power cut) is read up to there."""
    for number in range(20):
        await sqlite_store.commit(Commit(puts={f"{number:02}": b"v" * 5000}))
    crashed = tmp_path / "crashed.db"
    shutil.copy(path, crashed)
    log = (tmp_path / "store.db-wal").read_bytes()
    (tmp_path / "crashed.db-wal").write_bytes(log[: len(log) - 6000])
    snapshot = await found(crashed)
    assert 0 < snapshot.revision < 20
    assert [entry.mod_revision for entry in snapshot.entries] == [*range(1, snapshot.revision + 1)]


async def test_newer_schema_is_refused(path: Path) -> None:
    """A store that a newer release has written is left alone."""
    await found(path)
    execute(path, "PRAGMA user_version = 99")
    assert "schema version 99" in (await refusal(path)).problem


async def test_older_schema_is_migrated(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store with an older schema is brought to this release's, step by step, each step whole or not at all."""
    snapshot = await found(path, entries=2)
    newer = (*sqlite_schema._MIGRATIONS, "CREATE TABLE more (x); CREATE TABLE log (y);")
    monkeypatch.setattr(sqlite_schema, "_MIGRATIONS", newer)
    monkeypatch.setattr(sqlite_file, "SCHEMA_VERSION", len(newer))
    assert "already exists" in (await refusal(path)).problem
    monkeypatch.setattr(sqlite_schema, "_MIGRATIONS", (*newer[:-1], "CREATE TABLE more (x);"))
    assert await found(path) == snapshot
    with closing(sqlite3.connect(path)) as connection:
        assert sqlite_schema.schema_version(connection) == len(newer)


async def test_database_of_another_application_is_left_alone(path: Path) -> None:
    """Another application's database is refused, and not a byte of it or beside it changes."""
    execute(path, "CREATE TABLE log (position)")
    before = path.read_bytes()
    assert (await refusal(path)).problem == "it is the database of another application"
    assert path.read_bytes() == before
    assert {file.name for file in path.parent.iterdir()} == {"store.db", "store.db.lock"}


@pytest.mark.parametrize("content", [b"key = value\n", b"\x00" * 8192, b"SQLite format 2\x00" * 400])
async def test_file_that_is_no_database_is_left_alone(path: Path, content: bytes) -> None:
    """A file of another kind is refused and not changed."""
    path.write_bytes(content)
    assert (await refusal(path)).problem == "it is not an SQLite database"
    assert path.read_bytes() == content


async def test_log_without_its_database_is_refused(path: Path) -> None:
    """A write-ahead log whose database is gone stops the store: an empty one in its place would look like a success."""
    log = path.with_name("store.db-wal")
    log.write_bytes(b"log")
    assert (await refusal(path)).problem == "the file is gone, but its -wal file is there"
    assert log.read_bytes() == b"log"


async def test_what_a_crashed_founding_left_does_no_harm(path: Path) -> None:
    """A half-made file of a founding that crashed is overwritten by the next."""
    path.with_name("store.db.new").write_bytes(b"half")
    assert await found(path) == Snapshot(0, ())


async def test_directory_in_place_of_the_file_is_refused(path: Path) -> None:
    """A directory is not a store."""
    path.mkdir()
    assert (await refusal(path)).problem == "it is a directory"


async def test_missing_directory_is_refused(path: Path) -> None:
    """A store isn't founded in a directory that does not exist."""
    assert (await refusal(path.parent / "nowhere" / "store.db")).problem == "its directory does not exist"


@pytest.mark.parametrize("mode", [0o000, 0o400], ids=["unreadable", "read-only"])
async def test_file_without_permission_is_refused(mode: int) -> None:
    """A store that this user may not read or write is refused, and so is one in a directory like that."""
    with ordinary_user() as place:
        path = (place / "state").resolve() / "store.db"
        path.parent.mkdir()
        await found(path)
        path.chmod(mode)
        assert (await refusal(path)).problem == "permission is denied"
        path.chmod(0o600)
        path.with_name("store.db.lock").unlink()
        path.parent.chmod(mode | 0o100)
        assert (await refusal(path)).problem == "permission is denied"
        path.parent.chmod(0o700)
        await found(path)
