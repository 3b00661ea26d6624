"""What the audit log says when it is opened and isn't as it was left."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import FakeClock
from stores.audit_places import STORE, entry, opened, verdict_on, write
from vestryd.domain.audit import Entry
from vestryd.domain.errors import AuditUnavailable, AuditUnusable
from vestryd.stores.audit_files import FileAuditLog
from vestryd.stores.audit_ledger import Limits
from vestryd.stores.audit_refused import RefusedAuditLog

ONE_A_SEGMENT = Limits(reserve_bytes=0, segment_bytes=1)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where a log may be founded."""
    return tmp_path / "audit"


def segment(directory: Path, first: int = 1) -> Path:
    """Return the file that begins with record `first`."""
    return directory / f"audit-{first:012}.jsonl"


def cut_last_lines(path: Path, count: int = 1) -> None:
    """Take lines away at the end."""
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-count]))


async def refusal(directory: Path, store_id: str = STORE) -> str:
    """Open a log that can't be opened, and return why; its files are as they were then."""
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    with pytest.raises(AuditUnusable) as caught:
        await FileAuditLog.open(directory, store_id, clock=FakeClock())
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before
    return caught.value.problem


@pytest.mark.parametrize("rest", [b"{", b'{"action":"config.update","actor":"ui', b"\x00" * 9000])
async def test_an_incomplete_last_line_is_cut_off(directory: Path, rest: bytes) -> None:
    """What a crash left of a line that nobody was told of goes, and the log goes on."""
    await write(directory, 3)
    with segment(directory).open("ab") as file:
        file.write(rest)
    await write(directory, 1)
    verdict = verdict_on(directory)
    assert (verdict.problem, verdict.records, verdict.is_torn) == (None, 4, False)


async def test_an_incomplete_checkpoint_is_cut_off(directory: Path) -> None:
    """The same for checkpoints."""
    await write(directory, 3)
    with (directory / "checkpoints.jsonl").open("ab") as file:
        file.write(b'{"hash":"')
    await write(directory, 1)
    assert verdict_on(directory).is_intact


async def test_a_log_that_was_cut_is_refused(directory: Path) -> None:
    """mac.key is ahead of a log that lost its end: though chain and checkpoints fit, that is noticed at the start."""
    await write(directory, 10)
    cut_last_lines(segment(directory), 2)
    cut_last_lines(directory / "checkpoints.jsonl")
    assert await refusal(directory) == "it was cut: it ends at record 8, but its key was used up to 10"


async def test_a_log_that_is_behind_its_checkpoint_is_refused(directory: Path) -> None:
    """With an older mac.key the cut is still noticed, by the checkpoint."""
    await write(directory, 5)
    older = (directory / "mac.key").read_bytes()
    await write(directory, 5)
    cut_last_lines(segment(directory), 5)
    (directory / "mac.key").write_bytes(older)
    assert await refusal(directory) == "it was cut: it ends at record 5, but was signed at 10"


async def test_an_older_directory_is_only_noticed_by_an_anchor(directory: Path, tmp_path: Path) -> None:
    """A whole older directory put back opens, as nothing on the machine can tell: that is what anchors are for."""
    await write(directory, 5)
    shutil.copytree(directory, tmp_path / "older")
    await write(directory, 5)
    shutil.rmtree(directory)
    (tmp_path / "older").rename(directory)
    async with opened(directory) as log:
        assert log.last_sequence == 5


async def test_an_older_mac_key_is_evolved_forward(directory: Path) -> None:
    """A mac.key behind the log is what a crash leaves: the records since are checked with it, and the log goes on."""
    await write(directory, 2)
    older = (directory / "mac.key").read_bytes()
    await write(directory, 3)
    newer = (directory / "mac.key").read_bytes()
    (directory / "mac.key").write_bytes(older)
    async with opened(directory):
        pass
    assert (directory / "mac.key").read_bytes() == newer
    await write(directory, 1)
    assert verdict_on(directory).is_intact


async def test_records_since_an_older_mac_key_are_checked(directory: Path) -> None:
    """What stands in the log above mac.key, and was not written with its keys, is refused."""
    await write(directory, 2)
    older = (directory / "mac.key").read_bytes()
    checkpoints = (directory / "checkpoints.jsonl").read_bytes()
    await write(directory, 1)
    (directory / "mac.key").write_bytes(older)
    (directory / "checkpoints.jsonl").write_bytes(checkpoints)
    path = segment(directory)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[2].replace(b"uid:1000", b"uid:1001")]))
    assert await refusal(directory) == f"record 3 in {path.name} was not written with its key"


