"""The audit of what happens in any case."""

from __future__ import annotations

import asyncio

from engine import FakeClock
from vestryd.domain.audit import Entry
from vestryd.domain.audit_trail import MAX_WAITING, AuditTrail
from vestryd.domain.errors import AuditUnavailable
from vestryd.stores.audit_memory import MemoryAuditLog


def entry(number: int) -> Entry:
    """Return an ordinary entry."""
    return Entry("vestryd", "config.reload", f"namespaces/{number}/config")


def log() -> MemoryAuditLog:
    """Return an empty log."""
    return MemoryAuditLog("5" * 32, clock=FakeClock())


async def told(audit: MemoryAuditLog) -> list[tuple[str, object]]:
    """Return what the log has: resources, and the counts of gaps."""
    records = await audit.read(after=0, limit=5000)
    return [(record.action, record.facts.get("missed", record.resource)) for record in records]


async def test_what_is_noted_is_recorded_in_order() -> None:
    """Entries are recorded in the order in which they were noted, all of them before the trail ends."""
    audit = log()
    trail = AuditTrail(audit)
    async with asyncio.TaskGroup() as group:
        group.create_task(trail.run())
        for number in range(3):
            trail.note(entry(number))
        await asyncio.sleep(0)
        trail.note(entry(3))
        trail.stop()
    assert await told(audit) == [("config.reload", f"namespaces/{number}/config") for number in range(4)]
    assert (trail.missed, trail.unrecorded) == (0, 0)


async def test_what_was_missed_is_told() -> None:
    """Entries that the log refused are counted; before the next one is recorded, a record says how many they were."""
    audit = log()
    refusals: list[AuditUnavailable] = []
    trail = AuditTrail(audit)
    audit.problem = "the disk is full"
    trail.note(entry(0))
    trail.note(entry(1))
    trail.stop()
    await trail.run(refusals.append)
    assert (trail.missed, trail.unrecorded, len(refusals)) == (2, 2, 2)
    audit.problem = ""
    trail.note(entry(2))
    await trail.run()
    assert await told(audit) == [("audit.gap", 2), ("config.reload", "namespaces/2/config")]
    assert (trail.missed, trail.unrecorded) == (2, 0)


async def test_a_gap_is_told_without_another_entry() -> None:
    """Once the log works again the gap is recorded, also when nothing else happens."""
    audit = log()
    trail = AuditTrail(audit, retry_seconds=0.01)
    audit.problem = "the disk is full"
    trail.note(entry(0))
    async with asyncio.TaskGroup() as group:
        group.create_task(trail.run())
        async with asyncio.timeout(5):
            while not trail.unrecorded:  # noqa: ASYNC110 - it has no event to wait for
                await asyncio.sleep(0.001)
            audit.problem = ""
            while trail.unrecorded:  # noqa: ASYNC110 - it has no event to wait for
                await asyncio.sleep(0.001)
        trail.stop()
    assert await told(audit) == [("audit.gap", 1)]


async def test_what_waits_is_bounded() -> None:
    """More entries than may wait are missed, and counted, not kept."""
    audit = log()
    trail = AuditTrail(audit)
    for number in range(MAX_WAITING + 3):
        trail.note(entry(number))
    trail.stop()
    await trail.run()
    records = await told(audit)
    assert records[0] == ("audit.gap", 3)
    assert len(records) == MAX_WAITING + 1
