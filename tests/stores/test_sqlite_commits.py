"""How an SQLite store writes: in groups, bounded, and through a full disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from stores.adapters import take
from stores.places import fill_disk, small_disk
from vestryd.domain.errors import Conflict, StoreUnavailable
from vestryd.domain.store import Commit
from vestryd.stores import sqlite_writer
from vestryd.stores.sqlite import SqliteStore


async def statements(store: SqliteStore) -> list[str]:
    """Return a list to which each statement is added that the store runs from now on."""
    seen: list[str] = []
    await store._writer.call(lambda log: log.connection.set_trace_callback(seen.append))
    return seen


async def test_waiting_commits_share_a_transaction(sqlite_store: SqliteStore) -> None:
    """100 concurrent commits have a revision each, and far fewer transactions (so fsyncs)."""
    seen = await statements(sqlite_store)
    commits = (Commit(puts={f"{number}": b""}) for number in range(100))
    assert sorted(await asyncio.gather(*map(sqlite_store.commit, commits))) == [*range(1, 101)]
    assert seen.count("COMMIT") < 20


async def test_conflict_does_not_hurt_its_group(sqlite_store: SqliteStore) -> None:
    """Commits of one group see what those before them wrote; one that fails leaves the others as they are."""
    await sqlite_store.commit(Commit(puts={"a": b"1"}))
    seen = await statements(sqlite_store)
    release = asyncio.Event()
    loop = asyncio.get_running_loop()
    # While the thread waits in a call, the commits pile up into one group.
    holding = asyncio.create_task(
        sqlite_store._writer.call(lambda _: asyncio.run_coroutine_threadsafe(release.wait(), loop).result(timeout=10))
    )
    group = [
        asyncio.create_task(sqlite_store.commit(commit))
        for commit in (
            Commit(expect={"a": 1}, puts={"a": b"2"}),
            Commit(expect={"a": 1}, puts={"a": b"lost"}),
            Commit(expect={"a": 2}, deletes=frozenset({"a"})),
            Commit(expect={"a": 2}, puts={"a": b"lost"}),
            Commit(expect={"a": 0}, puts={"a": b"3", "b": b"3"}),
        )
    ]
    await asyncio.sleep(0)
    release.set()
    await holding
    outcomes = await asyncio.gather(*group, return_exceptions=True)
    assert [outcome if isinstance(outcome, int) else type(outcome) for outcome in outcomes] == [
        2,
        Conflict,
        3,
        Conflict,
        4,
    ]
    assert seen.count("COMMIT") == 1
    assert [(e.value, e.create_revision, e.mod_revision) for e in (await sqlite_store.read("")).entries] == [
        (b"3", 4, 4),
        (b"3", 4, 4),
    ]


async def test_full_queue_makes_callers_wait(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the queue is full, callers wait for room, and all are served."""
    monkeypatch.setattr(sqlite_writer, "_QUEUE_JOBS", 3)
    store = await SqliteStore.open(path)
    commits = (Commit(puts={f"{number}": b""}) for number in range(50))
    assert sorted(await asyncio.gather(*map(store.commit, commits))) == [*range(1, 51)]
    await store.close()


async def test_value_is_stored_once(path: Path) -> None:
    """A value that is current and in the history takes its space once."""
    store = await SqliteStore.open(path)
    await store.commit(Commit(puts={f"{number}": b"v" * 1_000_000 for number in range(3)}))
    await store.close()
    assert 3_000_000 < path.stat().st_size < 3_200_000


async def test_overwritten_value_leaves_with_the_history(sqlite_store: SqliteStore) -> None:
    """A value is deleted once it is neither current nor in the history, whichever of the two ends last."""
    keys = [f"{number}" for number in range(10)]
    for compact_after in (1, 1, 2, 3, 4):
        await sqlite_store.commit(Commit(puts=dict.fromkeys(keys, b"")))
        await sqlite_store.compact(compact_after)
    rows = await sqlite_store._writer.call(
        lambda log: log.connection.execute("SELECT DISTINCT position / 1024 FROM log").fetchall()
    )
    assert rows == [(5,)]


