"""How watches follow a store: cursors into one shared window of the newest revisions."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass

from vestryd.domain.errors import StoreUnavailable
from vestryd.domain.store import Batch


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of history up to and including the revision `through`: those of its batches that were asked for."""

    batches: tuple[Batch, ...]
    through: int


# (prefix, after) -> what comes next in the store's history; raises Compacted when that is gone
Replay = Callable[[str, int], Awaitable[Stretch]]


class Following:
    """The newest revisions of a store, and the watches that follow them.

    The window holds at most `max_revisions`, and at most `max_bytes` of values unless a single revision is larger; it
    is the same for all watches. A watch is only a cursor, so one that doesn't read costs nothing, and one that falls
    out of the window replays the store's history until it is back in. Lives as long as its store, on its event loop.
    """

    def __init__(self, *, max_revisions: int, max_bytes: int = sys.maxsize) -> None:
        self.revision = 0
        self._max_revisions = max_revisions
        self._max_bytes = max_bytes
        self._bytes = 0
        self._window: dict[int, Batch] = {}  # revision -> its batch; without gaps, the oldest first
        self._news = asyncio.Event()  # set once and replaced at the next publication
        self._closing = False
        self._closed = False

    @property
    def floor(self) -> int:
        """The revision before the oldest one in the window."""
        return self.revision - len(self._window)

    def begin_at(self, revision: int) -> None:
        """Take `revision` as the newest; the window is empty."""
        self.revision = revision

    def publish(self, batches: Iterable[Batch]) -> None:
        """Add the next revisions, in order, and wake the watches."""
        for batch in batches:
            self.revision = batch.revision
            self._window[batch.revision] = batch
            self._bytes += _size(batch)
        while len(self._window) > self._max_revisions or (self._bytes > self._max_bytes and len(self._window) > 1):
            self._drop_oldest()
        self._wake()

    def forget(self, through: int) -> None:
        """Drop the revisions up to and including `through`."""
        while self._window and self.floor < through:
            self._drop_oldest()

    def watch(self, prefix: str, *, after: int, replay: Replay) -> AsyncGenerator[Batch, None]:
        """Follow the store as the port's `watch` says; `replay` is asked for what the window doesn't hold."""
        if self._closed:
            raise StoreUnavailable("it is closed")
        return self._follow(prefix, after, replay)

    def expect_close(self) -> None:
        """From now on a replay that the store refuses ends its watch, without an error."""
        self._closing = True

    def close(self) -> None:
        """End the watches, once they have read what the window holds."""
        self._closed = True
        self._wake()

    async def _follow(self, prefix: str, after: int, replay: Replay) -> AsyncGenerator[Batch, None]:
        if after > self.revision:
            raise ValueError(f"revision {after} is in the future: the store is at {self.revision}")
        cursor = after
        while True:
            news = self._news  # taken before the state is read, so that no news is missed
            while cursor < self.revision:
                if batch := self._window.get(cursor + 1):
                    stretch = Stretch((batch,), cursor + 1)
                else:
                    try:
                        stretch = await replay(prefix, cursor)
                    except StoreUnavailable:
                        if self._closing:
                            return
                        raise
                for part in stretch.batches:
                    if seen := _under(prefix, part):
                        yield seen
                cursor = stretch.through
            if self._closed:
                return
            await news.wait()

    def _drop_oldest(self) -> None:
        self._bytes -= _size(self._window.pop(self.floor + 1))

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


def _size(batch: Batch) -> int:
    return sum(len(entry.value) for entry in batch.changes.values() if entry is not None)


def _under(prefix: str, batch: Batch) -> Batch | None:
    """Return what `batch` has under `prefix`, or None."""
    changes = {key: entry for key, entry in batch.changes.items() if key.startswith(prefix)}
    if len(changes) == len(batch.changes):
        return batch
    return Batch(batch.revision, changes) if changes else None
