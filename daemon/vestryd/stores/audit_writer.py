"""The one thread that touches the audit log's files, and the bridge between it and the event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import structlog

from vestry.audit_checkpoint import Checkpoint
from vestry.audit_record import Record
from vestryd.domain.audit import Entry
from vestryd.domain.clock import Clock
from vestryd.domain.errors import AuditUnavailable
from vestryd.stores.audit_founding import VERIFICATION_KEY_FILE, Reached, Step, explained, found, load_signer, lock
from vestryd.stores.audit_ledger import Appended, Ledger, Limits
from vestryd.stores.audit_recovery import recover

log = structlog.get_logger(__name__)

_QUEUE_JOBS = 1024
_GROUP_RECORDS = 512


@dataclass(frozen=True, slots=True)
class Opened:
    """What a log is like when it has been opened."""

    store_id: str
    public_key: bytes
    last_sequence: int


@dataclass(frozen=True, slots=True, eq=False)
class _Append:
    entry: Entry
    answer: asyncio.Future[Record]


@dataclass(frozen=True, slots=True, eq=False)
class _Sign:
    answer: asyncio.Future[Checkpoint]


class Writer:
    """Owns a log's lock, files and thread, from `start` to `close`.

    All entries that wait when the thread comes round are one group, of 512 at most: one write, one sync. Each is answered
    after that, and not before. The queue holds 1024 jobs; when it is full, callers wait. A caller that is cancelled while
    it waits for room has recorded nothing; later, its entry goes its way.
    """

    def __init__(self, directory: Path, store_id: str, *, clock: Clock, limits: Limits, reached: Reached) -> None:
        self.problem = ""
        """Why the newest entries were refused; empty when they weren't."""
        self.on_records: Callable[[Sequence[Record]], None] = lambda _: None
        """Called on the event loop with the records of each group, in order, before they are answered."""
        self._directory = directory
        self._store_id = store_id
        self._clock = clock
        self._limits = limits
        self._reached = reached
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._main, name="vestry-audit", daemon=True)
        self._slots = asyncio.Semaphore(_QUEUE_JOBS)
        self._queue: SimpleQueue[_Append | _Sign | None] = SimpleQueue()  # None: stop when you come to it
        self._opened: asyncio.Future[Opened] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._closing = False
        # What follows belongs to the thread.
        self._ledger: Ledger
        self._stopping = False

    async def start(self) -> Opened:
        """Lock the log and open it, or found one. Raises AuditUnusable."""
        self._thread.start()
        try:
            return await self._opened
        except asyncio.CancelledError:
            self._queue.put(None)
            raise

    async def append(self, entry: Entry) -> Record:
        """Record `entry` with the next group."""
        answer: asyncio.Future[Record] = self._loop.create_future()
        await self._submit(_Append(entry, answer))
        return await answer

    async def checkpoint(self) -> Checkpoint:
        """Sign what is new, after what waits."""
        answer: asyncio.Future[Checkpoint] = self._loop.create_future()
        await self._submit(_Sign(answer))
        return await answer

    async def close(self) -> None:
        """Record what was accepted, close the files and let go of the lock. Idempotent."""
        if not self._closing:
            self._closing = True
            self._queue.put(None)
        await asyncio.shield(self._ended)
        self._thread.join()

    async def _submit(self, job: _Append | _Sign) -> None:
        await self._slots.acquire()
        if self._closing:
            self._slots.release()
            raise AuditUnavailable("it is closed", str(self._directory))
        self._queue.put(job)

    # The thread's side.

    def _main(self) -> None:
        try:
            with explained(self._directory):
                descriptor, opened = self._open()
        except Exception as error:  # noqa: BLE001 - the thread's boundary: it goes to the caller of start
            self._tell(_fail, self._opened, error)
            return
        self._tell(_answer, self._opened, opened)
        try:
            while not self._stopping:
                self._round()
            self._ledger.close()
        finally:
            os.close(descriptor)
            self._tell(_answer, self._ended, None)

    def _open(self) -> tuple[int, Opened]:
        if not self._directory.exists():
            found(self._directory, self._store_id, now=self._clock.now(), reached=self._reached)
            log.warning("audit.founded", path=str(self._directory), store_id=self._store_id)
        descriptor = lock(self._directory)
        try:
            self._directory.chmod(0o700)
            signer = load_signer(self._directory, self._store_id)
            head = recover(self._directory, signer)
            self._ledger = Ledger(
                self._directory, head, signer, clock=self._clock, limits=self._limits, reached=self._reached
            )
        except BaseException:
            os.close(descriptor)
            raise
        if (self._directory / VERIFICATION_KEY_FILE).exists():
            log.warning(
                "audit.verification_key_present",
                path=str(self._directory / VERIFICATION_KEY_FILE),
                remedy="whoever reads it can forge records: move it to a safe place off this machine (docs/audit.md)",
            )
        return descriptor, Opened(self._store_id, signer.public_key, head.sequence)

    def _round(self) -> None:
        """Wait for jobs, or for something to tidy; record the entries that wait, then sign if that was asked."""
        appends: list[_Append] = []
        signs: list[_Sign] = []
        with suppress(Empty):
            self._take(self._queue.get(timeout=self._ledger.seconds_until_due()), appends, signs)
            for _ in range(min(self._queue.qsize(), _GROUP_RECORDS - 1)):
                self._take(self._queue.get(), appends, signs)
        if appends:
            self._append(appends)
        for sign in signs:
            self._sign(sign)
        self._ledger.tidy()

    def _take(self, job: _Append | _Sign | None, appends: list[_Append], signs: list[_Sign]) -> None:
        match job:
            case _Append():
                appends.append(job)
            case _Sign():
                signs.append(job)
            case None:
                self._stopping = True

    def _append(self, appends: Sequence[_Append]) -> None:
        try:
            appended = self._ledger.append([append.entry for append in appends])
        except Exception as error:  # noqa: BLE001 - the thread's boundary: it goes to each caller of append
            self._tell(self._refuse, appends, error)
            return
        self._reached(Step.RECORDS_ANSWER)
        self._tell(self._settle, appends, appended)

    def _sign(self, sign: _Sign) -> None:
        try:
            checkpoint = self._ledger.checkpoint()
        except AuditUnavailable as error:
            self._tell(self._finish, _fail, sign.answer, error)
        else:
            self._tell(self._finish, _answer, sign.answer, checkpoint)

    def _tell(self, what: Callable[..., None], *arguments: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed, so nobody is left to be told
            self._loop.call_soon_threadsafe(what, *arguments)

    # Back on the event loop, in the order in which the thread told it.

    def _settle(self, appends: Sequence[_Append], appended: Appended) -> None:
        self.problem = appended.problem
        self.on_records(appended.records)
        for append, record in zip(appends, appended.asked, strict=True):
            self._finish(_answer, append.answer, record)

    def _refuse(self, appends: Sequence[_Append], error: Exception) -> None:
        self.problem = error.cause if isinstance(error, AuditUnavailable) else str(error)
        for append in appends:
            self._finish(_fail, append.answer, error)

    def _finish(self, how: Callable[[asyncio.Future[Any], Any], None], answer: asyncio.Future[Any], what: Any) -> None:
        self._slots.release()
        how(answer, what)


def _answer(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
