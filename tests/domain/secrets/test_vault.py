from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from secret_engine import ALICE, KEY_FILE, OTHER_KEY, Rig, build, restarted, running
from vestry.audit_record import Outcome
from vestryd.domain.errors import (
    AuditUnavailable,
    InvalidField,
    LastSlot,
    LimitExceeded,
    PermissionDenied,
    RecordDamaged,
    Sealed,
    SlotNotFound,
    StoreUnavailable,
    UnlockRefused,
)
from vestryd.domain.sealing.keyring import TermState
from vestryd.domain.sealing.slots import SlotKind
from vestryd.domain.secrets import unlock
from vestryd.domain.secrets.index import INDEX
from vestryd.domain.secrets.keys import KEYRING_HEAD
from vestryd.domain.secrets.unlock import Material
from vestryd.domain.store import Commit
from vestryd.stores.memory import MemoryStore

NS = "default"
PASSPHRASE = Material(SlotKind.PASSPHRASE, b"correct horse battery", "a passphrase")
WRONG = Material(SlotKind.KEY_FILE, b"w" * 32, "/tmp/wrong.key")


async def slot_keys(rig: Rig) -> list[str]:
    return [*await rig.entries("keyring/slot/")]


async def test_a_fresh_store_is_founded_once() -> None:
    """The first material makes the first slot, keyring and index, in one commit; the next start opens them."""
    async with running() as rig:
        assert not rig.vault.is_sealed
        assert (rig.vault.slots[0].kind, rig.vault.slots[0].label) == (SlotKind.KEY_FILE, KEY_FILE.source)
        founded = await rig.entries()
        assert {entry.mod_revision for entry in founded.values()} == {1}
        assert {KEYRING_HEAD, INDEX} < founded.keys()
        fresh = await restarted(rig)
        assert (fresh.vault.slot_id, fresh.vault.keyring) == (rig.vault.slot_id, rig.vault.keyring)
        assert await rig.entries() == founded
        assert [one.action for one in await rig.records()] == ["keyring.found", "keyring.unseal"]


async def test_without_a_source_it_stays_sealed() -> None:
    """No material, no keys: nothing is written, and the problem says what to do."""
    async with running(materials=()) as rig:
        assert rig.vault.is_sealed
        assert "credential or a key file" in rig.vault.problem
        assert not await rig.entries()
        with pytest.raises(Sealed):
            await rig.secrets.put(ALICE, NS, "key", content=b"v")


async def test_the_wrong_key_never_founds_again() -> None:
    """Slots that nothing opens stay as they are, and the daemon stays sealed."""
    async with running() as rig:
        before = await rig.entries()
        fresh = await restarted(rig, [WRONG])
        assert fresh.vault.is_sealed
        assert WRONG.source in fresh.vault.problem
        assert await rig.entries() == before
        assert (await rig.records())[-1].outcome is Outcome.FAILED


@pytest.mark.parametrize("prefix", ["keyring/slot/", KEYRING_HEAD])
async def test_a_store_that_lost_its_slots_or_keyring_is_not_founded_again(prefix: str) -> None:
    """Where there ever was a secret, a missing slot or keyring is a problem, not a fresh start."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "key", content=b"v")
        await rig.store.commit(Commit(deletes=frozenset(await rig.entries(prefix))))
        before = await rig.entries()
        fresh = await restarted(rig)
        assert fresh.vault.is_sealed
        assert "backup" in fresh.vault.problem
        assert await rig.entries() == before


async def test_sealed_is_sealed() -> None:
    """Sealing drops the keys and what was known; every operation says so; unsealing brings all back."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "key", content=b"v")
        for _ in range(2):
            await rig.vault.seal(ALICE)
        for attempt in (
            rig.secrets.access(ALICE, NS, "key"),
            rig.secrets.put(ALICE, NS, "key", content=b"w"),
            rig.secrets.import_(ALICE, NS, []),
            rig.vault.add_slot(ALICE, OTHER_KEY),
            rig.vault.rotate_keyring(ALICE),
        ):
            with pytest.raises(Sealed, match="somebody"):
                await attempt
        with pytest.raises(Sealed):
            rig.secrets.get(ALICE, NS, "key")
        assert rig.secrets.figures().secrets == 0
        assert [*rig.secrets.problems()] == ["sealed: somebody sealed them"]
        with pytest.raises(UnlockRefused):
            await rig.vault.unseal(ALICE, [WRONG])
        for _ in range(2):
            assert await rig.vault.unseal(ALICE, [WRONG, KEY_FILE]) == rig.vault.slots[0].id
        assert (await rig.secrets.access(ALICE, NS, "key")).value == b"v"
        assert rig.secrets.figures().secrets == 1


