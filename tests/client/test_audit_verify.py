"""What the verifier of the audit log says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.audit_logs import K1, PUBLIC_KEY, STORE, Log, checkpoint, written
from vestry.audit import ProblemKind, Segment, Verdict, encode_checkpoint, open_log, verify
from vestry.audit_checkpoint import MAX_UNSEALED_RECORDS
from vestry.audit_files import segment_name


def verified(segments: list[Segment], log: Log, *, archived: int = 0, with_key: bool = True) -> Verdict:
    """Verify these segments against the log's checkpoints."""
    return verify(
        segments,
        checkpoints=map(encode_checkpoint, log.checkpoints),
        public_key=PUBLIC_KEY,
        store_id=STORE,
        verification_key=K1 if with_key else None,
        archived=archived,
    )


def test_an_intact_log_is_accounted_for() -> None:
    """The verdict says how far the log goes, how far it is signed, and whether MACs were checked."""
    verdict = written().verify(with_key=True)
    assert verdict == Verdict(
        records=60,
        last_sequence=60,
        checkpoint=written().checkpoints[-1],
        unsealed=10,
        has_checked_macs=True,
    )
    assert not written().verify().has_checked_macs


def test_a_new_log_is_intact() -> None:
    """A log without records has a checkpoint that says so."""
    assert Log().verify(with_key=True).is_intact


@given(st.data())
def test_no_byte_can_be_changed(data: st.DataObject) -> None:
    """Whatever byte of a signed record is changed to whatever else, that record or an earlier sign of it is named."""
    log = written(6, seals=(6,))
    at = data.draw(st.integers(0, 5))
    line = bytearray(log.lines[at])
    place = data.draw(st.integers(0, len(line) - 1))
    line[place] ^= data.draw(st.integers(1, 255))
    text = b"".join((*log.lines[:at], line, *log.lines[at + 1 :]))
    log.lines = _lines(text)
    for with_key in (False, True):
        verdict = log.verify(with_key=with_key)
        assert not verdict.is_intact
        assert verdict.records in ({at} if with_key else {at, at + 1, 6})


def _lines(text: bytes) -> list[bytes]:
    """Split as files do: at newlines alone."""
    parts = text.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


@pytest.mark.parametrize(
    ("alter", "kind", "line", "sequence"),
    [
        (lambda lines: lines.pop(29), ProblemKind.SEQUENCE, 10, 31),
        (lambda lines: lines.insert(29, lines[29]), ProblemKind.SEQUENCE, 11, 30),
        (lambda lines: lines.__setitem__(29, b"{}\n"), ProblemKind.MALFORMED, 10, 30),
        (lambda lines: lines.__setitem__(28, lines[28].replace(b"rpc", b"cli")), ProblemKind.MAC, 9, 29),
    ],
)
def test_the_first_bad_record_is_named(
    alter: Callable[[list[bytes]], object], kind: ProblemKind, line: int, sequence: int
) -> None:
    """A problem names the file, the line in it, and the record."""
    log = written()
    lines = log.lines[20:]
    whole = [*log.lines]
    alter(whole)
    lines = whole[20:]
    segments = [Segment(segment_name(1), whole[:20]), Segment(segment_name(21), lines)]
    problem = verified(segments, log).problem
    assert problem
    assert (problem.kind, problem.file, problem.line, problem.sequence) == (kind, segment_name(21), line, sequence)
    assert str(problem).startswith(f"{segment_name(21)}:{line}: record {sequence}: ")


def test_without_macs_the_record_after_a_change_is_named() -> None:
    """With the public key alone the chain shows where it was broken: behind the record that was changed."""
    log = written()
    log.lines[28] = log.lines[28].replace(b"rpc", b"cli")
    problem = log.verify().problem
    assert problem
    assert (problem.kind, problem.sequence) == (ProblemKind.CHAIN, 30)


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_missing_segment_is_noticed(missing: int) -> None:
    """A file less, at the beginning, in the middle or at the end, is a problem."""
    log = written()
    segments = list(log.segments(1, 21, 41))
    del segments[missing]
    problem = verified(segments, log).problem
    assert problem
    assert problem.kind is (ProblemKind.TRUNCATED if missing == 2 else ProblemKind.SEQUENCE)


