from __future__ import annotations

import asyncio
from collections.abc import Sequence

from callers import user
from engine import FakeClock
from vestry.audit_record import Record
from vestryd.domain.audit import MAX_TEXT_CHARACTERS
from vestryd.domain.audit_trail import AuditTrail
from vestryd.domain.denials import MAX_REMEMBERED, MAX_TOLD, QUIET_SECONDS, Denials
from vestryd.stores.audit_memory import MemoryAuditLog

ALICE = user("alice")


class Told:
    """Refusals, and what the audit log tells of them."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.log = MemoryAuditLog("0" * 32, clock=self.clock)
        self.trail = AuditTrail(self.log)
        self.denials = Denials(self.trail, self.clock)

    async def records(self) -> Sequence[Record]:
        self.trail.stop()
        await asyncio.wait_for(self.trail.run(), 10)
        return await self.log.read(after=0, limit=1000)


async def test_a_refusal_is_told() -> None:
    """Who, what, on what, and by which credential; never more of that than its name."""
    told = Told()
    told.denials.note(ALICE, "secrets.access", "namespaces/billing/secrets/db")
    (record,) = await told.records()
    assert (record.actor, record.action, record.resource) == (
        "user:alice",
        "secrets.access",
        "namespaces/billing/secrets/db",
    )
    assert (record.outcome, record.facts) == ("denied", {"via": "token", "credential": "token alice"})


async def test_the_same_refusal_is_told_once_a_minute() -> None:
    """With how often it happened meanwhile; another one is told at once."""
    told = Told()
    for _ in range(5):
        told.denials.note(ALICE, "config.read", "namespaces/a/config")
    told.denials.note(ALICE, "config.read", "namespaces/b/config")
    told.clock.advance(seconds=QUIET_SECONDS)
    told.denials.note(ALICE, "config.read", "namespaces/a/config")
    assert [(one.resource, one.facts.get("repeated", 0)) for one in await told.records()] == [
        ("namespaces/a/config", 0),
        ("namespaces/b/config", 0),
        ("namespaces/a/config", 4),
    ]


async def test_whoever_hammers_at_every_door_does_not_fill_the_log() -> None:
    """Of the different refusals of one caller so many are told a minute; the last says so, the next counts the others."""
    told = Told()
    for number in range(MAX_TOLD + 10):
        told.denials.note(ALICE, "config.read", f"namespaces/{number}/config")
    told.denials.note(user("bob"), "config.read", "namespaces/0/config")
    told.clock.advance(seconds=QUIET_SECONDS)
    told.denials.note(ALICE, "config.read", "namespaces/x/config")
    *others, last, bobs, next_one = await told.records()
    assert len(others) == MAX_TOLD - 1
    assert not any("muted" in one.facts for one in others)
    assert last.facts["muted"] is True
    assert (bobs.actor, "muted" in bobs.facts) == ("user:bob", False)
    assert next_one.facts["untold"] == 10


async def test_what_is_remembered_is_bounded() -> None:
    """However many callers ask for however many things, with names however long."""
    told = Told()
    for number in range(MAX_REMEMBERED + 10):
        told.denials.note(user(f"user-{number}"), "config.read", "a" * 100_000)
    assert len(told.denials._told) == len(told.denials._minutes) == MAX_REMEMBERED
    assert max(len(resource) for _, _, resource in told.denials._told) <= MAX_TEXT_CHARACTERS
