"""The verifier of the audit log: it finds the first record or checkpoint that isn't as it was written.

What it can prove depends on what it is given; docs/audit.md has the table. It reads each line once and keeps none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from vestry.audit_checkpoint import MAX_UNSEALED_RECORDS, Checkpoint, decode_checkpoint, is_signed_by
from vestry.audit_record import chain_start, line_hash, mac, next_key, seam

CHECKPOINTS_FILE: Final = "checkpoints.jsonl"


class ProblemKind(StrEnum):
    """What is wrong with a log."""

    MALFORMED = "malformed"  # a line is not a record's
    SEQUENCE = "sequence"  # a record is missing, doubled or out of order
    CHAIN = "chain"  # a line doesn't follow from the one before
    MAC = "mac"  # a line was written without its record's key
    CHECKPOINT_MALFORMED = "checkpoint-malformed"
    CHECKPOINT_MISSING = "checkpoint-missing"
    CHECKPOINT_SIGNATURE = "checkpoint-signature"
    CHECKPOINT_HASH = "checkpoint-hash"  # the line isn't the one that was signed
    TRUNCATED = "truncated"  # the log ends before a checkpoint says so
    WENT_BACKWARDS = "went-backwards"  # the log lacks the checkpoint that was remembered elsewhere


@dataclass(frozen=True, slots=True)
class Segment:
    """A file of the log: its name, and its lines with their newlines (an open binary file will do)."""

    name: str
    lines: Iterable[bytes]


@dataclass(frozen=True, slots=True)
class Problem:
    """The first thing that is wrong. `line` counts from 1; `line` and `sequence` are 0 where there is none."""

    kind: ProblemKind
    file: str
    line: int
    sequence: int
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        record = f"record {self.sequence}: " if self.sequence else ""
        return f"{place}: {record}{self.message}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `verify` found. `records` is how many were read, up to `last_sequence`, before a problem or the end.

    `unsealed` counts those after the last checkpoint: without the verification key, nothing proves their content, and
    nothing at all proves that none is missing at the end. `is_torn` tells of an incomplete last line, which a log that
    is being written, or a crash, may leave.
    """

    problem: Problem | None = None
    records: int = 0
    last_sequence: int = 0
    checkpoint: Checkpoint | None = None
    unsealed: int = 0
    has_checked_macs: bool = False
    is_torn: bool = False

    @property
    def is_intact(self) -> bool:
        """Whether nothing is wrong."""
        return self.problem is None


def verify(
    segments: Iterable[Segment],
    *,
    checkpoints: Iterable[bytes],
    public_key: bytes,
    store_id: str,
    verification_key: bytes | None = None,
    anchor: Checkpoint | None = None,
    archived: int = 0,
) -> Verdict:
    """Verify a log, and return what is wrong first, if anything.

    `checkpoints` are the lines of checkpoints.jsonl, from the first, read before the segments if the log is in use. With
    `verification_key`, K(1), the MACs are checked as well. `anchor` is a checkpoint of this log that was remembered
    elsewhere. Records up to `archived` were moved away: the segments begin after it, where a checkpoint must stand.
    """
    try:
        seals = _check_checkpoints(checkpoints, public_key, store_id)
        if anchor is not None:
            _check_anchor(anchor, seals, public_key)
        walk = _Walk(seals, verification_key)
        walk.begin(store_id, archived)
    except _Found as found:
        return Verdict(problem=found.problem, has_checked_macs=verification_key is not None)
    try:
        for segment in segments:
            walk.read(segment)
        walk.end()
    except _Found as found:
        return replace(walk.verdict(), problem=found.problem)
    return walk.verdict()