async def test_disk_use_is_bounded_by_history_and_entries(path: Path) -> None:
    """Compaction and checkpoints, of their own accord, keep the file and its log small."""
    store = await SqliteStore.open(path, history_revisions=20)
    for start in range(0, 1000, 10):
        await asyncio.gather(
            *(store.commit(Commit(puts={f"{number % 7}": b"v" * 20_000})) for number in range(start, start + 10))
        )
    assert (await store.figures()).disk_bytes < 10_000_000
    await store.close()
    assert path.stat().st_size < 2_000_000


@asynccontextmanager
async def few_pages(store: SqliteStore) -> AsyncIterator[None]:
    """Let the database not grow any more: SQLite then says that the disk is full."""
    await store._writer.call(lambda log: log.connection.execute("PRAGMA max_page_count = 60").fetchall())
    yield
    await store._writer.call(lambda log: log.connection.execute("PRAGMA max_page_count = 10000").fetchall())


@asynccontextmanager
async def ballast(store: SqliteStore) -> AsyncIterator[None]:
    """Fill the store's disk, of 2 MB, half with something else."""
    weight = store._path.with_name("ballast")
    weight.write_bytes(b"\x00" * 1_000_000)
    yield
    weight.unlink()


async def fill(store: SqliteStore) -> tuple[int, StoreUnavailable]:
    """Commit, several at a time, until the store fails. Return the last revision acknowledged, and the failure."""
    acknowledged = 0
    while True:
        commits = (Commit(puts={f"{acknowledged}/{number}": b"v" * 20_000}) for number in range(3))
        for outcome in await asyncio.gather(*map(store.commit, commits), return_exceptions=True):
            if isinstance(outcome, StoreUnavailable):
                return acknowledged, outcome
            assert isinstance(outcome, int)
            acknowledged = outcome


async def outlives_a_full_disk(path: Path, full: Callable[[SqliteStore], AbstractAsyncContextManager[None]]) -> None:
    """Show that a store goes through `full` without losing anything, or its readers."""
    store = await SqliteStore.open(path)
    await store.commit(Commit(puts={"kept": b"v" * 100_000}))
    async with full(store):
        acknowledged, failure = await fill(store)
        assert "full" in failure.cause
        assert failure.path == str(path)
        before = await store.read("")
        watch = store.watch("", after=0)
        assert before.revision == acknowledged
        assert [batch.revision for batch in await take(watch, acknowledged)] == [*range(1, acknowledged + 1)]
    assert await store.commit(Commit(puts={"~": b"v" * 50_000})) == acknowledged + 1
    assert [batch.revision for batch in await take(watch, 1)] == [acknowledged + 1]
    await watch.aclose()
    await store.close()
    store = await SqliteStore.open(path)
    assert (await store.read("")).entries[:-1] == before.entries
    await store.close()


async def test_full_database_stops_commits_alone(path: Path) -> None:
    """When SQLite is out of pages, commits raise StoreUnavailable; reads and watches go on; later, commits as well."""
    await outlives_a_full_disk(path, few_pages)


async def test_full_disk_stops_commits_alone(tmp_path: Path) -> None:
    """When the disk is full, commits raise StoreUnavailable; reads and watches go on; later, commits as well."""
    with small_disk(tmp_path / "disk", size="2m") as disk:
        await outlives_a_full_disk(disk / "store.db", ballast)


async def test_store_opens_on_a_full_disk(tmp_path: Path) -> None:
    """A store whose disk is full can be opened and read."""
    with small_disk(tmp_path / "disk", size="1m") as disk:
        store = await SqliteStore.open(disk / "store.db")
        await store.commit(Commit(puts={"a": b"1"}))
        await store.close()
        (disk / "store.db.lock").unlink()
        fill_disk(disk)
        store = await SqliteStore.open(disk / "store.db")
        assert (await store.read("a")).entries[0].value == b"1"
        with pytest.raises(StoreUnavailable, match="full"):
            await store.commit(Commit(puts={"b": b"v" * 100_000}))
        await store.close()