async def test_whoever_may_not_touches_no_key() -> None:
    """The guard stands before sealing, unsealing, slots and the keyring."""
    async with running() as rig:
        rig.guard.refused = {f"keyring.{verb}" for verb in ("seal", "unseal", "slots", "rotate", "read")}
        before = len(await rig.records())
        for attempt in (
            rig.vault.seal(ALICE),
            rig.vault.unseal(ALICE, [KEY_FILE]),
            rig.vault.add_slot(ALICE, OTHER_KEY),
            rig.vault.remove_slot(ALICE, "00000000"),
            rig.vault.rekey_slot(ALICE, "00000000", OTHER_KEY),
            rig.vault.rotate_keyring(ALICE),
        ):
            with pytest.raises(PermissionDenied):
                await attempt
        with pytest.raises(PermissionDenied):
            rig.vault.check(ALICE)
        with pytest.raises(PermissionDenied):
            rig.secrets.rewrap.progress(ALICE)
        assert len(await rig.records()) == before


async def test_any_slot_opens() -> None:
    """Each slot is enough by itself, a passphrase's too."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "key", content=b"v")
        await rig.vault.add_slot(ALICE, OTHER_KEY, label="host")
        await rig.vault.add_slot(ALICE, PASSPHRASE)
        for material in (KEY_FILE, OTHER_KEY, PASSPHRASE):
            fresh = await restarted(rig, [material])
            assert (await fresh.secrets.access(ALICE, NS, "key")).value == b"v"


async def test_the_last_slot_stays() -> None:
    """A slot can be removed while another one is left."""
    async with running() as rig:
        first = rig.vault.slots[0].id
        with pytest.raises(LastSlot):
            await rig.vault.remove_slot(ALICE, first)
        with pytest.raises(SlotNotFound):
            await rig.vault.remove_slot(ALICE, "ffffffff")
        second = await rig.vault.add_slot(ALICE, OTHER_KEY)
        await rig.vault.remove_slot(ALICE, first)
        assert await slot_keys(rig) == [f"keyring/slot/{second.id}"]
        assert (await restarted(rig, [KEY_FILE])).vault.is_sealed
        assert not (await restarted(rig, [OTHER_KEY])).vault.is_sealed


async def test_two_removals_at_once_leave_a_slot() -> None:
    """Two instances that remove the two last slots at the same moment don't both succeed."""
    async with running() as rig:
        await rig.vault.add_slot(ALICE, OTHER_KEY)
        other = await restarted(rig)
        first, second = (slot.id for slot in rig.vault.slots)
        results = await asyncio.gather(
            rig.vault.remove_slot(ALICE, first), other.vault.remove_slot(ALICE, second), return_exceptions=True
        )
        assert len(await slot_keys(rig)) == 1
        assert [type(one) for one in results if one] == [StoreUnavailable]


async def test_a_rekeyed_slot_is_another_one() -> None:
    """The new material opens, the old one doesn't; a material that can't be used leaves all as it was."""
    async with running() as rig:
        old = rig.vault.slots[0].id
        with pytest.raises(UnlockRefused):
            await rig.vault.rekey_slot(ALICE, old, Material(SlotKind.KEY_FILE, b"short", "short"))
        with pytest.raises(InvalidField):
            await rig.vault.rekey_slot(ALICE, old, OTHER_KEY, label="x" * 65)
        assert [slot.id for slot in rig.vault.slots] == [old]
        new = await rig.vault.rekey_slot(ALICE, old, OTHER_KEY)
        assert await slot_keys(rig) == [f"keyring/slot/{new.id}"]
        assert not (await restarted(rig, [OTHER_KEY])).vault.is_sealed


