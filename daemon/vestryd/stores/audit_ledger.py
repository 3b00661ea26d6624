"""The audit log's files as the writer's thread keeps them: records appended, checkpoints signed, keys erased."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog

from vestry.audit_checkpoint import CHECKPOINT_RECORDS, MAX_UNSEALED_RECORDS, Checkpoint, encode_checkpoint
from vestry.audit_files import segment_name
from vestry.audit_record import Fact, Record, encode, line_hash, next_key
from vestry.audit_verify import CHECKPOINTS_FILE
from vestryd.domain.audit import DAEMON, Entry
from vestryd.domain.clock import Clock
from vestryd.domain.errors import AuditUnavailable
from vestryd.stores.audit_founding import MacKey, Reached, Signer, Step, replace_mac_key
from vestryd.stores.audit_recovery import Head
from vestryd.stores.audit_reserve import Reserve
from vestryd.stores.files import PRIVATE, sync_directory

log = structlog.get_logger(__name__)

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True)
class Limits:
    """When a new segment begins, when a checkpoint is signed, and how much space is kept back.

    `key_seconds` is how far mac.key may be behind the records: in that time a thief of the disk could still rewrite them.
    """

    segment_bytes: int = 16 * 1024 * 1024
    segment_seconds: float = 30 * 24 * 3600
    checkpoint_seconds: float = 60.0
    key_seconds: float = 0.2
    reserve_bytes: int = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Appended:
    """What an append made: all records, and among them those of the entries that were asked for.

    `problem` says why these were the last ones for now; empty when they weren't.
    """

    records: Sequence[Record]
    asked: Sequence[Record]
    problem: str


class Ledger:
    """Appends to a log. Lives in the writer's thread, from the log's recovery until `close`."""

    def __init__(
        self, directory: Path, head: Head, signer: Signer, *, clock: Clock, limits: Limits, reached: Reached
    ) -> None:
        self._directory = directory
        self._head = head
        self._signer = signer
        self._clock = clock
        self._limits = limits
        self._reached = reached
        self._segment = _open_to_append(directory / segment_name(head.segment_first))
        self._checkpoints = _open_to_append(directory / CHECKPOINTS_FILE)
        self._reserve = Reserve(directory / "reserve", limits.reserve_bytes)
        self._refused = 0  # entries since the last record
        self._cause = ""  # why they were
        self._key_time = self._seal_time = self._seal_again_time = clock.monotonic()
        self._has_warned_of_key = False

    @property
    def head(self) -> Head:
        """Where the log stands."""
        return self._head

    def append(self, entries: Sequence[Entry]) -> Appended:
        """Make a record of each entry, durable when this returns. Raises AuditUnavailable; then there is none of them.

        The first records after a refusal follow one that tells of it. The last records before the disk is full take the
        reserve, and one that says so.
        """
        if self._refused:
            told: dict[str, Fact] = {"refused": self._refused, "cause": self._cause}
            preface = [Entry(DAEMON, "audit.resumed", "audit", facts=told)]
        else:
            preface = []
        try:
            records = self._append([*preface, *entries])
        except OSError as error:
            self._refused += len(entries)
            self._cause = error.strerror or str(error)
            raise AuditUnavailable(self._cause, str(self._directory)) from error
        self._refused = 0
        problem = "" if self._reserve.is_held else os.strerror(errno.ENOSPC)
        return Appended(records, records[len(preface) :][: len(entries)], problem)

    def checkpoint(self) -> Checkpoint:
        """Return the latest checkpoint, signed now if there are new records. Raises AuditUnavailable."""
        try:
            self._seal()
        except OSError as error:
            raise AuditUnavailable(error.strerror or str(error), str(self._directory)) from error
        return self._head.checkpoint

    def tidy(self) -> None:
        """Erase used keys and sign a checkpoint, where it is time. What fails is tried again later."""
        now = self._clock.monotonic()
        if now >= self._key_due():
            self._erase_used_keys()
        if now >= self._seal_due():
            self._seal_again_time = now + 1  # should it fail
            self._try_to_seal()

    def seconds_until_due(self) -> float | None:
        """Return when `tidy` has something to do, None when it won't before there are new records."""
        due = min(self._key_due(), self._seal_due())
        return None if due == _NEVER else max(0.0, due - self._clock.monotonic())

    def close(self) -> None:
        """Sign a last checkpoint, erase the used keys, and close the files. A failure costs no record."""
        self._erase_used_keys()
        self._try_to_seal()
        os.close(self._segment)
        os.close(self._checkpoints)

    # Records.

    def _append(self, entries: Sequence[Entry]) -> Sequence[Record]:
        self._reserve.take()
        try:
            return self._write(entries)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            self._reserve.give()
            log.warning("audit.disk_full", path=str(self._directory))
            last = Entry(DAEMON, "audit.unavailable", "audit", facts={"cause": error.strerror or str(error)})
            return self._write([*entries, last])

    def _write(self, entries: Sequence[Entry]) -> Sequence[Record]:
        if self._head.sequence + len(entries) - self._head.checkpoint.size > MAX_UNSEALED_RECORDS:
            self._seal()  # an earlier one failed
        if self._is_segment_full():
            self._begin_segment()
        head = self._head
        records: list[Record] = []
        lines: list[bytes] = []
        key, previous = head.key, head.hash
        now = self._clock.now()
        for sequence, entry in enumerate(entries, start=head.sequence + 1):
            record = record_of(sequence, entry, now)
            line = encode(record, previous=previous, key=key)
            key, previous = next_key(key), line_hash(line)
            records.append(record)
            lines.append(line)
        head.segment_bytes = self._append_durably(
            self._segment, head.segment_bytes, b"".join(lines), Step.RECORDS_WRITE, Step.RECORDS_SYNC
        )
        head.sequence, head.hash, head.key = records[-1].sequence, previous, key
        if head.segment_time is None:
            head.segment_time = now.timestamp()
        return records

    def _append_durably(self, descriptor: int, size: int, content: bytes, write: Step, sync: Step) -> int:
        """Append to a file that has `size` durable bytes, and return its new size. On OSError it has what it had."""
        os.ftruncate(descriptor, size)  # what an earlier failure may have left
        try:
            self._reached(write)
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            self._reached(sync)
            os.fdatasync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
        return size + len(content)

    # Segments.

    def _is_segment_full(self) -> bool:
        head = self._head
        if head.segment_time is None:
            return False
        age = self._clock.now().timestamp() - head.segment_time
        return head.segment_bytes >= self._limits.segment_bytes or age >= self._limits.segment_seconds

    def _begin_segment(self) -> None:
        """Go on in a new file. The old one ends with a checkpoint, and with its keys erased: recovery relies on both."""
        self._seal()
        self._replace_key()
        first = self._head.sequence + 1
        self._reached(Step.SEGMENT_CREATE)
        segment = _open_to_append(self._directory / segment_name(first))
        try:
            self._reached(Step.SEGMENT_SYNC)
            sync_directory(self._directory)
        except OSError:
            os.close(segment)
            raise
        os.close(self._segment)
        self._segment = segment
        self._head.segment_first, self._head.segment_bytes, self._head.segment_time = first, 0, None

    # Checkpoints.

    def _seal_due(self) -> float:
        new = self._head.sequence - self._head.checkpoint.size
        if not new:
            return _NEVER
        wait = self._limits.checkpoint_seconds if new < CHECKPOINT_RECORDS else 0
        return max(self._seal_time + wait, self._seal_again_time)

    def _try_to_seal(self) -> None:
        try:
            self._seal()
        except OSError as error:
            log.warning("audit.checkpoint_failed", path=str(self._directory), cause=str(error))

    def _seal(self) -> None:
        head = self._head
        if head.checkpoint.size == head.sequence:
            return
        new = self._signer.checkpoint(head.checkpoint.number + 1, head.sequence, head.hash, self._clock.now())
        head.checkpoints_bytes = self._append_durably(
            self._checkpoints,
            head.checkpoints_bytes,
            encode_checkpoint(new),
            Step.CHECKPOINT_WRITE,
            Step.CHECKPOINT_SYNC,
        )
        head.checkpoint = new
        self._seal_time = self._seal_again_time = self._clock.monotonic()
        log.info("audit.checkpoint", **checkpoint_facts(new))  # so that the journal is a witness

    # Keys.

    def _key_due(self) -> float:
        behind = self._head.sequence + 1 - self._head.key_on_disk
        return self._key_time + self._limits.key_seconds if behind else _NEVER

    def _erase_used_keys(self) -> None:
        self._key_time = self._clock.monotonic()
        try:
            self._replace_key()
        except OSError as error:
            if not self._has_warned_of_key:  # it is tried many times a second
                log.warning("audit.key_not_replaced", path=str(self._directory), cause=str(error))
            self._has_warned_of_key = True
        else:
            self._has_warned_of_key = False

    def _replace_key(self) -> None:
        sequence = self._head.sequence + 1
        if sequence != self._head.key_on_disk:
            replace_mac_key(self._directory, MacKey(sequence, self._head.key), self._reached)
            self._head.key_on_disk = sequence


_NEVER = float("inf")


def checkpoint_facts(checkpoint: Checkpoint) -> dict[str, str | int]:
    """Return a checkpoint as a log line's facts: all that it takes to use it as an anchor."""
    return {"checkpoint": encode_checkpoint(checkpoint).decode().rstrip(), "size": checkpoint.size}


def record_of(sequence: int, entry: Entry, time: datetime) -> Record:
    """Return the record of an entry."""
    return Record(
        sequence, time, entry.actor, entry.action, entry.resource, entry.outcome, entry.request_id, entry.facts
    )


def _open_to_append(path: Path) -> int:
    return os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, PRIVATE)
