"""A store in memory. It keeps every promise of the port but durability."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from uuid import uuid4

from vestryd.domain.errors import Compacted, Conflict, StoreUnavailable
from vestryd.domain.store import Batch, Commit, Entry, Snapshot, StoreFigures
from vestryd.stores.drafting import draft
from vestryd.stores.following import Following, Stretch


class MemoryStore:
    """A real store without a disk, for tests: what it holds is gone with it.

    Its window of revisions is its whole history: what drops out of it is compacted.
    """

    def __init__(self, *, history_revisions: int = 10_000) -> None:
        self._store_id = uuid4().hex
        self._incarnation = uuid4().hex
        self._entries: dict[str, Entry] = {}
        self._following = Following(max_revisions=history_revisions)
        self._closed = False

    @property
    def store_id(self) -> str:
        """A name that no other store has."""
        return self._store_id

    @property
    def incarnation(self) -> str:
        """A name that stays: there is no backup to restore."""
        return self._incarnation

    async def read(self, prefix: str, *, start: str = "", limit: int = 0) -> Snapshot:
        """Read from memory."""
        self._check_open()
        # Python orders strings by code point, which is also the order of their UTF-8 bytes.
        keys = sorted(key for key in self._entries if key >= start and key.startswith(prefix))
        chosen = keys[:limit] if limit > 0 else keys
        return Snapshot(self._following.revision, tuple(self._entries[key] for key in chosen))

    async def commit(self, commit: Commit) -> int:
        """Write at once."""
        self._check_open()
        commit.check_limits()
        outcome = draft(commit, self._following.revision + 1, self._entries)
        if isinstance(outcome, Conflict):
            raise outcome
        for key, entry in outcome.changes.items():
            if entry is None:
                self._entries.pop(key, None)
            else:
                self._entries[key] = entry
        self._following.publish((outcome,))
        return outcome.revision

    def watch(self, prefix: str, *, after: int) -> AsyncGenerator[Batch, None]:
        """Follow in memory."""
        return self._following.watch(prefix, after=after, replay=self._refuse)

    async def compact(self, revision: int) -> None:
        """Shorten the window."""
        self._check_open()
        if revision > self._following.revision:
            raise ValueError(f"revision {revision} is in the future: the store is at {self._following.revision}")
        self._following.forget(revision)

    async def figures(self) -> StoreFigures:
        """Tell that there is no disk."""
        self._check_open()
        return StoreFigures(kind="memory", disk_bytes=0)

    async def close(self) -> None:
        """End the watches."""
        self._closed = True
        self._following.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("it is closed")

    async def _refuse(self, prefix: str, after: int) -> Stretch:  # noqa: ARG002 - the prefix makes no difference
        raise Compacted(after, self._following.floor)
