"""Dying anywhere: before and after each commit that writes secrets, slots or keyring."""

from __future__ import annotations

from contextlib import suppress

import pytest

from secret_engine import ALICE, KEY_FILE, OTHER_KEY, Rig, build, restarted, running
from vestryd.domain import steps
from vestryd.domain.errors import RecordDamaged, SecretNotFound
from vestryd.domain.failpoints import NAMES
from vestryd.domain.secrets import unlock
from vestryd.domain.secrets.settings import Settings
from vestryd.domain.secrets.transfer import ImportConflict, ImportItem
from vestryd.stores.memory import MemoryStore

NS = "default"
OURS = sorted(name for name in NAMES if name.split(".")[0] in {"secrets", "keyring", "seal"})


class Died(BaseException):
    """Stands for SIGKILL: nobody catches it."""


async def work(rig: Rig, acknowledged: dict[int, bytes]) -> None:
    """Pass every persist step but the undoing of a slot, and note which versions of `key` were acknowledged."""
    secrets, vault = rig.secrets, rig.vault
    for value in (b"1", b"2"):
        acknowledged[(await secrets.put(ALICE, NS, "key", content=value)).version] = value
    acknowledged[(await secrets.rotate(ALICE, NS, "key", content=b"3")).version] = b"3"
    await secrets.update(ALICE, NS, "key", settings=Settings("text"))
    await secrets.destroy(ALICE, NS, "key", 1)
    await secrets.delete(ALICE, NS, "key")
    await secrets.undelete(ALICE, NS, "key")
    await secrets.import_(ALICE, NS, [ImportItem("other", b"v")], conflict=ImportConflict.REPLACE)
    await vault.rotate_keyring(ALICE)
    await secrets.rewrap.finish()
    await vault.add_slot(ALICE, OTHER_KEY)
    await vault.rekey_slot(ALICE, vault.slots[0].id, KEY_FILE)


async def undo_a_slot(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a slot that reads back wrong."""
    with monkeypatch.context() as patch:
        patch.setattr(unlock, "open_slot", lambda *_args: b"another root key")
        with pytest.raises(RecordDamaged):
            await rig.vault.add_slot(ALICE, OTHER_KEY)


async def test_every_persist_step_has_its_failpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step passes a failpoint before and after its commit, and the table has exactly those."""
    reached: list[str] = []
    monkeypatch.setattr(steps, "reach", reached.append)
    async with running() as rig:
        await work(rig, {})
        await undo_a_slot(rig, monkeypatch)
    assert sorted(set(reached)) == OURS
    assert reached[::2] == [name.replace("after", "before") for name in reached[1::2]]


@pytest.mark.parametrize("name", OURS)
async def test_whoever_dies_anywhere_loses_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every stored version decrypts, nothing is a problem, what was acknowledged is there, and the work can go on."""

    def reach(reached: str) -> None:
        if reached == name:
            raise Died

    acknowledged: dict[int, bytes] = {}
    rig = build(MemoryStore())
    monkeypatch.setattr(steps, "reach", reach)
    with suppress(Died):
        async with running(rig.store, rig.clock, rig.audit) as dying:
            await work(dying, acknowledged)
            await undo_a_slot(dying, monkeypatch)
            pytest.fail("it should have died")
    monkeypatch.setattr(steps, "reach", lambda _name: None)
    async with running(rig.store, rig.clock, rig.audit) as again:
        assert not [*again.secrets.problems()]
        with suppress(SecretNotFound):
            await again.secrets.undelete(ALICE, NS, "key")
        values = {
            (head.name, number): (await again.secrets.access(ALICE, NS, head.name, version=number)).value
            for head in again.secrets.state(NS)
            for number, version in head.versions.items()
            if version.destroy_time is None
        }
        for number, value in acknowledged.items():
            assert values.get(("key", number), b"1") == value  # version 1 may be destroyed by now
        await work(again, {})
        assert again.secrets.rewrap.progress(ALICE).remaining == 0
        assert not [*(await restarted(again)).secrets.problems()]