async def test_a_slot_that_does_not_open_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new slot that reads back otherwise than it was written doesn't take the place of the old one."""
    async with running() as rig:
        before = await slot_keys(rig)
        monkeypatch.setattr(unlock, "open_slot", lambda *_args: b"another root key")
        with pytest.raises(RecordDamaged):
            await rig.vault.rekey_slot(ALICE, rig.vault.slots[0].id, OTHER_KEY)
        assert await slot_keys(rig) == before


async def test_there_are_16_slots_at_most() -> None:
    """One more is refused; rekeying one of 16 works."""
    async with running() as rig:
        for _ in range(15):
            await rig.vault.add_slot(ALICE, OTHER_KEY)
        with pytest.raises(LimitExceeded):
            await rig.vault.add_slot(ALICE, OTHER_KEY)
        await rig.vault.rekey_slot(ALICE, rig.vault.slots[0].id, OTHER_KEY)
        assert len(await slot_keys(rig)) == 16


async def test_a_damaged_slot_is_named_and_the_others_open() -> None:
    """A slot that can't be read is a problem, and keeps nobody out."""
    async with running() as rig:
        slot = await rig.vault.add_slot(ALICE, OTHER_KEY)
        key = f"keyring/slot/{slot.id}"
        await rig.tamper({key: b"garbage"})
        assert key in rig.vault.problem
        with pytest.raises(LastSlot):
            await rig.vault.remove_slot(ALICE, rig.vault.slots[0].id)
        fresh = await restarted(rig)
        assert not fresh.vault.is_sealed
        assert key in fresh.vault.problem


async def test_a_slot_of_another_place_is_not_taken() -> None:
    """A slot that was copied to another id is named."""
    async with running() as rig:
        entry = next(iter((await rig.entries("keyring/slot/")).values()))
        await rig.tamper({"keyring/slot/00000000": entry.value})
        assert "keyring/slot/00000000" in rig.vault.problem
        assert len(rig.vault.slots) == 1


