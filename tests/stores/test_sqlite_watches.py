"""How watches of an SQLite store read its history."""

from __future__ import annotations

from pathlib import Path

import pytest

from stores.adapters import take
from vestryd.domain.store import Commit
from vestryd.stores import sqlite_log
from vestryd.stores.sqlite import SqliteStore


async def open_with_history(path: Path) -> SqliteStore:
    """Return a store with 10 revisions, none of which it holds in memory."""
    store = await SqliteStore.open(path)
    for _ in range(10):
        await store.commit(Commit(puts={"a": b""}))
    await store.close()
    return await SqliteStore.open(path)


async def test_live_watch_reads_no_file(path: Path) -> None:
    """A watch that keeps up is served from memory: only what was before the store's opening is read from the file."""
    store = await open_with_history(path)
    seen: list[str] = []
    await store._writer.call(lambda log: log.connection.set_trace_callback(seen.append))
    watch = store.watch("", after=0)
    await take(watch, 10)
    for _ in range(10):
        await store.commit(Commit(puts={"a": b""}))
        await take(watch, 1)
    assert sum("FROM log WHERE position >=" in statement for statement in seen) == 1
    await watch.aclose()
    await store.close()


async def test_watch_that_is_behind_ends_when_the_store_is_closed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing a store ends a watch that still has history to read, without an error."""
    monkeypatch.setattr(sqlite_log, "_STRETCH_CHANGES", 3)
    store = await open_with_history(path)
    watch = store.watch("", after=0)
    seen = await take(watch, 1)
    await store.close()
    seen += [batch async for batch in watch]
    assert [batch.revision for batch in seen] == [1, 2, 3]
