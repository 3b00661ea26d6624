"""The vault: the root key of the secrets, and the keyring that it opens.

Sealed, it holds no key. A store that ever held a keyring is never given another one: what can't be opened stays sealed, and
says why.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from vestry.audit_record import Fact, Outcome
from vestryd.domain.access import Guard
from vestryd.domain.audit import DAEMON, AuditLog
from vestryd.domain.audit import Entry as AuditEntry
from vestryd.domain.audited import Act, act_of, audited
from vestryd.domain.clock import Clock
from vestryd.domain.errors import AuditUnavailable, Conflict, RecordDamaged, Sealed, StoreUnavailable, UnlockRefused
from vestryd.domain.identity import Caller
from vestryd.domain.sealing.aead import KEY_BYTES
from vestryd.domain.sealing.keyring import Keyring
from vestryd.domain.sealing.slots import PASSPHRASES, Slot
from vestryd.domain.secrets.keys import KEYRING_HEAD, Keys, read_keys, replace_keyring
from vestryd.domain.secrets.unlock import SLOTS, Material, UnlockSlots, slot_key
from vestryd.domain.steps import commit_step
from vestryd.domain.store import ABSENT, Batch, Commit, Entry, Store

RESOURCE = "keyring"

BY_HAND = Sealed("somebody sealed them")


class Vault:
    """The keys of the secrets, for as long as the daemon lives; sealed at first.

    Hooks: `on_opened` are awaited before an opening is over, and one that raises seals again; `on_sealed` are called when
    the keys have gone, `on_rotated` when the active term is another one. `on_founded` gets the MAC key of a fresh store, and
    returns what is to be written with the first keyring.
    """

    def __init__(self, store: Store, guard: Guard, audit: AuditLog, clock: Clock) -> None:
        self.on_opened: list[Callable[[], Awaitable[None]]] = []
        self.on_sealed: list[Callable[[], None]] = []
        self.on_rotated: list[Callable[[], None]] = []
        self.on_founded: Callable[[bytes], Mapping[str, bytes]] = lambda _mac_key: {}
        self._store = store
        self._guard = guard
        self._audit = audit
        self._clock = clock
        self._lock = asyncio.Lock()  # one change of slots or keyring at a time
        self._slots = UnlockSlots(store, clock)
        self._keys: Keys | None = None
        self._why_sealed = Sealed("they are not opened yet", remedy="try again in a moment")
        self._tampering = ""
        self._owed: list[AuditEntry] = []  # sealings that the audit log has no record of yet

    @property
    def is_sealed(self) -> bool:
        """Whether there are no keys in memory."""
        return self._keys is None

    @property
    def problem(self) -> str:
        """Why it is sealed, and what is wrong with the slots or the keyring; empty when all is well."""
        sealed = self.why_sealed.problem if self.why_sealed else ""
        return "; ".join(part for part in (sealed, self._tampering, *self._slots.problems()) if part)

    @property
    def why_sealed(self) -> Sealed | None:
        """Why it is sealed, and what to do; None while it is open."""
        return self._why_sealed if self._keys is None else None

    @property
    def slot_id(self) -> str:
        """The slot that was opened; empty while it is sealed."""
        return self._keys.slot_id if self._keys else ""

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The slots, oldest first."""
        return self._slots.all

    @property
    def keys(self) -> Keys:
        """The keys, all of one moment. Raises Sealed."""
        if self._keys is None:
            raise Sealed(self._why_sealed.problem, self._why_sealed.remedy)
        return self._keys

    @property
    def keyring(self) -> Keyring:
        """The keyring. Raises Sealed."""
        return self.keys.keyring

    @property
    def mac_key(self) -> bytes:
        """The key that authenticates what is known of secrets. Raises Sealed."""
        return self.keys.mac_key

    def check(self, caller: Caller) -> None:
        """Return if `caller` may know how the vault stands. Raises CredentialsMissing, PermissionDenied."""
        self._guard.require(caller, "keyring.read", RESOURCE)

    async def is_fresh(self) -> bool:
        """Tell whether nothing was ever sealed in this store: `open` will found it."""
        await self._slots.load()
        return self._slots.is_empty() and not await self._has_been_founded()

    async def open(self, materials: Sequence[Material]) -> None:
        """Open at the daemon's start, or found a fresh store with the first material.

        It stays sealed, with a `problem`, when nothing opens it. It is recorded where the audit log can; since a caller
        needs the log for every secret anyway, a log that can't doesn't keep it sealed.
        """
        async with self._lock:
            try:
                is_fresh = await self.is_fresh()
                keys = await (self._found(materials) if is_fresh else self._unlock(materials))
            except (UnlockRefused, RecordDamaged) as error:
                self._why_sealed = Sealed(str(error), self._remedy(error))
                await self._note("keyring.unseal", Outcome.FAILED)
                return
            await self._note("keyring.found" if is_fresh else "keyring.unseal", Outcome.ALLOWED, slot=keys.slot_id)
            await self._adopt(keys)

    async def seal(self, caller: Caller, *, call_id: str = "") -> None:
        """Drop the keys, whatever else is under way. Idempotent.

        It only takes power away, so nothing may hold it up: a log that can't record it gets the record later, before anybody
        unseals.
        """
        self._guard.require(caller, "keyring.seal", RESOURCE)
        was_open, time = self._keys is not None, self._clock.now()
        self._drop(BY_HAND)
        act = act_of(caller, "keyring.seal", RESOURCE, call_id)
        try:
            await self._audit.record(act.entry())
        except AuditUnavailable:
            if was_open:
                self._owed.append(act.entry(sealed=time.isoformat()))
        async with self._lock:
            if self._keys is not None:  # an opening was under way
                self._drop(BY_HAND)

    async def unseal(self, caller: Caller, materials: Sequence[Material], *, call_id: str = "") -> str:
        """Open with one of the materials, and return the slot's id. Idempotent. Raises UnlockRefused, RecordDamaged."""
        self._guard.require(caller, "keyring.unseal", RESOURCE)
        async with self._lock:
            await self._record_owed()
            async with audited(self._audit, act_of(caller, "keyring.unseal", RESOURCE, call_id)):
                if self._keys is None:
                    await self._slots.load()
                    await self._adopt(await self._unlock(materials))
                return self.slot_id

    async def add_slot(self, caller: Caller, material: Material, *, label: str = "", call_id: str = "") -> Slot:
        """Add a slot, which is read back and opened. Raises Sealed, LimitExceeded, UnlockRefused, InvalidField."""
        async with self._changing(caller, "keyring.slots", call_id, change="add", kind=material.kind.value):
            return await self._slots.add(self.keys.root_key, material, label)

    async def remove_slot(self, caller: Caller, slot_id: str, *, call_id: str = "") -> None:
        """Remove a slot. Raises Sealed, SlotNotFound, LastSlot."""
        async with self._changing(caller, "keyring.slots", call_id, change="remove", slot=slot_id):
            await self._slots.remove(slot_id)

    async def rekey_slot(
        self, caller: Caller, slot_id: str, material: Material, *, label: str = "", call_id: str = ""
    ) -> Slot:
        """Add a slot, which is read back and opened; only then remove the one. Raises as both do."""
        facts = {"change": "rekey", "slot": slot_id, "kind": material.kind.value}
        async with self._changing(caller, "keyring.slots", call_id, **facts):
            self._slots.find(slot_id)
            slot = await self._slots.add(self.keys.root_key, material, label, is_replacement=True)
            await self._slots.remove(slot_id)
            return slot

    async def rotate_keyring(self, caller: Caller, *, call_id: str = "") -> int:
        """Make a new term, which is active when this returns, and return its number. Raises Sealed.

        The term is stored as pending before it is active, so that nothing is ever wrapped by a key that isn't stored; one
        that a crash left pending is taken up.
        """
        async with self._changing(caller, "keyring.rotate", call_id):
            return await self._rotate()

    async def rotate_by_itself(self) -> int:
        """Rotate the keyring because its active term was used often."""
        async with self._lock, audited(self._audit, Act(DAEMON, "keyring.rotate", RESOURCE)):
            return await self._rotate()

    async def retire(self, term: int, *, expect: Mapping[str, int]) -> None:
        """Erase the key of a term on which no version is left, as long as the store is as expected. Raises Conflict."""
        async with self._lock, audited(self._audit, Act(DAEMON, "keyring.retire", RESOURCE, facts={"term": term})):
            await self._replace(self.keyring.retire(term), "keyring.retire", expect)

    def apply(self, batch: Batch) -> None:
        """Take in what the store says of slots and keyring: this daemon's own changes, and those of other writers."""
        for key, entry in batch.changes.items():
            if key.startswith(SLOTS):
                self._slots.apply(key, entry)
            elif key == KEYRING_HEAD and self._keys is not None:
                self._take(self._keys, entry)

    async def reload(self) -> None:
        """Read slots and keyring again, after a part of the store's history was missed."""
        await self._slots.load()
        found = await self._store.read(KEYRING_HEAD, limit=1)
        if self._keys is not None:
            self._take(self._keys, next(iter(found.entries), None))

    @asynccontextmanager
    async def _changing(self, caller: Caller, action: str, call_id: str, **facts: Fact) -> AsyncIterator[None]:
        """Let a caller change slots or keyring: checked, open, alone, and recorded."""
        self._guard.require(caller, action, RESOURCE)
        async with self._lock:
            _ = self.keys
            async with audited(self._audit, act_of(caller, action, RESOURCE, call_id, **facts)):
                try:
                    yield
                except Conflict as error:
                    raise StoreUnavailable("another writer changed slots or keyring meanwhile: try again") from error

    async def _has_been_founded(self) -> bool:
        """Tell whether there is a keyring, or anything of a secret."""
        return any([(await self._store.read(prefix, limit=1)).entries for prefix in ("keyring/", "secret")])

    async def _found(self, materials: Sequence[Material]) -> Keys:
        """Make the root key, its first slot and the first keyring, in one commit."""
        if not materials:
            raise UnlockRefused(
                "there is no unlock source to make the first slot with: set up a credential or a key file"
            )
        root_key = os.urandom(KEY_BYTES)
        slot = await self._slots.make(root_key, materials[0], label=materials[0].source[:64])
        keys = Keys.create(self._store.store_id, root_key, slot.id, self._clock.now())
        puts = {KEYRING_HEAD: keys.encode(), slot_key(slot.id): slot.encode(), **self.on_founded(keys.mac_key)}
        commit = Commit(expect=dict.fromkeys(puts, ABSENT), puts=puts)
        revision = await commit_step(self._store, commit, "keyring.found")
        await self._slots.load()
        return replace(keys, revision=revision)

    async def _unlock(self, materials: Sequence[Material]) -> Keys:
        if self._slots.is_empty():
            raise UnlockRefused("the unlock slots are gone from the store: restore a backup")
        root_key, slot_id = await self._slots.open(materials)
        return await read_keys(self._store, root_key, slot_id)

    async def _adopt(self, keys: Keys) -> None:
        self._keys, self._tampering = keys, ""
        try:
            for hook in self.on_opened:
                await hook()
        except BaseException:
            self._drop(Sealed("what is known of them can't be read"))
            raise

    def _remedy(self, error: UnlockRefused | RecordDamaged) -> str:
        if isinstance(error, RecordDamaged):
            return ""  # it says so itself
        passphrase = any(slot.kind in PASSPHRASES for slot in self.slots)
        other = ", or `vestryctl unseal` with a passphrase" if passphrase else ""
        return f"put that right and `vestryctl unseal --own-sources`{other}"

    def _drop(self, why: Sealed) -> None:
        self._keys, self._why_sealed = None, why
        for hook in self.on_sealed:
            hook()

    async def _rotate(self) -> int:
        if self.keyring.pending is None:
            await self._replace(self.keyring.add_pending(self._clock.now()), "keyring.rotate.pending")
        pending = self.keyring.pending
        assert pending is not None, "it was stored as pending"
        await self._replace(self.keyring.activate(pending.number), "keyring.rotate.activate")
        self._tell_of_rotation()
        return pending.number

    async def _replace(self, keyring: Keyring, step: str, expect: Mapping[str, int] | None = None) -> None:
        """Store a keyring, and use it once it is durable."""
        after = await replace_keyring(self._store, self.keys, keyring, step, expect=expect)
        if self._keys is not None and self._keys.generation < after.generation:
            self._keys = after

    def _take(self, keys: Keys, entry: Entry | None) -> None:
        """Take another writer's keyring; one that is gone, damaged or older is a problem, and not taken."""
        if entry is None:
            self._tampering = "the keyring is gone from the store: restore a backup, before the daemon is started again"
            return
        if entry.mod_revision <= keys.revision:
            return
        try:
            after = keys.as_in(entry)
        except RecordDamaged as error:
            self._tampering = str(error)
            return
        if after.generation > keys.generation:
            self._keys, self._tampering = after, ""
            if after.keyring.active.number != keys.keyring.active.number:
                self._tell_of_rotation()
        elif after.keyring != keys.keyring:
            self._tampering = "an older keyring was put back into the store: restore a backup"

    def _tell_of_rotation(self) -> None:
        for hook in self.on_rotated:
            hook()

    async def _record_owed(self) -> None:
        """Record the sealings that could not be. Raises AuditUnavailable."""
        while self._owed:
            await self._audit.record(self._owed[0])
            del self._owed[0]

    async def _note(self, action: str, outcome: Outcome, **facts: Fact) -> None:
        with suppress(AuditUnavailable):
            await self._audit.record(Act(DAEMON, action, RESOURCE).entry(outcome, **facts))
