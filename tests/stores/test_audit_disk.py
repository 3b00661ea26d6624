"""The audit log on a disk that fails, or is full."""

from __future__ import annotations

import errno
from itertools import count
from pathlib import Path

import pytest

from stores.audit_places import SMALL, Failing, entry, opened, verdict_on
from stores.places import fill_disk, small_disk
from vestryd.domain.audit import AuditLog
from vestryd.domain.errors import AuditUnavailable
from vestryd.stores.audit_founding import Step
from vestryd.stores.audit_ledger import Limits

ONE_A_SEGMENT = Limits(reserve_bytes=0, segment_bytes=1, key_seconds=0)


async def actions(log: AuditLog) -> list[str]:
    """Return the actions of all records."""
    return [record.action for record in await log.read(after=0, limit=1000)]


async def record_until_refused(log: AuditLog) -> int:
    """Record until the log refuses, and return how many it took."""
    for recorded in count():
        try:
            await log.record(entry())
        except AuditUnavailable:
            return recorded
    raise AssertionError


@pytest.mark.parametrize("step", [Step.RECORDS_WRITE, Step.RECORDS_SYNC])
async def test_what_is_not_durable_is_not_recorded(tmp_path: Path, step: Step) -> None:
    """While writing or syncing fails `record` raises, with the cause; then it works again, and a record tells of it."""
    disk = Failing(error=errno.EIO)
    async with opened(tmp_path / "audit", reached=disk) as log:
        await log.record(entry(1))
        disk.steps = {step}
        for _ in range(2):
            with pytest.raises(AuditUnavailable, match="in flames"):
                await log.record(entry(2))
        assert "in flames" in log.figures().problem
        assert log.last_sequence == 1
        disk.steps.clear()
        assert (await log.record(entry(3))).sequence == 3
        assert not log.figures().problem
        resumed = (await log.read(after=1, limit=1))[0]
        assert (resumed.action, resumed.facts) == ("audit.resumed", {"cause": "the disk is in flames", "refused": 2})
    assert verdict_on(tmp_path / "audit").is_intact


async def test_the_rest_of_a_failed_write_goes(tmp_path: Path) -> None:
    """What a failed write left, and could not be undone at once, is cut off before the next one."""
    async with opened(tmp_path / "audit") as log:
        await log.record(entry(1))
        with (tmp_path / "audit" / "audit-000000000001.jsonl").open("ab") as file:
            file.write(b'{"action":"config.upd')
        await log.record(entry(2))
    assert verdict_on(tmp_path / "audit").is_intact


@pytest.mark.parametrize("step", [Step.SEGMENT_CREATE, Step.SEGMENT_SYNC, Step.CHECKPOINT_WRITE, Step.CHECKPOINT_SYNC])
async def test_a_segment_that_cannot_begin_is_tried_again(tmp_path: Path, step: Step) -> None:
    """A rotation that fails costs the entries that wait for it, and no other."""
    disk = Failing(error=errno.EIO)
    async with opened(tmp_path / "audit", reached=disk, limits=ONE_A_SEGMENT) as log:
        await log.record(entry(1))
        disk.steps = {step}
        with pytest.raises(AuditUnavailable):
            await log.record(entry(2))
        disk.steps.clear()
        assert (await log.record(entry(3))).sequence == 3
        assert await actions(log) == ["config.update", "audit.resumed", "config.update"]
    assert verdict_on(tmp_path / "audit").is_intact


@pytest.mark.parametrize("step", [Step.KEY_WRITE, Step.KEY_REPLACE, Step.CHECKPOINT_WRITE, Step.CHECKPOINT_SYNC])
async def test_keys_and_checkpoints_can_wait(tmp_path: Path, step: Step) -> None:
    """A key that can't be replaced, or a checkpoint that can't be signed, refuses no record; both are made up for."""
    disk = Failing(step, error=errno.EIO)
    async with opened(tmp_path / "audit", reached=disk) as log:
        for number in range(3):
            await log.record(entry(number))
        if step in {Step.CHECKPOINT_WRITE, Step.CHECKPOINT_SYNC}:
            with pytest.raises(AuditUnavailable):
                await log.checkpoint()
        disk.steps.clear()
    verdict = verdict_on(tmp_path / "audit")
    assert (verdict.problem, verdict.records, verdict.unsealed) == (None, 3, 0)
    assert b'"sequence":4' in (tmp_path / "audit" / "mac.key").read_bytes()


async def test_a_full_disk_takes_the_last_records(tmp_path: Path) -> None:
    """On a full disk the reserve takes what waits and the word that it is full; then nothing, until there is room."""
    limits = Limits(reserve_bytes=256 * 1024, key_seconds=0, checkpoint_seconds=3600)
    with small_disk(tmp_path / "disk", size="1m") as disk:
        directory = disk / "audit"
        async with opened(directory, limits=limits) as log:
            await log.record(entry())
            ballast = fill_disk(disk)
            recorded = 1 + await record_until_refused(log)
            assert log.figures().problem == "No space left on device"
            assert (await actions(log))[recorded - 1 :] == ["config.update", "audit.unavailable"]
            assert (await log.checkpoint()).size == log.last_sequence
            with pytest.raises(AuditUnavailable):
                await log.record(entry())
            ballast.unlink()
            await log.record(entry())
            assert not log.figures().problem
            assert (await actions(log))[recorded:] == ["audit.unavailable", "audit.resumed", "config.update"]
            assert (directory / "reserve").stat().st_size == limits.reserve_bytes
        assert verdict_on(directory).is_intact


async def test_without_a_reserve_nothing_is_recorded(tmp_path: Path) -> None:
    """A log that was opened on a disk without room for the reserve refuses from the start."""
    with small_disk(tmp_path / "disk", size="1m") as disk:
        async with opened(disk / "audit", limits=Limits(reserve_bytes=2 * 1024 * 1024)) as log:
            with pytest.raises(AuditUnavailable, match="No space left"):
                await log.record(entry())
            assert not (disk / "audit" / "reserve").exists()


async def test_more_than_2000_records_never_go_unsigned(tmp_path: Path) -> None:
    """While checkpoints can't be signed, records go on up to 2000, and no further: the verifier relies on it."""
    disk = Failing(Step.CHECKPOINT_SYNC, error=errno.EIO)
    async with opened(tmp_path / "audit", reached=disk, limits=SMALL) as log:
        assert await record_until_refused(log) == log.last_sequence == 2000
        disk.steps.clear()
        await log.record(entry())
    assert verdict_on(tmp_path / "audit").is_intact
