"""The unlock slots of a store: what opens one, and how one is added and removed without ever losing the last.

    keyring/slot/<id>    the root key, encrypted under what opens the slot

Beside them stands `keyring/head`: see `keys`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from vestryd.domain.clock import Clock
from vestryd.domain.errors import LastSlot, LimitExceeded, RecordDamaged, SlotNotFound, UnlockRefused
from vestryd.domain.sealing.slots import PASSPHRASES, Slot, SlotKind, make_slot, open_slot
from vestryd.domain.steps import commit_step
from vestryd.domain.store import ABSENT, Commit, Entry, Store

SLOTS = "keyring/slot/"
MAX_SLOTS = 16


@dataclass(frozen=True, slots=True)
class Material:
    """What a source on the host yields to open a slot with. `source` names it for people: a path, a credential's name."""

    kind: SlotKind
    secret: bytes = field(repr=False)
    source: str


class UnlockSlots:
    """The slots in memory, as the store's entries say. Lives as long as its vault, sealed or open."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._slots: dict[str, tuple[Slot, int]] = {}  # id -> slot, and its mod_revision
        self._unreadable: dict[str, str] = {}  # store key -> why

    @property
    def all(self) -> tuple[Slot, ...]:
        """The slots that can be read, oldest first."""
        return tuple(sorted((slot for slot, _ in self._slots.values()), key=lambda slot: (slot.create_time, slot.id)))

    def is_empty(self) -> bool:
        """Tell whether there is no slot at all, not even one that can't be read."""
        return not self._slots and not self._unreadable

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the slots."""
        for key, problem in sorted(self._unreadable.items()):
            yield f"{key}: {problem}"

    async def load(self) -> None:
        """Read the slots as they are now."""
        found = await self._store.read(SLOTS)
        self._slots.clear()
        self._unreadable.clear()
        for entry in found.entries:
            self.apply(entry.key, entry)

    def apply(self, key: str, entry: Entry | None) -> None:
        """Take in what the store has at a slot's key now."""
        slot_id = key.removeprefix(SLOTS)
        self._slots.pop(slot_id, None)
        self._unreadable.pop(key, None)
        if entry is None:
            return
        try:
            slot = Slot.decode(entry.value)
        except UnlockRefused as error:
            self._unreadable[key] = str(error)
            return
        if slot.id == slot_id:
            self._slots[slot_id] = slot, entry.mod_revision
        else:
            self._unreadable[key] = f"unlock slot {slot.id} was put into another one's place"

    def find(self, slot_id: str) -> Slot:
        """Return a slot. Raises SlotNotFound."""
        if slot_id not in self._slots:
            raise SlotNotFound(slot_id)
        return self._slots[slot_id][0]

    async def open(self, materials: Sequence[Material]) -> tuple[bytes, str]:
        """Return the root key and the id of the slot that gave it. Raises UnlockRefused when none opens."""
        return await asyncio.to_thread(_open_any, self.all, self._store.store_id, tuple(materials))

    async def make(self, root_key: bytes, material: Material, label: str) -> Slot:
        """Return a new slot, which is not stored yet. Raises UnlockRefused or InvalidField when it can't be made."""
        slot_id = secrets.token_hex(4)
        while slot_id in self._slots:
            slot_id = secrets.token_hex(4)
        return await asyncio.to_thread(
            lambda: make_slot(
                root_key,
                self._store.store_id,
                material.kind,
                material.secret,
                slot_id=slot_id,
                label=label,
                now=self._clock.now(),
            )
        )

    async def add(self, root_key: bytes, material: Material, label: str, *, is_replacement: bool = False) -> Slot:
        """Store a new slot, then read it back and open it: one that doesn't give the root key is taken away again.

        A replacement may be one more than MAX_SLOTS, since another slot goes next. Raises LimitExceeded, UnlockRefused,
        InvalidField, RecordDamaged.
        """
        count = len(self._slots) + len(self._unreadable)
        if count >= MAX_SLOTS + is_replacement:
            raise LimitExceeded("the number of unlock slots", MAX_SLOTS, count + 1)
        slot = await self.make(root_key, material, label)
        key = slot_key(slot.id)
        await commit_step(self._store, Commit(expect={key: ABSENT}, puts={key: slot.encode()}), "seal.slot.add")
        if not await self._opens(key, material, root_key):
            await commit_step(self._store, Commit(deletes=frozenset({key})), "seal.slot.undo")
            raise RecordDamaged(kind="unlock slot", name=slot.id, version=0)
        return slot

    async def remove(self, slot_id: str) -> None:
        """Take a slot away. Raises SlotNotFound, LastSlot."""
        self.find(slot_id)
        others = {other: revision for other, (_, revision) in self._slots.items() if other != slot_id}
        if not others:
            raise LastSlot(slot_id)
        # Whoever removes the others at this moment, one of them has to stay: each removal expects a slot that survives.
        survivor, revision = next(iter(others.items()))
        expect = {slot_key(slot_id): self._slots[slot_id][1], slot_key(survivor): revision}
        await commit_step(
            self._store, Commit(expect=expect, deletes=frozenset({slot_key(slot_id)})), "seal.slot.remove"
        )
        self.apply(slot_key(slot_id), None)

    async def _opens(self, key: str, material: Material, root_key: bytes) -> bool:
        found = await self._store.read(key, limit=1)
        if not found.entries:
            return False
        self.apply(key, found.entries[0])
        try:
            slot = Slot.decode(found.entries[0].value)
            return await asyncio.to_thread(open_slot, slot, self._store.store_id, material.secret) == root_key
        except UnlockRefused:
            return False


def slot_key(slot_id: str) -> str:
    """Return the key of a slot."""
    return f"{SLOTS}{slot_id}"


def _open_any(slots: Sequence[Slot], store_id: str, materials: Sequence[Material]) -> tuple[bytes, str]:
    refusal = ""
    for material in materials:
        for slot in slots:
            if (material.kind in PASSPHRASES) != (slot.kind in PASSPHRASES):
                continue
            try:
                return open_slot(slot, store_id, material.secret), slot.id
            except UnlockRefused as error:
                refusal = f": {error}" if len(slots) == 1 else ""
    sources = " and ".join(material.source for material in materials)
    if sources:
        raise UnlockRefused(f"no unlock slot opens with {sources}{refusal}")
    wanted = "; ".join(f"slot {slot.id} opens with {slot.label or slot.kind.value.replace('_', ' ')}" for slot in slots)
    raise UnlockRefused(f"there is no unlock source to open a slot with: {wanted}")
