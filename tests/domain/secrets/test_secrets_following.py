from __future__ import annotations

import asyncio

import pytest

from secret_engine import ALICE, KEY_FILE, build, eventually, running
from vestryd.domain.errors import ShuttingDown
from vestryd.domain.secrets.events import SecretEvent
from vestryd.stores.memory import MemoryStore

NS = "default"


async def test_an_instance_sees_what_another_writes() -> None:
    """Two instances over one store answer alike, and both tell their watchers."""
    async with running() as one, running(one.store, one.clock, one.audit) as other:
        written = await one.secrets.put(ALICE, NS, "key", content=b"1")
        await other.secrets.until(written.revision)
        assert other.secrets.get(ALICE, NS, "key") == one.secrets.get(ALICE, NS, "key")
        assert [change.event for change in other.changes] == [SecretEvent.CURRENT_CHANGED]
        await asyncio.gather(
            *(rig.secrets.put(ALICE, NS, "key", content=b"2") for rig in (one, other) for _ in range(5))
        )
        await one.secrets.until(other.secrets.revision)
        await other.secrets.until(one.secrets.revision)
        assert one.secrets.get(ALICE, NS, "key") == other.secrets.get(ALICE, NS, "key")
        assert one.secrets.get(ALICE, NS, "key").newest == 11


async def test_who_missed_history_reads_again() -> None:
    """An instance that fell behind what the store remembers reads all again, and tells what is different."""
    store = MemoryStore(history_revisions=3)
    async with running(store) as one:
        await one.secrets.put(ALICE, NS, "same", content=b"v")
        other = build(store, one.clock, one.audit)
        await other.secrets.open([KEY_FILE])
        for number in range(10):
            await one.secrets.put(ALICE, NS, "key", content=bytes([number]))
        await one.vault.rotate_keyring(ALICE)
        follower = asyncio.create_task(other.secrets.follow())
        await eventually(lambda: bool(other.changes))
        assert [(change.head.name, change.event) for change in other.changes] == [("key", SecretEvent.CURRENT_CHANGED)]
        assert other.vault.keyring == one.vault.keyring
        assert (await other.secrets.access(ALICE, NS, "key")).value == b"\x09"
        follower.cancel()
        await asyncio.gather(follower, return_exceptions=True)


async def test_unsealing_while_others_write_misses_nothing() -> None:
    """What is committed while the secrets are being read is there afterwards."""
    async with running() as one, running(one.store, one.clock, one.audit) as other:
        await other.vault.seal(ALICE)
        writes = asyncio.gather(*(one.secrets.put(ALICE, NS, f"key-{n}", content=b"v") for n in range(20)))
        await other.vault.unseal(ALICE, [KEY_FILE])
        await writes
        await other.secrets.until(one.secrets.revision)
        assert other.secrets.state(NS) == one.secrets.state(NS)
        assert not [*other.secrets.problems()]


async def test_a_write_after_the_end_is_told_so() -> None:
    """Once nothing is applied any more, a write doesn't wait for ever."""
    async with running() as rig:
        await rig.store.close()
        await eventually(lambda: rig.secrets._mirror._reached._is_ended)
        with pytest.raises(ShuttingDown):
            await rig.secrets.until(rig.secrets.revision + 1)
