"""Tokens over a store and an audit log in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from inspect import isawaitable

from callers import TESTER
from engine import FakeClock
from vestryd.domain.audit import AuditLog
from vestryd.domain.identity import Caller
from vestryd.domain.store import Store
from vestryd.domain.tokens.new import NewToken
from vestryd.domain.tokens.records import Token
from vestryd.domain.tokens.tokens import Tokens
from vestryd.stores.audit_memory import MemoryAuditLog
from vestryd.stores.memory import MemoryStore


@dataclass
class Desk:
    """Where tokens are made and shown."""

    tokens: Tokens
    store: Store
    audit: AuditLog
    clock: FakeClock

    async def make(self, user: str = "alice", *groups: str, once: bool = False, **ttl: float) -> tuple[str, Token]:
        """Make a token; `ttl` is in the words of FakeClock.advance."""
        before = self.clock.now()
        self.clock.advance(**ttl or {"days": 30})
        span, self.clock.time = self.clock.now() - before, before
        return await self.tokens.create(TESTER, NewToken(user, groups, ttl=span, once=once))

    async def show(self, text: object) -> Caller:
        """Return whom a token speaks for."""
        found = self.tokens.authenticate(text)
        return await found if isawaitable(found) else found


@asynccontextmanager
async def desk(
    store: Store | None = None, audit: AuditLog | None = None, clock: FakeClock | None = None
) -> AsyncIterator[Desk]:
    """Have tokens that have loaded, and follow their store."""
    clock, store = clock or FakeClock(), store or MemoryStore()
    audit = audit or MemoryAuditLog(store.store_id, clock=clock)
    tokens = Tokens(store, audit, clock)
    await tokens.load()
    follower = asyncio.create_task(tokens.follow())
    try:
        yield Desk(tokens, store, audit, clock)
    finally:
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)
