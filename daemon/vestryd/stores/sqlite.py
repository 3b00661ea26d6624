"""The store in one SQLite file: the embedded default."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path

from vestryd.domain.errors import StoreUnavailable
from vestryd.domain.store import Batch, Commit, Snapshot, StoreFigures
from vestryd.stores.files import beside, size_of
from vestryd.stores.following import Following, Stretch
from vestryd.stores.sqlite_backup import copy_pages, publish
from vestryd.stores.sqlite_log import Identity, Log
from vestryd.stores.sqlite_writer import Writer

_WINDOW_REVISIONS = 1024
_WINDOW_BYTES = 4 * 1024 * 1024
_COMPACTION_REVISIONS = 2000


class SqliteStore:
    """A store in a file, with WAL and synchronous=FULL: a commit that returned survives a power cut.

    In memory it holds the window that watches follow, and nothing else: entries and history are read from the file.
    About `history_revisions` revisions of history are kept, up to an eighth more. Also a BackupSource.
    """

    def __init__(self, path: Path, *, writer: Writer, following: Following, identity: Identity) -> None:
        self._path = path
        self._writer = writer
        self._following = following
        self._identity = identity
        self._backing_up = asyncio.Lock()

    @classmethod
    async def open(cls, path: Path, *, history_revisions: int = 10_000) -> SqliteStore:
        """Open the store at `path`, or found one there, for this process alone. Raises StoreUnusable."""
        path = await asyncio.to_thread(path.resolve)  # a store has one lock, by whatever links it is reached
        following = Following(max_revisions=_WINDOW_REVISIONS, max_bytes=_WINDOW_BYTES)
        writer = Writer(path, history_revisions=history_revisions, following=following)
        identity = await writer.start()
        following.begin_at(identity.revision)
        return cls(path, writer=writer, following=following, identity=identity)

    @property
    def store_id(self) -> str:
        """The name that the file has had since it was founded."""
        return self._identity.store_id

    @property
    def incarnation(self) -> str:
        """The name that the file got when it was founded, or last restored."""
        return self._identity.incarnation

    async def read(self, prefix: str, *, start: str = "", limit: int = 0) -> Snapshot:
        """Read from the file."""
        return await self._writer.call(lambda log: log.read(prefix, start, limit))

    async def commit(self, commit: Commit) -> int:
        """Write with the next group of commits."""
        commit.check_limits()
        return await self._writer.commit(commit)

    def watch(self, prefix: str, *, after: int) -> AsyncGenerator[Batch, None]:
        """Follow in memory while the reader keeps up, in the file while it is behind."""
        return self._following.watch(prefix, after=after, replay=self._replay)

    async def compact(self, revision: int) -> None:
        """Forget the history up to and including `revision`, in steps, between which commits go on."""
        if revision > self._following.revision:
            raise ValueError(f"revision {revision} is in the future: the store is at {self._following.revision}")
        compacted = -1
        while compacted < revision:
            compacted = await self._writer.call(partial(_compact_step, through=revision))
            self._following.forget(compacted)

    async def backup(self, path: str) -> int:
        """Write a consistent copy as the port says; one at a time. It has its name once it is whole and synced."""
        target = Path(path)
        copy = beside(target, ".partial")
        async with self._backing_up:
            try:
                if await asyncio.to_thread(target.exists):
                    raise StoreUnavailable("a file of that name exists", path)
                between = self._writer.serve_waiting
                revision = await self._writer.call(lambda log: copy_pages(log, copy, between=between))
                await asyncio.to_thread(publish, copy, target)
            except (OSError, sqlite3.Error) as error:
                raise StoreUnavailable(str(error), path) from error
            finally:
                await asyncio.to_thread(copy.unlink, missing_ok=True)
        return revision

    async def figures(self) -> StoreFigures:
        """Measure the database and its write-ahead log."""
        return await self._writer.call(lambda _: StoreFigures("sqlite", self._disk_bytes()))

    async def close(self) -> None:
        """Finish what was accepted, fold the write-ahead log into the database, and let the next process in."""
        self._following.expect_close()
        await self._writer.close()
        self._following.close()

    async def _replay(self, prefix: str, after: int) -> Stretch:
        return await self._writer.call(lambda log: log.replay(prefix, after))

    def _disk_bytes(self) -> int:
        return size_of(self._path) + size_of(beside(self._path, "-wal"))


def _compact_step(log: Log, *, through: int) -> int:
    log.compact(min(through, log.compacted + _COMPACTION_REVISIONS))
    return log.compacted
