"""The audit of what happens in any case: best effort, but never silently incomplete."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from vestryd.domain.audit import DAEMON, AuditLog, Entry
from vestryd.domain.errors import AuditUnavailable

MAX_WAITING = 1024
RETRY_SECONDS = 5.0


class AuditTrail:
    """Records entries in the background, in order. Lives from before the first `note` until `run` has ended.

    An entry that can't be recorded, or finds MAX_WAITING others before it, is missed. Once the log works again, a record
    `audit.gap` says how many were.
    """

    def __init__(self, log: AuditLog, *, retry_seconds: float = RETRY_SECONDS) -> None:
        self._log = log
        self._retry_seconds = retry_seconds
        self._waiting: deque[Entry] = deque()
        self._news = asyncio.Event()
        self._stopping = False
        self._unrecorded = 0
        self.missed = 0
        """How many entries were missed since the start."""

    @property
    def unrecorded(self) -> int:
        """How many were missed and are not in an `audit.gap` yet: while it isn't 0, an administrator should be told."""
        return self._unrecorded

    def note(self, entry: Entry) -> None:
        """Record `entry` soon. Never blocks, never fails. For the event loop's thread."""
        if len(self._waiting) >= MAX_WAITING:
            self._miss()
        else:
            self._waiting.append(entry)
        self._news.set()

    def stop(self) -> None:
        """Let `run` end once it has tried what waits."""
        self._stopping = True
        self._news.set()

    async def run(self, on_miss: Callable[[AuditUnavailable], None] | None = None) -> None:
        """Record what is noted, until `stop`. `on_miss` is called for each entry that the log refuses."""
        while True:
            self._news.clear()  # before the queue is looked at, so that no news is missed
            while self._waiting:
                await self._record(self._waiting.popleft(), on_miss)
            await self._tell_of_gap()
            if self._stopping and not self._waiting:
                return
            await self._wait()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._retry_seconds if self._unrecorded else None):
                await self._news.wait()
        except TimeoutError:
            return

    async def _record(self, entry: Entry, on_miss: Callable[[AuditUnavailable], None] | None) -> None:
        await self._tell_of_gap()
        try:
            await self._log.record(entry)
        except AuditUnavailable as error:
            self._miss()
            if on_miss is not None:
                on_miss(error)

    async def _tell_of_gap(self) -> None:
        count = self._unrecorded
        if not count:
            return
        try:
            await self._log.record(Entry(DAEMON, "audit.gap", "audit", facts={"missed": count}))
        except AuditUnavailable:
            return
        self._unrecorded -= count

    def _miss(self) -> None:
        self.missed += 1
        self._unrecorded += 1
