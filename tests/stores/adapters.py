"""The store adapters that the conformance suite runs against. A new one adds itself to ADAPTERS, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vestryd.domain.store import Batch, Store
from vestryd.stores.memory import MemoryStore
from vestryd.stores.sqlite import SqliteStore


class Open(Protocol):
    """Opens a store of its own for `place`; for a durable adapter the same store each time."""

    async def __call__(self, place: Path, *, history_revisions: int = 10_000) -> Store:
        """Open it."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A way to keep a store. `is_durable` tells whether a store is still there when it is opened again."""

    name: str
    is_durable: bool
    open: Open

    def __str__(self) -> str:
        return self.name


async def open_memory(place: Path, *, history_revisions: int = 10_000) -> Store:
    """Make a store in memory."""
    return MemoryStore(history_revisions=history_revisions)


async def open_sqlite(place: Path, *, history_revisions: int = 10_000) -> Store:
    """Open the store file in the directory `place`."""
    return await SqliteStore.open(place / "store.db", history_revisions=history_revisions)


ADAPTERS = (
    Adapter("memory", is_durable=False, open=open_memory),
    Adapter("sqlite", is_durable=True, open=open_sqlite),
)


async def take(watch: AsyncGenerator[Batch, None], count: int) -> list[Batch]:
    """Return the next `count` batches of a watch; TimeoutError when they don't come."""
    async with asyncio.timeout(10):
        return [await anext(watch) for _ in range(count)]
