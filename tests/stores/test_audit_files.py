"""The audit log on files, while the disk does what it should."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import FakeClock
from stores.audit_places import SMALL, STORE, entry, opened, verdict_on, write
from vestry.audit import Outcome, decode_checkpoint, load_public_key, load_verification_key
from vestry.audit_checkpoint import is_signed_by
from vestry.audit_record import next_key
from vestryd.domain.audit import Entry
from vestryd.domain.errors import AuditUnavailable, AuditUnusable
from vestryd.stores.audit_files import FileAuditLog
from vestryd.stores.audit_founding import Step
from vestryd.stores.audit_ledger import Limits
from vestryd.stores.audit_memory import MemoryAuditLog


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where a log may be founded."""
    return tmp_path / "audit"


async def test_a_record_says_what_its_entry_said(directory: Path) -> None:
    """A record has the entry's fields, the next sequence and the clock's time; it is there after a restart."""
    clock = FakeClock()
    told = Entry("uid:0", "admin.backup", "store", Outcome.FAILED, "r-1", {"path": "/x", "bytes": 3, "whole": True})
    async with opened(directory, clock=clock) as log:
        record = await log.record(told)
        assert (record.sequence, record.time) == (1, clock.now())
        assert (record.actor, record.action, record.resource) == (told.actor, told.action, told.resource)
        assert (record.outcome, record.request_id, record.facts) == (told.outcome, told.request_id, told.facts)
    async with opened(directory) as log:
        assert log.last_sequence == 1
        assert await log.read(after=0, limit=10) == [record]


async def test_a_new_log_is_private(directory: Path) -> None:
    """Nobody else may read the directory or the keys in it; the public key can be given away."""
    async with opened(directory) as log:
        assert directory.stat().st_mode & 0o777 == 0o700
        assert {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()} == dict.fromkeys(
            [
                "audit-000000000001.jsonl",
                "checkpoints.jsonl",
                "mac.key",
                "signing.key",
                "signing.pub",
                "verification.key",
            ],
            0o600,
        )
        assert load_public_key((directory / "signing.pub").read_bytes()) == log.public_key
        assert log.figures().has_verification_key
        (directory / "verification.key").unlink()
        assert not log.figures().has_verification_key


async def test_callers_share_a_sync(directory: Path) -> None:
    """Entries that wait together are made durable together: one sync for all of them."""
    syncs: list[Step] = []
    async with opened(directory, reached=syncs.append) as log:
        records = await asyncio.gather(*(log.record(entry(number)) for number in range(100)))
    assert [record.sequence for record in records] == [*range(1, 101)]
    assert [record.facts["version"] for record in records] == [*range(100)]
    assert syncs.count(Step.RECORDS_SYNC) < 10
    assert verdict_on(directory).is_intact


async def test_a_used_key_is_erased(directory: Path) -> None:
    """mac.key has the key of the next record, which is the first one's, evolved: older keys are not on the disk."""
    await write(directory, 3)
    key = load_verification_key((directory / "verification.key").read_bytes())
    for _ in range(3):
        key = next_key(key)
    assert json.loads((directory / "mac.key").read_bytes()) == {"key": key.hex(), "sequence": 4}


async def test_a_checkpoint_covers_all_that_is_recorded(directory: Path) -> None:
    """The checkpoint that is asked for is of the newest record, signed; asked again it is the same one."""
    async with opened(directory) as log:
        founding = await log.checkpoint()
        assert (founding.number, founding.size) == (1, 0)
        await log.record(entry())
        checkpoint = await log.checkpoint()
        assert (checkpoint.number, checkpoint.size, checkpoint.origin) == (2, 1, STORE)
        assert is_signed_by(checkpoint, log.public_key)
        assert await log.checkpoint() == checkpoint
    lines = (directory / "checkpoints.jsonl").read_bytes().splitlines(keepends=True)
    assert [decode_checkpoint(line) for line in lines] == [founding, checkpoint]


