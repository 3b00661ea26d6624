"""Secrets by the thousand: a daemon's state directory, filled by the engine in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from vestryd.domain.identity import LOCAL_ADMINISTRATOR, Caller, Via
from vestryd.domain.secrets.secrets import Secrets
from vestryd.domain.secrets.transfer import MAX_ITEMS, ImportItem
from vestryd.domain.secrets.vault import Vault
from vestryd.domain.store import Store
from vestryd.host.clock import SystemClock
from vestryd.host.unlocking import UnlockSources
from vestryd.stores.audit_memory import MemoryAuditLog
from vestryd.stores.sqlite import SqliteStore

NAMESPACE_SECRETS = 10_000  # as many as a namespace takes
VALUE = b"v" * 100
BENCH = Caller("bench", Via.SOCKET, frozenset({LOCAL_ADMINISTRATOR}))


class Unguarded:
    """Allows everything."""

    def require(self, caller: Caller, action: str, resource: str) -> None:
        """Return."""


async def fill(state: Path, secrets: int) -> None:
    """Write so many secrets of 100 bytes into a state directory: `namespace-0`, `secret-00000`, and so on.

    What is recorded is lost: the daemon that is started on the directory founds an audit log of its own.
    """
    sources = UnlockSources(None, state, {})
    sources.create_default()
    async with _store(state) as store:
        engine = _engine(store)
        await engine.open(sources.materials())
        follower = asyncio.create_task(engine.follow())
        for first in range(0, secrets, NAMESPACE_SECRETS):
            namespace = f"namespace-{first // NAMESPACE_SECRETS}"
            names = [secret_name(number) for number in range(min(NAMESPACE_SECRETS, secrets - first))]
            for start in range(0, len(names), MAX_ITEMS):
                items = [ImportItem(name, VALUE) for name in names[start : start + MAX_ITEMS]]
                await engine.import_(BENCH, namespace, items)
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)


async def seconds_to_open(state: Path) -> float:
    """Return how long it takes to unlock a state directory's secrets, and to read and verify all that is known of them."""
    async with _store(state) as store:
        engine, materials = _engine(store), UnlockSources(None, state, {}).materials()
        started = time.perf_counter()
        await engine.open(materials)
        return time.perf_counter() - started


def secret_name(number: int) -> str:
    """Return the name of a namespace's secret."""
    return f"secret-{number:05}"


@asynccontextmanager
async def _store(state: Path) -> AsyncIterator[Store]:
    store = await SqliteStore.open(state / "vestry.db")
    try:
        yield store
    finally:
        await store.close()


def _engine(store: Store) -> Secrets:
    clock = SystemClock()
    audit = MemoryAuditLog(store.store_id, clock=clock)
    return Secrets(Vault(store, Unguarded(), audit, clock), store, Unguarded(), audit, clock)
