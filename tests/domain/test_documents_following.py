"""How documents keep up with their store."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine import Engine, FakeSources, build, running
from vestryd.domain.errors import StoreUnavailable
from vestryd.domain.layered import Write
from vestryd.domain.retention import Limits, Retention
from vestryd.domain.store import Commit, Snapshot
from vestryd.stores.memory import MemoryStore

ME = Write("tester")


def sources(**files: Any) -> FakeSources:
    """Return the files of the namespace `default`."""
    made = FakeSources()
    made.write("default", **files)
    return made


class MovingStore(MemoryStore):
    """A store in which, between the read of the heads and that of a version, the version is replaced and forgotten."""

    writer: Engine | None = None

    async def read(self, prefix: str, **options: Any) -> Snapshot:
        """Read, once somebody else has written."""
        if prefix.startswith("version/") and self.writer:
            writer, self.writer = self.writer, None
            await writer.configs.patch("default", {"n": 2}, ME)
            keep = Limits(1, writer.clock.now() - writer.clock.now())
            await Retention(writer.documents, self, writer.clock, keep).sweep()
        return await super().read(prefix, **options)


async def test_loading_copes_with_versions_that_go_meanwhile() -> None:
    """It reads again, and ends with what is current."""
    store = MovingStore()
    async with running(store, sources(default={"n": 1})) as writer:
        await writer.ingestion.reload()
        store.writer = writer
        late = build(store)
        await late.documents.load()
        assert late.effective() == {"n": 2}
        assert late.documents.revision == writer.documents.revision


async def test_documents_that_appear_in_lost_history_are_told() -> None:
    """An engine that had nothing and fell behind tells its watchers all that there is now."""
    store = MemoryStore(history_revisions=2)
    late = build(store)
    await late.documents.load()
    async with running(store, sources(default={"n": 0})) as writer:
        await writer.ingestion.reload()
        for number in range(1, 5):
            await writer.configs.patch("default", {"n": number}, ME)
        follower = asyncio.create_task(late.documents.follow())
        await late.documents.until(writer.documents.revision)
        assert [[one.version.number for one in documents] for _, documents in late.applied] == [[5]]
        await store.close()
        await follower


async def test_a_reader_waits_for_a_revision_and_no_longer() -> None:
    """Everybody who waits is let go as it is reached, in whatever order they came; who left is not missed."""
    async with running(sources=sources(default={"n": 0})) as engine:
        waiters = [asyncio.create_task(engine.documents.until(revision)) for revision in (3, 1, 2, 2)]
        await asyncio.sleep(0)
        waiters[2].cancel()
        await engine.ingestion.reload()
        await engine.configs.patch("default", {"n": 1}, ME)
        await asyncio.sleep(0)
        assert [waiter.done() for waiter in waiters] == [False, True, True, True]
        await engine.configs.patch("default", {"n": 2}, ME)
        await waiters[0]
        assert engine.documents._reached._waiters == []


class SlowStore(MemoryStore):
    """A store that takes a commit and answers later, as a disk does: cancelling the caller doesn't undo it."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.under_way: list[asyncio.Task[int]] = []

    async def commit(self, commit: Commit) -> int:
        """Commit once told to go, whoever still waits."""
        self.under_way.append(asyncio.create_task(self._commit_later(commit)))
        return await asyncio.shield(self.under_way[-1])

    async def _commit_later(self, commit: Commit) -> int:
        await self.go.wait()
        return await super().commit(commit)


async def test_a_caller_that_goes_away_during_the_commit_leaves_nothing_behind() -> None:
    """The write happens, readers see it, the next writer goes on from it, and a repetition learns the outcome."""
    store = SlowStore()
    async with running(store, sources(default={"n": 0})) as engine:
        store.go.set()
        await engine.ingestion.reload()
        store.go.clear()
        write = Write("me", request_id="r", fingerprint="f", expected_version=1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await engine.configs.patch("default", {"n": 1}, write)
        assert engine.documents._prepared == {}
        store.go.set()
        other = await engine.configs.patch("default", {"m": 1}, ME)
        assert (other.version, engine.effective()) == (3, {"n": 1, "m": 1})
        again = await engine.configs.patch("default", {"n": 1}, write)
        assert (again.version, again.changed) == (2, True)


async def test_following_ends_with_the_store() -> None:
    """Without an error; what was applied can still be read, and writes are refused."""
    async with running(sources=sources(default={"n": 0})) as engine:
        await engine.ingestion.reload()
        follower = asyncio.create_task(engine.documents.follow())
        await asyncio.sleep(0)
        await engine.store.close()
        await asyncio.wait_for(follower, 1)
        assert engine.effective() == {"n": 0}
        with pytest.raises(StoreUnavailable):
            await engine.configs.patch("default", {"n": 1}, ME)