async def test_a_checkpoint_is_signed_every_thousand_records(directory: Path) -> None:
    """Without being asked, the log signs when a thousand records are new, though a minute isn't over."""
    async with opened(directory) as log:
        await asyncio.gather(*(log.record(entry()) for _ in range(2500)))
    lines = (directory / "checkpoints.jsonl").read_bytes().splitlines(keepends=True)
    sizes = [decode_checkpoint(line).size for line in lines]
    assert len(sizes) >= 3
    assert sizes[-1] == 2500
    assert max(later - earlier for earlier, later in pairwise(sizes)) < 2000


async def test_a_checkpoint_is_signed_when_time_is_up(directory: Path) -> None:
    """A single record is signed when checkpoint_seconds are over, without another one coming."""
    async with opened(directory, limits=Limits(reserve_bytes=0, checkpoint_seconds=0)) as log:
        await log.record(entry())
        async with asyncio.timeout(5):
            while len((directory / "checkpoints.jsonl").read_bytes().splitlines()) < 2:  # noqa: ASYNC110 - a file
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "limits",
    [
        Limits(reserve_bytes=0, segment_bytes=1),
        Limits(reserve_bytes=0, segment_seconds=0),
    ],
)
async def test_the_chain_goes_on_across_segments(directory: Path, limits: Limits) -> None:
    """A segment that is large or old enough is followed by another, named after its first record; each ends sealed."""
    await write(directory, 3, limits=limits)
    await write(directory, 2, limits=limits)
    assert sorted(path.name for path in directory.glob("audit-*")) == [
        f"audit-{first:012}.jsonl" for first in range(1, 6)
    ]
    verdict = verdict_on(directory)
    assert (verdict.problem, verdict.records, verdict.unsealed) == (None, 5, 0)
    async with opened(directory) as log:
        assert [record.sequence for record in await log.read(after=1, limit=3)] == [2, 3, 4]


async def test_a_finished_segment_s_keys_are_erased(directory: Path) -> None:
    """However long mac.key may wait, it is not behind the segment that is written to: recovery reads that one only."""
    lazy = Limits(reserve_bytes=0, segment_bytes=1, key_seconds=3600, checkpoint_seconds=3600)
    async with opened(directory, limits=lazy) as log:
        for _ in range(3):
            await log.record(entry())
        assert json.loads((directory / "mac.key").read_bytes())["sequence"] == 3


async def test_old_segments_may_be_archived(directory: Path) -> None:
    """The log goes on when all segments but the last were moved away; what is left can be read."""
    await write(directory, 3, limits=Limits(reserve_bytes=0, segment_bytes=1))
    for name in ("audit-000000000001.jsonl", "audit-000000000002.jsonl"):
        (directory / name).unlink()
    async with opened(directory) as log:
        assert (await log.record(entry())).sequence == 4
        assert [record.sequence for record in await log.read(after=0, limit=10)] in ([3, 4], [4])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(after=st.integers(0, 310), limit=st.integers(1, 50))
async def test_reading_begins_anywhere(long_log: FileAuditLog, after: int, limit: int) -> None:
    """A read returns the records above any sequence, in order, as many as asked, from the files as from memory."""
    records = await long_log.read(after=after, limit=limit)
    assert [record.sequence for record in records] == [*range(after + 1, min(300, after + limit) + 1)]


@pytest.fixture(params=["files", "memory"])
async def long_log(request: pytest.FixtureRequest, directory: Path) -> AsyncIterator[FileAuditLog]:
    """A log of 300 records in several segments, just opened, or just written."""
    limits = Limits(reserve_bytes=0, segment_bytes=40_000)
    if request.param == "files":
        await write(directory, 300, limits=limits)
    async with opened(directory, limits=limits) as log:
        while log.last_sequence < 300:
            await log.record(entry())
        yield log


async def test_a_watch_yields_what_was_and_what_comes(directory: Path) -> None:
    """A watch yields each record once, in order, from the files and then live; it ends when the log is closed."""
    await write(directory, 5)
    async with opened(directory) as log:
        seen: list[int] = []

        async def follow() -> None:
            async with aclosing(log.watch(after=2)) as records:
                seen.extend([record.sequence async for record in records])

        async with asyncio.TaskGroup() as group:
            group.create_task(follow())
            for _ in range(3):
                await log.record(entry())
            await log.close()
    assert seen == [3, 4, 5, 6, 7, 8]


