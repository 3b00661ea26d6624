"""The one thread that touches a store's database, and the bridge between it and the event loop."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import structlog

from vestryd.domain.errors import Conflict, StoreUnavailable
from vestryd.domain.store import Batch, Commit
from vestryd.stores.files import beside, size_of
from vestryd.stores.following import Following
from vestryd.stores.lock import StoreLock
from vestryd.stores.sqlite_file import error_name, explained, open_database
from vestryd.stores.sqlite_log import Identity, Log

T = TypeVar("T")

log = structlog.get_logger(__name__)

_QUEUE_JOBS = 1024
_CHECKPOINT_BYTES = 4 * 1024 * 1024
_COMPACTION_REVISIONS = 2000  # at most so many are compacted at a time, for the commits that wait meanwhile


@dataclass(frozen=True, slots=True, eq=False)
class _Write:
    commit: Commit
    answer: asyncio.Future[int]


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    work: Callable[[Log], Any]
    answer: asyncio.Future[Any]


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """What the thread found out, on its way to whoever waits for it."""

    future: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None


class Writer:
    """Owns a store's lock, database and thread, from `start` to `close`.

    All commits that wait when the thread comes round are one group: one transaction, one fsync. Each is answered after
    that transaction has been committed, and not before. The queue holds 1024 jobs; when it is full, callers wait. A
    caller that is cancelled while it waits for room has committed nothing; later, its commit goes its way, while a call
    that hasn't begun is dropped.
    """

    def __init__(self, path: Path, *, history_revisions: int, following: Following) -> None:
        self._path = path
        self._history_revisions = history_revisions
        self._following = following
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._main, name="vestry-store", daemon=True)
        self._slots = asyncio.Semaphore(_QUEUE_JOBS)
        self._queue: SimpleQueue[_Write | _Call | None] = SimpleQueue()  # None: stop when you come to it
        self._opened: asyncio.Future[Identity] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._closing = False
        # What follows belongs to the thread.
        self._log: Log
        self._writes: list[_Write] = []
        self._calls: deque[_Call] = deque()
        self._stopping = False
        self._checkpoint_at = _CHECKPOINT_BYTES

    async def start(self) -> Identity:
        """Lock and open the database. Raises StoreUnusable."""
        self._thread.start()
        try:
            return await self._opened
        except asyncio.CancelledError:
            self._queue.put(None)
            raise

    async def commit(self, commit: Commit) -> int:
        """Write `commit` with the next group, and return its revision."""
        answer: asyncio.Future[int] = self._loop.create_future()
        await self._submit(_Write(commit, answer))
        return await answer

    async def call(self, work: Callable[[Log], T]) -> T:
        """Run `work` in the thread, between two groups."""
        answer: asyncio.Future[T] = self._loop.create_future()
        await self._submit(_Call(work, answer))
        return await answer

    async def close(self) -> None:
        """Finish what was accepted, close the database and let go of its lock. Idempotent."""
        if not self._closing:
            self._closing = True
            self._queue.put(None)
        await asyncio.shield(self._ended)
        self._thread.join()

    def serve_waiting(self) -> None:
        """Do what waits, from within a long call in the thread. Raises StoreUnavailable when it is time to stop."""
        self._round(self._queue.qsize())
        if self._stopping:
            raise StoreUnavailable("it is being closed", str(self._path))

    async def _submit(self, job: _Write | _Call) -> None:
        await self._slots.acquire()
        if self._closing:
            self._slots.release()
            raise StoreUnavailable("it is closed", str(self._path))
        self._queue.put(job)

    # The thread's side.

    def _main(self) -> None:
        try:
            with explained(self._path):
                lock = StoreLock.acquire(self._path)
            try:
                self._log = Log(open_database(self._path))
                identity = self._log.identify()
            except BaseException:
                lock.release()
                raise
        except Exception as error:  # noqa: BLE001 - the thread's boundary: it goes to the caller of start
            self._tell(self._deliver, _Answer(self._opened, error=error))
            return
        self._tell(self._deliver, _Answer(self._opened, identity))
        while not self._stopping:
            self._round(max(1, self._queue.qsize()))
        try:
            self._log.close()
        finally:
            lock.release()
            self._tell(self._deliver, _Answer(self._ended))

    def _round(self, jobs: int) -> None:
        """Take so many jobs, waiting for them if need be; then commit as a group, and run the calls.

        It may be entered again from a call, so what was taken and not begun stays in fields.
        """
        for _ in range(jobs):
            match self._queue.get():
                case _Write() as write:
                    self._writes.append(write)
                case _Call() as call:
                    self._calls.append(call)
                case None:
                    self._stopping = True
        if self._writes:
            self._commit_group()
        while self._calls:
            self._run(self._calls.popleft())

    def _commit_group(self) -> None:
        writes, self._writes = self._writes, []
        try:
            outcomes = self._log.append([write.commit for write in writes])
        except Exception as error:  # noqa: BLE001 - the thread's boundary: it goes to each caller of commit
            self._tell(self._settle, (), [_Answer(write.answer, error=self._told(error)) for write in writes])
            return
        answers = [
            _Answer(write.answer, error=outcome)
            if isinstance(outcome, Conflict)
            else _Answer(write.answer, outcome.revision)
            for write, outcome in zip(writes, outcomes, strict=True)
        ]
        self._tell(self._settle, [outcome for outcome in outcomes if isinstance(outcome, Batch)], answers)
        self._tidy()

    def _run(self, call: _Call) -> None:
        if call.answer.cancelled():
            self._tell(self._settle, (), (_Answer(call.answer),))
            return
        try:
            answer = _Answer(call.answer, call.work(self._log))
        except Exception as error:  # noqa: BLE001 - the thread's boundary: it goes to the caller of call
            answer = _Answer(call.answer, error=self._told(error))
        self._tell(self._settle, (), (answer,))

    def _tidy(self) -> None:
        """Compact and checkpoint when it is time. A failure loses nothing, and is tried again later."""
        try:
            self._compact_if_due()
            wal_bytes = size_of(beside(self._path, "-wal"))
            if wal_bytes >= self._checkpoint_at:
                self._checkpoint_at = wal_bytes + _CHECKPOINT_BYTES  # should it fail
                self._log.checkpoint()
                self._checkpoint_at = _CHECKPOINT_BYTES
        except (OSError, sqlite3.Error) as error:
            log.warning("store.tidying_failed", path=str(self._path), cause=str(error))

    def _compact_if_due(self) -> None:
        """Keep the history between its length and an eighth more, so that compacting costs each commit little."""
        surplus = self._log.revision - self._log.compacted - self._history_revisions
        if surplus > self._history_revisions // 8:
            self._log.compact(self._log.compacted + min(surplus, _COMPACTION_REVISIONS))
            self._tell(self._following.forget, self._log.compacted)

    def _told(self, error: Exception) -> Exception:
        """Return the error as the port names it."""
        if not isinstance(error, sqlite3.Error):
            return error
        told = StoreUnavailable(f"{error} ({error_name(error)})", str(self._path))
        told.__cause__ = error
        return told

    def _tell(self, what: Callable[..., None], *arguments: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed, so nobody is left to be told
            self._loop.call_soon_threadsafe(what, *arguments)

    # Back on the event loop, in the order in which the thread told it.

    def _settle(self, batches: Iterable[Batch], answers: Iterable[_Answer]) -> None:
        self._following.publish(batches)
        for answer in answers:
            self._slots.release()
            self._deliver(answer)

    def _deliver(self, answer: _Answer) -> None:
        if answer.future.cancelled():
            return
        if answer.error is None:
            answer.future.set_result(answer.result)
        else:
            answer.future.set_exception(answer.error)
