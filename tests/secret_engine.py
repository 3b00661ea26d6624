"""The secrets engine over a store in memory, for tests: real parts, with time, guard and audit log handed in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from engine import FakeClock
from vestry.audit_record import Record
from vestryd.domain.errors import PermissionDenied
from vestryd.domain.identity import Caller, Via
from vestryd.domain.sealing.slots import SlotKind
from vestryd.domain.secrets.events import Change
from vestryd.domain.secrets.heads import head_key, version_key
from vestryd.domain.secrets.index import INDEX
from vestryd.domain.secrets.secrets import Secrets
from vestryd.domain.secrets.unlock import Material
from vestryd.domain.secrets.vault import Vault
from vestryd.domain.store import Commit, Entry, Store
from vestryd.stores.audit_memory import MemoryAuditLog
from vestryd.stores.memory import MemoryStore

ALICE = Caller("user:alice", Via.TOKEN, frozenset({"user:alice"}), credential="token 1234")
KEY_FILE = Material(SlotKind.KEY_FILE, b"k" * 32, "/etc/vestry/unlock.key")
OTHER_KEY = Material(SlotKind.SYSTEMD_CREDENTIAL, b"o" * 32, "credential unlock")


@dataclass
class FakeGuard:
    """Allows everything but what is in `refused`, and remembers what it was asked."""

    refused: set[str] = field(default_factory=set)
    asked: list[tuple[str, str, str]] = field(default_factory=list)

    def require(self, caller: Caller, action: str, resource: str) -> None:
        self.asked.append((caller.name, action, resource))
        if action in self.refused:
            raise PermissionDenied(caller.name, action, resource, "no rule allows it")


@dataclass
class Rig:
    """Everything that the secrets are made of."""

    store: Store
    clock: FakeClock
    guard: FakeGuard
    audit: MemoryAuditLog
    vault: Vault
    secrets: Secrets
    changes: list[Change] = field(default_factory=list)

    async def records(self, action: str = "") -> list[Record]:
        """Return what the audit log has, of one action or of all."""
        found = await self.audit.read(after=0, limit=100_000)
        return [record for record in found if not action or record.action == action]

    async def entries(self, prefix: str = "") -> dict[str, Entry]:
        """Return what is in the store."""
        return {entry.key: entry for entry in (await self.store.read(prefix)).entries}

    async def of_secret(self, name: str, namespace: str = "default") -> dict[str, bytes]:
        """Return all that the store has of one secret."""
        head, versions = head_key(namespace, name), version_key(namespace, name, 0).rpartition("/")[0] + "/"
        return {
            key: one.value for key, one in (await self.entries()).items() if key == head or key.startswith(versions)
        }

    async def index(self) -> bytes:
        """Return the index as it is stored."""
        return (await self.entries(INDEX))[INDEX].value

    async def tamper(self, puts: dict[str, bytes] | None = None, deletes: Sequence[str] = ()) -> None:
        """Write to the store as somebody with the database would, and wait until the daemon has seen it."""
        await self.secrets.until(await self.store.commit(Commit(puts=puts or {}, deletes=frozenset(deletes))))


def build(store: Store | None = None, clock: FakeClock | None = None, audit: MemoryAuditLog | None = None) -> Rig:
    """Put the engine together; `running` makes it live."""
    store, clock, guard = store or MemoryStore(), clock or FakeClock(), FakeGuard()
    audit = audit or MemoryAuditLog(store.store_id, clock=clock)
    vault = Vault(store, guard, audit, clock)
    secrets = Secrets(vault, store, guard, audit, clock)
    rig = Rig(store, clock, guard, audit, vault, secrets)
    secrets.on_changed = lambda _revision, changes: rig.changes.extend(changes)
    return rig


@asynccontextmanager
async def running(
    store: Store | None = None,
    clock: FakeClock | None = None,
    audit: MemoryAuditLog | None = None,
    materials: Sequence[Material] = (KEY_FILE,),
) -> AsyncIterator[Rig]:
    """Run the engine: it is open, unless nothing opens it, and follows its store."""
    rig = build(store, clock, audit)
    await rig.secrets.open(materials)
    follower = asyncio.create_task(rig.secrets.follow())
    try:
        yield rig
    finally:
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)


async def restarted(rig: Rig, materials: Sequence[Material] = (KEY_FILE,)) -> Rig:
    """Return a new engine over the same store, log and clock, as after a crash; it does not follow the store."""
    fresh = build(rig.store, rig.clock, rig.audit)
    await fresh.secrets.open(materials)
    return fresh


async def eventually(condition: Callable[[], bool]) -> None:
    """Return once the condition holds, as tasks go on; fail after ten seconds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(0.001)
