from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stores.adapters import ADAPTERS, Adapter
from vestryd.domain.store import Store
from vestryd.stores.sqlite import SqliteStore


@pytest.fixture(params=ADAPTERS, ids=str)
def adapter(request: pytest.FixtureRequest) -> Adapter:
    """Each adapter in turn."""
    chosen: Adapter = request.param
    return chosen


@pytest.fixture
async def store(adapter: Adapter, tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store of each adapter in turn."""
    store = await adapter.open(tmp_path)
    yield store
    await store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where an SQLite store may be founded."""
    return tmp_path / "store.db"


@pytest.fixture
async def sqlite_store(path: Path) -> AsyncIterator[SqliteStore]:
    """An empty SQLite store."""
    store = await SqliteStore.open(path)
    yield store
    await store.close()