async def test_another_mac_key_is_refused(directory: Path, tmp_path: Path) -> None:
    """The key of another log gives itself away as soon as there is a record above it."""
    await write(directory, 2)
    await write(tmp_path / "other", 1)
    shutil.copy(tmp_path / "other" / "mac.key", directory / "mac.key")
    assert "record 2" in await refusal(directory)


def _delete_line(lines: list[bytes]) -> None:
    del lines[4]


def _swap_lines(lines: list[bytes]) -> None:
    lines[4:6] = lines[5], lines[4]


def _modify_line(lines: list[bytes]) -> None:
    lines[4] = lines[4].replace(b"uid:1000", b"uid:1001")


def _modify_last_line(lines: list[bytes]) -> None:
    lines[9] = lines[9].replace(b"uid:1000", b"uid:1001")


@pytest.mark.parametrize("alter", [_delete_line, _swap_lines, _modify_line, _modify_last_line])
async def test_an_altered_segment_is_refused(directory: Path, alter: Callable[[list[bytes]], None]) -> None:
    """The segment that would be written to is checked whole; what is wrong is named, and nothing is repaired."""
    await write(directory, 10)
    lines = segment(directory).read_bytes().splitlines(keepends=True)
    alter(lines)
    segment(directory).write_bytes(b"".join(lines))
    assert "record" in await refusal(directory)


@pytest.mark.parametrize(
    ("first", "problem"),
    [
        (2, "records are missing before audit-000000000003.jsonl"),
        (5, "it was cut: it ends at record 4, but its key was used up to 5"),
    ],
)
async def test_a_missing_segment_is_refused(directory: Path, first: int, problem: str) -> None:
    """A segment that is gone from the middle or the end is noticed; at the beginning it may be in an archive."""
    await write(directory, 5, limits=ONE_A_SEGMENT)
    segment(directory, first).unlink()
    assert await refusal(directory) == problem


async def test_missing_checkpoints_are_refused(directory: Path) -> None:
    """Each finished segment ended with a checkpoint: without it they were cut."""
    await write(directory, 5, limits=ONE_A_SEGMENT)
    cut_last_lines(directory / "checkpoints.jsonl", 2)
    assert await refusal(directory) == "checkpoints are missing after the one at record 3"


async def test_too_many_unsigned_records_are_refused(directory: Path) -> None:
    """More than 2000 records without a checkpoint were never written: checkpoints were cut."""
    async with opened(directory) as log:
        await asyncio.gather(*(log.record(entry()) for _ in range(2001)))
    checkpoints = directory / "checkpoints.jsonl"
    checkpoints.write_bytes(checkpoints.read_bytes().splitlines(keepends=True)[0])
    assert await refusal(directory) == "checkpoints are missing after the one at record 0"


@pytest.mark.parametrize("name", ["signing.key", "mac.key", "checkpoints.jsonl"])
@pytest.mark.parametrize("content", [None, b"", b"garbage\n", b'{"key":"00","sequence":1}\n', b"[]\n"])
async def test_a_missing_or_damaged_file_is_named(directory: Path, name: str, content: bytes | None) -> None:
    """A key or a checkpoint that is gone, or isn't one, is named, and no new one is made in silence."""
    await write(directory, 3)
    path = directory / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert name in await refusal(directory)


async def test_another_store_s_log_is_refused(directory: Path) -> None:
    """A log belongs to one store."""
    await write(directory, 1)
    assert "was not signed for store 666" in await refusal(directory, "6" * 32)


async def test_a_refused_log_refuses_everything(directory: Path) -> None:
    """While the log can't be opened, recording and reading say why, and what to do."""
    log = RefusedAuditLog(STORE, AuditUnusable(str(directory), "it was cut", "See to it"))
    assert "it was cut" in log.figures().problem
    with pytest.raises(AuditUnavailable, match=r"it was cut\. See to it"):
        await log.record(Entry("a", "b", "c"))
    with pytest.raises(AuditUnavailable):
        _ = log.last_sequence  # a 0 would make an empty list of a log that can't be read
    with pytest.raises(AuditUnavailable):
        await anext(log.watch(after=0))
    with pytest.raises(AuditUnavailable):
        await anext(log.export())
    await log.close()


async def test_a_log_goes_on_after_a_refusal_is_seen_to(directory: Path) -> None:
    """With the damaged directory moved away, a new log with new keys begins at 1."""
    await write(directory, 3)
    directory.rename(directory.with_name("evidence"))
    async with opened(directory) as log:
        assert (await log.record(entry())).sequence == 1
