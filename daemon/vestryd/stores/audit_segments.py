"""Reading the audit log's segments: from any record on, without an index."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from vestry.audit_files import segment_firsts, segment_name
from vestry.audit_record import Record, decode, seam
from vestryd.domain.errors import AuditUnavailable

_NEAR_BYTES = 8 * 1024  # so close to what is sought, reading on is cheaper than seeking


def read_records(directory: Path, *, after: int, limit: int, through: int) -> list[Record]:
    """Return at most `limit` records above `after`, none above `through`. Raises AuditUnavailable, OSError."""
    records: list[Record] = []
    for path, number, line in _lines(directory, after + 1):
        if len(records) == limit:
            break
        try:
            record = decode(line)
        except ValueError:
            raise AuditUnavailable(f"line {number} is not a record", str(path)) from None
        if record.sequence > through:
            break
        records.append(record)
    return records


def last_line(path: Path) -> bytes:
    """Return the last line of a file, empty when there is none."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        reach = _NEAR_BYTES
        while True:
            file.seek(max(0, end - reach))
            lines = file.read().splitlines(keepends=True)
            if len(lines) > 1 or reach >= end:
                return lines[-1] if lines else b""
            reach *= 4


def gap_between(directory: Path, firsts: list[int]) -> str:
    """Return the name of a segment that doesn't follow from the one before; empty when all do."""
    for first, following in pairwise(firsts):
        found = seam(last_line(directory / segment_name(first)))
        if found is None or found.sequence != following - 1:
            return segment_name(following)
    return ""


def _lines(directory: Path, sequence: int) -> Iterator[tuple[Path, int, bytes]]:
    """Yield the lines of record `sequence` and of those that follow, with their files; numbers count from there."""
    firsts = segment_firsts(directory)
    for first in firsts[max(0, bisect_right(firsts, sequence) - 1) :]:
        path = directory / segment_name(first)
        with path.open("rb") as file:
            _seek(file, sequence)
            for number, line in enumerate(file, start=1):
                found = seam(line)
                if found is None and not line.endswith(b"\n"):
                    break  # it is being written
                if found is None or found.sequence >= sequence:
                    yield path, number, line


def _seek(file: BinaryIO, sequence: int) -> None:
    """Move to the beginning of a line at or before that of record `sequence`, by bisection."""
    low, high = 0, file.seek(0, os.SEEK_END)  # a line begins at `low`; the record's doesn't begin at or after `high`
    while high - low > _NEAR_BYTES:
        middle = (low + high) // 2
        file.seek(middle)
        file.readline()  # the rest of a line
        begin = file.tell()
        found = seam(file.readline())
        if begin >= high or found is None or found.sequence > sequence:
            high = middle
        else:
            low = begin
    file.seek(low)
