from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from engine import Engine, FakeSources, running
from vestryd.domain.errors import VersionNotFound
from vestryd.domain.layered import Write
from vestryd.domain.retention import STEP, Limits, Retention
from vestryd.domain.store import Snapshot
from vestryd.domain.versions import REQUESTS
from vestryd.stores.memory import MemoryStore

FOR_EVER = timedelta(0)


def sources() -> FakeSources:
    """Return one namespace's file."""
    made = FakeSources()
    made.write("default", default={"n": 1})
    return made


def keeping(engine: Engine, versions: int = 1_000_000, age: timedelta = FOR_EVER) -> Retention:
    """Return a retention that keeps so many versions, for so long."""
    return Retention(engine.documents, engine.store, engine.clock, Limits(versions, age))


async def write(engine: Engine, count: int, **pause: float) -> None:
    """Make versions, with a pause after each."""
    for _ in range(count):
        engine.clock.advance(**pause)
        await engine.configs.patch("default", {"n": engine.configs.get("default").version.number + 1}, Write("me"))


async def kept(engine: Engine) -> list[int]:
    """Return the versions that the store holds."""
    found = await engine.store.read("version/config/default/")
    return [int(entry.key.rpartition("/")[2]) for entry in found.entries]


async def test_versions_are_kept_by_count() -> None:
    """The newest so many, the current one among them."""
    async with running(sources=sources()) as engine:
        await engine.ingestion.reload()
        await write(engine, 9)
        await keeping(engine, versions=3).sweep()
        assert await kept(engine) == [8, 9, 10]
        await keeping(engine, versions=3).sweep()
        assert await kept(engine) == [8, 9, 10]


async def test_versions_are_kept_by_age() -> None:
    """Those that are younger."""
    async with running(sources=sources()) as engine:
        await engine.ingestion.reload()
        await write(engine, 5, days=1)
        await keeping(engine, age=timedelta(days=2)).sweep()
        assert await kept(engine) == [4, 5, 6]


async def test_either_limit_is_enough_to_be_forgotten() -> None:
    """Count and age hold both."""
    async with running(sources=sources()) as engine:
        await engine.ingestion.reload()
        await write(engine, 5, days=1)
        await keeping(engine, versions=4, age=timedelta(days=1)).sweep()
        assert await kept(engine) == [5, 6]


@pytest.mark.parametrize("limits", [Limits(1, FOR_EVER), Limits(100, timedelta(seconds=1))])
async def test_the_current_version_always_stays(limits: Limits) -> None:
    """However old it is."""
    async with running(sources=sources()) as engine:
        await engine.ingestion.reload()
        await write(engine, 2)
        engine.clock.advance(days=365)
        await keeping(engine, limits.versions, limits.age).sweep()
        assert await kept(engine) == [3]
        assert engine.effective() == {"n": 3}


async def test_more_than_fits_a_commit_goes_in_steps() -> None:
    """All of it, in one sweep."""
    async with running(sources=sources()) as engine:
        await engine.ingestion.reload()
        await write(engine, 2 * STEP + 10)
        await keeping(engine, versions=2).sweep()
        assert await kept(engine) == [2 * STEP + 10, 2 * STEP + 11]


async def test_what_is_gone_is_told_with_what_is_kept() -> None:
    """VersionNotFound says which versions there are."""
    async with running(sources=sources()) as engine:
        await engine.ingestion.reload()
        await write(engine, 4)
        await keeping(engine, versions=2).sweep()
        with pytest.raises(VersionNotFound) as caught:
            await engine.configs.version("default", 3)
        assert (caught.value.oldest, caught.value.newest) == (4, 5)
        assert [one.number for one, _ in await engine.configs.versions("default", newest=5, limit=10)] == [5, 4]


async def test_readers_see_no_new_version() -> None:
    """Forgetting is no change of the document."""
    async with running(sources=sources()) as engine:
        await engine.ingestion.reload()
        await write(engine, 4)
        engine.applied.clear()
        await keeping(engine, versions=1).sweep()
        assert engine.applied == []
        assert engine.configs.get("default").version.number == 5


async def test_writes_during_a_sweep_are_not_hurt() -> None:
    """They find the head changed, and go on; nothing is lost, and the limits hold in the end."""
    async with running(sources=sources()) as engine:
        await engine.ingestion.reload()
        await write(engine, 250)
        retention = keeping(engine, versions=2)
        await asyncio.gather(retention.sweep(), write(engine, 20), retention.sweep())
        assert engine.configs.get("default").version.number == 271
        await retention.sweep()
        assert await kept(engine) == [270, 271]


class CountingStore(MemoryStore):
    """A store that counts what is read of versions."""

    versions_read = 0

    async def read(self, prefix: str, **options: Any) -> Snapshot:
        """Read and count."""
        found = await super().read(prefix, **options)
        self.versions_read += sum(one.key.startswith("version/") for one in found.entries)
        return found


async def test_a_sweep_that_forgets_nothing_reads_next_to_nothing() -> None:
    """One version tells that it and all after it are young; each may be a megabyte."""
    store = CountingStore()
    async with running(store, sources()) as engine:
        await engine.ingestion.reload()
        await write(engine, 50)
        store.versions_read = 0
        await keeping(engine, age=timedelta(days=1)).sweep()
        assert store.versions_read == 1


async def test_answered_requests_are_kept_for_an_hour() -> None:
    """As config.proto promises; after that the id may be used again."""
    async with running(sources=sources()) as engine:
        await engine.ingestion.reload()
        retention = keeping(engine)
        for number in range(STEP + 2):
            await engine.configs.patch("default", {"n": 0}, Write("me", request_id=f"old {number}"))
        engine.clock.advance(minutes=30)
        await engine.configs.patch("default", {"n": 0}, Write("me", request_id="young"))
        engine.clock.advance(minutes=30)
        await retention.sweep()
        assert len((await engine.store.read(REQUESTS)).entries) == STEP + 3
        engine.clock.advance(seconds=1)
        await retention.sweep()
        assert len((await engine.store.read(REQUESTS)).entries) == 1
