"""Where an audit log ended: found, and checked against what its keys and its checkpoint say."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import structlog

from vestry.audit_checkpoint import MAX_UNSEALED_RECORDS, Checkpoint, decode_checkpoint, is_signed_by
from vestry.audit_files import segment_firsts, segment_name
from vestry.audit_record import chain_start, decode, line_hash, mac, next_key, seam
from vestry.audit_verify import CHECKPOINTS_FILE
from vestryd.domain.errors import AuditUnusable
from vestryd.stores.audit_founding import EVIDENCE, MacKey, Signer, load_mac_key
from vestryd.stores.audit_segments import gap_between, last_line

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Head:
    """Where the log stands: its last record, the key of the next, the checkpoint, and the segment written to."""

    sequence: int
    hash: str
    key: bytes
    checkpoint: Checkpoint
    segment_first: int
    segment_bytes: int
    segment_time: float | None  # when its first record was made, in seconds since 1970; None while it is empty
    checkpoints_bytes: int
    key_on_disk: int  # the sequence in mac.key


def recover(directory: Path, signer: Signer) -> Head:
    """Return where the log stands. Raises AuditUnusable, and repairs nothing, when that isn't as it was left.

    An incomplete last line is the one thing that a crash may leave: it was never acknowledged, and is cut off. Only the
    last segment is read whole; the whole log is for `vestryctl audit verify`.
    """
    firsts = segment_firsts(directory)
    if not firsts:
        _refuse(directory, "its segments are gone")
    if torn := gap_between(directory, firsts):
        _refuse(directory, f"records are missing before {torn}")
    checkpoint = _last_checkpoint(directory, signer)
    path = directory / segment_name(firsts[-1])
    _cut_torn_line(path)
    walk = _Walk(directory, path, firsts[-1], checkpoint, load_mac_key(directory), signer.store_id)
    with path.open("rb") as file:
        for line in file:
            walk.check(line)
    return walk.end()


class _Walk:
    """One pass over the last segment. Lives for one recovery."""

    def __init__(
        self, directory: Path, path: Path, first: int, checkpoint: Checkpoint, key: MacKey, store_id: str
    ) -> None:
        self._directory = directory
        self._path = path
        self._first = first
        self._checkpoint = checkpoint
        self._sequence = first - 1
        self._hash = self._before(store_id)
        self._on_disk = key.sequence
        self._key = key
        self._time: float | None = None
        self._compare()

    def check(self, line: bytes) -> None:
        """Check the next line as far as the keys that are left allow."""
        expected = self._sequence + 1
        found = seam(line)
        if found is None or found.sequence != expected or (self._hash and found.previous != self._hash.encode()):
            _refuse(self._directory, f"record {expected} in {self._path.name} is not as it was written")
        self._evolve_to(expected)
        if self._key.sequence == expected and found.mac != mac(self._key.key, found.authenticated).encode():
            _refuse(self._directory, f"record {expected} in {self._path.name} was not written with its key")
        if self._time is None:
            self._time = decode(line).time.timestamp()
        self._sequence = expected
        self._hash = line_hash(line)
        self._compare()

    def end(self) -> Head:
        """Return where the log stands, once nothing is missing at its end."""
        last = self._sequence
        self._evolve_to(last + 1)
        if self._key.sequence > last + 1:
            _refuse(
                self._directory, f"it was cut: it ends at record {last}, but its key was used up to {self._on_disk - 1}"
            )
        if self._checkpoint.size > last:
            _refuse(self._directory, f"it was cut: it ends at record {last}, but was signed at {self._checkpoint.size}")
        if self._checkpoint.size < self._first - 1 or last - self._checkpoint.size > MAX_UNSEALED_RECORDS:
            _refuse(self._directory, f"checkpoints are missing after the one at record {self._checkpoint.size}")
        return Head(
            sequence=last,
            hash=self._hash,
            key=self._key.key,
            checkpoint=self._checkpoint,
            segment_first=self._first,
            segment_bytes=self._path.stat().st_size,
            segment_time=self._time,
            checkpoints_bytes=(self._directory / CHECKPOINTS_FILE).stat().st_size,
            key_on_disk=self._on_disk,
        )

    def _before(self, store_id: str) -> str:
        """Return the hash of the line before the segment; empty when that was moved to an archive."""
        if self._first == 1:
            return chain_start(store_id)
        if self._checkpoint.size == self._first - 1:
            return self._checkpoint.hash
        before = segment_firsts(self._directory)[:-1]
        return line_hash(last_line(self._directory / segment_name(before[-1]))) if before else ""

    def _evolve_to(self, sequence: int) -> None:
        while self._key.sequence < sequence:
            self._key = MacKey(self._key.sequence + 1, next_key(self._key.key))

    def _compare(self) -> None:
        if self._checkpoint.size == self._sequence and self._checkpoint.hash != self._hash:
            _refuse(self._directory, f"record {self._sequence} is not what checkpoint {self._checkpoint.number} signed")


def _last_checkpoint(directory: Path, signer: Signer) -> Checkpoint:
    path = directory / CHECKPOINTS_FILE
    _cut_torn_line(path)
    try:
        checkpoint = decode_checkpoint(last_line(path))
    except ValueError:
        _refuse(directory, f"the last line of {path.name} is not a checkpoint")
    if checkpoint.origin != signer.store_id or not is_signed_by(checkpoint, signer.public_key):
        _refuse(directory, f"its last checkpoint was not signed for store {signer.store_id} with signing.key")
    return checkpoint


def _cut_torn_line(path: Path) -> None:
    torn = last_line(path)
    if not torn or torn.endswith(b"\n"):
        return
    whole = path.stat().st_size - len(torn)
    with path.open("r+b") as file:
        file.truncate(whole)
        os.fsync(file.fileno())
    log.warning("audit.torn_line_cut", path=str(path), bytes=len(torn))


def _refuse(directory: Path, problem: str) -> NoReturn:
    raise AuditUnusable(str(directory), problem, EVIDENCE)