async def test_an_export_is_the_files(directory: Path) -> None:
    """An export is the checkpoints and then the segments, byte by byte, so that it can be verified elsewhere."""
    limits = Limits(reserve_bytes=0, segment_bytes=1000)
    await write(directory, 10, limits=limits)
    async with opened(directory, limits=limits) as log:
        files: dict[str, bytes] = {}
        async for excerpt in log.export():
            files[excerpt.file] = files.get(excerpt.file, b"") + excerpt.lines
    assert [*files] == ["checkpoints.jsonl", *sorted(path.name for path in directory.glob("audit-*"))]
    assert all((directory / name).read_bytes() == content for name, content in files.items())


async def test_a_closed_log_says_so(directory: Path) -> None:
    """After `close`, which may be called twice, nothing can be recorded or read."""
    async with opened(directory) as log:
        pass
    await log.close()
    with pytest.raises(AuditUnavailable, match="closed"):
        await log.record(entry())
    with pytest.raises(AuditUnavailable, match="closed"):
        await log.read(after=0, limit=1)


async def test_a_log_has_one_process(directory: Path) -> None:
    """A second opening is refused while the first one lasts."""
    async with opened(directory):
        with pytest.raises(AuditUnusable, match="another process"):
            await FileAuditLog.open(directory, STORE, clock=FakeClock())
    await write(directory, 1)


async def test_long_texts_are_cut(directory: Path) -> None:
    """A text over 256 characters is cut, wherever it stands, so that a record stays small; odd ones come back."""
    odd = "\ud800 \u202e \x1b[2J \x00 \U0001f600\n"
    async with opened(directory, limits=SMALL) as log:
        record = await log.record(Entry("a" * 4096, odd, "r", facts={"f" * 300: "v" * 300}))
        assert record.actor == "a" * 255 + "…"
        assert record.action == odd
        assert record.facts == {"f" * 255 + "…": "v" * 255 + "…"}
    async with opened(directory) as log:
        assert await log.read(after=0, limit=1) == [record]


async def test_a_missing_directory_is_a_problem(directory: Path) -> None:
    """Records that go into files that somebody removed are lost: the figures say so."""
    async with opened(directory) as log:
        directory.rename(directory.with_name("elsewhere"))
        assert "No such file" in log.figures().problem
        directory.with_name("elsewhere").rename(directory)
        assert not log.figures().problem


def test_large_facts_are_refused() -> None:
    """Facts are few and small."""
    with pytest.raises(ValueError, match="17 facts"):
        Entry("a", "b", "c", facts={str(number): number for number in range(17)})
    with pytest.raises(ValueError, match="integer"):
        Entry("a", "b", "c", facts={"n": 10**5000})


async def test_a_clock_that_goes_back_disturbs_nothing(directory: Path) -> None:
    """Records are ordered by sequence; their times are what the clock said."""
    clock = FakeClock()
    async with opened(directory, clock=clock) as log:
        first = await log.record(entry())
        clock.advance(days=-400)
        second = await log.record(entry())
    assert second.time < first.time
    assert verdict_on(directory).is_intact


async def test_the_memory_log_is_a_real_one() -> None:
    """The double for tests has sequences, checkpoints, watches and refusals as the files have."""
    log = MemoryAuditLog(STORE, clock=FakeClock())
    assert (await log.record(entry())).sequence == 1
    log.problem = "the disk is full"
    with pytest.raises(AuditUnavailable, match="the disk is full"):
        await log.record(entry())
    log.problem = ""
    await log.record(entry())
    assert [record.sequence for record in await log.read(after=0, limit=5)] == [1, 2]
    assert is_signed_by(await log.checkpoint(), log.public_key)
    await log.close()
    assert [record.sequence async for record in log.watch(after=0)] == [1, 2]