def test_an_archive_may_lie_elsewhere() -> None:
    """Told that records were archived, the verifier begins behind them, where a checkpoint stands."""
    log = written()
    rest = log.segments(1, 41)[1:]
    verdict = verified(list(rest), log, archived=40)
    assert verdict.is_intact
    assert (verdict.records, verdict.last_sequence, verdict.unsealed) == (20, 60, 10)
    problem = verified(list(log.segments(1, 31)[1:]), log, archived=30).problem
    assert problem
    assert problem.kind is ProblemKind.CHECKPOINT_MISSING


def test_an_archive_does_not_hide_a_change() -> None:
    """What follows an archive must follow from it."""
    log = written()
    other = written(40, seals=())
    other.lines[39] = other.lines[39].replace(b"rpc", b"cli")
    log.checkpoints[2] = checkpoint(3, 40, other.last_hash)
    problem = verified(list(log.segments(1, 41)[1:]), log, archived=40).problem
    assert problem
    assert problem.kind is ProblemKind.CHAIN


def test_records_without_checkpoints_are_suspicious() -> None:
    """The daemon never writes more than so many records without a checkpoint, so somebody took one away."""
    size = MAX_UNSEALED_RECORDS
    assert written(size, seals=()).verify().is_intact
    problem = written(size + 1, seals=()).verify().problem
    assert problem
    assert (problem.kind, problem.sequence) == (ProblemKind.CHECKPOINT_MISSING, size + 1)


@pytest.mark.parametrize("size", [30, 50])
def test_checkpoints_go_forward(size: int) -> None:
    """A checkpoint that is not beyond the one before was never signed by an honest daemon, whatever it says."""
    log = written()
    log.checkpoints.append(checkpoint(5, size, written(size).last_hash))
    problem = log.verify().problem
    assert problem
    assert (problem.kind, problem.file, problem.line) == (ProblemKind.SEQUENCE, "checkpoints.jsonl", 5)


def test_an_incomplete_last_line_is_not_tampering() -> None:
    """A log may be read while its last line is being written: it isn't counted, and the verdict says so."""
    log = written()
    log.lines[59] = log.lines[59][:100]
    verdict = log.verify(with_key=True)
    assert (verdict.is_intact, verdict.is_torn, verdict.records) == (True, True, 59)


def test_an_incomplete_line_inside_is_tampering() -> None:
    """Only the last line of the last file may be incomplete."""
    log = written()
    first, second = log.segments(1, 21)
    torn = Segment(first.name, [*list(first.lines)[:-1], log.lines[19].rstrip()])
    problem = verified([torn, second], log).problem
    assert problem
    assert problem.kind is ProblemKind.MALFORMED


def test_another_store_s_log_is_refused() -> None:
    """A whole log of another store is not this store's."""
    verdict = verify(
        written().segments(),
        checkpoints=map(encode_checkpoint, written().checkpoints),
        public_key=PUBLIC_KEY,
        store_id="6" * 32,
    )
    assert verdict.problem
    assert verdict.problem.kind is ProblemKind.CHECKPOINT_SIGNATURE


def test_a_directory_is_read_in_order(tmp_path: Path) -> None:
    """A log's directory is verified file after file."""
    log = written()
    (tmp_path / "checkpoints.jsonl").write_bytes(b"".join(map(encode_checkpoint, log.checkpoints)))
    for segment in log.segments(1, 21, 41):
        (tmp_path / segment.name).write_bytes(b"".join(segment.lines))
    (tmp_path / "mac.key").write_bytes(b"not read")
    checkpoints, segments = open_log(tmp_path)
    verdict = verify(segments, checkpoints=checkpoints, public_key=PUBLIC_KEY, store_id=STORE)
    assert (verdict.is_intact, verdict.records) == (True, 60)