async def test_rotation_makes_a_new_active_term() -> None:
    """The old term still opens; the pending and the activation are a commit each."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "old", content=b"v")
        before = rig.secrets.revision
        assert await rig.vault.rotate_keyring(ALICE) == 2
        assert (await rig.entries(KEYRING_HEAD))[KEYRING_HEAD].mod_revision == before + 2
        assert [term.state for term in rig.vault.keyring.terms] == [TermState.DECRYPT_ONLY, TermState.ACTIVE]
        await rig.secrets.put(ALICE, NS, "new", content=b"w")
        for one in (rig, await restarted(rig)):
            assert (await one.secrets.access(ALICE, NS, "old")).value == b"v"
            assert (await one.secrets.access(ALICE, NS, "new")).value == b"w"


async def test_a_term_that_a_crash_left_pending_is_taken_up() -> None:
    """The next rotation activates it, and makes no third one."""
    async with running() as rig:
        vault = rig.vault
        await vault._replace(vault.keyring.add_pending(rig.clock.now()), "keyring.rotate.pending")
        fresh = await restarted(rig)
        assert fresh.vault.keyring.pending is not None
        assert await fresh.vault.rotate_keyring(ALICE) == 2
        assert len(fresh.vault.keyring.terms) == 2


async def test_an_instance_takes_the_keyring_of_another() -> None:
    """What another instance rotated is used here as soon as the store tells of it."""
    async with running() as one, running(one.store, one.clock, one.audit) as other:
        await one.vault.rotate_keyring(ALICE)
        await one.secrets.put(ALICE, NS, "key", content=b"v")
        await other.secrets.until(one.secrets.revision)
        assert other.vault.keyring == one.vault.keyring
        assert (await other.secrets.access(ALICE, NS, "key")).value == b"v"
        await other.secrets.put(ALICE, NS, "key", content=b"w")
        await one.secrets.until(other.secrets.revision)
        assert (await one.secrets.access(ALICE, NS, "key")).value == b"w"


async def test_a_keyring_that_is_put_back_is_named() -> None:
    """An older keyring, one that is damaged, and one that is gone are problems, and not taken."""
    async with running() as rig:
        old = (await rig.entries(KEYRING_HEAD))[KEYRING_HEAD].value
        await rig.vault.rotate_keyring(ALICE)
        await rig.tamper({KEYRING_HEAD: old})
        assert "older keyring" in rig.vault.problem
        assert len(rig.vault.keyring.terms) == 2
        await rig.tamper({KEYRING_HEAD: b"garbage"})
        assert "damaged" in rig.vault.problem
        await rig.tamper(deletes=[KEYRING_HEAD])
        assert "gone" in rig.vault.problem


async def test_a_start_that_cannot_be_recorded_opens_all_the_same() -> None:
    """The daemon opens with a log that refuses: each access needs the log anyway, and works again with it."""
    rig = build()
    rig.audit.problem = "the disk is full"
    await rig.secrets.open([KEY_FILE])
    assert not rig.vault.is_sealed


async def test_sealing_waits_for_no_record() -> None:
    """A log that refuses keeps nobody from sealing; it has the record, with the time of the deed, before anybody unseals."""
    async with running() as rig:
        await rig.secrets.put(ALICE, NS, "key", content=b"v")
        rig.audit.problem = "the disk is full"
        for _ in range(2):
            await rig.vault.seal(ALICE, call_id="c")
        with pytest.raises(Sealed, match="somebody"):
            await rig.secrets.access(ALICE, NS, "key")
        with pytest.raises(AuditUnavailable):
            await rig.vault.unseal(ALICE, [KEY_FILE])
        assert rig.vault.is_sealed
        sealed = rig.clock.now()
        rig.clock.advance(seconds=60)
        rig.audit.problem = ""
        await rig.vault.unseal(ALICE, [KEY_FILE])
        seal, unseal = (await rig.records())[-2:]
        assert (seal.action, seal.actor, seal.request_id) == ("keyring.seal", ALICE.name, "c")
        assert seal.facts["sealed"] == sealed.isoformat()
        assert unseal.action == "keyring.unseal"


async def test_sealing_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys go at once, also while somebody holds the vault with work that takes long; what that opens is sealed again."""
    async with running() as rig:
        await rig.vault.seal(ALICE)
        is_opening, may_open = asyncio.Event(), asyncio.Event()
        unlock_slots = unlock.UnlockSlots.open

        async def slowly(slots: unlock.UnlockSlots, materials: Sequence[Material]) -> tuple[bytes, str]:
            is_opening.set()
            await may_open.wait()
            return await unlock_slots(slots, materials)

        monkeypatch.setattr(unlock.UnlockSlots, "open", slowly)
        unsealing = asyncio.create_task(rig.vault.unseal(ALICE, [KEY_FILE]))
        await is_opening.wait()
        sealing = asyncio.create_task(rig.vault.seal(ALICE))
        may_open.set()
        await asyncio.gather(unsealing, sealing)
        assert rig.vault.is_sealed


async def test_slots_of_another_store_do_not_open() -> None:
    """A slot that was copied from another store is no key here."""
    async with running() as rig:
        slots = {key: entry.value for key, entry in (await rig.entries("keyring/")).items()}
        store = MemoryStore()
        await store.commit(Commit(puts=slots))
        other = build(store)
        await other.secrets.open([KEY_FILE])
        assert other.vault.is_sealed


async def test_who_has_lost_a_key_file_is_told_which() -> None:
    """And how to go on: by the daemon's own sources, or with a passphrase where a slot has one."""
    async with running() as rig:
        await rig.vault.add_slot(ALICE, PASSPHRASE)
        lost = await restarted(rig, materials=())
        with pytest.raises(Sealed) as caught:
            _ = lost.vault.keys
        assert f"slot {rig.vault.slot_id} opens with {KEY_FILE.source}" in str(caught.value)
        assert "`vestryctl unseal --own-sources`, or `vestryctl unseal` with a passphrase" in str(caught.value)
