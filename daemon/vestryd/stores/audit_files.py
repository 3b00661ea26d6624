"""The audit log on files."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from vestry.audit_checkpoint import Checkpoint
from vestry.audit_files import segment_firsts, segment_name
from vestry.audit_record import Record
from vestry.audit_verify import CHECKPOINTS_FILE
from vestryd.domain.audit import AuditFigures, Entry, Excerpt
from vestryd.domain.clock import Clock
from vestryd.domain.errors import AuditUnavailable
from vestryd.stores.audit_founding import VERIFICATION_KEY_FILE, Reached
from vestryd.stores.audit_ledger import Limits
from vestryd.stores.audit_segments import read_records
from vestryd.stores.audit_writer import Opened, Writer
from vestryd.stores.files import size_of

_WINDOW_RECORDS = 1024
_READ_RECORDS = 256
_EXCERPT_BYTES = 256 * 1024


class FileAuditLog:
    """An audit log in a directory. A record that was returned survives a power cut.

    docs/audit.md describes the files. In memory it holds the newest records, for those who watch, and nothing else.
    """

    def __init__(self, directory: Path, writer: Writer, opened: Opened) -> None:
        self._directory = directory
        self._writer = writer
        self._opened = opened
        self._last = opened.last_sequence
        self._window: deque[Record] = deque(maxlen=_WINDOW_RECORDS)  # the newest records, without gaps
        self._news = asyncio.Event()  # set once and replaced when there are new records
        self._closed = False
        writer.on_records = self._publish

    @classmethod
    async def open(
        cls,
        directory: Path,
        store_id: str,
        *,
        clock: Clock,
        limits: Limits | None = None,
        reached: Reached = lambda _: None,
    ) -> FileAuditLog:
        """Open the log in `directory`, or found one there, for this process alone. Raises AuditUnusable.

        `reached` is told of each step towards durability, in the writer's thread; an OSError that it raises is as good
        as the disk's.
        """
        writer = Writer(directory, store_id, clock=clock, limits=limits or Limits(), reached=reached)
        return cls(directory, writer, await writer.start())

    @property
    def store_id(self) -> str:
        """The store that the log was founded for."""
        return self._opened.store_id

    @property
    def public_key(self) -> bytes:
        """The key in signing.pub."""
        return self._opened.public_key

    @property
    def last_sequence(self) -> int:
        """The newest record that is durable."""
        return self._last

    async def record(self, entry: Entry) -> Record:
        """Record with the next group."""
        return await self._writer.append(entry)

    async def read(self, *, after: int, limit: int) -> Sequence[Record]:
        """Read from memory what is there, else from the files."""
        if self._closed:
            raise AuditUnavailable("it is closed", str(self._directory))
        if self._window and after + 1 >= self._window[0].sequence:
            skipped = after + 1 - self._window[0].sequence
            return [self._window[at] for at in range(skipped, min(skipped + limit, len(self._window)))]
        try:
            return await asyncio.to_thread(read_records, self._directory, after=after, limit=limit, through=self._last)
        except OSError as error:
            raise AuditUnavailable(error.strerror or str(error), str(self._directory)) from error

    async def watch(self, *, after: int) -> AsyncGenerator[Record, None]:
        """Follow in memory while the reader keeps up, in the files while it is behind."""
        cursor = after
        while not self._closed:
            news = self._news  # taken before the log is read, so that no news is missed
            while cursor < self._last and not self._closed:
                records = await self.read(after=cursor, limit=_READ_RECORDS)
                for record in records:
                    yield record
                cursor = records[-1].sequence if records else self._last
            if not self._closed:
                await news.wait()

    async def checkpoint(self) -> Checkpoint:
        """Sign in the writer's thread, between two groups."""
        return await self._writer.checkpoint()

    async def export(self) -> AsyncGenerator[Excerpt, None]:
        """Read the files in pieces, whole lines each."""
        try:
            names = [CHECKPOINTS_FILE]
            while names:
                name = names.pop(0)
                offset = 0
                while lines := await asyncio.to_thread(_whole_lines, self._directory / name, offset):
                    yield Excerpt(name, lines)
                    offset += len(lines)
                if name == CHECKPOINTS_FILE:
                    names = [segment_name(first) for first in await asyncio.to_thread(segment_firsts, self._directory)]
        except OSError as error:
            raise AuditUnavailable(error.strerror or str(error), str(self._directory)) from error

    def figures(self) -> AuditFigures:
        """Look at the directory, and at what became of the newest entries."""
        try:
            sizes = {path.name: size_of(path) for path in self._directory.iterdir()}  # name -> bytes
            problem = self._writer.problem
        except OSError as error:
            sizes, problem = {}, f"its directory {self._directory} is gone, or can't be read: {error.strerror}"
        return AuditFigures(
            last_sequence=self._last,
            disk_bytes=sum(sizes.values()),
            problem=problem,
            has_verification_key=VERIFICATION_KEY_FILE in sizes,
        )

    async def close(self) -> None:
        """Finish what was accepted, sign a last checkpoint, and let the next process in."""
        await self._writer.close()
        self._closed = True
        self._wake()

    def _publish(self, records: Sequence[Record]) -> None:
        self._window.extend(records)
        self._last = records[-1].sequence
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


def _whole_lines(path: Path, offset: int) -> bytes:
    """Return whole lines from `offset` on, about _EXCERPT_BYTES of them; empty when there are none."""
    with path.open("rb") as file:
        file.seek(offset)
        lines = file.read(_EXCERPT_BYTES)
        return lines[: lines.rfind(b"\n") + 1]