class _Found(Exception):
    """The problem was found; there is no use in looking further."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem


class _Walk:
    """One pass over a log's lines. Lives for one verification."""

    def __init__(self, seals: Sequence[Checkpoint], verification_key: bytes | None) -> None:
        self._seals = seals
        self._met = 0  # how many of the seals have been compared
        self._sealed = 0  # the size that the last of those signs
        self._key = verification_key
        self._archived = 0
        self._sequence = 0
        self._hash = ""
        self._torn = ""  # the file with an incomplete last line
        self._file = CHECKPOINTS_FILE
        self._line = 0

    def begin(self, store_id: str, archived: int) -> None:
        """Stand where record `archived` ended."""
        self._archived = self._sequence = archived
        self._hash = chain_start(store_id)
        if archived:
            seal = next((seal for seal in self._seals if seal.size == archived), None)
            if seal is None:
                self._fail(ProblemKind.CHECKPOINT_MISSING, f"no checkpoint stands at the archive's end, {archived}")
            else:
                self._hash = seal.hash
            for _ in range(archived if self._key is not None else 0):
                self._advance_key()
        while self._met < len(self._seals) and self._seals[self._met].size < archived:
            self._sealed = self._seals[self._met].size
            self._met += 1
        self._compare_seals()

    def read(self, segment: Segment) -> None:
        """Check the lines of the next file."""
        if self._torn:
            self._fail(ProblemKind.MALFORMED, "its last line is incomplete, and another file follows")
        self._file = segment.name
        for number, line in enumerate(segment.lines, start=1):
            self._line = number
            self._check(line)

    def end(self) -> None:
        """Check that nothing is missing at the end."""
        if self._met < len(self._seals):
            seal = self._seals[self._met]
            self._fail(
                ProblemKind.TRUNCATED,
                f"the log ends at record {self._sequence}, but checkpoint {seal.number} was signed at {seal.size}",
            )

    def verdict(self) -> Verdict:
        """Return what has been proved so far."""
        return Verdict(
            records=self._sequence - self._archived,
            last_sequence=self._sequence,
            checkpoint=self._seals[self._met - 1] if self._met else None,
            unsealed=self._sequence - self._sealed,
            has_checked_macs=self._key is not None,
            is_torn=bool(self._torn),
        )

    def _check(self, line: bytes) -> None:
        if not line.endswith(b"\n"):
            self._torn = self._file
            return
        found = seam(line)
        expected = self._sequence + 1
        if found is None:
            self._fail(ProblemKind.MALFORMED, "this is not the line of an audit record", expected)
        elif found.sequence != expected:
            self._fail(ProblemKind.SEQUENCE, f"record {expected} should stand here", found.sequence)
        elif found.previous != self._hash.encode():
            self._fail(ProblemKind.CHAIN, "it doesn't follow from the record before", expected)
        elif self._key is not None and found.mac != mac(self._key, found.authenticated).encode():
            self._fail(ProblemKind.MAC, "it was not written with this record's key", expected)
        self._hash = line_hash(line)
        self._sequence = expected
        self._advance_key()
        self._compare_seals()
        if self._sequence - self._sealed > MAX_UNSEALED_RECORDS:
            self._fail(ProblemKind.CHECKPOINT_MISSING, f"{MAX_UNSEALED_RECORDS} records have no checkpoint", expected)

    def _compare_seals(self) -> None:
        while self._met < len(self._seals) and self._seals[self._met].size == self._sequence:
            seal = self._seals[self._met]
            if seal.hash != self._hash:
                self._fail(
                    ProblemKind.CHECKPOINT_HASH,
                    f"it, or a record before it, is not what checkpoint {seal.number} signed",
                    self._sequence,
                )
            self._sealed = seal.size
            self._met += 1

    def _advance_key(self) -> None:
        if self._key is not None:
            self._key = next_key(self._key)

    def _fail(self, kind: ProblemKind, message: str, sequence: int = 0) -> None:
        raise _Found(Problem(kind, self._file, self._line, sequence, message))


def _check_checkpoints(lines: Iterable[bytes], public_key: bytes, store_id: str) -> Sequence[Checkpoint]:
    """Return the checkpoints, in order; raise unless they are whole, signed and without gaps.

    The first one, at size 0, is signed when the log is founded: a log without checkpoints was never written. An
    incomplete last line is what a crash leaves, and is passed over.
    """
    seals: list[Checkpoint] = []
    for number, line in enumerate(lines, start=1):
        if not line.endswith(b"\n"):
            break
        try:
            seal = decode_checkpoint(line)
        except ValueError as error:
            raise _bad_checkpoint(ProblemKind.CHECKPOINT_MALFORMED, number, str(error)) from None
        if seal.number != number:
            raise _bad_checkpoint(ProblemKind.CHECKPOINT_MISSING, number, f"checkpoint {number} should stand here")
        if seal.origin != store_id or not is_signed_by(seal, public_key):
            raise _bad_checkpoint(
                ProblemKind.CHECKPOINT_SIGNATURE, number, "it was not signed for this store with this key"
            )
        if seals and seal.size <= seals[-1].size:
            raise _bad_checkpoint(ProblemKind.SEQUENCE, number, "it is not beyond the checkpoint before")
        seals.append(seal)
    if not seals or seals[0].size:
        raise _bad_checkpoint(ProblemKind.CHECKPOINT_MISSING, 0, "the checkpoint of the log's beginning is missing")
    return seals


def _check_anchor(anchor: Checkpoint, seals: Sequence[Checkpoint], public_key: bytes) -> None:
    """Raise unless the log still has the checkpoint that was remembered."""
    number = anchor.number
    if not is_signed_by(anchor, public_key):
        raise _bad_checkpoint(ProblemKind.CHECKPOINT_SIGNATURE, 0, "the anchor was signed with another key")
    if len(seals) < number:
        raise _bad_checkpoint(
            ProblemKind.WENT_BACKWARDS, 0, f"checkpoint {number}, seen elsewhere at {anchor.size} records, is gone"
        )
    if seals[number - 1] != anchor:
        raise _bad_checkpoint(
            ProblemKind.WENT_BACKWARDS, number, f"it is not the checkpoint {number} that was seen elsewhere"
        )


def _bad_checkpoint(kind: ProblemKind, line: int, message: str) -> _Found:
    return _Found(Problem(kind, CHECKPOINTS_FILE, line, 0, message))
